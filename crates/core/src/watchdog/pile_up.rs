//! Tells that many short steps keep a loop from its files and timers, none of which is long enough to be told of.
//!
//! A loop looks at its files between two turns. So a turn that lasts is what the program feels: 400 callbacks of 2 ms
//! each, made ready by one message, hold a request up for as long as one callback of 0.8 s. Turns are counted anyway, and
//! so are steps; whoever looks now and then at the two numbers sees a turn that lasts, and the loop pays nothing for it.
//! A loop that is busy all the time, with turns that end, is none of this.

/// The numbers that a loop counts, at one look.
#[derive(Clone, Copy, Debug)]
pub struct TurnCounters {
    /// Turns that have begun, and steps.
    pub turns: u64,
    pub steps: u64,
    /// The time at which the loop last lay down to sleep.
    pub slept: u64,
    /// True while no turn runs steps: the loop sleeps, or nobody turns it.
    pub rests: bool,
}

/// A turn that lasts, in which several steps have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongTurn {
    /// Its number.
    pub turn: u64,
    /// The time since which steps of it run, early by the time between two looks at the most.
    pub since: u64,
    /// The steps since then, and those since the look before.
    pub steps: u64,
    pub new: u64,
}

/// A turn, as remembered from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct PileUp {
    turns: u64,
    since: u64,
    /// The number of steps when the turn was first seen, and at the last look.
    first: u64,
    steps: u64,
    /// The first look that saw that number.
    unchanged: u64,
    /// True if the turn was seen to run steps.
    runs: bool,
}

impl PileUp {
    /// Looks at a loop. The look before was at `last`. A step that has lasted for `report_after` is told of by itself:
    /// what comes after it in the same turn counts anew.
    pub fn look(&mut self, counts: TurnCounters, now: u64, last: u64, report_after: u64) -> Option<LongTurn> {
        let before = self.steps;
        if counts.steps != before {
            (self.steps, self.unchanged) = (counts.steps, now);
        }
        let is_same = self.runs && counts.turns == self.turns;
        let has_slept = counts.slept > if is_same { self.since } else { last };
        let is_told = now.saturating_sub(self.unchanged) >= report_after;
        if !is_same || counts.rests || has_slept || is_told {
            // A turn that is new has begun since the look before. When one goes on that slept, no look knows.
            self.since = if is_same || has_slept { now } else { last };
            (self.turns, self.first, self.runs) = (counts.turns, counts.steps, !counts.rests);
            return None;
        }
        let steps = counts.steps - self.first + 1;
        let new = counts.steps - before;
        (steps > 1).then_some(LongTurn { turn: self.turns, since: self.since, steps, new })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const AFTER: u64 = 100 * MS;

    fn counts(turns: u64, steps: u64) -> TurnCounters {
        TurnCounters { turns, steps, slept: 0, rests: false }
    }

    /// Looks every 20 ms, the first one after 100 ms.
    fn looks(all: &[TurnCounters]) -> Vec<Option<LongTurn>> {
        let mut pile_up = PileUp::default();
        let looks = all.iter().enumerate();
        looks
            .map(|(at, counts)| pile_up.look(*counts, (100 + at as u64 * 20) * MS, (80 + at as u64 * 20) * MS, AFTER))
            .collect()
    }

    fn long(steps: u64, new: u64) -> Option<LongTurn> {
        Some(LongTurn { turn: 7, since: 80 * MS, steps, new })
    }

    #[test]
    fn a_turn_of_many_steps_lasts_from_the_look_before_the_first_that_saw_it() {
        let found = looks(&[counts(7, 50), counts(7, 60), counts(7, 75), counts(8, 80), counts(9, 90)]);
        assert_eq!(found, [None, long(11, 10), long(26, 15), None, None]);
    }

    #[test]
    fn a_busy_loop_whose_turns_end_is_none() {
        let all: Vec<_> = (0..50).map(|at| counts(at, at * 100)).collect();
        assert!(looks(&all).iter().all(Option::is_none));
    }

    #[test]
    fn a_step_that_lasts_is_none_and_what_follows_it_counts_anew() {
        let mut all = vec![counts(7, 50); 8];
        all.extend([counts(7, 60), counts(7, 70), counts(7, 80)]);
        let found = looks(&all);
        assert_eq!(found[..8], [None; 8]);
        // The step was told of at 200 ms, and ended between 240 and 260.
        assert_eq!(
            found[8..].iter().flatten().map(|turn| (turn.since, turn.new)).collect::<Vec<_>>(),
            [(240 * MS, 10), (240 * MS, 10), (240 * MS, 10)]
        );
    }

    #[test]
    fn time_for_which_the_loop_rests_does_not_count() {
        let rests = TurnCounters { rests: true, ..counts(7, 50) };
        assert_eq!(looks(&[counts(7, 50), rests, rests, counts(7, 51), counts(7, 60)])[..4], [None; 4]);
        let slept = TurnCounters { slept: 110 * MS, ..counts(7, 60) };
        assert_eq!(looks(&[counts(7, 50), slept]), [None, None], "it slept and was woken between two looks");
    }

    proptest! {
        /// However a loop turns: a turn is never said to last for longer than it does by more than the time between
        /// two looks, nor to have had more steps.
        #[test]
        fn no_turn_is_made_longer(program in prop::collection::vec((1u64..30, 0u64..4, 0u64..2, any::<bool>()), 1..100)) {
            let mut pile_up = PileUp::default();
            let (mut now, mut steps, mut turns) = (1000 * MS, 0, 1);
            let (mut begun, mut before) = ((now, 0), now);
            for (wait, more, ended, rests) in program {
                let last = now;
                now += wait * MS;
                if ended > 0 {
                    turns += 1;
                    (begun, before) = ((now, steps), last);
                }
                steps += more;
                let counts = TurnCounters { turns, steps, slept: 0, rests };
                if let Some(turn) = pile_up.look(counts, now, last, AFTER) {
                    prop_assert!(turn.since >= before && turn.since < now && !rests);
                    prop_assert!(turn.steps <= steps - begun.1 + 1 && turn.new <= turn.steps);
                }
            }
        }
    }
}
