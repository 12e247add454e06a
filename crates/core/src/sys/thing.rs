//! The thing that a thread waits for in a system call.

use std::fmt;

/// The kind of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A time: the thread sleeps.
    Sleep,
    File,
    Socket,
    Pipe,
    /// A lock, a condition, a queue: what another thread lets go of. Or a lock of a file.
    Lock,
    /// The end of another process.
    Child,
    /// The address that belongs to a name.
    Dns,
    /// Several files, whichever comes first.
    Poll,
    /// Anything else: it is known by the name of the system call.
    Call,
}

impl Kind {
    /// The name that it has in a report's data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::File => "file",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Lock => "lock",
            Self::Child => "child",
            Self::Dns => "dns",
            Self::Poll => "poll",
            Self::Call => "call",
        }
    }
}

/// The thing that a thread waits for. Its text reads as what comes after "waits for".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub kind: Kind,
    /// What names it: a path, an address with its port, a process. None: it has no name, or it cannot be told.
    pub on: Option<String>,
}

impl Thing {
    pub fn new(kind: Kind, on: impl Into<Option<String>>) -> Self {
        Self { kind, on: on.into() }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = self.on.as_deref();
        match (self.kind, on) {
            (Kind::Sleep, _) => write!(to, "a time"),
            (Kind::File, Some(path)) => write!(to, "the file {path}"),
            (Kind::File, None) => write!(to, "a file"),
            (Kind::Socket, Some(peer)) => write!(to, "a socket to {peer}"),
            (Kind::Socket, None) => write!(to, "a socket"),
            (Kind::Pipe, Some(name)) => write!(to, "the pipe {name}"),
            (Kind::Pipe, None) => write!(to, "a pipe"),
            (Kind::Lock, Some(name)) => write!(to, "a lock of {name}"),
            (Kind::Lock, None) => write!(to, "a lock"),
            (Kind::Child, Some(process)) => write!(to, "the end of process {process}"),
            (Kind::Child, None) => write!(to, "the end of a process"),
            (Kind::Dns, Some(server)) => write!(to, "a name server, {server}"),
            (Kind::Dns, None) => write!(to, "a name server"),
            (Kind::Poll, Some(files)) => write!(to, "any of {files}"),
            (Kind::Poll, None) => write!(to, "any of several files"),
            (Kind::Call, Some(name)) => write!(to, "the system call {name}"),
            (Kind::Call, None) => write!(to, "a system call"),
        }
    }
}
