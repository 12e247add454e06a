//! The transports that descriptors belong to.

use crate::event_loop::state::LoopCore;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use std::os::fd::RawFd;

impl LoopCore {
    /// This descriptor belongs to a transport from now on: `add_reader` and its like refuse it.
    pub fn claim(&self, fd: RawFd, owner: &Bound<'_, PyAny>) -> PyResult<()> {
        let reference = PyWeakrefReference::new(owner)?.unbind();
        let before = self.files.owned.with(owner.py(), |owned| owned.insert(fd, reference));
        drop(before);
        Ok(())
    }

    /// The transport has gone, or lets others watch the descriptor for a while.
    pub fn disclaim(&self, py: Python<'_>, fd: RawFd) {
        let before = self.files.owned.with(py, |owned| owned.remove(&fd));
        drop(before);
    }
}

#[pymethods]
impl LoopCore {
    /// The transport that has this descriptor, if any.
    fn _transport_of<'py>(&self, py: Python<'py>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        let reference = self.files.owned.with(py, |owned| owned.get(&fd).map(|reference| reference.clone_ref(py)))?;
        reference.bind(py).upgrade()
    }

    /// All transports of this loop that are alive.
    fn _own_transports<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let references: Vec<_> =
            self.files.owned.with(py, |owned| owned.values().map(|reference| reference.clone_ref(py)).collect());
        references.iter().filter_map(|reference| reference.bind(py).upgrade()).collect()
    }

    /// True: this descriptor belongs to the transport from now on. False: others may watch it for a while.
    fn _claim(&self, fd: RawFd, transport: &Bound<'_, PyAny>, claimed: bool) -> PyResult<()> {
        if claimed {
            return self.claim(fd, transport);
        }
        self.disclaim(transport.py(), fd);
        Ok(())
    }
}
