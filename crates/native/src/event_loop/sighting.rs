//! What was last seen of a loop, for those who look at it without the GIL: since when its step lasts, and why.

use everloop_core::sync::{Mutex, lock, replace_after_fork};
use std::sync::{Arc, OnceLock};

/// The names of a step's callback, and of its task if it has one. Written once, by the thread that has run the step.
pub type StepNames = OnceLock<(String, Option<String>)>;

/// What was last seen of a loop. Written by the watchdog, without the GIL or with it; read by whoever is asked from
/// outside how the loop does. Nobody holds the lock for longer than it takes to copy.
#[derive(Default)]
pub struct Sighting(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// The heartbeat at the last look, and the earliest time at which it can have become that.
    tick: u64,
    since: u64,
    /// The heartbeat of the step that was judged last, and what was said of it, as one line of text.
    verdict: Option<(u64, String)>,
    /// The heartbeat of a step of which nobody knows whose it is, and where that is to be told.
    unnamed: Option<(u64, Arc<StepNames>)>,
}

/// A step that was seen to last.
pub struct Lasts {
    pub since: u64,
    pub verdict: Option<String>,
}

impl Sighting {
    /// The watchdog has found this heartbeat, which goes on since then.
    pub fn note(&self, tick: u64, since: u64) {
        let mut seen = lock(&self.0);
        (seen.tick, seen.since) = (tick, since);
    }

    /// Says why the step of this heartbeat lasts: it replaces what was said before.
    pub fn judge(&self, tick: u64, verdict: String) {
        let old = lock(&self.0).verdict.replace((tick, verdict));
        drop(old);
    }

    /// Asks whose step has this heartbeat: whoever runs it tells when it has ended.
    pub fn ask(&self, tick: u64) -> Arc<StepNames> {
        let names = Arc::default();
        let old = lock(&self.0).unnamed.replace((tick, Arc::clone(&names)));
        drop(old);
        names
    }

    /// Where the names are to be told of the step that this heartbeat follows.
    pub fn take_question(&self, ended: u64) -> Option<Arc<StepNames>> {
        lock(&self.0).unnamed.take_if(|(tick, _)| *tick + 1 == ended).map(|(_, names)| names)
    }

    /// The step of this heartbeat, if it was seen to last.
    pub fn lasting(&self, tick: u64) -> Option<Lasts> {
        let seen = lock(&self.0);
        if tick.is_multiple_of(2) || seen.tick != tick {
            return None;
        }
        let verdict = seen.verdict.as_ref().filter(|(judged, _)| *judged == tick).map(|(_, verdict)| verdict.clone());
        Some(Lasts { since: seen.since, verdict })
    }

    /// In a forked child: a thread of the parent may have held the lock.
    pub fn after_fork(&self) {
        replace_after_fork(&self.0, Seen::default());
    }
}
