//! `everloop.whole()`: what must not be divided, and is not put aside where it blocks.
//!
//! It belongs to what is stepped: a task, or the object whose method is called. So it lasts over an `await`, on whatever
//! thread the task goes on, and tasks that are made inside know nothing of it. The watchdog can ask for it, as nothing of
//! the program runs for that.

use super::current::current;
use crate::ffi::{self, GilCell};
use crate::handle::Handle;
use crate::member::Member;
use crate::this_thread::own_id;
use everloop_core::baton::ThreadId;
use everloop_core::sync::{Mutex, lock};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often each owner is inside, by its address; whoever is inside keeps it alive. Written and read under the GIL.
static INSIDE: Mutex<Option<HashMap<usize, usize>>> = Mutex::new(None);
/// The number of owners. Written with that; read before it.
static OWNERS: AtomicUsize = AtomicUsize::new(0);

/// The owner of the step that runs on the thread of `member`.
fn owner<'py>(py: Python<'py>, member: &Member) -> Option<Bound<'py, PyAny>> {
    let handle = member.current.get(py)?.into_bound(py).cast_into::<Handle>().ok()?;
    let bound = handle.get().call(py).and_then(|(callback, _)| ffi::bound_to(&callback));
    Some(bound.unwrap_or_else(|| handle.into_any()))
}

/// True if the step of `member` is inside `whole()`. Nothing of the program runs.
#[inline]
pub fn is_whole(py: Python<'_>, member: &Member) -> bool {
    OWNERS.load(Ordering::Relaxed) != 0 && is_inside(py, member)
}

#[cold]
fn is_inside(py: Python<'_>, member: &Member) -> bool {
    let Some(owner) = owner(py, member) else { return false };
    lock(&INSIDE).as_ref().is_some_and(|inside| inside.contains_key(&ffi::address(&owner)))
}

/// Counts an owner in, or out.
fn count(owner: &Bound<'_, PyAny>, enters: bool) {
    let mut inside = lock(&INSIDE);
    let inside = inside.get_or_insert_with(HashMap::new);
    let address = ffi::address(owner);
    let before = inside.remove(&address).unwrap_or(0);
    let after = if enters { before + 1 } else { before.saturating_sub(1) };
    if after > 0 {
        inside.insert(address, after);
    }
    OWNERS.store(inside.len(), Ordering::Relaxed);
}

/// The native half of `everloop.whole`.
#[pyclass(frozen, subclass, module = "everloop._native")]
pub struct Whole {
    /// For each `with` that is entered: by which thread, and for which owner, if a loop runs there. One object may serve
    /// many.
    entered: GilCell<Vec<(ThreadId, Option<Py<PyAny>>)>>,
}

#[pymethods]
impl Whole {
    #[new]
    fn new() -> Self {
        Self { entered: GilCell::new(Vec::new()) }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        let py = slf.py();
        let owner = current(py).and_then(|(_, member)| owner(py, &member));
        if let Some(owner) = &owner {
            count(owner, true);
        }
        slf.get().entered.with(py, |entered| entered.push((own_id(), owner.map(Bound::unbind))));
        slf
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        _exception_type: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> bool {
        let py = slf.py();
        let now = current(py).and_then(|(_, member)| owner(py, &member));
        // A task may leave on another thread than it has entered on.
        let own = slf.get().entered.with(py, |entered| {
            let is_own = |(thread, owner): &(ThreadId, Option<Py<PyAny>>)| match (owner, &now) {
                (Some(owner), Some(now)) => owner.is(now),
                _ => *thread == own_id(),
            };
            let at = entered.iter().rposition(is_own).or_else(|| entered.len().checked_sub(1));
            at.and_then(|at| entered.remove(at).1)
        });
        if let Some(owner) = own {
            count(owner.bind(py), false);
        }
        false
    }
}
