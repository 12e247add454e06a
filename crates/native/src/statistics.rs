//! The numbers of a loop, and of the process: as `loop.statistics()` shows them, and who looks in from outside.

use crate::event_loop::{LoopCore, Shared};
use crate::gates::sites;
use crate::member::Member;
use crate::{blocked_lines, clock, watchdog};
use everloop_core::meter::Counts;
use everloop_core::sync::lock;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The name of a number, and the number.
pub type Count = (&'static str, u64);
/// The name of a number of seconds, or of a share, and the number.
pub type Share = (&'static str, f64);

/// How often something has happened to a loop, and how many of something it has now. Needs no GIL.
pub fn counts(shared: &Shared) -> [Count; 11] {
    let counters = &shared.counters;
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let read_size = |count: &AtomicUsize| count.load(Ordering::Relaxed) as u64;
    [
        ("steps", shared.heartbeat.steps()),
        ("turns", read(&counters.turns)),
        ("releases", read(&counters.releases)),
        ("rescues", read(&counters.rescues)),
        ("learned", read(&counters.learned)),
        ("divided", read(&counters.divided)),
        ("aside", read_size(&counters.aside)),
        ("relief_threads", read_size(&counters.relief)),
        ("most_relief_threads", read_size(&counters.most_relief)),
        ("standstills", read(&counters.standstills.count)),
        ("baton_waits", read(&counters.baton_waits.count)),
    ]
}

/// What the time of a loop went into. Needs no GIL.
pub fn times(shared: &Shared) -> [Share; 8] {
    let counters = &shared.counters;
    let read = |nanoseconds: &AtomicU64| clock::to_seconds(nanoseconds.load(Ordering::Relaxed));
    let times = shared.meter.times();
    [
        ("standstill_seconds", read(&counters.standstills.total)),
        ("longest_standstill", read(&counters.standstills.longest)),
        ("baton_wait_seconds", read(&counters.baton_waits.total)),
        ("longest_baton_wait", read(&counters.baton_waits.longest)),
        ("busy_seconds", clock::to_seconds(times.busy)),
        ("idle_seconds", clock::to_seconds(times.idle)),
        ("gil_wait_seconds", clock::to_seconds(times.lock_wait)),
        ("utilization", times.utilization()),
    ]
}

/// The two histograms of a loop. Needs no GIL.
pub fn histograms(shared: &Shared) -> [(&'static str, Counts); 2] {
    [("turn_seconds", shared.meter.turns.counts()), ("delay_seconds", shared.meter.delays.counts())]
}

/// What is told of a histogram, in seconds.
pub fn summary(counts: &Counts) -> [Share; 7] {
    [
        ("sum", counts.total),
        ("min", counts.least()),
        ("mean", counts.mean()),
        ("p50", counts.percentile(0.5)),
        ("p90", counts.percentile(0.9)),
        ("p99", counts.percentile(0.99)),
        ("max", counts.most()),
    ]
    .map(|(name, nanoseconds)| (name, clock::to_seconds(nanoseconds)))
}

/// What is known of the whole process: `blocked_lines`, `starved_seconds`.
#[pyfunction]
pub fn process_statistics(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let lines = blocked_lines::all().into_iter().map(|line| {
        let told = PyDict::new(py);
        told.set_item("file", line.file)?;
        told.set_item("line", line.line)?;
        told.set_item("function", line.function)?;
        told.set_item("cause", line.cause)?;
        told.set_item("count", line.count)?;
        told.set_item("seconds", clock::to_seconds(line.nanoseconds))?;
        Ok(told)
    });
    let dict = PyDict::new(py);
    dict.set_item("blocked_lines", PyList::new(py, lines.collect::<PyResult<Vec<_>>>()?)?)?;
    dict.set_item("starved_seconds", clock::to_seconds(watchdog::starved()))?;
    Ok(dict)
}

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
    ///       another step to end before it could go on; `baton_wait_seconds` in all, and the `longest_baton_wait`;
    ///     - what the loop's time went into, since its first run: `busy_seconds`; `idle_seconds`, asleep;
    ///       `gil_wait_seconds`, with something to do after a sleep, while another thread had the GIL; and the
    ///       `utilization`, the share of all that it was not asleep, from 0 to 1;
    ///     - `turn_seconds`: how long the loop was busy from one look at files and the clock to the next, which is one
    ///       turn, or up to 32 short ones; and `delay_seconds`: how late it came to what was due, from the time of a
    ///       timer, or the end of a sleep. Each is a dictionary: `count`, `sum`, `min`, `mean`, `p50`, `p90`, `p99` and
    ///       `max`; percentiles are up to a fifth too long.
    ///
    ///     A wait is counted once it is over, and time when the loop next looks at the clock.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, count) in counts(&self.shared) {
            dict.set_item(name, count)?;
        }
        dict.set_item("learned_sites", sites::learned_count(py))?;
        dict.set_item("relief_threads_in_use", self.relief_in_use())?;
        for (name, number) in times(&self.shared) {
            dict.set_item(name, number)?;
        }
        for (name, counts) in histograms(&self.shared) {
            let told = PyDict::new(py);
            told.set_item("count", counts.count())?;
            for (name, seconds) in summary(&counts) {
                told.set_item(name, seconds)?;
            }
            dict.set_item(name, told)?;
        }
        Ok(dict)
    }
}
