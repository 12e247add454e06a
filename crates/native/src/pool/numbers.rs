//! The numbers of all pools, for those who look in from outside and have no GIL.

use crate::ffi::GilCell;
use everloop_core::slots::Slots;
use everloop_core::sync::{Mutex, lock, replace_after_fork};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// What a pool has at this moment. Written under the GIL; read by anybody. Each is a number on its own.
#[derive(Default)]
struct Numbers {
    threads: AtomicUsize,
    idle: AtomicUsize,
    running: AtomicUsize,
    queued: AtomicUsize,
}

/// What all pools have together.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub threads: usize,
    pub idle: usize,
    pub running: usize,
    pub queued: usize,
}

/// The pools. Written by whoever makes one; read without the GIL.
static ALL: Mutex<Vec<Weak<Numbers>>> = Mutex::new(Vec::new());

/// The slots of a pool, which are counted whenever they have changed.
pub struct CountedSlots<Job, Thread> {
    slots: GilCell<Slots<Job, Thread>>,
    numbers: Arc<Numbers>,
}

impl<Job, Thread> CountedSlots<Job, Thread> {
    pub fn new(slots: usize) -> Self {
        let numbers = Arc::default();
        register(&numbers);
        Self { slots: GilCell::new(Slots::new(slots)), numbers }
    }

    /// As [`GilCell::with`].
    pub fn with<R>(&self, py: Python<'_>, f: impl FnOnce(&mut Slots<Job, Thread>) -> R) -> R {
        self.slots.with(py, |slots| {
            let result = f(slots);
            self.numbers.threads.store(slots.threads(), Ordering::Relaxed);
            self.numbers.idle.store(slots.idle(), Ordering::Relaxed);
            self.numbers.running.store(slots.running(), Ordering::Relaxed);
            self.numbers.queued.store(slots.queued().size_hint().0, Ordering::Relaxed);
            result
        })
    }

    /// As [`GilCell::traverse`].
    pub fn traverse<R>(&self, f: impl FnOnce(&Slots<Job, Thread>) -> R) -> R {
        self.slots.traverse(f)
    }

    /// In a forked child, after [`after_fork`]: this pool is there still.
    pub fn register_again(&self) {
        register(&self.numbers);
    }
}

fn register(numbers: &Arc<Numbers>) {
    let mut all = lock(&ALL);
    all.retain(|numbers| numbers.strong_count() > 0);
    all.push(Arc::downgrade(numbers));
}

/// What all pools of the process have together. Needs no GIL.
pub fn totals() -> Totals {
    let all: Vec<_> = lock(&ALL).iter().filter_map(Weak::upgrade).collect();
    all.iter().fold(Totals::default(), |sum, numbers| Totals {
        threads: sum.threads + numbers.threads.load(Ordering::Relaxed),
        idle: sum.idle + numbers.idle.load(Ordering::Relaxed),
        running: sum.running + numbers.running.load(Ordering::Relaxed),
        queued: sum.queued + numbers.queued.load(Ordering::Relaxed),
    })
}

/// In a forked child: a thread of the parent may have held the lock.
pub fn after_fork() {
    replace_after_fork(&ALL, Vec::new());
}
