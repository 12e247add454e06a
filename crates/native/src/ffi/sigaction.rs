//! What the process does at a signal. No code of ours runs there: an action of ours is the default one, or does nothing.

use std::ffi::c_int;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// The present action.
pub fn action(signal: c_int) -> libc::sigaction {
    // SAFETY: all zeros is a valid sigaction, and it is only written to.
    unsafe {
        let mut now = zeroed();
        libc::sigaction(signal, null(), &raw mut now);
        now
    }
}

/// Sets an action: one that was there before, or one of the following.
pub fn set_action(signal: c_int, action: &libc::sigaction) {
    // SAFETY: an action that does nothing, or ignores, or that somebody else has set.
    unsafe { libc::sigaction(signal, action, null_mut()) };
}

/// True if the process has a handler for a signal that may come from outside, other than Ctrl-C's: Python has that of
/// its own accord. What tells of a fault of the process itself does not count.
pub fn awaits_signals() -> bool {
    const OTHERS: [c_int; 8] = [
        libc::SIGINT,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGSYS,
    ];
    let none = [libc::SIG_DFL, libc::SIG_IGN, empty_action().sa_sigaction];
    (1..=libc::SIGRTMAX()).any(|signal| !OTHERS.contains(&signal) && !none.contains(&action(signal).sa_sigaction))
}

/// The default action.
pub fn default_action() -> libc::sigaction {
    // SAFETY: all zeros is a valid sigaction, the default one, with no flags.
    unsafe { zeroed() }
}

/// An action that does nothing but end the system call of its thread: it has no flag that would begin that anew
/// (SA_RESTART).
pub fn empty_action() -> libc::sigaction {
    let mut action = default_action();
    action.sa_sigaction = do_nothing as extern "C" fn(c_int) as libc::sighandler_t;
    action
}

extern "C" fn do_nothing(_signal: c_int) {}
