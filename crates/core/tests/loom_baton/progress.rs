//! Blocked steps that wait for other steps, on a loop that has no thread left: the baton lies free, and the
//! watchdog's thread comes late. Whoever comes first turns the loop, and all of them go on.

use crate::world::{IDLE, LONG, World, check, check_within, waiter};
use everloop_core::baton::{After, Manner, Spare, Waiter};
use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::Arc as Plain;

/// A lock that somebody has. Who wants it blocks, with the baton or without.
struct Held(Plain<Waiter>);

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self(waiter(8)))
    }

    fn give_back(&self) {
        self.0.parker().unpark();
    }

    fn acquire(&self) {
        self.0.parker().park(None);
    }
}

/// A step that has not begun. It gives back what another one waits for.
struct Ready {
    waits: UnsafeCell<bool>,
    held: Arc<Held>,
}

impl Ready {
    fn new(held: &Arc<Held>) -> Arc<Self> {
        Arc::new(Self { waits: UnsafeCell::new(true), held: Arc::clone(held) })
    }

    /// Runs it, if nobody has: only the holder of the baton touches this, and loom fails on any overlap.
    fn run(&self) {
        if self.waits.with_mut(|waits| unsafe { std::mem::take(&mut *waits) }) {
            self.held.give_back();
        }
    }
}

impl World {
    /// The rest of a relief thread's life, which holds the baton: it turns the loop whenever it can.
    fn go_on(&self, me: &Plain<Waiter>) {
        loop {
            self.step();
            if self.baton.is_wanted() && self.baton.give_way(me, IDLE).is_some() {
                return self.relieve(me);
            }
            thread::yield_now();
        }
    }

    /// A thread that was started past the bound: it runs what is ready, if nobody came before it.
    fn come_late(&self, me: &Plain<Waiter>, ready: &Ready) {
        if self.baton.wait_spare(me, LONG) == Spare::Holds {
            ready.run();
            self.go_on(me);
        }
    }
}

/// The one step is aside, and waits for the other, which has no thread: it gets one at the first standstill.
fn late_thread_runs_what_the_blocked_step_waits_for(manner: Manner) {
    check(move || {
        let world = World::new();
        let (home, late) = (waiter(1), waiter(2));
        let held = Held::new();
        let ready = Ready::new(&held);
        assert!(world.baton.enter(&home));
        let watchdog = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                while !world.baton.is_free() {
                    thread::yield_now();
                }
                world.come_late(&late, &ready);
            })
        };
        assert_eq!(world.release(&home, manner), After::Spawn); // and the bound is reached
        held.acquire();
        world.resume(&home);
        world.step();
        world.baton.leave(&home);
        watchdog.join().expect("the late thread ends when it is dismissed");
    });
}

#[test]
fn the_late_thread_runs_what_a_rescued_step_waits_for() {
    late_thread_runs_what_the_blocked_step_waits_for(Manner::Loud);
}

#[test]
fn the_late_thread_runs_what_a_step_in_blocking_waits_for() {
    late_thread_runs_what_the_blocked_step_waits_for(Manner::Quiet);
}

#[test]
fn a_step_comes_back_just_as_the_late_thread_takes_the_baton() {
    check_within(2, || {
        let world = World::new();
        let (home, back, late) = (waiter(1), waiter(2), waiter(3));
        let held = Held::new();
        let ready = Ready::new(&held);
        assert!(world.baton.enter(&home));
        let comes_back = {
            let (world, ready) = (Arc::clone(&world), Arc::clone(&ready));
            thread::spawn(move || {
                world.resume(&back);
                // Its step ends, and its thread turns the loop.
                world.stop.store(true, Ordering::SeqCst);
                ready.run();
                world.go_on(&back);
            })
        };
        let comes_late = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.come_late(&late, &ready))
        };
        let _ = world.release(&home, Manner::Loud);
        held.acquire();
        world.resume(&home);
        // The loop does not stop before all steps have ended.
        while !world.stop.load(Ordering::SeqCst) {
            if world.baton.is_wanted() && world.baton.give_way(&home, IDLE).is_some() {
                assert!(world.baton.wait_granted(&home, None));
            }
            thread::yield_now();
        }
        world.step();
        world.baton.leave(&home);
        comes_back.join().expect("the thread of the step ends when it is dismissed");
        comes_late.join().expect("the late thread ends when it is dismissed");
    });
}

/// The owner of a lock has slept in it, and wants the baton, which the one that wants the lock gives up.
fn owner_of_the_lock(world: &Arc<World>, me: Plain<Waiter>, held: &Arc<Held>) -> thread::JoinHandle<()> {
    let (world, held) = (Arc::clone(world), Arc::clone(held));
    thread::spawn(move || {
        world.resume(&me);
        world.step();
        held.give_back();
        // Its step ends, and there is nothing else to do.
        if world.baton.give_way(&me, IDLE).is_none() {
            let _ = world.release(&me, Manner::Quiet);
        }
    })
}

#[test]
fn the_owner_of_a_lock_gets_the_baton_from_one_that_is_put_aside_at_the_lock() {
    check(|| {
        let world = World::new();
        let (home, owner) = (waiter(1), waiter(2));
        let held = Held::new();
        assert!(world.baton.enter(&home));
        let owner = owner_of_the_lock(&world, owner, &held);
        // What the global lock guards: whether home's step was put aside.
        let aside = Arc::new(Mutex::new(false));
        let rescuer = {
            let (world, aside, home) = (Arc::clone(&world), Arc::clone(&aside), Plain::clone(&home));
            thread::spawn(move || {
                let mut aside = aside.lock().expect("not poisoned");
                let _ = world.release(&home, Manner::Loud);
                *aside = true;
            })
        };
        held.acquire();
        assert!(*aside.lock().expect("not poisoned"), "nobody else could give the lock back");
        world.resume(&home);
        world.step();
        world.baton.leave(&home);
        rescuer.join().expect("the rescuer ends");
        owner.join().expect("the owner gets its turn");
    });
}

#[test]
fn the_owner_of_a_lock_gets_the_baton_from_one_that_lets_go_quietly_beside_a_sentinel() {
    check_within(2, || {
        let world = World::new();
        let (home, owner, relief) = (waiter(1), waiter(2), waiter(3));
        let held = Held::new();
        assert!(world.baton.enter(&home));
        let relieving = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.relieve(&relief))
        };
        let owner = owner_of_the_lock(&world, owner, &held);
        let _ = world.release(&home, Manner::Quiet);
        held.acquire();
        world.resume(&home);
        world.step();
        world.baton.leave(&home);
        owner.join().expect("the owner gets its turn");
        relieving.join().expect("the relief thread ends when it is dismissed");
    });
}
