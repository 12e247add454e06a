//! Ends the system call that another thread sleeps in, as a signal does (EINTR), without running anything.

use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// Whoever has not asked for it ignores SIGURG, which the kernel sends for urgent data on a socket, if asked to. So one
/// too many does no harm. (The Go runtime interrupts its threads by it, for these reasons:
/// go.dev/design/24543-non-cooperative-preemption.)
const SIGNAL: libc::c_int = libc::SIGURG;

/// Interrupts the system call of the thread with this `threading.get_ident()`, which must exist. Of no effect where the
/// program has a handler for SIGURG: that is not ours to call.
pub fn interrupt_call(ident: u64) {
    if has_handler() {
        // SAFETY: the thread exists, says the caller.
        unsafe { libc::pthread_kill(ident as libc::pthread_t, SIGNAL) };
    }
}

/// True if our own handler is there for the signal, now.
fn has_handler() -> bool {
    let own = do_nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: all zeros is a valid sigaction, with no flags: so system calls are not begun again after it (SA_RESTART).
    // The handler does nothing, which any thread may do at any time.
    unsafe {
        let mut present: libc::sigaction = zeroed();
        libc::sigaction(SIGNAL, null(), &raw mut present);
        if present.sa_sigaction == libc::SIG_DFL || present.sa_sigaction == libc::SIG_IGN {
            let mut ours: libc::sigaction = zeroed();
            ours.sa_sigaction = own;
            return libc::sigaction(SIGNAL, &raw const ours, null_mut()) == 0;
        }
        present.sa_sigaction == own
    }
}

extern "C" fn do_nothing(_signal: libc::c_int) {}
