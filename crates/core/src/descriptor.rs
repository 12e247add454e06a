//! A file descriptor of our own, which somebody may have closed behind our back.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, fcntl_getfd};

/// Closed when it is dropped, unless it is closed already: a program that closes numbers which are not its own (a
/// daemonizer, `os.closerange`) is told so by whoever uses them next, and not by an abort here, as in builds that check
/// `OwnedFd`.
#[derive(Debug)]
pub struct Descriptor(Option<OwnedFd>);

impl Descriptor {
    /// Gives the descriptor away, for somebody else to close.
    pub fn into_owned(mut self) -> OwnedFd {
        self.0.take().expect("only this and the drop take it")
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("only what consumes it takes it").as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take()
            && fcntl_getfd(&fd) == Err(Errno::BADF)
        {
            let _closed_already = fd.into_raw_fd();
        }
    }
}
