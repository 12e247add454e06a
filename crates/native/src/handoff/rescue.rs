//! Rescue: the watchdog puts a blocked step aside on its thread's behalf.
//!
//! **Who may touch what.** All of this runs on the watchdog's thread, with the GIL, which it does not let go of
//! meanwhile. No Python code may run there, and no last reference may be dropped: nothing is imported, gates are closed
//! and not dropped.
//!
//! **What has to be proved.** A step that only waits for the GIL, or for a processor, looks like one that is blocked,
//! and must not be put aside: other steps would run in the middle of its Python lines. The same place at two looks is
//! what makes it worth asking; a proof is one of these (it is decided in `everloop_core::watchdog`):
//!
//! - The kernel says that the thread waits in a system call, and that is no wait for the GIL.
//! - It was found asleep at several looks in a row while nobody else wanted the GIL, where the kernel does not tell.
//! - It has computed for 10 ms, and a probe was not answered: any instruction of Python would have answered it. So it
//!   computes without the GIL (a password hash, a compression).
//!
//! **The race that is left.** The call may end at any time, but its thread needs the GIL to go on: it finds the gates
//! open, and waits for the baton. Our own native code has no gates, so it forbids rescue where it lets go of the GIL
//! (`this_thread::no_rescue`): a step was put aside once while OpenSSL worked for it, and others ran in the middle of
//! it.

use super::asyncio_code::is_in_asyncio;
use super::whole::is_whole;
use super::{may_release, release};
use crate::aside::Reason;
use crate::event_loop::LoopCore;
use crate::ffi;
use crate::gates::{Gates, Need, callee, leaves, sites, tool};
use crate::member::Member;
use pyo3::prelude::*;
use pyo3::types::PyCode;
use std::sync::Arc;

/// The place at which a thread is blocked.
struct Site<'py> {
    code: Bound<'py, PyCode>,
    offset: i32,
    may_call_python: bool,
}

/// The place where the thread of `member` is, if its step runs Python code of its own.
fn site<'py>(py: Python<'py>, member: &Member) -> Option<Site<'py>> {
    let frame = member.step_frames(py).next()?;
    let callee = tool::claimed(py).and_then(|tool| callee::callee(tool, &frame));
    Some(Site {
        code: ffi::frame_code(&frame),
        offset: ffi::frame_instruction(&frame),
        may_call_python: !callee.is_some_and(|callee| leaves::is_leaf(&callee)),
    })
}

/// The need of a step that is blocked there. One that is in no Python code of its own may come to any.
fn stop<'a, 'py>(site: Option<&'a Site<'py>>) -> Need<'a, 'py> {
    Need::Stop { code: site.map(|site| &site.code), may_call_python: site.is_none_or(|site| site.may_call_python) }
}

/// Has it noted when the thread runs its next instruction of Python. A thread that uses the CPU may compute without the
/// GIL (a password hash, a compression), or run Python and be found at the same instruction by chance: this tells them
/// apart.
pub fn begin_probe(py: Python<'_>, member: &Member) -> PyResult<()> {
    if member.is_probing() || tool::ours(py)?.is_none() {
        return Ok(());
    }
    member.begin_probe(Gates::open(py, &stop(site(py, member).as_ref()))?);
    Ok(())
}

/// Puts the step of `member` aside and has somebody else go on: the number of the release. None: it cannot be, now.
pub fn rescue(core: &Bound<'_, LoopCore>, member: &Arc<Member>, since: u64) -> PyResult<Option<u64>> {
    let py = core.py();
    if !may_release(core, member) || is_in_asyncio(py, member)? || is_whole(py, member) || tool::ours(py)?.is_none() {
        return Ok(None);
    }
    member.end_probe(py)?;
    member.end_division(py)?;
    let site = site(py, member);
    let gates = Gates::open(py, &stop(site.as_ref()))?;
    if let Some(Site { code, offset, .. }) = &site
        && let Err(error) = sites::learn(code, *offset)
    {
        return gates.close(py).and(Err(error));
    }
    // The site is learned before that: the next step that comes to this call runs before `release` returns.
    release(core, member, Reason::Rescued, since, gates)
}
