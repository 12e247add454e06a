//! The only place that sleeps: epoll, one system call per turn.
//!
//! kqueue has its place here: the same five functions (`new`, `apply`, `wait`, `wake`, `drain` through the waker) over
//! `rustix::event::kqueue`, with EVFILT_USER as the waker.

use crate::descriptor::Descriptor;
use crate::registry::{Change, Interest, Token};
use crate::waker::Waker;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};
use rustix::time::Timespec;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

/// How many events one call of the kernel may report; more come with the next turn, in the kernel's round-robin order.
const BATCH: usize = 256;

/// What the kernel said of one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub token: Token,
    pub readable: bool,
    pub writable: bool,
}

/// The memory of one thread's polls. Two threads may sleep in the same [`Poller`], each with events of its own.
pub struct Events {
    raw: Box<[MaybeUninit<epoll::Event>; BATCH]>,
    len: usize,
    /// So many of them are taken.
    taken: usize,
}

// SAFETY: the pointer inside is the kernel's name for one variant of a union that holds plain numbers here.
unsafe impl Send for Events {}

impl Iterator for Events {
    type Item = Event;

    /// The next file of those that a poll found.
    fn next(&mut self) -> Option<Event> {
        while self.taken < self.len {
            let (token, flags) = Self::report(&self.raw[self.taken]);
            self.taken += 1;
            if token != Token::NONE {
                // An error or a hang-up concerns both sides: whoever tries will learn of it (as in Python's selectors).
                let (readable, writable) =
                    (flags.intersects(!epoll::EventFlags::OUT), flags.intersects(!epoll::EventFlags::IN));
                return Some(Event { token, readable, writable });
            }
        }
        None
    }
}

impl Default for Events {
    fn default() -> Self {
        Self { raw: Box::new([const { MaybeUninit::uninit() }; BATCH]), len: 0, taken: 0 }
    }
}

impl Events {
    pub fn is_empty(&self) -> bool {
        self.taken == self.len
    }

    /// Forgets what a poll found: it will be found again, as everything is level-triggered.
    pub fn clear(&mut self) {
        (self.len, self.taken) = (0, 0);
    }

    /// What the kernel said, of a file or of the waker.
    fn report(event: &MaybeUninit<epoll::Event>) -> (Token, epoll::EventFlags) {
        // SAFETY: callers ask for the first `len` entries, which the kernel filled in `wait`; nobody wrote to them since.
        let event = unsafe { event.assume_init_ref() };
        (Token::from_u64(event.data.u64()), event.flags)
    }
}

pub struct Poller {
    epoll: Descriptor,
    waker: Waker,
    /// Why nobody can be woken any more, and what has ended the sleep in which that was found out. Written by who failed to
    /// wake; read by who sleeps next.
    broken: OnceLock<(Errno, Option<Descriptor>)>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        epoll::add(&epoll, waker.as_fd(), epoll::EventData::new_u64(Token::NONE.to_u64()), epoll::EventFlags::IN)?;
        Ok(Self { epoll: epoll.into(), waker, broken: OnceLock::new() })
    }

    /// What is readable while something has happened: for those who wait for more than this.
    pub fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Ends a sleep in [`wait`](Self::wait), this or the next.
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            self.broken.get_or_init(|| (error, self.ring().ok()));
        }
    }

    /// Ends a sleep without the waker: by another file, which is readable from the start.
    fn ring(&self) -> io::Result<Descriptor> {
        let bell = eventfd(1, EventfdFlags::CLOEXEC)?;
        epoll::add(&self.epoll, &bell, epoll::EventData::new_u64(Token::NONE.to_u64()), epoll::EventFlags::IN)?;
        Ok(bell.into())
    }

    /// Whether somebody has called [`wake`](Self::wake) since the last wake-up was taken.
    pub fn is_woken(&self) -> bool {
        self.waker.is_pending()
    }

    /// Tells the kernel what the registry decided.
    ///
    /// # Errors
    /// The kernel's: EPERM for a regular file, EBADF for a closed descriptor. A deletion of a descriptor that is closed
    /// already succeeds: the kernel forgot it by itself.
    pub fn apply(&self, change: Change) -> io::Result<()> {
        match change {
            Change::Nothing => Ok(()),
            Change::Add(fd, interest, token) => match self.add(fd, interest, token) {
                // Watched under an older generation: the descriptor was closed and opened while a copy of it lived on.
                Err(Errno::EXIST) => self.modify(fd, interest, token),
                other => other,
            },
            Change::Modify(fd, interest, token) => match self.modify(fd, interest, token) {
                // Closed and given out again while it was registered: the kernel forgot the old one.
                Err(Errno::NOENT) => self.add(fd, interest, token),
                other => other,
            },
            Change::Delete(fd) => match epoll::delete(&self.epoll, borrow(fd)) {
                Err(Errno::NOENT | Errno::BADF | Errno::PERM) => Ok(()),
                other => other,
            },
        }
    }

    fn add(&self, fd: RawFd, interest: Interest, token: Token) -> io::Result<()> {
        epoll::add(&self.epoll, borrow(fd), epoll::EventData::new_u64(token.to_u64()), flags(interest))
    }

    fn modify(&self, fd: RawFd, interest: Interest, token: Token) -> io::Result<()> {
        epoll::modify(&self.epoll, borrow(fd), epoll::EventData::new_u64(token.to_u64()), flags(interest))
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
        let spec = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let found = match epoll::wait(&self.epoll, &mut events.raw[..], spec.as_ref()) {
            // Linux before 5.11 sleeps whole milliseconds: round up, a timer is never early.
            Err(Errno::NOSYS) => {
                let spec = spec.map(|t| Timespec {
                    tv_sec: t.tv_sec + i64::from(t.tv_nsec > 999_000_000),
                    tv_nsec: (t.tv_nsec + 999_999) / 1_000_000 % 1000 * 1_000_000,
                });
                epoll::wait(&self.epoll, &mut events.raw[..], spec.as_ref())?.0.len()
            }
            other => other?.0.len(),
        };
        events.len = found;
        Ok(())
    }

    /// Takes the wake-up, if the last [`wait`](Self::wait) found one: for the holder of the baton, before the events.
    pub fn take_wake_up(&self, events: &Events) {
        if events.raw[events.taken..events.len].iter().any(|event| Events::report(event).0 == Token::NONE) {
            self.waker.drain();
        }
    }
}

