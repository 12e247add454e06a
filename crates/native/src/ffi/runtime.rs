//! Where CPython keeps what all its threads share: the GIL among it.

use super::private;
use std::ops::Range;
use std::sync::OnceLock;

/// Whether a futex at this address is one of the interpreter's own: a thread that waits there waits for the GIL. None: it
/// cannot be told from other locks.
pub fn is_interpreters(address: usize) -> Option<bool> {
    static RUNTIME: OnceLock<Option<Range<usize>>> = OnceLock::new();
    let start = private::for_rescue()?.runtime?;
    RUNTIME.get_or_init(|| runtime(start)).as_ref().map(|runtime| runtime.contains(&address))
}

/// The addresses of `_PyRuntime`, which holds the main interpreter and its GIL, as the dynamic linker knows them. With glibc
/// a thread that waits for a condition variable is at a futex inside that variable; with musl it is at one on its stack.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
fn runtime(start: usize) -> Option<Range<usize>> {
    use std::ffi::c_int;
    use std::{mem, ptr};

    /// `Elf64_Sym` of elf(5)
    #[repr(C)]
    struct Symbol {
        name: u32,
        info: u8,
        other: u8,
        section: u16,
        value: u64,
        size: u64,
    }

    /// `RTLD_DL_SYMENT` of dladdr(3): asks for the symbol's entry.
    const SYMBOL_ENTRY: c_int = 1;

    // SAFETY: all zeros is a valid Dl_info. Where the call succeeds and has found a symbol, it is an entry in the symbol table
    // of a library that is never unloaded.
    unsafe {
        let mut info: libc::Dl_info = mem::zeroed();
        let mut symbol = ptr::null_mut();
        let found = libc::dladdr1(ptr::without_provenance(start), &raw mut info, &raw mut symbol, SYMBOL_ENTRY) != 0;
        if !found || symbol.is_null() || info.dli_saddr.addr() != start {
            return None;
        }
        let size = usize::try_from((*symbol.cast::<Symbol>()).size).ok()?;
        (size > 0).then(|| start..start + size)
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")))]
fn runtime(_start: usize) -> Option<Range<usize>> {
    None
}
