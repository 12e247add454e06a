//! However many steps are blocked, a loop comes to its end: random programs, in virtual time.
//!
//! The theory. Steps may wait for steps: for a lock that another one holds over an await, for a connection of a pool,
//! for the end of a task. If nobody waits in a circle there is always one that can go on, and all of them end, if
//! that one is given a thread. A loop gives it one in four ways: the holder of the baton comes to it; its own thread
//! comes back, and wants the baton; a relief thread is started at once, below the bound; or the watchdog finds a
//! standstill, and orders one more. While the baton is held by a blocked step, the watchdog takes it away. So no
//! program stops.
//!
//! That is easily said, and any of these ways may be lost: a thread that sleeps and is not called, a count that is
//! one too high. So the parts that decide are driven through thousands of programs that end by their nature
//! (`program.rs`), on a loop whose threads are states and whose time is a number (`world.rs`). Unlike loom, which
//! runs every interleaving of a few transitions (`tests/loom_baton/`), this runs few interleavings of many.
//!
//! What is asserted: each program ends, in bounded time and after a bounded number of events; no two steps run at a
//! time; the baton never comes to a step that did not come back, and each step goes on in its own thread; past the
//! bound a standstill gives one thread at the most, and none while a spare sits there.
#![cfg(not(loom))]

mod driver;
mod handoff;
mod program;
mod watchdog;
mod world;

use everloop_core::watchdog::PAUSE;
use program::{MILLISECOND, Program, Random, SECOND};
use world::{Counts, Stuck, World};

const SEEDS: u64 = 2000;

/// Tells of which program a panic is.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was the program of seed {}", self.0);
        }
    }
}

fn play(seed: u64, obeys_standstill: bool) -> (Program, Result<Counts, Stuck>) {
    let mut random = Random::new(seed);
    let program = Program::new(&mut random);
    let outcome = World::new(&program, random, obeys_standstill).run();
    (program, outcome)
}

#[test]
fn every_program_ends() {
    let mut all = Counts::default();
    for seed in 0..SEEDS {
        let _seed = Seed(seed);
        let (program, outcome) = play(seed, true);
        let counts = outcome.unwrap_or_else(|Stuck(threads)| panic!("it has stopped:\n{threads}"));

        assert!(counts.past_bound <= counts.standstills, "{counts:?}");
        let pieces = counts.lines + counts.threads + counts.divided;
        assert!(counts.events <= 20 * pieces + 100, "somebody runs in a circle: {counts:?}");
        // Each line may have to wait for its rescue, each thread for its standstill; a refused one up to a second
        // longer.
        let slices = counts.divided * 100 * MILLISECOND;
        let waits = 2 * program.rescue_after.unwrap_or(0) + 3 * PAUSE + 2 * program.latency;
        let longest = program.sleeps() + slices + pieces * waits + program.refused.1 + 2 * SECOND;
        assert!(counts.time <= longest, "it took longer than {longest}: {counts:?}");
        all.add(&counts);
    }
    // They have come to all that is to be tried.
    let Counts { past_bound, refused, rescues, learned, block_ons, divided, .. } = all;
    let Counts { hurried, sentinels, taken_from_sleepers, .. } = all;
    for count in [past_bound, refused, rescues, learned, block_ons, divided, hurried, sentinels, taken_from_sleepers] {
        assert!(count > SEEDS / 2, "{all:?}");
    }
}

/// The proof that the programs need it, and that one which stops is found.
#[test]
fn without_the_standstill_rule_some_programs_stop() {
    let stopped = (0..SEEDS / 10).filter(|seed| play(*seed, false).1.is_err()).count() as u64;
    assert!(stopped > SEEDS / 100, "only {stopped} programs have stopped");
}
