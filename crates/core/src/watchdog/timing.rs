//! When a block that lasts is looked at, and told of.

use crate::watchdog::pulse::period;

/// The shortest and the longest time between two looks at a step that lasts, in nanoseconds: the shortest if steps are
/// not told of much sooner than that.
const SHORTEST_STEP: u64 = 5_000_000;
const LONGEST_STEP: u64 = 10_000_000_000;
/// After the first looks the next one comes when the block has lasted by so much longer: a tenth.
const GROWTH: u64 = 10;
const SECOND: u64 = 1_000_000_000;

/// How long a block will have lasted at the next look at it, if it has lasted for so long now: often enough at first
/// that at least four looks come before it is reported, then at each tenth more. In nanoseconds.
pub fn next_look(lasted: u64, report_after: u64) -> u64 {
    let shortest = SHORTEST_STEP.min(report_after / 2);
    let step = shortest.max(period(report_after, None)).max(lasted / GROWTH);
    lasted.saturating_add(step.min(LONGEST_STEP))
}

/// How long a block will have lasted when it is told of next, if it has lasted for so long now. A second, since whoever
/// reads the report at 0.1 s wants to know whether it was a hiccup; ten seconds, since then somebody waits; each
/// minute, since a log must show a program that hangs, and when it hung, without growing by much.
pub fn next_telling(lasted: u64) -> u64 {
    let minute = 60 * SECOND;
    let next = [SECOND, 10 * SECOND].into_iter().find(|at| *at > lasted);
    next.unwrap_or_else(|| (lasted / minute + 1).saturating_mul(minute))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_step_that_is_told_of_early_is_looked_at_before() {
        for (report_after, first) in [(MS, MS / 2), (4 * MS, 2 * MS), (20 * MS, 5 * MS), (u64::MAX, 100 * MS)] {
            assert_eq!(next_look(0, report_after), first, "{report_after}");
        }
    }

    #[test]
    fn looks_come_close_together_until_the_report_is_due_and_less_and_less_often_after_it() {
        let mut looks = vec![0];
        while looks[looks.len() - 1] < 60_000 * MS {
            looks.push(next_look(looks[looks.len() - 1], 100 * MS));
        }
        assert_eq!(looks[..9], [0, 20, 40, 60, 80, 100, 120, 140, 160].map(|ms| ms * MS));
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] <= (pair[0] / 10).max(20 * MS)));
        assert!(looks.len() < 100, "a minute takes {} looks", looks.len());
    }

    #[test]
    fn there_are_four_looks_before_a_report_and_no_more_than_one_in_five_milliseconds() {
        for report_after in [1, 5, 25, 50, 100, 1000, 10_000] {
            let (mut lasted, mut count) = (0, 0);
            while next_look(lasted, report_after * MS) < report_after * MS {
                assert!(next_look(lasted, report_after * MS) - lasted >= (5 * MS).min(report_after * MS / 2));
                lasted = next_look(lasted, report_after * MS);
                count += 1;
            }
            assert!(count >= 4 || report_after < 25, "{report_after} {count}");
        }
        assert!(next_look(0, 0) > 0, "the next look is another one");
        assert_eq!(next_look(u64::MAX, 0), u64::MAX);
        assert_eq!(next_look(86_400 * SECOND, 100 * MS), 86_400 * SECOND + LONGEST_STEP);
    }

    #[test]
    fn a_block_is_told_of_again_after_a_second_ten_and_each_minute() {
        for (lasted, next) in [(0, 1), (999, 1), (1000, 10), (9999, 10), (10_000, 60), (60_000, 120), (150_000, 180)] {
            assert_eq!(next_telling(lasted * MS), next * SECOND, "{lasted}");
        }
        assert_eq!(next_telling(u64::MAX), u64::MAX);
    }
}
