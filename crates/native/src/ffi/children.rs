//! SIGCHLD: the kernel keeps the status of a child that has ended, unless the process ignores that signal.

use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// The children whose end somebody waits for.
struct Kept {
    count: usize,
    /// The action for SIGCHLD that the process had, if we have changed it.
    before: Option<libc::sigaction>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { count: 0, before: None });

/// From here to `release_children` the kernel keeps the statuses of children, also where SIGCHLD is ignored.
#[pyfunction]
pub fn keep_children() {
    // The action is looked at each time: the program may have changed it.
    let mut kept = lock(&KEPT);
    kept.count += 1;
    let now = action();
    if ignores(&now) {
        kept.before.get_or_insert(now);
        // SAFETY: all zeros is a valid sigaction, the default one.
        set(&unsafe { zeroed() });
    }
}

/// One `keep_children` is over; after the last one SIGCHLD is ignored again, if it was.
#[pyfunction]
pub fn release_children() {
    let mut kept = lock(&KEPT);
    kept.count = kept.count.saturating_sub(1);
    if kept.count == 0 {
        restore(&mut kept);
    }
}

/// In a forked child: it has none of its parent's children.
pub fn after_fork() {
    let mut kept = lock(&KEPT);
    kept.count = 0;
    restore(&mut kept);
}

fn restore(kept: &mut Kept) {
    let Some(before) = kept.before.take() else { return };
    // The old action is set again, unless somebody has set another one meanwhile.
    let now = action();
    if now.sa_sigaction != libc::SIG_DFL {
        return;
    }
    set(&before);
    // A child that has ended in between would have left nothing behind.
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, null_mut(), libc::WNOHANG) } > 0 {}
}

fn ignores(action: &libc::sigaction) -> bool {
    action.sa_sigaction == libc::SIG_IGN
}

fn action() -> libc::sigaction {
    // SAFETY: all zeros is a valid sigaction, and it is only written to.
    unsafe {
        let mut now = zeroed();
        libc::sigaction(libc::SIGCHLD, null(), &raw mut now);
        now
    }
}

fn set(action: &libc::sigaction) {
    // SAFETY: an action that does nothing, or ignores: no code of ours runs in a signal handler.
    unsafe { libc::sigaction(libc::SIGCHLD, action, null_mut()) };
}
