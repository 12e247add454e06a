//! A step goes aside and comes back, and relief threads are started: as the native crate's `handoff/`.

use crate::driver::Doing;
use crate::world::{Event, World};
use everloop_core::baton::{After, Manner};

/// Why a step is aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Blocking,
    Learned,
    Rescued,
    BlockOn,
    Divided,
}

impl World<'_> {
    /// Puts the step aside. False: there is no thread to go on with the loop, and the step has the baton.
    pub fn put_aside(&mut self, thread: usize, reason: Reason) -> bool {
        self.check_holds(thread);
        let manner = match reason {
            Reason::Blocking | Reason::Learned => Manner::Quiet,
            Reason::Rescued | Reason::BlockOn | Reason::Divided => Manner::Loud,
        };
        self.threads[thread].aside = Some(reason);
        self.heartbeat.end_step();
        self.runs = None;
        let pending = self.pending();
        let after = self.baton.release(&self.threads[thread].waiter, manner, pending).expect("the thread has it");
        match after {
            After::Nothing => {}
            After::WakePoll => self.wake_poll(),
            After::Spawn if matches!(reason, Reason::Rescued | Reason::Divided) => {
                if !self.is_full() {
                    self.order();
                }
            }
            // The others leave the baton where it lies: the watchdog asks for a thread again.
            After::Spawn if !self.start() && reason == Reason::BlockOn => {
                assert!(self.baton.try_resume(&self.threads[thread].waiter), "nobody has come since");
                self.threads[thread].aside = None;
                self.heartbeat.begin_step();
                self.runs = Some(thread);
                return false;
            }
            After::Spawn => {}
        }
        self.wake_unparked();
        true
    }

    /// The step has computed for long, between two of its lines: it lets the others go first.
    pub fn divide(&mut self, thread: usize) {
        self.counts.divided += 1;
        self.put_aside(thread, Reason::Divided);
        if self.baton.queue_patient(&self.waiter(thread), self.inbox.is_empty()) {
            self.go_on(thread);
        } else {
            self.park(thread, Doing::Resumes);
        }
    }

    pub fn resume(&mut self, thread: usize) {
        let waiter = self.waiter(thread);
        if self.baton.try_resume(&waiter) || self.baton.queue_resume(&waiter) {
            self.go_on(thread);
        } else {
            self.park(thread, Doing::Resumes);
        }
    }

    /// The step has the baton again.
    pub fn go_on(&mut self, thread: usize) {
        let reason = self.threads[thread].aside.take();
        if reason == Some(Reason::BlockOn) {
            self.step_on(thread);
        }
        self.begin_step(thread);
        if reason == Some(Reason::Divided) {
            self.slice = self.heartbeat.tick();
        }
    }

    pub fn is_full(&self) -> bool {
        self.relief >= self.program.max_relief
    }

    pub fn is_refused(&mut self) -> bool {
        let (from, until) = self.program.refused;
        let refused = (from..until).contains(&self.now);
        self.counts.refused += u64::from(refused);
        refused
    }

    /// A step that goes aside starts a relief thread, unless the bound is reached. False: the system refuses it.
    pub fn start(&mut self) -> bool {
        if self.spawning || self.is_full() {
            return true;
        }
        if self.is_refused() {
            return false;
        }
        self.spawning = true;
        self.add_event_soon(Event::Begin);
        true
    }

    /// The watchdog has another thread start one.
    pub fn order(&mut self) {
        if !self.spawning {
            self.spawning = true;
            self.add_event_soon(Event::Start);
        }
    }
}
