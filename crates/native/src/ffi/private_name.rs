//! A name of others that is not public, and that the native half leans on: what for, and what is lost where it is
//! missing.

use super::cells::Made;
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

/// A version of CPython, major and minor.
pub type Version = (u8, u8);

/// One entry of the lists in private.rs and ffi/private.rs.
pub struct Name {
    /// The place where it stands, as an import path, then attributes.
    place: &'static str,
    /// Its use.
    purpose: &'static str,
    /// The things that do not work without it.
    loss: &'static str,
    /// The first and the last version of CPython that are known to have it.
    versions: [Version; 2],
    /// The last part of the place; a test may write another name.
    attribute: Made<PyString>,
    /// The names of the module that it stands in, if it stands in one.
    module: Made<PyDict>,
}

/// The versions that all of them are known for, if an entry says nothing else.
const KNOWN: [Version; 2] = [(3, 12), (3, 15)];

impl Name {
    pub const fn new(place: &'static str, purpose: &'static str, loss: &'static str) -> Self {
        Self { place, purpose, loss, versions: KNOWN, attribute: Made::new(), module: Made::new() }
    }

    pub const fn since(mut self, version: Version) -> Self {
        self.versions[0] = version;
        self
    }

    pub const fn until(mut self, version: Version) -> Self {
        self.versions[1] = version;
        self
    }

    /// True if this version of CPython is known to have it.
    pub fn is_expected(&self, py: Python<'_>) -> bool {
        let [since, until] = self.versions;
        let version = py.version_info();
        (since..=until).contains(&(version.major, version.minor))
    }

    /// The name itself.
    pub fn attribute<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let last = || self.place.rsplit('.').next().unwrap_or(self.place);
        self.attribute.get(py, |py| Ok(PyString::intern(py, last()))).expect("a name can always be made")
    }

    /// The attribute of an object by this name. None: there is none, and the loss is told.
    pub fn of<'py>(&self, owner: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = owner.getattr_opt(self.attribute(owner.py()))?;
        if found.is_none() {
            self.tell_loss(owner.py());
        }
        Ok(found)
    }

    /// As [`of`](Self::of), of the module that its place names.
    pub fn look_up<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let module = || self.place.rsplit_once('.').map_or("builtins", |(module, _)| module);
        let names = match self.module.get(py, |py| Ok(py.import(module())?.dict())) {
            Ok(names) => names,
            // The interpreter ends, and imports nothing any more: that is no loss to tell of.
            Err(error) if error.get_type(py).is(py.get_type::<PyImportError>()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = names.get_item(self.attribute(py))?;
        if found.is_none() {
            self.tell_loss(py);
        }
        Ok(found)
    }

    /// The class that an instance of ours claims to be of.
    pub fn class_for<'py, T>(&self, instance: &Bound<'py, T>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.look_up(instance.py())?.unwrap_or_else(|| instance.as_any().get_type().into_any()))
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

    /// The place where it stands.
    pub fn place(&self) -> &'static str {
        self.place
    }

    /// The entry in the list: place, purpose, loss, and the first and the last version that are known.
    pub fn entry(&self) -> (&'static str, &'static str, &'static str, Version, Version) {
        (self.place, self.purpose, self.loss, self.versions[0], self.versions[1])
    }

    /// For tests: it looks for another name, or for its own again (None).
    pub fn rename(&self, py: Python<'_>, other: Option<&Bound<'_, PyString>>) {
        self.attribute.forget(py);
        if let Some(other) = other {
            _ = self.attribute.get(py, |_| Ok(other.clone()));
        }
    }
}

/// `tell(place)` of `everloop.private`, which is above us.
static TELLER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Has `tell(place)` called where a name is missing. A second call is of no effect: the module may have been imported
/// anew.
pub fn set_teller(py: Python<'_>, tell: Py<PyAny>) {
    _ = TELLER.set(py, tell);
}
