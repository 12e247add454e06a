//! The only place that sleeps until files are ready: one system call per turn.
//!
//! Any thread may wake it. One notification serves a burst: a thread that finds a wake-up pending need not send
//! another. The work that a wake-up announces must be visible before [`Poller::wake`], and the loop must look for it
//! after [`Poller::take_wake_up`].

use crate::registry::{Change, Token};
use crate::sync::{AtomicBool, Ordering};
use crate::sys;
use rustix::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The state of one descriptor, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub token: Token,
    pub readable: bool,
    pub writable: bool,
}

/// The files that one thread's polls find. Two threads may sleep in the same [`Poller`], each with events of its own.
#[derive(Default)]
pub struct Events {
    found: sys::Events,
    /// The number of them that are taken.
    taken: usize,
}

impl Iterator for Events {
    type Item = Event;

    /// The next file of those that a poll found.
    fn next(&mut self) -> Option<Event> {
        while !self.is_empty() {
            let (token, readable, writable) = self.found.get(self.taken);
            self.taken += 1;
            if token != Token::NONE {
                return Some(Event { token, readable, writable });
            }
        }
        None
    }
}

impl Events {
    pub fn is_empty(&self) -> bool {
        self.taken == self.found.count()
    }

    /// Forgets what a poll found: it will be found again, as everything is level-triggered.
    pub fn clear(&mut self) {
        self.found.clear();
        self.taken = 0;
    }

    /// True if a wake-up is among what is not taken yet.
    fn has_wake_up(&self) -> bool {
        (self.taken..self.found.count()).any(|index| self.found.get(index).0 == Token::NONE)
    }
}

pub struct Poller {
    kernel: sys::Poller,
    /// True from a wake-up until it is taken. Set by wakers, cleared by the holder of the baton, SeqCst: the loop looks
    /// at its inbox after it has cleared this, so a push that found it set is seen.
    woken: AtomicBool,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { kernel: sys::Poller::new()?, woken: AtomicBool::new(false) })
    }

    /// A descriptor that is readable while something has happened: for a thread that waits for other things, too.
    pub fn as_raw_fd(&self) -> RawFd {
        self.kernel.as_raw_fd()
    }

    /// Ends a sleep in [`wait`](Self::wait), this or the next.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.kernel.notify();
        }
    }

    /// True if somebody has called [`wake`](Self::wake) since the last wake-up was taken.
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Takes the wake-up, if the last [`wait`](Self::wait) found one: for the holder of the baton, before the events.
    pub fn take_wake_up(&self, events: &Events) {
        if events.has_wake_up() {
            self.kernel.acknowledge();
            self.woken.store(false, Ordering::SeqCst);
        }
    }

    /// Tells the kernel what the registry decided.
    ///
    /// # Errors
    /// The kernel's: EPERM for a regular file, EBADF for a closed descriptor. A deletion of a descriptor that is closed
    /// already succeeds: the kernel forgot it by itself.
    pub fn apply(&self, change: Change) -> io::Result<()> {
        match change {
            Change::Nothing => Ok(()),
            Change::Add(fd, interest, token) => self.kernel.add(fd, interest, token),
            Change::Modify(fd, interest, token) => self.kernel.modify(fd, interest, token),
            Change::Delete(fd) => self.kernel.delete(fd),
        }
    }

    /// The number of files that are ready now, as far as one look tells, by a thread that takes none of them.
    pub fn ready_len(&self) -> usize {
        let mut events = Events::default();
        self.wait(&mut events, Some(Duration::ZERO)).map_or(0, |()| Iterator::count(events))
    }

    /// Sleeps until something happens, the time is up (`None`: for ever), or a signal arrives (EINTR).
    ///
    /// # Errors
    /// EINTR; others only if the poller's own descriptors were closed behind its back.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.kernel.wait(&mut events.found, timeout)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::registry::{Direction, Interest, Registry};
    use std::io::Write;
    use std::os::fd::AsRawFd;

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
        assert!(events.found.count() == 0);
        poller.wake();
        poller.wait(&mut events, None).expect("no signals");
        assert!(events.found.count() == 1);
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
