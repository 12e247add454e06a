//! The C functions of which it is known that they call no Python before they return: most of what blocks. While a step
//! is aside in one, calls of Python functions cost nobody more.
//!
//! Not among them are those that may: database drivers, TLS (callbacks of its context), buffered files over other
//! objects. What such a function asks of its arguments, it asks before it blocks. (One exception is known and lived
//! with: a buffer that is written in Python, with `__release_buffer__`.)

use crate::ffi;
use crate::private::{LEAF_CLASSES, LEAF_MODULES};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The addresses of definitions that were found to be leaves, each at the place that its address gives: to find the
/// names of a function's owner takes longer than some calls. The C code that defines them is never unloaded. Read and
/// written with the GIL.
static FOUND: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];

/// True if a C function is known to call no Python before it returns. Nothing of the program runs.
pub fn is_leaf(function: &Bound<'_, PyAny>) -> bool {
    let Some(definition) = ffi::definition_address(function) else { return false };
    // definitions are 32 bytes long, and lie side by side
    let found = &FOUND[definition / 32 % FOUND.len()];
    if found.load(Ordering::Relaxed) == definition {
        return true;
    }
    let is_leaf = is_of_leaves(function);
    if is_leaf {
        found.store(definition, Ordering::Relaxed);
    }
    is_leaf
}

fn is_of_leaves(function: &Bound<'_, PyAny>) -> bool {
    let Some(owner) = ffi::owner_name(function) else { return false };
    let module = owner.rsplit_once('.').map_or(owner.as_str(), |(module, _)| module);
    LEAF_MODULES.contains(&module) || LEAF_CLASSES.contains(&owner.as_str())
}
