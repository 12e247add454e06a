//! The classes that a look at a step falls into.

/// The doings of a step at one look, as they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// For the thing at this place of the table.
    Waits(usize),
    WaitsForLock(Option<u32>),
    Collects,
    Imports,
    Program,
    Native,
    /// And waits for the thing at this place of the table, if it does not run.
    HoldsLock(Option<usize>),
    /// It has the lock: the program's own code runs, or native code does.
    Undecided,
    Unknown,
}

impl Class {
    pub fn can_wait(self) -> bool {
        !matches!(self, Self::Program | Self::Native | Self::Undecided | Self::HoldsLock(None))
    }

    pub fn can_run(self) -> bool {
        !matches!(self, Self::Waits(_) | Self::WaitsForLock(_) | Self::HoldsLock(Some(_)))
    }
}
