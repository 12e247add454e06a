//! Slices: a step that computes, in the program's own code, lets the others run, goes on, and lets them run again.
//!
//! - *When a step is divided.* At first when it has lasted for `rescue_after`, as one that blocks; then, and where its
//!   code was divided before, after [`SLICE`]. The watchdog asks for that. It looks now and then only ([`pace`]), and has
//!   to wait for the global lock, 5 ms as a rule: so a slice takes about 8 ms.
//! - *When it goes on.* When the loop has nothing to do, which the loop itself tells (`Baton::pass_to_patient`). A loop
//!   that always has something to do goes on for as long as the last slice took, for [`LOOP_SHARE`] at least, and for a
//!   whole turn: so the loop and all steps that compute together get the same time, however many these are. A turn that
//!   lasts is interrupted between two of its steps, after [`LONGEST_TURN`].

/// A step that is known to compute is divided after so many nanoseconds.
pub const SLICE: u64 = 3_000_000;
/// The nanoseconds that a loop which always has something to do gets between two slices at least.
pub const LOOP_SHARE: u64 = 10_000_000;
/// The nanoseconds after which a step that computes goes on even though no turn has ended.
const LONGEST_TURN: u64 = 5 * LOOP_SHARE;

/// The shortest time of interest of a loop whose steps are divided, where others are rescued after `rescue_after`: the
/// watchdog looks five times in this.
pub fn pace(rescue_after: u64) -> u64 {
    rescue_after.min(LOOP_SHARE)
}

/// True if a step that has lasted for so long is to be divided. `known`: it was divided before, or its code was.
pub fn is_division_due(lasted: u64, rescue_after: u64, known: bool) -> bool {
    lasted >= if known { SLICE.min(rescue_after) } else { rescue_after }
}

/// The time that the others have had since the last slice, as far as looks now and then can tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// The last look at which a slice ran or nobody waited for one, and the number of turns until then.
    ended: u64,
    turns: u64,
    /// The first look since that saw another turn: whoever was to begin it may have waited for a processor.
    begun: Option<u64>,
}

impl Share {
    /// A look at the loop: whether steps are `waiting` for their next slice, whether a `slice` runs, how many turns
    /// have begun so far, and how long the last slice `took`. Returns true if the first of those steps is to go on: the
    /// others have had their time.
    pub fn look(&mut self, now: u64, waiting: bool, slice: bool, turns: u64, took: u64) -> bool {
        let begun = turns.wrapping_sub(self.turns);
        if begun > 0 {
            self.begun.get_or_insert(now);
        }
        // The first turn may have begun before the others got their time, the second one began with them.
        let has_turned = begun >= 2 && self.begun.is_some_and(|at| now.saturating_sub(at) >= took.max(LOOP_SHARE));
        let is_over = waiting && !slice && (has_turned || now.saturating_sub(self.ended) >= LONGEST_TURN);
        if !waiting || slice || is_over {
            *self = Self { ended: now, turns, begun: None };
        }
        is_over
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_step_is_divided_when_its_time_is_up_and_one_that_is_known_earlier() {
        for (lasted, rescue_after, known, is_due) in [
            (19 * MS, 20 * MS, false, false),
            (20 * MS, 20 * MS, false, true),
            (SLICE - 1, 20 * MS, true, false),
            (SLICE, 20 * MS, true, true),
            (SLICE, 3_600_000 * MS, true, true),
            (MS, MS, true, true), // never later than the first time
        ] {
            assert_eq!(is_division_due(lasted, rescue_after, known), is_due, "{lasted} {rescue_after} {known}");
        }
    }

    #[test]
    fn a_busy_loop_gets_its_share_and_a_turn() {
        let mut share = Share::default();
        for (now, waiting, slice, turns, is_over) in [
            (100 * MS, true, true, 7, false),  // a slice runs
            (103 * MS, true, false, 7, false), // nobody has had a processor yet
            (104 * MS, true, false, 8, false),
            (113 * MS, true, false, 500, false), // too soon
            (114 * MS, true, false, 500, true),
            (118 * MS, true, true, 500, false),
            (120 * MS, true, false, 501, false),
            (130 * MS, true, false, 501, false), // a turn lasts
            (131 * MS, true, false, 502, true),
            (140 * MS, false, false, 503, false), // nobody waits
            (190 * MS - 1, true, false, 504, false),
            (190 * MS, true, false, 504, true), // that turn is too long
        ] {
            assert_eq!(share.look(now, waiting, slice, turns, 0), is_over, "{now}");
        }
    }

    #[test]
    fn a_busy_loop_gets_as_long_as_the_slice_before_took() {
        let mut share = Share::default();
        share.look(100 * MS, true, true, 0, 0);
        share.look(100 * MS, true, false, 1, 0);
        for (now, took, is_over) in [
            (124 * MS, 25 * MS, false),
            (125 * MS, 25 * MS, true),
            (126 * MS, 900 * MS, false),
            (175 * MS, 900 * MS, true), // nobody waits longer than that
        ] {
            assert_eq!(share.look(now, true, false, now, took), is_over, "{now}");
        }
    }

    proptest! {
        /// However the looks fall: no slice follows another one before the others have had their share; and whoever
        /// waits goes on at the first look after the longest turn.
        #[test]
        fn everybody_gets_on(looks in prop::collection::vec((1u64..9, 0u64..3, 0u8..4, 0u8..4, 0u64..30), 1..200)) {
            let mut share = Share::default();
            let (mut now, mut turns, mut slice, mut since) = (1000 * MS, 0, false, 0);
            for (wait, more, begins, waits, took) in looks {
                now += wait * MS;
                turns += if slice { 0 } else { more };
                slice = slice && begins != 0;
                let waiting = waits != 0;
                let is_over = share.look(now, waiting, slice, turns, took * MS);
                if is_over {
                    prop_assert!(waiting && !slice && now - since >= LOOP_SHARE.max(took * MS));
                } else if waiting && !slice {
                    prop_assert!(now - since < LONGEST_TURN);
                }
                slice |= is_over;
                if is_over || !waiting || slice {
                    since = now;
                }
            }
        }
    }
}
