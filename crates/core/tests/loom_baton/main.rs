//! Every interleaving of the baton's transitions, within loom's bounds: never two holders, nobody waits for ever.
//!
//! RUSTFLAGS="--cfg loom" cargo test -p everloop-core --release --test loom_baton
//!
//! Here are the transitions themselves; [`progress`] has steps that wait for other steps, [`patients`] steps that
//! compute.
#![cfg(loom)]

mod patients;
mod progress;
mod world;

use everloop_core::baton::{After, Manner, Pending, Spare};
use everloop_core::ready::Inbox;
use everloop_core::wait::IdleSleep;
use loom::sync::atomic::Ordering;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::Arc as Plain;
use std::time::Duration;
use world::{IDLE, LONG, World, check, waiter};

#[test]
fn a_quiet_release_and_a_sentinel_never_run_together() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
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
        let (home, relief) = (waiter(1), waiter(2));
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
        let (home, first, second) = (waiter(1), waiter(2), waiter(3));
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
        let (home, other) = (waiter(1), waiter(2));
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
        let (home, other) = (waiter(1), waiter(2));
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
        let (home, other) = (waiter(1), waiter(2));
        let sleep = Arc::new(IdleSleep::default());
        assert!(world.baton.enter(&home));
        let watchdog = {
            let (world, sleep) = (Arc::clone(&world), Arc::clone(&sleep));
            thread::spawn(move || sleep.sleep_while(None, || world.baton.is_polling()))
        };
        let resumes = {
            let (world, sleep) = (Arc::clone(&world), Arc::clone(&sleep));
            thread::spawn(move || {
                world.resume(&other);
                sleep.wake_if_asleep();
                world.step();
                if world.baton.give_way(&other, IDLE).is_none() {
                    let _ = world.release(&other, Manner::Quiet);
                }
            })
        };
        if world.baton.begin_poll(&home, None) && !world.baton.end_poll(&home) && !world.baton.queue_home(&home) {
            assert!(world.baton.wait_granted(&home, None));
        }
        sleep.wake_if_asleep();
        // This step blocks until the watchdog has looked at it.
        watchdog.join().expect("the watchdog is awake while a step runs");
        let _ = world.release(&home, Manner::Quiet);
        resumes.join().expect("the other thread gets its turn");
        world.resume(&home);
        world.baton.leave(&home);
    });
}

#[test]
fn a_spare_called_as_sentinel_when_its_time_is_up_looks_before_it_goes() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let end = world.baton.wait_spare(&relief, Duration::ZERO);
                if end == Spare::Holds {
                    world.step();
                    let _ = world.release(&relief, Manner::Quiet);
                }
                end
            })
        };
        let after = world.release(&home, Manner::Quiet);
        let end = thread.join().expect("a spare without patience ends by itself");
        // Home does not come back meanwhile: either somebody took the baton, or home was told to find somebody.
        assert!(after == After::Spawn || end == Spare::Holds, "{after:?} {end:?}");
        world.resume(&home);
        world.baton.leave(&home);
    });
}

#[test]
fn a_second_quiet_release_is_seen_too() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                assert_eq!(world.baton.wait_spare(&relief, LONG), Spare::Holds);
                world.step();
                let _ = world.release(&relief, Manner::Quiet);
            })
        };
        let first = world.release(&home, Manner::Quiet);
        world.resume(&home);
        world.step();
        let _ = (first, world.release(&home, Manner::Quiet));
        // Home stays away: the spare finds the baton, called as sentinel or on sitting down.
        thread.join().expect("somebody takes the baton");
        world.resume(&home);
        world.baton.leave(&home);
    });
}

#[test]
fn a_blocked_step_is_put_aside_by_another_thread_while_it_comes_back() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let other = Arc::clone(&world);
        let spare = Plain::clone(&relief);
        let relieving = thread::spawn(move || other.relieve(&spare));
        // What the global lock guards: whether the call has returned, and whether its step was put aside.
        let state = Arc::new(Mutex::new((false, false)));
        let rescuer = {
            let (world, state, home) = (Arc::clone(&world), Arc::clone(&state), Plain::clone(&home));
            thread::spawn(move || {
                let mut state = state.lock().expect("not poisoned");
                if !state.0 {
                    let _ = world.release(&home, Manner::Loud);
                    state.1 = true;
                }
            })
        };
        let aside = {
            let mut state = state.lock().expect("not poisoned");
            state.0 = true;
            state.1
        };
        if aside {
            world.resume(&home);
        }
        world.step();
        rescuer.join().expect("the rescuer ends");
        world.baton.leave(&home);
        relieving.join().expect("the relief thread ends when it is dismissed");
    });
}

