//! The files that a loop watches.

use crate::errors::os_error;
use crate::event_loop::state::LoopCore;
use crate::ffi;
use crate::handle::Handle;
use everloop_core::poll::Event;
use everloop_core::registry::{Direction, Registry};
use everloop_core::sync::lock;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::os::fd::RawFd;

impl LoopCore {
    /// Returns the handles that an event concerns: of the reader, and of the writer.
    pub fn owners(&self, py: Python<'_>, event: Event) -> [Option<Py<Handle>>; 2] {
        let registry = lock(&self.files.registry);
        let (reader, writer) = registry.owners(event.token);
        [
            reader.filter(|_| event.readable).map(|handle| handle.clone_ref(py)),
            writer.filter(|_| event.writable).map(|handle| handle.clone_ref(py)),
        ]
    }

    /// Forgets a handle that was cancelled while registered.
    pub fn forget_cancelled(&self, event: Event, direction: Direction, handle: &Py<Handle>) {
        let fd = Registry::<Py<Handle>>::fd(event.token);
        let mut registry = lock(&self.files.registry);
        if registry.owner(fd, direction).is_some_and(|owner| owner.is(handle)) {
            let (change, gone) = registry.clear(fd, direction);
            // The kernel may have forgotten the descriptor already.
            let _ = self.shared.apply(change);
            drop(registry);
            drop(gone);
        }
    }

    /// The handle of this file waits for a step that is aside: the file is not polled until such a step comes back. The
    /// kernel would report it over and over, and nothing could be done about it.
    pub fn disarm(&self, event: Event, direction: Direction) {
        let mut registry = lock(&self.files.registry);
        let change = registry.disarm(Registry::<Py<Handle>>::fd(event.token), direction);
        // If that fails, the kernel goes on reporting the file, which is slow and no more.
        let _ = self.shared.apply(change);
    }

    /// A step has come back: all files are polled again.
    pub fn rearm(&self) {
        let mut registry = lock(&self.files.registry);
        for change in registry.rearm() {
            // A file that was closed meanwhile has nothing to report.
            let _ = self.shared.apply(change);
        }
    }

    /// Runs the handle as long as the file is ready in that direction. An earlier handle is cancelled.
    pub fn watch(&self, py: Python<'_>, fd: RawFd, direction: Direction, handle: &Py<Handle>) -> PyResult<()> {
        let mut registry = lock(&self.files.registry);
        let (change, old) = registry.set(fd, direction, handle.clone_ref(py));
        let told = self.shared.apply(change);
        let undone = if told.is_err() { registry.clear(fd, direction).1 } else { None };
        drop(registry);
        drop(undone);
        told.map_err(os_error)?;
        match old {
            Some(old) => Handle::cancel(old.bind(py)),
            None => Ok(()),
        }
    }

    /// Forgets the handle of a file, and cancels it. Returns false if there was none.
    pub fn unwatch(&self, py: Python<'_>, fd: RawFd, direction: Direction) -> PyResult<bool> {
        if self.is_closed() {
            return Ok(false); // the kernel has forgotten everything with the poller
        }
        let mut registry = lock(&self.files.registry);
        let (change, old) = registry.clear(fd, direction);
        // As selectors.unregister: errors of a descriptor that is closed by now are of no interest.
        let _ = self.shared.apply(change);
        drop(registry);
        match old {
            Some(old) => Handle::cancel(old.bind(py)).map(|()| true),
            None => Ok(false),
        }
    }

    /// True if a file is watched in that direction.
    pub fn is_watched(&self, fd: RawFd, direction: Direction) -> bool {
        lock(&self.files.registry).owner(fd, direction).is_some()
    }

    /// True if a file is watched that may have something for the program: not only the one for signals.
    pub fn watches_for_program(&self) -> bool {
        let signals = *lock(&self.files.signals);
        lock(&self.files.registry).watched().any(|(fd, _)| Some(fd) != signals)
    }
}

#[pymethods]
impl LoopCore {
    /// Runs the handle as long as the file is readable, or writable. An earlier handle of that file is cancelled.
    fn _watch(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>, handle: &Bound<'_, Handle>, write: bool) -> PyResult<()> {
        let direction = if write { Direction::Write } else { Direction::Read };
        slf.get().watch(slf.py(), ffi::file_descriptor(fd)?, direction, &handle.clone().unbind())
    }

    /// Forgets the handle of a file, and cancels it. Returns False if there was none.
    fn _unwatch(slf: &Bound<'_, Self>, fd: RawFd, write: bool) -> PyResult<bool> {
        if fd < 0 {
            return Ok(false);
        }
        slf.get().unwatch(slf.py(), fd, if write { Direction::Write } else { Direction::Read })
    }

    /// Says which of the files is only there so that the loop hears of signals that it has no handlers for.
    fn _set_signal_file(&self, fd: Option<RawFd>) {
        *lock(&self.files.signals) = fd;
    }

    /// Descriptor -> (reads, writes) of everything that is watched.
    fn _watched(&self) -> HashMap<RawFd, (bool, bool)> {
        lock(&self.files.registry).watched().map(|(fd, interest)| (fd, (interest.read, interest.write))).collect()
    }
}
