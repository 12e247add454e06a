//! The C functions of which it is known that they call no Python before they return: most of what blocks. While a step
//! is aside in one, calls of Python functions cost nobody more.
//!
//! Not among them are those that may: database drivers, TLS (callbacks of its context), buffered files over other
//! objects. What such a function asks of its arguments, it asks before it blocks. (One exception is known and lived
//! with: a buffer that is written in Python, with `__release_buffer__`.)

use crate::ffi;
use crate::private::{LEAF_CLASSES, LEAF_MODULES};
use pyo3::prelude::*;

/// True if a C function is known to call no Python before it returns. Nothing of the program runs.
pub fn is_leaf(function: &Bound<'_, PyAny>) -> bool {
    let Some(owner) = ffi::owner_name(function) else { return false };
    let module = owner.rsplit_once('.').map_or(owner.as_str(), |(module, _)| module);
    LEAF_MODULES.contains(&module) || LEAF_CLASSES.contains(&owner.as_str())
}
