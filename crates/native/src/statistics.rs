//! The numbers of a loop, as `loop.statistics()` shows them.

use crate::clock;
use crate::event_loop::{LoopCore, Waits};
use crate::gates::sites;
use crate::member::Member;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl LoopCore {
    /// The number of relief threads that have the baton, or a step that is aside.
    fn relief_in_use(&self) -> usize {
        let holder = self.baton().holder();
        let in_use = |member: &&Arc<Member>| member.aside_reason().is_some() || Some(member.id()) == holder;
        lock(&self.threads.members).values().filter(|member| !member.home).filter(in_use).count()
    }
}

#[pymethods]
impl LoopCore {
    /// The work that this loop has done so far and has at hand now.
    ///
    /// Returns:
    ///     A dictionary of numbers:
    ///
    ///     - `steps` and `turns` run, steps that are `aside` now, and the `learned_sites` of the process;
    ///     - hand-offs that steps asked for (`releases`), that the watchdog made (`rescues`), and that were made at
    ///       learned sites (`learned`), and those of steps that compute (`divided`);
    ///     - `relief_threads` alive; those of them that turn the loop or are inside a step that is aside
    ///       (`relief_threads_in_use`: the others wait for something to do); and the most that were ever alive at
    ///       once (`most_relief_threads`);
    ///     - `standstills`: how often a step went aside while no thread was free to go on with the loop, and for
    ///       how many seconds nothing ran then, until a thread came or a step was back: `standstill_seconds` in
    ///       all, and the `longest_standstill`. The start of a thread is a short one; long ones say that
    ///       `max_relief_threads` is reached, or that the system refuses threads;
    ///     - `baton_waits`: how often a step whose call was over, or whose `block_on` was done, had to wait for
    ///       another step to end before it could go on; `baton_wait_seconds` in all, and the `longest_baton_wait`.
    ///
    ///     A wait is counted once it is over.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = &self.shared.counters;
        let dict = PyDict::new(py);
        dict.set_item("steps", self.shared.heartbeat.steps())?;
        dict.set_item("turns", counters.turns.load(Ordering::Relaxed))?;
        dict.set_item("releases", counters.releases.load(Ordering::Relaxed))?;
        dict.set_item("rescues", counters.rescues.load(Ordering::Relaxed))?;
        dict.set_item("learned", counters.learned.load(Ordering::Relaxed))?;
        dict.set_item("divided", counters.divided.load(Ordering::Relaxed))?;
        dict.set_item("aside", counters.aside.load(Ordering::Relaxed))?;
        dict.set_item("learned_sites", sites::learned_count(py))?;
        dict.set_item("relief_threads", counters.relief.load(Ordering::Relaxed))?;
        dict.set_item("relief_threads_in_use", self.relief_in_use())?;
        dict.set_item("most_relief_threads", counters.most_relief.load(Ordering::Relaxed))?;
        let tell = |waits: &Waits, names: [&str; 3]| -> PyResult<()> {
            let seconds = |nanoseconds: &AtomicU64| clock::to_seconds(nanoseconds.load(Ordering::Relaxed));
            dict.set_item(names[0], waits.count.load(Ordering::Relaxed))?;
            dict.set_item(names[1], seconds(&waits.total))?;
            dict.set_item(names[2], seconds(&waits.longest))
        };
        tell(&counters.standstills, ["standstills", "standstill_seconds", "longest_standstill"])?;
        tell(&counters.baton_waits, ["baton_waits", "baton_wait_seconds", "longest_baton_wait"])?;
        Ok(dict)
    }
}
