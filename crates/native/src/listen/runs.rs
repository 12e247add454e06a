//! The loops that run, as threads without the GIL may know them.

use crate::clock;
use crate::event_loop::Shared;
use everloop_core::baton::ThreadId;
use everloop_core::sync::{Mutex, lock, replace_after_fork};
use everloop_core::sys;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A loop that runs.
#[derive(Clone)]
pub struct Run {
    pub shared: Arc<Shared>,
    /// The name of the thread that runs it, and a number if another loop has that already.
    pub name: String,
    /// The kernel's number of that thread, and its own one.
    pub thread: u32,
    home: ThreadId,
}

/// Written by each home, which has the GIL; read by whoever answers, who has not.
static RUNS: Mutex<Vec<Run>> = Mutex::new(Vec::new());

/// A loop begins to run on a thread of this name.
pub fn begin(shared: &Arc<Shared>, thread: &str, home: ThreadId) {
    let mut runs = lock(&RUNS);
    let is_taken = |name: &str| runs.iter().any(|run| run.name == name);
    let numbered = (2..).map(|number| format!("{thread}-{number}"));
    let name = std::iter::once(thread.to_owned()).chain(numbered).find(|name| !is_taken(name));
    let (shared, name, thread) = (Arc::clone(shared), name.unwrap_or_default(), sys::thread_number());
    runs.push(Run { shared, name, thread, home });
}

/// Its run has ended.
pub fn end(shared: &Arc<Shared>) {
    let ended = {
        let mut runs = lock(&RUNS);
        let at = runs.iter().position(|run| Arc::ptr_eq(&run.shared, shared));
        at.map(|at| runs.swap_remove(at))
    };
    drop(ended);
}

/// The loops that run now.
pub fn all() -> Vec<Run> {
    lock(&RUNS).clone()
}

/// What keeps a loop from going on.
pub struct Stop {
    /// For how many nanoseconds.
    pub lasts: u64,
    pub why: String,
}

/// What a thread is to a loop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It runs the loop, and does so now.
    Home,
    /// It runs the loop, but its step is aside: another thread goes on with it, or nobody does.
    HomeAside,
    /// It goes on with the loop while that step is aside.
    Relief,
}

impl Run {
    /// What the thread of this number is to the loop; None: nothing, or it waits to be needed.
    pub fn role(&self, number: u32) -> Option<Role> {
        let holder = self.shared.baton.holder();
        let turns = self.shared.turner.load(Ordering::Relaxed) == number;
        match (self.thread == number, holder == Some(self.home)) {
            (true, true) => Some(Role::Home),
            (true, false) => Some(Role::HomeAside),
            (false, false) if turns && holder.is_some() => Some(Role::Relief),
            (false, _) => None,
        }
    }

    /// What keeps this loop from going on at this moment, however short that may be.
    pub fn stop(&self) -> Option<Stop> {
        let now = clock::now();
        let lasts = |since: u64| now.saturating_sub(since);
        if let Some(step) = self.shared.sighting.lasting(self.shared.heartbeat.tick()) {
            let why = step.verdict.unwrap_or_else(|| "a step of it has not ended".to_owned());
            return Some(Stop { lasts: lasts(step.since), why });
        }
        if let Some(since) = self.shared.meter.waits_for_lock() {
            let why = "it has something to do, and another thread has the GIL".to_owned();
            return Some(Stop { lasts: lasts(since), why });
        }
        let since = self.shared.counters.standstill_since();
        (since != 0).then(|| Stop {
            lasts: lasts(since),
            why: "its step is in a blocking call, and no thread is there to go on with it".to_owned(),
        })
    }
}

/// In a forked child: a thread of the parent may have held the lock, and the loops run there.
pub fn after_fork() {
    replace_after_fork(&RUNS, Vec::new());
}
