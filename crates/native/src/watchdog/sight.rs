//! The sight of a thread that the watchdog gets. `everloop_core::watchdog` says what it means.

use crate::ffi;
use crate::member::Member;
use everloop_core::sys::{self, CpuClock};
use everloop_core::watchdog::{Doing, Sight};
use pyo3::prelude::*;

/// The position of a thread. It consists of numbers only: a frame or code that is kept lives on after its function,
/// with all that it names.
///
/// Another frame may lie at the same address by now, and stand at the same call: so may the same frame, in a loop. The
/// kernel, the CPU time or a probe tells that a thread has not moved; an equal position only makes it worth asking
/// them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The addresses of the frame and of its code, 0 without one.
    frame: usize,
    code: usize,
    instruction: i32,
}

/// Looks at the thread of `member`, which must not be running Python: we hold the GIL.
pub fn look_at(py: Python<'_>, member: &Member) -> Sight<Position> {
    let position = member.top_frame(py).map_or(Position { frame: 0, code: 0, instruction: -1 }, |frame| Position {
        frame: ffi::address(&frame),
        code: ffi::address(&ffi::frame_code(&frame)),
        instruction: ffi::frame_instruction(&frame),
    });
    Sight { position, cpu: member.cpu.and_then(CpuClock::now) }
}

/// Asks the kernel what the thread of `member` does.
pub fn doing(member: &Member) -> Doing {
    Doing::new(sys::activity(member.thread), ffi::is_interpreters)
}
