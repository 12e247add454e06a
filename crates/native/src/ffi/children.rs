//! SIGCHLD: the kernel keeps the status of a child that has ended, unless the process ignores that signal.

use super::sigaction::{action, default_action, set_action};
use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use std::ptr::null_mut;

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
    let now = action(libc::SIGCHLD);
    if ignores(&now) {
        kept.before.get_or_insert(now);
        set_action(libc::SIGCHLD, &default_action());
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
    let now = action(libc::SIGCHLD);
    if now.sa_sigaction != libc::SIG_DFL {
        return;
    }
    set_action(libc::SIGCHLD, &before);
    // A child that has ended in between would have left nothing behind.
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, null_mut(), libc::WNOHANG) } > 0 {}
}

fn ignores(action: &libc::sigaction) -> bool {
    action.sa_sigaction == libc::SIG_IGN
}
