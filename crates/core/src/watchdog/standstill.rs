//! Decides when a relief thread past the bound (`max_relief_threads`) is started. Asked by the watchdog, at each look.
//!
//! Up to the bound a thread is started as soon as a step goes aside and nobody is there to go on. Past it the baton
//! lies free, and often a blocked step comes back and takes it. But what the blocked steps wait for may be a step that
//! has not got a thread yet: the owner of a lock that all of them want. So there is always a next thread, and only its
//! time is bounded: one at a time, and each only after the loop has stood still for a while. A loop with a finite
//! number of steps that can run so always comes to all of them.

/// The time, in nanoseconds, for which nobody has taken the baton before a thread is started past the bound.
pub const PAUSE: u64 = 10_000_000;
/// The longest such time: it doubles each time that no thread came, as where the system refuses them.
const LONGEST_PAUSE: u64 = 1_000_000_000;

/// A loop whose baton lies free, as remembered from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standstill {
    /// The heartbeat when the baton was found free, and the time of that; None: it was not free.
    since: Option<(u64, u64)>,
    /// How often in a row a thread was wanted, and the baton lies free still: each makes the next pause longer.
    unanswered: u32,
}

impl Standstill {
    /// Looks at a loop: its heartbeat, and whether its baton is `free` for anybody to take. Returns true if a thread is
    /// to be started now.
    pub fn look(&mut self, tick: u64, free: bool, now: u64) -> bool {
        let Some((_, since)) = self.since.filter(|(seen, _)| free && *seen == tick) else {
            *self = Self { since: free.then_some((tick, now)), unanswered: 0 };
            return false;
        };
        let is_due = now.saturating_sub(since) >= self.pause();
        if is_due {
            self.since = Some((tick, now));
            self.unanswered += 1;
        }
        is_due
    }

    fn pause(&self) -> u64 {
        PAUSE.checked_shl(self.unanswered).map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_thread_comes_once_the_baton_has_lain_free_for_the_pause() {
        let mut standstill = Standstill::default();
        for (tick, free, now, wanted) in [
            (2, true, 0, false),
            (2, true, 9 * MS, false),
            (2, true, 10 * MS, true),
            (4, true, 14 * MS, false), // a step came back, and another one is aside
            (4, true, 23 * MS, false),
            (4, false, 24 * MS, false), // somebody has it
            (4, true, 25 * MS, false),
            (4, true, 34 * MS, false),
            (4, true, 35 * MS, true),
        ] {
            assert_eq!(standstill.look(tick, free, now), wanted, "{tick} {free} {now}");
        }
    }

    #[test]
    fn where_the_system_refuses_threads_it_is_asked_less_and_less_often() {
        let mut standstill = Standstill::default();
        let asked: Vec<_> = (0..5000).filter(|ms| standstill.look(2, true, ms * MS)).collect();
        assert_eq!(asked, [10, 30, 70, 150, 310, 630, 1270, 2270, 3270, 4270]);
        assert!(!standstill.look(4, true, 5000 * MS));
        assert!(standstill.look(4, true, 5010 * MS), "it moved: the next pause is a short one");
    }

    proptest! {
        /// A loop that stands still gets a thread after the pause, however often it is looked at.
        #[test]
        fn a_loop_that_stands_still_always_gets_a_thread(looks in prop::collection::vec(1u64..20, 20..200)) {
            let mut standstill = Standstill::default();
            standstill.look(2, true, 0);
            let mut now = 0;
            for wait in looks {
                now += wait * MS;
                if standstill.look(2, true, now) {
                    prop_assert!((PAUSE..PAUSE + 20 * MS).contains(&now));
                    return Ok(());
                }
                prop_assert!(now < PAUSE);
            }
        }
    }
}
