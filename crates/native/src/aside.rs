//! The step that is aside: what is recorded of it from its release to its resume.

use crate::gates::Gates;
use everloop_core::baton::Manner;
use pyo3::prelude::*;

/// The reason why a step is aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It said so: `everloop.blocking()`.
    Blocking = 1,
    /// It waits for an awaitable: `everloop.block_on()`.
    BlockOn = 2,
    /// The watchdog found it blocked.
    Rescued = 3,
    /// It is at a call that was found blocked before.
    Learned = 4,
    /// It computes for long, and waits until others have run.
    Divided = 5,
}

impl Reason {
    /// The reason of this number, None for 0.
    #[inline]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Blocking),
            2 => Some(Self::BlockOn),
            3 => Some(Self::Rescued),
            4 => Some(Self::Learned),
            5 => Some(Self::Divided),
            _ => None,
        }
    }

    /// The manner in which the baton is given up: quietly where the call may be over at once. Then nobody is woken, and
    /// the step finds the baton where it left it, unless the sentinel has seen it lie there twice.
    pub fn manner(self) -> Manner {
        match self {
            Self::Blocking | Self::Learned => Manner::Quiet,
            Self::BlockOn | Self::Rescued | Self::Divided => Manner::Loud,
        }
    }

    /// True if the step does not know that it is aside: it has to be stopped before it runs another line of Python.
    #[inline]
    pub fn needs_gates(self) -> bool {
        matches!(self, Self::Rescued | Self::Learned)
    }
}

/// A step that has let go of the baton in its middle. It lies in its thread's `Member`; a thread has one of them at
/// most for each loop that it turns. Made by `release`, taken by `resume`.
pub struct Aside {
    pub reason: Reason,
    /// The time at which it began to block, in the loop's clock; 0 where the step said so itself, and nobody asks. Read
    /// by the report.
    pub since: u64,
    /// The time at which it let go of the baton; 0 like `since`. Read by the report.
    pub released: u64,
    /// The task that ran, once it had to make room: see handoff/tasks.rs. Written by whoever runs a step next.
    pub task: Option<Py<PyAny>>,
    /// The gates that stop it before its next line of Python. Closed when it is back.
    pub gates: Gates,
    /// The number of this release, which no other has.
    pub serial: u64,
    /// The first of the releases that this one goes on with. Read by the report.
    pub first: AsideTimes,
}

/// A step that comes back, and is aside again within so many nanoseconds, waits in pieces for the same thing.
const PIECES: u64 = 5_000_000;

/// An [`Aside`]'s numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsideTimes {
    pub since: u64,
    pub released: u64,
    pub serial: u64,
}

/// A step that was aside and has come back, as its thread remembers it.
#[derive(Clone, Copy)]
pub struct Back {
    /// The heartbeat of the step since then, and the time of it.
    pub tick: u64,
    pub at: u64,
    pub first: AsideTimes,
    /// True if it was aside in several pieces.
    pub in_pieces: bool,
}

impl Back {
    /// True if the step is still the one of this heartbeat, and may be about to go aside again.
    pub fn goes_on(&self, tick: u64, now: u64) -> bool {
        self.tick == tick && now.saturating_sub(self.at) < PIECES
    }
}
