//! The generation of this process: how many forks lie behind it.

use std::sync::atomic::{AtomicU32, Ordering};

/// Written in a forked child, by its only thread.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation: what threads began in an earlier one, they do here no more.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// In a forked child: a new generation begins. Done before whatever asks for it is put right.
pub fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
