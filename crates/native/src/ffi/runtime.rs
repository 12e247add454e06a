//! The interpreter's runtime: the memory that all its threads share, the GIL among it.

use super::private;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::OnceLock;
use std::{mem, ptr};

/// True if a futex at this address is one of the interpreter's own: a thread that waits there waits for the GIL. None:
/// it cannot be told from other locks.
pub fn is_interpreters(address: usize) -> Option<bool> {
    static RUNTIME: OnceLock<Option<Range<usize>>> = OnceLock::new();
    let start = private::runtime()?;
    RUNTIME.get_or_init(|| runtime(start)).as_ref().map(|runtime| runtime.contains(&address))
}

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

/// `dladdr1` of dladdr(3)
type Dladdr1 = unsafe extern "C" fn(*const c_void, *mut libc::Dl_info, *mut *mut c_void, c_int) -> c_int;

/// `RTLD_DL_SYMENT` of dladdr(3): asks for the symbol's entry.
const SYMBOL_ENTRY: c_int = 1;

/// The addresses of `_PyRuntime`, which holds the main interpreter and its GIL, as the dynamic linker knows them.
///
/// With glibc a thread that waits for a condition variable is at a futex inside that variable. With musl it is at one
/// on its stack, so this would be of no use there; and musl has no `dladdr1`. The entries of 32-bit systems look
/// different.
fn runtime(start: usize) -> Option<Range<usize>> {
    let dladdr1 = private::find(c"dladdr1").filter(|_| cfg!(target_pointer_width = "64"))?;
    // SAFETY: the function of glibc, with the signature that its manual gives. All zeros is a valid Dl_info. Where the
    // call succeeds and has found a symbol, it is an entry in the symbol table of a library that is never unloaded.
    unsafe {
        let dladdr1 = mem::transmute::<*mut c_void, Dladdr1>(dladdr1);
        let mut info: libc::Dl_info = mem::zeroed();
        let mut symbol = ptr::null_mut();
        let found = dladdr1(ptr::without_provenance(start), &raw mut info, &raw mut symbol, SYMBOL_ENTRY) != 0;
        if !found || symbol.is_null() || info.dli_saddr.addr() != start {
            return None;
        }
        let size = usize::try_from((*symbol.cast::<Symbol>()).size).ok()?;
        (size > 0).then(|| start..start + size)
    }
}
