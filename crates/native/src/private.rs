//! Names of asyncio and the standard library that are not public, and that the native half leans on.
//!
//! An entry says what for, and what is lost where the name is missing; Python's half of the list is `everloop.private`, which
//! also tells a loss, once. tests/test_private.py has a test for each entry: that it is there and means what we believe, and
//! that only what it says is lost without it. Those of CPython's C interface stand in ffi/private.rs.

use crate::ffi::{self, Made};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

/// One entry.
pub struct Name {
    /// Where it stands, as an import path, then attributes.
    place: &'static str,
    /// What it is for.
    purpose: &'static str,
    /// What does not work without it.
    loss: &'static str,
    /// The first and the last version of CPython that are known to have it.
    versions: [(u8, u8); 2],
    /// The last part of the place; a test may write another name.
    attribute: Made<PyString>,
}

/// The versions that all of them are known for, if an entry says nothing else.
const KNOWN: [(u8, u8); 2] = [(3, 12), (3, 15)];

impl Name {
    pub const fn new(place: &'static str, purpose: &'static str, loss: &'static str) -> Self {
        Self { place, purpose, loss, versions: KNOWN, attribute: Made::new() }
    }

    /// What it is called.
    pub fn attribute<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let last = self.place.rsplit('.').next().unwrap_or(self.place);
        self.attribute.get(py, |py| Ok(PyString::intern(py, last))).expect("a name can always be made")
    }

    /// Says what is lost, once.
    #[cold]
    pub fn tell_loss(&self, py: Python<'_>) {
        if let Some(teller) = TELLER.get(py)
            && let Err(error) = teller.call1(py, (self.place,))
        {
            error.write_unraisable(py, None);
        }
    }
}

/// All entries.
fn all() -> impl Iterator<Item = &'static Name> {
    ffi::private::ALL.into_iter()
}

/// `tell(place)` of `everloop.private`, which is above us.
static TELLER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Has `tell(place)` called where a name is missing. Once.
#[pyfunction]
pub fn set_teller(py: Python<'_>, tell: Py<PyAny>) {
    // A second call is of no effect: the module may have been imported anew.
    _ = TELLER.set(py, tell);
}

/// A version of CPython, major and minor.
type Version = (u8, u8);

/// The entries of the native half: place, purpose, loss, and the first and the last version that are known.
#[pyfunction]
pub fn private_names() -> Vec<(&'static str, &'static str, &'static str, Version, Version)> {
    all().map(|name| (name.place, name.purpose, name.loss, name.versions[0], name.versions[1])).collect()
}

/// For tests: has an entry look for another name, as if this interpreter had renamed it; None: for its own again.
#[pyfunction]
pub fn rename_private(py: Python<'_>, place: &str, other: Option<Bound<'_, PyString>>) {
    for name in all().filter(|name| name.place == place) {
        name.attribute.forget(py);
        if let Some(other) = &other {
            _ = name.attribute.get(py, |_| Ok(other.clone()));
        }
    }
}
