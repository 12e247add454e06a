//! After a fork: of a loop's steps that are aside only that of the forking thread is left.

use super::block_on;
use crate::event_loop::LoopCore;
use crate::member::Member;
use pyo3::prelude::*;

/// In a forked child, after `gates::after_fork`: forgets who waited in `block_on`, but for the forking thread, if that is one
/// of the loop's members; the gates of its step are open again.
pub fn after_fork(core: &Bound<'_, LoopCore>, own: Option<&Member>) -> PyResult<()> {
    block_on::after_fork(core);
    own.map_or(Ok(()), |own| own.reopen_gates(core.py()))
}
