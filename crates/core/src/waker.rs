//! Wakes a loop that sleeps in its poll, from any thread.
//!
//! One eventfd write per burst: who finds a wake-up pending need not write another. What a waker announces must be
//! visible before `wake`, and the loop must look for it after `drain`.

use crate::descriptor::Descriptor;
use crate::sync::{AtomicBool, Ordering};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{self, Errno};

pub struct Waker {
    /// Readable while a wake-up is pending. (kqueue has EVFILT_USER for this.)
    file: Descriptor,
    /// Whether the file was written and not yet read. Set by wakers, cleared by the holder of the baton, SeqCst: the
    /// loop looks at its inbox after it has cleared this, so a push that found it set is seen.
    pending: AtomicBool,
}

impl Waker {
    pub fn new() -> io::Result<Self> {
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { file: file.into(), pending: AtomicBool::new(false) })
    }

    /// Ends the poll that sleeps now, or else the next one.
    ///
    /// # Errors
    /// Its file was closed behind its back.
    pub fn wake(&self) -> io::Result<()> {
        if self.pending.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        match io::write(&self.file, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()), // the counter is full: then the file is readable already
            Err(error) => Err(error),
        }
    }

    /// Whether a wake-up is on its way, or there.
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Takes the wake-up: called by the poll that saw the file readable.
    pub fn drain(&self) {
        // Fails only when another thread was quicker, which is as good.
        let _ = io::read(&self.file, &mut [0u8; 8]);
        self.pending.store(false, Ordering::SeqCst);
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
