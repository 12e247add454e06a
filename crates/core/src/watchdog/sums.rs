//! What a step did in a block, and how long.

use crate::watchdog::cause::Cause;
use crate::watchdog::class::Class;
use crate::watchdog::tally::Tally;
use crate::watchdog::things::Things;

/// So many threads are told apart in a block.
const THREADS: usize = 8;

/// The time of a block, by what the step did. In nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub things: Things,
    pub holders: Tally<Option<u32>, THREADS>,
    collects: u64,
    imports: u64,
    program: u64,
    native: u64,
    holds_lock: u64,
    undecided: u64,
    unknown: u64,
}

impl Sums {
    pub fn count(&mut self, class: Class, time: u64) {
        match class {
            Class::Waits(at) => self.things.count(at, false, time),
            Class::WaitsForLock(thread) => self.holders.add(thread, time),
            Class::Collects => self.collects += time,
            Class::Imports => self.imports += time,
            Class::Program => self.program += time,
            Class::Native => self.native += time,
            Class::HoldsLock(None) => self.holds_lock += time,
            Class::HoldsLock(Some(at)) => self.things.count(at, true, time),
            Class::Undecided => self.undecided += time,
            Class::Unknown => self.unknown += time,
        }
    }

    /// So much of the time of a class turns out to be of another one.
    pub fn is_other(&mut self, class: Class, other: Class, time: u64) {
        let known = if class == Class::Undecided { &mut self.undecided } else { &mut self.holds_lock };
        let time = time.min(*known);
        *known -= time;
        self.count(other, time);
    }

    /// The time in which garbage was collected or the step waited for the global lock, whichever is longer.
    pub fn not_its_own(&self) -> u64 {
        self.collects.max(self.holders.total())
    }

    /// What took most of the time; of two that took the same, the one that says more.
    pub fn heaviest(&self) -> Cause {
        let (held, waits) = (self.things.held(), self.things.most(false));
        let held_for = self.things.most(true).filter(|_| held > self.holds_lock).map(|(thing, _)| thing.clone());
        // Where it could not be told which of the two it was: the program's own code is at another instruction at every
        // other look, a long call only where it begins and ends.
        let is_program = 2 * self.program > self.holds_lock + self.undecided;
        let (program, holds_lock) = if is_program { (self.undecided, 0) } else { (0, self.undecided) };
        let candidates = [
            (self.collects, Cause::Collects),
            (self.imports, Cause::Imports),
            waits.map_or((0, Cause::Unknown), |(thing, time)| (time, Cause::WaitsFor(thing.clone()))),
            (self.holds_lock + holds_lock + held, Cause::HoldsGlobalLock(held_for)),
            (self.native, Cause::ComputesNative),
            (self.program + program, Cause::Computes),
            (self.holders.total(), Cause::GlobalLockHeldBy(self.main_holder())),
            (self.unknown, Cause::Unknown),
        ];
        let most = candidates.iter().map(|(time, _)| *time).max().unwrap_or(0);
        candidates.into_iter().find(|(time, _)| *time == most && most > 0).map_or(Cause::Unknown, |(_, cause)| cause)
    }

    /// The thread that had the global lock for more than half of the time in which the step waited for it.
    fn main_holder(&self) -> Option<u32> {
        let (thread, time) = self.holders.sorted().first().copied()?;
        thread.filter(|_| time > self.holders.total() / 2)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn time_of_which_it_is_not_known_if_native_code_ran_goes_to_what_was_seen() {
        let (program, native, undecided) = (Class::Program, Class::HoldsLock(None), Class::Undecided);
        for (seen, cause) in [
            (&[(undecided, 60), (program, 40), (native, 10)][..], Cause::Computes),
            (&[(undecided, 90), (program, 20)], Cause::HoldsGlobalLock(None)),
            (&[(undecided, 60), (program, 40), (native, 30)], Cause::HoldsGlobalLock(None)),
            (&[(undecided, 90)], Cause::HoldsGlobalLock(None)),
            (&[(undecided, 30), (native, 20), (Class::Imports, 40)], Cause::HoldsGlobalLock(None)),
            (&[(undecided, 10), (native, 20), (Class::Imports, 40)], Cause::Imports),
        ] {
            let mut sums = Sums::default();
            seen.iter().for_each(|(class, time)| sums.count(*class, *time));
            assert_eq!(sums.heaviest(), cause, "{seen:?}");
        }
    }

    #[test]
    fn what_turns_out_to_be_of_another_class_is_moved_and_nothing_is_lost() {
        for class in [Class::HoldsLock(None), Class::Undecided] {
            let mut sums = Sums::default();
            sums.count(class, 30);
            sums.is_other(class, Class::Program, 20);
            assert_eq!((sums.program, sums.holds_lock + sums.undecided), (20, 10));
            sums.is_other(class, Class::Program, 20);
            assert_eq!((sums.program, sums.holds_lock + sums.undecided), (30, 0));
        }
    }
}
