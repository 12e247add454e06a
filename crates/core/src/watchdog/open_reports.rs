//! Reports: when is one due of a step, and which are open.
//!
//! A step is reported once it has blocked for the time that the program has set (`report_after`), again while it goes
//! on (`timing.rs`), and when that is over. While the report is open it stands here under what its step is known by: the
//! heartbeat, while the step blocks its loop; the number of its release, once it is aside and blocks only itself. A step
//! that is put aside while its report is open takes the report along, so that it is told of once.

use crate::watchdog::timing::next_telling;
use std::collections::HashMap;

/// The time between two looks at the steps that are aside, in nanoseconds.
const ASIDE_PERIOD: u64 = 5_000_000;

/// A report that has begun, and has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Its number, which all that is told of it carries.
    pub number: u64,
    /// The time at which its step began to block.
    pub since: u64,
}

/// A step that is aside and has not said so, as a look finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAside {
    /// The number of its release.
    pub serial: u64,
    /// The time at which it began to block.
    pub since: u64,
}

/// The report of a step that is aside.
#[derive(Debug)]
struct AsideReport {
    open: OpenReport,
    /// How long the step will have blocked when it is told of again.
    tell_at: u64,
}

impl AsideReport {
    /// The step has been told of by now.
    fn new(open: OpenReport, now: u64) -> Self {
        Self { open, tell_at: next_telling(now.saturating_sub(open.since)) }
    }
}

/// The reports of one loop that have begun, and have not ended yet.
#[derive(Debug, Default)]
pub struct OpenReports {
    /// The step that blocks the loop itself, by its heartbeat.
    stall: Option<(u64, OpenReport)>,
    /// The heartbeat of the last such step.
    told: u64,
    /// Steps that were put aside, by the number of their release.
    asides: HashMap<u64, AsideReport>,
    /// The time of the last look at the steps that are aside.
    looked: u64,
}

/// True if a step that has blocked since `since` has done so for long enough to be told of.
fn is_long(since: u64, now: u64, report_after: u64) -> bool {
    now.saturating_sub(since) >= report_after
}

impl OpenReports {
    /// True if a report of the step with this heartbeat is to begin: it has lasted since `since`.
    pub fn is_stall_due(&self, tick: u64, since: u64, now: u64, report_after: u64) -> bool {
        !self.has_stall(tick) && is_long(since, now, report_after)
    }

    /// True if the step with this heartbeat, which has ended after `lasted` nanoseconds, is to be told of: no look
    /// found it, nor one that came after it in that time.
    pub fn is_unseen_due(&self, tick: u64, lasted: u64, report_after: u64) -> bool {
        self.told < tick && lasted >= report_after
    }

    fn has_stall(&self, tick: u64) -> bool {
        self.stall(tick).is_some()
    }

    /// The report of the step with this heartbeat.
    pub fn stall(&self, tick: u64) -> Option<OpenReport> {
        self.stall.filter(|(of, _)| *of == tick).map(|(_, open)| open)
    }

    /// The heartbeat of the step that is told of, if one is that blocks the loop.
    pub fn stall_tick(&self) -> Option<u64> {
        self.stall.map(|(tick, _)| tick)
    }

    /// The report of the step with this heartbeat has begun.
    pub fn begin_stall(&mut self, tick: u64, open: OpenReport) {
        self.stall = Some((tick, open));
        self.told = tick;
    }

    /// The step with this heartbeat has ended: so has its report, if there is one.
    pub fn end_stall(&mut self, tick: u64) -> Option<OpenReport> {
        self.stall.take_if(|(of, _)| *of == tick).map(|(_, open)| open)
    }

    /// The step that blocked the loop has been put aside by this release. Its report, if there is one, stays open.
    pub fn move_aside(&mut self, serial: u64, now: u64) -> Option<OpenReport> {
        let (_, open) = self.stall.take()?;
        self.begin_aside(serial, open, now);
        Some(open)
    }

    /// True if the steps that are aside are to be looked at now, of which there are some or not.
    pub fn is_aside_look_due(&self, some_aside: bool, now: u64) -> bool {
        (some_aside || !self.asides.is_empty()) && now.saturating_sub(self.looked) >= ASIDE_PERIOD
    }

    /// The steps that are aside are looked at now.
    pub fn note_aside_look(&mut self, now: u64) {
        self.looked = now;
    }

    /// True if a report of this step is to begin. It also names the thread that goes on with the loop: so it waits for
    /// the next look while that thread is only being started (`relief_starts`).
    pub fn is_aside_due(&self, seen: SeenAside, relief_starts: bool, now: u64, report_after: u64) -> bool {
        !relief_starts && is_long(seen.since, now, report_after) && !self.asides.contains_key(&seen.serial)
    }

