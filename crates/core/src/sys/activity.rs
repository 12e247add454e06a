//! The activity of a thread, as the kernel tells it.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or would if it were given a processor.
    Runs,
    /// It waits in a system call, other than for a lock.
    Waits,
    /// It waits for a lock of this process, which has a word at this address.
    WaitsForLock(usize),
    /// The kernel does not tell.
    Unknown,
}
