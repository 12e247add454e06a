//! The numbers of a loop, as `loop.statistics()` shows them.

use crate::event_loop::LoopCore;
use crate::gates::sites;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::Ordering;

#[pymethods]
impl LoopCore {
    /// The work that this loop has done so far and has at hand now.
    ///
    /// Returns:
    ///     dict[str, int]: `steps` and `turns` run; hand-offs that steps asked for (`releases`), that the watchdog
    ///         made (`rescues`) and that were made at learned sites (`learned`), and those of steps that compute
    ///         (`divided`); steps that are `aside` now; `relief_threads` alive; and the `learned_sites` of the process.
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
        dict.set_item("relief_threads", counters.relief.load(Ordering::Relaxed))?;
        dict.set_item("learned_sites", sites::learned_count(py))?;
        Ok(dict)
    }
}