/// The kernel answers EBADF where a number names no open file, so any number may be passed on.
fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    debug_assert!(fd >= 0, "callers refuse negative descriptors");
    // SAFETY: `fd` is not -1, and is used for one epoll_ctl, which keeps no reference to the number: if it names no open
    // file, or another one than the caller thought, the call fails or watches that file, and nothing else happens.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.read);
    flags.set(epoll::EventFlags::OUT, interest.write);
    flags
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::registry::{Direction, Registry};
    use std::io::Write;

    fn poll(poller: &Poller, timeout: Option<Duration>) -> Vec<Event> {
        let mut events = Events::default();
        poller.wait(&mut events, timeout).expect("no signals in this test");
        poller.take_wake_up(&events);
        events.collect()
    }

    #[test]
    fn a_readable_file_is_reported_as_long_as_it_is_readable() {
        let poller = Poller::new().expect("epoll");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut registry = Registry::default();
        let (change, _) = registry.set(reader.as_raw_fd(), Direction::Read, ());
        poller.apply(change).expect("a pipe can be watched");
        assert_eq!(poll(&poller, Some(Duration::ZERO)), []);
        writer.write_all(b"x").expect("room for a byte");
        for _ in 0..3 {
            let [event] = poll(&poller, None)[..] else { panic!("one event") };
            assert!(event.readable && !event.writable);
            assert!(registry.owners(event.token).0.is_some());
        }
        poller.apply(registry.clear(reader.as_raw_fd(), Direction::Read).0).expect("it was watched");
        assert_eq!(poll(&poller, Some(Duration::ZERO)), []);
    }

    #[test]
    fn what_was_found_is_taken_one_by_one_in_order_and_once() {
        let poller = Poller::new().expect("epoll");
        let mut registry = Registry::default();
        let pipes: Vec<_> = (0..5).map(|_| std::io::pipe().expect("a pipe")).collect();
        for (reader, writer) in &pipes {
            poller.apply(registry.set(reader.as_raw_fd(), Direction::Read, ()).0).expect("a pipe can be watched");
            writer.try_clone().and_then(|mut writer| writer.write_all(b"x")).expect("room for a byte");
        }
        let mut events = Events::default();
        poller.wait(&mut events, None).expect("no signals");
        for (reader, _) in &pipes {
            assert!(!events.is_empty());
            let event = events.next().expect("one for each pipe");
            assert_eq!(Registry::<()>::fd(event.token), reader.as_raw_fd());
        }
        assert!(events.is_empty() && events.next().is_none());
    }

    #[test]
    fn a_wake_up_ends_one_sleep_however_often_it_is_sent() {
        let poller = Poller::new().expect("epoll");
        poller.wake();
        poller.wake();
        assert_eq!(poll(&poller, None), []);
        let mut events = Events::default();
        poller.wait(&mut events, Some(Duration::ZERO)).expect("no signals");
        assert_eq!(events.len, 0);
        poller.wake();
        poller.wait(&mut events, None).expect("no signals");
        assert_eq!(events.len, 1);
    }

    #[test]
    fn a_closed_descriptor_is_forgotten_without_an_error() {
        let poller = Poller::new().expect("epoll");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let mut registry = Registry::default();
        let fd = reader.as_raw_fd();
        poller.apply(registry.set(fd, Direction::Read, ()).0).expect("a pipe can be watched");
        drop(reader);
        assert!(poller.apply(registry.clear(fd, Direction::Read).0).is_ok());
        // Not `fd`: another test may have been given that number by now.
        let never_open = RawFd::MAX;
        assert!(poller.apply(Change::Add(never_open, Interest { read: true, write: false }, Token::NONE)).is_err());
    }

    #[test]
    fn a_sleep_of_less_than_a_millisecond_sleeps() {
        let poller = Poller::new().expect("epoll");
        let before = std::time::Instant::now();
        assert_eq!(poll(&poller, Some(Duration::from_micros(300))), []);
        assert!(before.elapsed() >= Duration::from_micros(300));
    }
}
