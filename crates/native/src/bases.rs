//! The code below every step: `run_forever`, and what relief threads run. Whoever reads a stack without the GIL knows by
//! it where a step ends.

use crate::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The addresses of the code objects, 0 for none: there are few, unless a program makes such functions anew for each
/// loop. Written under the GIL, by threads that begin to turn a loop; read by the watchdog without it. Relaxed: each
/// address stands for itself.
static BASES: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

/// That code is below the steps of this thread.
pub fn note(code: &Bound<'_, PyCode>) {
    let address = ffi::address(code.as_any());
    if is_base(address) {
        return;
    }
    // Where there is no room one is forgotten: stacks reach further then.
    let free = BASES.iter().position(|base| base.load(Ordering::Relaxed) == 0);
    BASES[free.unwrap_or(address / 64 % BASES.len())].store(address, Ordering::Relaxed);
}

/// True if such code lies at this address.
pub fn is_base(address: usize) -> bool {
    BASES.iter().any(|base| base.load(Ordering::Relaxed) == address)
}