    /// The report of the step that this release put aside has begun.
    pub fn begin_aside(&mut self, serial: u64, open: OpenReport, now: u64) {
        self.asides.insert(serial, AsideReport::new(open, now));
    }

    /// The report of the step that this release put aside, if the step is to be told of once more by now.
    pub fn take_aside_telling(&mut self, serial: u64, now: u64) -> Option<OpenReport> {
        let report = self.asides.get_mut(&serial)?;
        let open = report.open;
        let is_due = now.saturating_sub(open.since) >= report.tell_at;
        is_due.then(|| {
            *report = AsideReport::new(open, now);
            open
        })
    }

    /// Takes the reports of steps that are not among those that are aside: they have come back.
    pub fn take_ended(&mut self, aside: &[SeenAside]) -> Vec<OpenReport> {
        let has_ended = |serial: &u64, _: &mut AsideReport| aside.iter().all(|seen| seen.serial != *serial);
        self.asides.extract_if(has_ended).map(|(_, report)| report.open).collect()
    }

    /// The run is over: takes all reports.
    pub fn take_all(&mut self) -> Vec<OpenReport> {
        let stall = self.stall.take().map(|(_, open)| open);
        let asides = std::mem::take(&mut self.asides).into_values().map(|report| report.open);
        stall.into_iter().chain(asides).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const MS: u64 = 1_000_000;
    const AFTER: u64 = 100 * MS;

    fn open(number: u64) -> OpenReport {
        OpenReport { number, since: 10 * MS }
    }

    fn aside(serial: u64) -> SeenAside {
        SeenAside { serial, since: 10 * MS }
    }

    #[test]
    fn a_step_that_lasts_is_reported_once_its_time_is_up() {
        let mut reports = OpenReports::default();
        for (now, is_due) in [(10 * MS, false), (110 * MS - 1, false), (110 * MS, true), (500 * MS, true)] {
            assert_eq!(reports.is_stall_due(3, 10 * MS, now, AFTER), is_due, "{now}");
        }
        reports.begin_stall(3, open(1));
        for (tick, is_due) in [(3, false), (5, true)] {
            assert_eq!(reports.is_stall_due(tick, 10 * MS, 500 * MS, AFTER), is_due, "{tick}");
        }
    }

    #[test]
    fn a_step_that_no_look_found_is_told_of_if_it_was_long_and_has_no_report() {
        let mut reports = OpenReports::default();
        reports.begin_stall(3, open(1));
        for (tick, lasted, is_due) in [(1, AFTER, false), (3, AFTER, false), (5, AFTER, true), (5, AFTER - 1, false)] {
            assert_eq!(reports.is_unseen_due(tick, lasted, AFTER), is_due, "{tick} {lasted}");
        }
        assert_eq!(reports.end_stall(3), Some(open(1)));
        assert!(!reports.is_unseen_due(3, AFTER, AFTER), "it was told of");
    }

    #[test]
    fn a_report_ends_with_its_step_and_no_other() {
        let mut reports = OpenReports::default();
        reports.begin_stall(3, open(1));
        assert_eq!(reports.end_stall(5), None);
        assert_eq!(reports.end_stall(3), Some(open(1)));
        assert_eq!(reports.end_stall(3), None);
    }

    #[test]
    fn a_step_that_is_put_aside_takes_its_report_along() {
        let mut reports = OpenReports::default();
        assert_eq!(reports.move_aside(6, 500 * MS), None, "it was not reported yet");
        assert!(reports.is_aside_due(aside(6), false, 500 * MS, AFTER));
        reports.begin_stall(3, open(1));
        assert_eq!(reports.move_aside(7, 500 * MS), Some(open(1)));
        assert!(!reports.is_aside_due(aside(7), false, 500 * MS, AFTER), "it is reported");
        assert_eq!(reports.end_stall(3), None, "it does not block the loop any more");
        assert_eq!(reports.take_ended(&[aside(6), aside(7)]), []);
        assert_eq!(reports.take_ended(&[aside(6)]), [open(1)]);
    }

    #[test]
    fn a_step_that_is_aside_is_reported_once_its_time_is_up_and_its_loop_has_a_thread() {
        let reports = OpenReports::default();
        for (now, relief_starts, is_due) in [
            (5 * MS, false, false), // another thread's clock is ahead of this look
            (110 * MS - 1, false, false),
            (110 * MS, false, true),
            (110 * MS, true, false),
            (500 * MS, true, false),
        ] {
            assert_eq!(reports.is_aside_due(aside(7), relief_starts, now, AFTER), is_due, "{now} {relief_starts}");
        }
    }

    #[test]
    fn steps_that_are_aside_are_looked_at_now_and_then_and_while_a_report_is_open() {
        let mut reports = OpenReports::default();
        reports.note_aside_look(20 * MS);
        for (some_aside, now, is_due) in [
            (true, 20 * MS + ASIDE_PERIOD - 1, false),
            (true, 20 * MS + ASIDE_PERIOD, true),
            (false, 20 * MS + ASIDE_PERIOD, false),
        ] {
            assert_eq!(reports.is_aside_look_due(some_aside, now), is_due, "{some_aside} {now}");
        }
        reports.begin_aside(7, open(1), 110 * MS);
        assert!(reports.is_aside_look_due(false, 20 * MS + ASIDE_PERIOD), "its end is to be told");
    }

    #[test]
    fn a_step_that_stays_aside_is_told_of_again_after_one_second_ten_and_each_minute() {
        let mut reports = OpenReports::default();
        reports.begin_stall(3, open(1));
        reports.move_aside(7, 110 * MS);
        let since = open(1).since;
        let tells: Vec<_> =
            (0..1300).filter(|at| reports.take_aside_telling(7, since + at * 100 * MS).is_some()).collect();
        assert_eq!(tells, [10, 100, 600, 1200], "tenths of a second");
        assert_eq!(reports.take_aside_telling(8, u64::MAX), None, "it was never told of");
        let mut late = OpenReports::default();
        late.begin_aside(7, open(2), since + 5000 * MS);
        assert_eq!(late.take_aside_telling(7, since + 9999 * MS), None, "it was told of after five");
        assert_eq!(late.take_aside_telling(7, since + 10_000 * MS), Some(open(2)));
    }

    #[test]
    fn all_reports_end_with_the_run() {
        let mut reports = OpenReports::default();
        reports.begin_aside(7, open(1), 110 * MS);
        reports.begin_stall(3, open(2));
        assert_eq!(reports.take_all(), [open(2), open(1)]);
        assert_eq!(reports.take_all(), []);
    }

    proptest! {
        /// Steps begin, are looked at, go aside, come back and end at random: none is reported twice, or before its
        /// time; what has begun ends, when its step does or at the next look after; nothing else ends.
        #[test]
        fn each_long_step_has_one_report_that_ends_with_it(
            program in prop::collection::vec((0u8..5, 0usize..4, 1u64..60), 1..80)
        ) {
            let mut reports = OpenReports::default();
            let (mut now, mut tick, mut began, mut serial) = (1000 * MS, 1, 1000 * MS, 0);
            let mut asides: Vec<SeenAside> = Vec::new();
            // By `since`, which no two steps share: the report of each is numbered with it.
            let mut told = HashSet::new();
            let mut ended = HashSet::new();
            let mut end = |open: OpenReport, asides: &[SeenAside]| {
                let is_there = asides.iter().any(|seen| seen.since == open.since);
                !is_there && ended.insert(open.number)
            };
            for (operation, which, wait) in program {
                now += wait * MS;
                let as_report = |since| OpenReport { number: since, since };
                match operation {
                    0 if reports.is_stall_due(tick, began, now, AFTER) => {
                        prop_assert!(now - began >= AFTER);
                        prop_assert!(told.insert(began));
                        reports.begin_stall(tick, as_report(began));
                    }
                    0 => prop_assert!(told.contains(&began) || now - began < AFTER),
                    1 => {
                        let open = reports.end_stall(tick);
                        prop_assert_eq!(open.is_some(), told.contains(&began));
                        prop_assert!(open.is_none_or(|open| end(open, &asides)));
                        (tick, began) = (tick + 2, now);
                    }
                    2 => {
                        serial += 1;
                        prop_assert_eq!(reports.move_aside(serial, now).is_some(), told.contains(&began));
                        asides.push(SeenAside { serial, since: began });
                        (tick, began) = (tick + 2, now);
                    }
                    3 if which < asides.len() => drop(asides.swap_remove(which)),
                    _ => {
                        for &seen in &asides {
                            let is_due = reports.is_aside_due(seen, false, now, AFTER);
                            prop_assert_eq!(is_due, !told.contains(&seen.since) && now - seen.since >= AFTER);
                            if is_due {
                                told.insert(seen.since);
                                reports.begin_aside(seen.serial, as_report(seen.since), now);
                            }
                        }
                        for open in reports.take_ended(&asides) {
                            prop_assert!(end(open, &asides));
                        }
                    }
                }
            }
            for open in reports.take_all() {
                prop_assert!(end(open, &[]));
            }
            prop_assert_eq!(told, ended);
        }
    }
}
