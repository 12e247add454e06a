//! Steps that compute: they let the others go first, and go on when the loop lies down or the others have had their
//! time.

use crate::world::{IDLE, LONG, World, check, check_within, waiter};
use everloop_core::baton::{Manner, Spare, Waiter};
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;
use std::sync::Arc as Plain;

impl World {
    /// A relief thread's life, which lies down in the poll after each step, until the test wakes it at its end.
    fn relieve_and_sleep(&self, me: &Plain<Waiter>) {
        while self.baton.wait_spare(me, LONG) == Spare::Holds {
            loop {
                self.step();
                if self.baton.begin_poll(me, None) {
                    if self.baton.has_patients() {
                        self.baton.pass_to_patient();
                    }
                    self.poll.parker().park(None);
                    if !self.baton.end_poll(me) {
                        break;
                    }
                }
                if self.baton.is_wanted() && self.baton.give_way(me, IDLE).is_some() {
                    break;
                }
                thread::yield_now();
            }
        }
    }

    fn divide(&self, me: &Plain<Waiter>, idle: bool) {
        let _ = self.release(me, Manner::Loud);
        if !self.baton.queue_patient(me, idle) {
            assert!(self.baton.wait_granted(me, None));
        }
        self.step();
    }
}

#[test]
fn a_step_that_computes_goes_on_when_the_loop_lies_down() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let other = Arc::clone(&world);
        let thread = thread::spawn(move || other.relieve_and_sleep(&relief));
        world.divide(&home, true);
        world.divide(&home, true);
        world.baton.leave(&home);
        world.poll.parker().unpark();
        thread.join().expect("the relief thread ends when it is dismissed");
        assert!(world.steps() >= 3, "the relief thread had a step before the first slice");
    });
}

#[test]
fn two_steps_that_compute_take_turns() {
    check_within(2, || {
        let world = World::new();
        let (home, other, relief) = (waiter(1), waiter(2), waiter(3));
        assert!(world.baton.enter(&home));
        let relieving = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.relieve_and_sleep(&relief))
        };
        let computing = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                // It has let go of the baton before.
                if !world.baton.queue_patient(&other, true) {
                    assert!(world.baton.wait_granted(&other, None));
                }
                world.step();
                world.stop.store(true, Ordering::SeqCst);
                // Its step ends, and there is nothing else to do.
                if world.baton.give_way(&other, IDLE).is_none() {
                    let _ = world.release(&other, Manner::Quiet);
                }
            })
        };
        world.divide(&home, true);
        // The loop does not stop before all steps have ended.
        while !world.stop.load(Ordering::SeqCst) {
            world.divide(&home, true);
            thread::yield_now();
        }
        computing.join().expect("the other step gets its turn");
        world.resume_or_keep(&home);
        world.baton.leave(&home);
        world.poll.parker().unpark();
        relieving.join().expect("the relief thread ends when it is dismissed");
    });
}

#[test]
fn a_step_that_computes_is_hurried_while_the_loop_has_always_something_to_do() {
    check(|| {
        let world = World::new();
        let (home, computes) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let watchdog = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.poll.parker().park(None); // until it has queued
                world.baton.hurry_patient();
            })
        };
        let computing = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let came = world.baton.queue_patient(&computes, true);
                world.poll.parker().unpark();
                assert!(came || world.baton.wait_granted(&computes, None));
                world.step();
                // Its step ends, and there is nothing else to do.
                if world.baton.give_way(&computes, IDLE).is_none() {
                    let _ = world.release(&computes, Manner::Quiet);
                }
            })
        };
        // Home lies down for a moment, and has something to do then.
        if world.baton.begin_poll(&home, None) && !world.baton.end_poll(&home) && !world.baton.queue_home(&home) {
            assert!(world.baton.wait_granted(&home, None));
        }
        world.step();
        if world.baton.is_wanted() && world.baton.give_way(&home, IDLE).is_some() {
            assert!(world.baton.wait_granted(&home, None));
        }
        let _ = world.release(&home, Manner::Quiet);
        watchdog.join().expect("the watchdog ends");
        computing.join().expect("it gets its turn");
        world.resume(&home);
        world.baton.leave(&home);
    });
}

#[test]
fn a_step_that_gives_up_waiting_has_the_baton_or_leaves_no_trace() {
    check(|| {
        let world = World::new();
        let (home, computes) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                if world.baton.queue_patient(&computes, false) || !world.baton.cancel_resume(&computes) {
                    assert!(world.baton.wait_granted(&computes, None));
                    world.step();
                    if world.baton.give_way(&computes, IDLE).is_none() {
                        let _ = world.release(&computes, Manner::Quiet);
                    }
                }
            })
        };
        if world.baton.begin_poll(&home, None) {
            world.baton.pass_to_patient();
            if !world.baton.end_poll(&home) && !world.baton.queue_home(&home) {
                assert!(world.baton.wait_granted(&home, None));
            }
        }
        world.step();
        let _ = world.release(&home, Manner::Quiet);
        thread.join().expect("it ends");
        world.resume(&home);
        assert!(!world.baton.has_patients() && !world.baton.is_wanted());
        world.baton.leave(&home);
    });
}
