//! Ends the system call that another thread sleeps in, as a signal does (EINTR), without running anything.

use super::sigaction::{action, empty_action, set_action};

/// Whoever has not asked for it ignores SIGURG, which the kernel sends for urgent data on a socket, if asked to. So one
/// too many does no harm. (The Go runtime interrupts its threads by it, for these reasons:
/// go.dev/design/24543-non-cooperative-preemption.)
const SIGNAL: libc::c_int = libc::SIGURG;

/// Interrupts the system call of the thread with this `threading.get_ident()`, which must exist. Of no effect where the
/// program has a handler for SIGURG: that is not ours to call.
pub fn interrupt_call(ident: u64) {
    let ours = empty_action();
    let present = action(SIGNAL).sa_sigaction;
    if [libc::SIG_DFL, libc::SIG_IGN].contains(&present) {
        set_action(SIGNAL, &ours);
    } else if present != ours.sa_sigaction {
        return;
    }
    // SAFETY: the thread exists, says the caller.
    unsafe { libc::pthread_kill(ident as libc::pthread_t, SIGNAL) };
}
