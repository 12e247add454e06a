//! The activity of a thread, and what it has used, as the kernel tells it.

/// A system call that a thread is in. The number means something to the platform alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    pub number: i64,
    pub arguments: [u64; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or would if it were given a processor.
    Runs,
    /// It waits in a system call, other than for a lock.
    Waits(SystemCall),
    /// It waits for a lock of this process, which has a word at this address.
    WaitsForLock(usize),
    /// The kernel does not tell.
    Unknown,
}

impl Activity {
    /// The system call that it waits in, other than for a lock.
    pub fn call(self) -> Option<SystemCall> {
        if let Self::Waits(call) = self { Some(call) } else { None }
    }
}

/// The state of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It runs, or would if it were given a processor.
    Runs,
    /// It waits for something that a signal can end.
    Sleeps,
    /// It waits for something that no signal ends: as a rule for a disk, be it for a piece of a file that is mapped into
    /// memory.
    SleepsDeep,
    /// It was stopped, by a signal or a debugger.
    Stopped,
    /// Another one, or the kernel does not tell.
    #[default]
    Unknown,
}

/// The use that a thread has made of processors, in nanoseconds since it began. None: the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The time for which it had one.
    pub cpu: Option<u64>,
    /// The time for which it could have run and had none. A wait that lasts counts once it is over.
    pub delay: Option<u64>,
}
