//! The generation of this process: the number of forks that lie behind it.

use std::sync::atomic::{AtomicU32, Ordering};

/// Written in a forked child, by its only thread.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation of this process. A thread does not go on here with what it began in an earlier one.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// In a forked child: a new generation begins. Done before whatever asks for it is put right.
pub fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
