//! What all scenes share: a loop reduced to its baton.

use everloop_core::baton::{After, Baton, Manner, Pending, Spare, ThreadId, Waiter};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use std::sync::Arc as Plain;
use std::time::Duration;

pub const IDLE: Pending = Pending { ready: false, deadline: None };
pub const LONG: Duration = Duration::from_secs(1);

/// A loop reduced to its baton, a value that only the holder may touch (loom fails on any overlap), and a poll.
pub struct World {
    pub baton: Baton,
    steps: UnsafeCell<u32>,
    pub poll: Plain<Waiter>,
    pub stop: AtomicBool,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            baton: Baton::default(),
            steps: UnsafeCell::new(0),
            poll: waiter(9),
            stop: AtomicBool::new(false),
        })
    }

    /// A piece of a step.
    pub fn step(&self) {
        self.steps.with_mut(|steps| unsafe { *steps += 1 });
    }

    pub fn steps(&self) -> u32 {
        self.steps.with(|steps| unsafe { *steps })
    }

    pub fn resume(&self, me: &Plain<Waiter>) {
        if !self.baton.try_resume(me) && !self.baton.queue_resume(me) {
            assert!(self.baton.wait_granted(me, None));
        }
    }

    /// Takes the baton back, unless this thread has it.
    pub fn resume_or_keep(&self, me: &Plain<Waiter>) {
        if !self.baton.is_held_by(me.id()) {
            self.resume(me);
        }
    }

    pub fn release(&self, me: &Waiter, manner: Manner) -> After {
        let after = self.baton.release(me, manner, IDLE).expect("the releaser holds the baton");
        if after == After::WakePoll {
            self.poll.parker().unpark();
        }
        after
    }

    /// A relief thread's life: one step whenever it gets the baton, giving way when asked to.
    pub fn relieve(&self, me: &Plain<Waiter>) {
        while self.baton.wait_spare(me, LONG) == Spare::Holds {
            loop {
                self.step();
                if self.baton.is_wanted() && self.baton.give_way(me, IDLE).is_some() {
                    break;
                }
                thread::yield_now();
            }
        }
    }
}

pub fn waiter(id: u32) -> Plain<Waiter> {
    Waiter::new(ThreadId::new(id).expect("ids in this test are not zero"))
}

pub fn check(f: impl Fn() + Send + Sync + 'static) {
    check_within(3, f);
}

/// With so many preemptions at most: a scene of many threads takes too long with more.
pub fn check_within(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}
