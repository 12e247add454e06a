//! Every interleaving of the baton's transitions, within loom's bounds: never two holders, nobody waits for ever.
//!
//! RUSTFLAGS="--cfg loom" cargo test -p everloop-core --release --test loom_baton
#![cfg(loom)]

use everloop_core::baton::{After, Baton, Manner, Pending, Seat, Spare, ThreadId};
use everloop_core::doze::Doze;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::sync::Arc as Plain;
use std::time::Duration;

const IDLE: Pending = Pending { ready: false, deadline: None };
const LONG: Duration = Duration::from_secs(1);

/// A loop reduced to its baton, a value that only the holder may touch (loom fails on any overlap), and a poll.
struct World {
    baton: Baton,
    steps: UnsafeCell<u32>,
    poll: Plain<Seat>,
    stop: AtomicBool,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            baton: Baton::default(),
            steps: UnsafeCell::new(0),
            poll: seat(9),
            stop: AtomicBool::new(false),
        })
    }

    /// A piece of a step.
    fn step(&self) {
        self.steps.with_mut(|steps| unsafe { *steps += 1 });
    }

    fn steps(&self) -> u32 {
        self.steps.with(|steps| unsafe { *steps })
    }

    fn resume(&self, me: &Plain<Seat>) {
        if !self.baton.try_resume(me) && !self.baton.queue_resume(me) {
            assert!(self.baton.wait_granted(me, None));
        }
    }

    fn release(&self, me: &Seat, manner: Manner) -> After {
        let after = self.baton.release(me, manner, IDLE).expect("the releaser holds the baton");
        if after == After::WakePoll {
            self.poll.parker().unpark();
        }
        after
    }

    /// A relief thread's life: one step whenever it gets the baton, giving way when asked to.
    fn relieve(&self, me: &Plain<Seat>) {
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

fn seat(id: u32) -> Plain<Seat> {
    Seat::new(ThreadId::new(id).expect("ids in this test are not zero"))
}

fn check(f: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

#[test]
fn a_quiet_release_and_a_sentinel_never_run_together() {
    check(|| {
        let world = World::new();
        let (home, relief) = (seat(1), seat(2));
        assert!(world.baton.enter(&home));
        world.step();
        let other = Arc::clone(&world);
        let spare = Plain::clone(&relief);
        let thread = thread::spawn(move || other.relieve(&spare));
        let _ = world.release(&home, Manner::Quiet);
        world.resume(&home);
        world.step();
        world.baton.leave(&home);
        thread.join().expect("the relief thread ends when it is dismissed");
        assert!(world.steps() >= 2);
    });
}

#[test]
fn a_loud_release_is_taken_up_and_given_back() {
    check(|| {
        let world = World::new();
        let (home, relief) = (seat(1), seat(2));
        assert!(world.baton.enter(&home));
        let other = Arc::clone(&world);
        let spare = Plain::clone(&relief);
        let thread = thread::spawn(move || other.relieve(&spare));
        let _ = world.release(&home, Manner::Loud);
        world.resume(&home);
        world.step();
        world.baton.leave(&home);
        thread.join().expect("the relief thread ends when it is dismissed");
    });
}

#[test]
fn two_steps_that_come_back_together_go_one_after_the_other() {
    check(|| {
        let world = World::new();
        let (home, first, second) = (seat(1), seat(2), seat(3));
        assert!(world.baton.enter(&home));
        let threads: Vec<_> = [first, second]
            .into_iter()
            .map(|me| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.resume(&me);
                    world.step();
                    // End of the step: let go as a relief thread that has nothing to do.
                    if world.baton.give_way(&me, IDLE).is_none() {
                        let _ = world.release(&me, Manner::Quiet);
                    }
                })
            })
            .collect();
        // Home is between two steps until both were served.
        let _ = world.release(&home, Manner::Quiet);
        for thread in threads {
            thread.join().expect("both get their turn");
        }
        world.resume(&home);
        assert_eq!(world.steps(), 2);
        world.baton.leave(&home);
    });
}

#[test]
fn the_baton_is_taken_from_a_sleeper_and_handed_back_to_it() {
    check(|| {
        let world = World::new();
        let (home, other) = (seat(1), seat(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.resume(&other);
                world.step();
                let after = world.baton.give_way(&other, Pending { ready: true, deadline: None });
                match after {
                    Some(After::WakePoll) => world.poll.parker().unpark(),
                    Some(_) => {}
                    None => {
                        let _ = world.release(&other, Manner::Quiet);
                    }
                }
                world.stop.store(true, Ordering::SeqCst);
                world.poll.parker().unpark();
            })
        };
        // Home polls until the other thread has had its step.
        while !world.stop.load(Ordering::SeqCst) {
            if world.baton.begin_poll(&home, None) {
                if !world.stop.load(Ordering::SeqCst) {
                    world.poll.parker().park(None);
                }
                if !world.baton.end_poll(&home) && !world.baton.queue_home(&home) {
                    assert!(world.baton.wait_granted(&home, None));
                }
            } else if world.baton.give_way(&home, IDLE).is_some() {
                assert!(world.baton.wait_granted(&home, None));
            }
            world.step();
        }
        thread.join().expect("the other thread gets its turn");
        world.baton.leave(&home);
    });
}

#[test]
fn a_thread_that_comes_back_after_the_loop_stopped_waits_for_the_next_run() {
    check(|| {
        let world = World::new();
        let (home, other) = (seat(1), seat(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.resume(&other);
                world.step();
                if world.baton.give_way(&other, IDLE).is_none() {
                    let _ = world.release(&other, Manner::Quiet);
                }
            })
        };
        world.baton.leave(&home);
        assert!(world.baton.enter(&home));
        let _ = world.release(&home, Manner::Quiet);
        thread.join().expect("the other thread gets its turn in the second run");
        world.resume(&home);
        assert_eq!(world.steps(), 1);
        world.baton.leave(&home);
    });
}

#[test]
fn a_thread_that_has_left_its_poll_is_watched() {
    check(|| {
        let world = World::new();
        let (home, other) = (seat(1), seat(2));
        let doze = Arc::new(Doze::default());
        assert!(world.baton.enter(&home));
        let watchdog = {
            let (world, doze) = (Arc::clone(&world), Arc::clone(&doze));
            thread::spawn(move || doze.sleep_while(|| world.baton.is_polling()))
        };
        let resumes = {
            let (world, doze) = (Arc::clone(&world), Arc::clone(&doze));
            thread::spawn(move || {
                world.resume(&other);
                doze.rouse();
                world.step();
                if world.baton.give_way(&other, IDLE).is_none() {
                    let _ = world.release(&other, Manner::Quiet);
                }
            })
        };
        if world.baton.begin_poll(&home, None) && !world.baton.end_poll(&home) && !world.baton.queue_home(&home) {
            assert!(world.baton.wait_granted(&home, None));
        }
        doze.rouse();
        // This step blocks until the watchdog has looked at it.
        watchdog.join().expect("the watchdog is awake while a step runs");
        let _ = world.release(&home, Manner::Quiet);
        resumes.join().expect("the other thread gets its turn");
        world.resume(&home);
        world.baton.leave(&home);
    });
}