#[test]
fn a_baton_handed_to_one_spare_is_used_there_and_comes_back() {
    check(|| {
        let world = World::new();
        let (home, pinned) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let (world, pinned) = (Arc::clone(&world), Plain::clone(&pinned));
            thread::spawn(move || {
                while world.baton.wait_spare(&pinned, LONG) == Spare::Holds {
                    world.step();
                    assert!(world.baton.give_way(&pinned, IDLE).is_some(), "home waits for it");
                }
            })
        };
        for _ in 0..2 {
            let before = world.steps();
            if world.baton.hand_to(&home, pinned.id()) {
                if !world.baton.queue_home(&home) {
                    assert!(world.baton.wait_granted(&home, None));
                }
                assert_eq!(world.steps(), before + 1);
            }
            thread::yield_now();
        }
        world.baton.leave(&home);
        thread.join().expect("the pinned thread ends when it is dismissed");
    });
}

#[test]
fn home_comes_for_the_baton_while_a_relief_thread_goes_to_sleep_in_the_poll() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut polls = 0;
                while world.baton.wait_spare(&relief, LONG) == Spare::Holds {
                    world.step();
                    loop {
                        if world.baton.begin_poll(&relief, None) {
                            polls += 1;
                            if polls == 1 {
                                world.poll.parker().park(None);
                            }
                            if !world.baton.end_poll(&relief) {
                                break;
                            }
                            world.step();
                        }
                        if world.baton.is_wanted() && world.baton.give_way(&relief, IDLE).is_some() {
                            break;
                        }
                        thread::yield_now();
                    }
                }
            })
        };
        let _ = world.release(&home, Manner::Loud);
        if !world.baton.queue_home(&home) {
            assert!(world.baton.wait_granted(&home, None));
        }
        world.step();
        world.baton.leave(&home);
        world.poll.parker().unpark();
        thread.join().expect("the relief thread ends when it is dismissed");
    });
}

#[test]
fn what_is_posted_while_the_loop_lies_down_ends_its_sleep() {
    check(|| {
        let world = World::new();
        let inbox = Arc::new(Inbox::default());
        let home = waiter(1);
        assert!(world.baton.enter(&home));
        let pushers: Vec<_> = (0..2)
            .map(|item| {
                let (world, inbox) = (Arc::clone(&world), Arc::clone(&inbox));
                thread::spawn(move || {
                    inbox.push(item);
                    if world.baton.is_polling() {
                        world.poll.parker().unpark();
                    }
                })
            })
            .collect();
        let mut got = 0;
        while got < 2 {
            // As the loop does it. (Loom lets a swap read a store that is not the last.)
            if inbox.is_filled() {
                inbox.take(|_item| got += 1);
            }
            if got < 2 && world.baton.begin_poll(&home, None) {
                if !inbox.is_filled() {
                    world.poll.parker().park(None);
                }
                assert!(world.baton.end_poll(&home));
            }
        }
        for pusher in pushers {
            pusher.join().expect("pushers end");
        }
        world.baton.leave(&home);
    });
}

#[test]
fn a_spare_that_sits_down_while_the_loop_stops_is_dismissed_or_ready_for_the_next_run() {
    check(|| {
        let world = World::new();
        let (home, relief) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let other = Arc::clone(&world);
        let thread = thread::spawn(move || other.relieve(&relief));
        world.baton.leave(&home);
        assert!(world.baton.enter(&home));
        let _ = world.release(&home, Manner::Quiet);
        world.resume(&home);
        world.step();
        world.baton.leave(&home);
        thread.join().expect("the relief thread ends when it is dismissed");
    });
}

#[test]
fn a_thread_that_gives_up_has_the_baton_or_leaves_no_trace() {
    check(|| {
        let world = World::new();
        let (home, other) = (waiter(1), waiter(2));
        assert!(world.baton.enter(&home));
        let thread = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let came = world.baton.try_resume(&other) || world.baton.queue_resume(&other);
                if came || !world.baton.cancel_resume(&other) {
                    assert!(world.baton.is_granted(&other));
                    world.step();
                    if world.baton.give_way(&other, IDLE).is_none() {
                        let _ = world.release(&other, Manner::Quiet);
                    }
                }
            })
        };
        if world.baton.is_wanted() && world.baton.give_way(&home, IDLE).is_some() {
            if !world.baton.queue_home(&home) {
                assert!(world.baton.wait_granted(&home, None));
            }
        } else {
            let _ = world.release(&home, Manner::Quiet);
            world.resume(&home);
        }
        world.step();
        thread.join().expect("the other thread ends");
        let after = world.baton.give_way(&home, IDLE);
        if after.is_some() {
            assert!(world.baton.wait_granted(&home, None));
        }
        assert!(!world.baton.is_wanted());
        world.baton.leave(&home);
    });
}
