//! The causes that a block can have.

use crate::sys::Thing;

/// The reason why nobody is blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Others had the processors.
    NoProcessor,
    /// The process has used up what it may use of the processors.
    Throttled,
    /// The process was stopped, or the whole machine was.
    Stopped,
}

/// The cause of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It waits in a system call, or at a lock that is not the global one.
    WaitsFor(Thing),
    /// The program's own code computes.
    Computes,
    /// Native code computes without the global lock.
    ComputesNative,
    /// Native code of the step has the global lock: it computes, or waits for this with the lock in its hands.
    HoldsGlobalLock(Option<Thing>),
    /// It waits for the global lock, which this thread has had for most of the time; None: not one alone, or it is not
    /// known which.
    GlobalLockHeldBy(Option<u32>),
    /// Garbage is collected.
    Collects,
    /// Code is being imported: read, and run for the first time.
    Imports,
    /// So many steps ran, one after the other, and none of them for long.
    ManySteps(u64),
    /// It had no processor: nobody is to blame.
    Starved(Shortage),
    Unknown,
}
