//! Waits for files: epoll, one system call for each wait; and an eventfd, by which other threads end it.

use super::clock::timespec;
use crate::descriptor::Descriptor;
use crate::registry::{Interest, Token};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};
use rustix::time::Timespec;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

/// The number of events that one call of the kernel may report; more come with the next turn, in the kernel's
/// round-robin order.
const BATCH: usize = 256;

/// The memory of one thread's waits. Two threads may wait with the same [`Poller`], each with events of its own.
pub struct Events {
    raw: Box<[MaybeUninit<epoll::Event>; BATCH]>,
    len: usize,
}

// SAFETY: the pointer inside is the kernel's name for one variant of a union that holds plain numbers here.
unsafe impl Send for Events {}

impl Default for Events {
    fn default() -> Self {
        Self { raw: Box::new([const { MaybeUninit::uninit() }; BATCH]), len: 0 }
    }
}

impl Events {
    #[inline]
    pub fn count(&self) -> usize {
        self.len
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// One event: its file (`Token::NONE`: it is a notification), and whether that is readable and writable.
    #[inline]
    pub fn get(&self, index: usize) -> (Token, bool, bool) {
        // SAFETY: the kernel has filled in the first `len` entries in `wait`; nobody wrote to them since.
        let event = unsafe { self.raw[..self.len][index].assume_init_ref() };
        // An error or a hang-up concerns both sides: whoever tries will learn of it.
        let flags = event.flags;
        let (readable, writable) =
            (flags.intersects(!epoll::EventFlags::OUT), flags.intersects(!epoll::EventFlags::IN));
        (Token::from_u64(event.data.u64()), readable, writable)
    }
}

pub struct Poller {
    epoll: Descriptor,
    /// Readable while a notification is pending.
    notifier: Descriptor,
    /// The error because of which nobody can be notified any more, and the file that has ended the wait during which
    /// that was found out. Written by the thread that failed to notify; read by the next one that waits.
    broken: OnceLock<(Errno, Option<Descriptor>)>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let notifier = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let poller = Self { epoll: epoll.into(), notifier: notifier.into(), broken: OnceLock::new() };
        poller.hear(&poller.notifier)?;
        Ok(poller)
    }

    /// A descriptor that is readable while [`wait`](Self::wait) would find something.
    pub fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Ends the present wait, or else the next one, until it is acknowledged.
    pub fn notify(&self) {
        match io::write(&self.notifier, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => {} // the counter is full: then the file is readable already
            Err(error) => {
                self.broken.get_or_init(|| (error, self.ring().ok()));
            }
        }
    }

    /// Takes the notification that a wait has found.
    pub fn acknowledge(&self) {
        // The read fails only when another thread was quicker, which is as good.
        let _ = io::read(&self.notifier, &mut [0u8; 8]);
    }

    /// Ends a wait by another file, which is readable from the start.
    fn ring(&self) -> io::Result<Descriptor> {
        let bell = eventfd(1, EventfdFlags::CLOEXEC)?.into();
        self.hear(&bell)?;
        Ok(bell)
    }

    fn hear(&self, file: &Descriptor) -> io::Result<()> {
        epoll::add(&self.epoll, file, data(Token::NONE), epoll::EventFlags::IN)
    }

    /// Has the kernel report a descriptor.
    ///
    /// # Errors
    /// EPERM for a regular file, EBADF for a closed descriptor.
    pub fn add(&self, fd: RawFd, interest: Interest, token: Token) -> io::Result<()> {
        match epoll::add(&self.epoll, borrow(fd), data(token), flags(interest)) {
            // The event was reported under an older generation: the descriptor was closed and opened while a copy of it
            // lived on.
            Err(Errno::EXIST) => epoll::modify(&self.epoll, borrow(fd), data(token), flags(interest)),
            other => other,
        }
    }

    /// Has the kernel report other things of a descriptor.
    ///
    /// # Errors
    /// As of [`add`](Self::add).
    pub fn modify(&self, fd: RawFd, interest: Interest, token: Token) -> io::Result<()> {
        match epoll::modify(&self.epoll, borrow(fd), data(token), flags(interest)) {
            // The descriptor was closed and given out again while it was registered: the kernel forgot the old one.
            Err(Errno::NOENT) => epoll::add(&self.epoll, borrow(fd), data(token), flags(interest)),
            other => other,
        }
    }

    /// Has the kernel forget a descriptor. The kernel forgets a closed one by itself.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        match epoll::delete(&self.epoll, borrow(fd)) {
            Err(Errno::NOENT | Errno::BADF | Errno::PERM) => Ok(()),
            other => other,
        }
    }

    /// Sleeps until something happens, the time is up (`None`: for ever), or a signal arrives (EINTR).
    ///
    /// # Errors
    /// EINTR; others only if the poller's own descriptors were closed behind its back.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        if let Some((error, _)) = self.broken.get() {
            return Err(*error);
        }
        let timeout = timeout.map(timespec);
        events.len = match epoll::wait(&self.epoll, &mut events.raw[..], timeout.as_ref()) {
            Err(Errno::NOSYS) => {
                let timeout = timeout.map(whole_milliseconds);
                epoll::wait(&self.epoll, &mut events.raw[..], timeout.as_ref())?.0.len()
            }
            other => other?.0.len(),
        };
        Ok(())
    }
}

/// Linux before 5.11 sleeps whole milliseconds: round up, a timer is never early.
fn whole_milliseconds(time: Timespec) -> Timespec {
    Timespec {
        tv_sec: time.tv_sec + i64::from(time.tv_nsec > 999_000_000),
        tv_nsec: (time.tv_nsec + 999_999) / 1_000_000 % 1000 * 1_000_000,
    }
}

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(token.to_u64())
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags
}

/// A number as a descriptor. The kernel answers EBADF where it names no open file, so any number may be passed on.
fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    debug_assert!(fd >= 0, "callers refuse negative descriptors");
    // SAFETY: `fd` is not -1, and is used for one epoll_ctl, which keeps no reference to the number: if it names no
    // open file, or another one than the caller thought, the call fails or reports that file, and nothing else happens.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_in_whole_milliseconds_is_never_shorter() {
        for (nanoseconds, seconds, rounded) in [
            (0, 7, 0),
            (1, 7, 1_000_000),
            (1_000_000, 7, 1_000_000),
            (1_000_001, 7, 2_000_000),
            (999_000_000, 7, 999_000_000),
            (999_000_001, 8, 0),
            (999_999_999, 8, 0),
        ] {
            let time = whole_milliseconds(Timespec { tv_sec: 7, tv_nsec: nanoseconds });
            assert_eq!((time.tv_sec, time.tv_nsec), (seconds, rounded), "{nanoseconds}");
        }
    }
}
