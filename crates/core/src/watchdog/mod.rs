//! The conclusions of the watchdog. It looks at each loop a few times within the shortest time that is of interest;
//! this folder says what its looks mean, as functions of what was seen and of the time.
//!
//! [`Pulse`] tells from the heartbeat how long a step has lasted, [`Suspect`] whether a step that lasts is blocked,
//! [`Looks`] why it blocks and how much of the time it answers for, [`OpenReports`] which reports are to begin and to
//! end, [`PileUp`] that many short steps keep the loop from its files, [`Standstill`] when a loop that nobody turns gets a
//! thread past its bound, [`Deadlock`] whether its steps wait for each other for ever, and [`is_division_due`] and
//! [`Share`] how long a step that computes runs, and how long the others.

mod cause;
mod class;
mod deadlock;
mod evidence;
mod open_reports;
mod pile_up;
mod pulse;
mod slices;
mod standstill;
mod sums;
mod suspect;
mod tally;
mod things;
mod timing;
mod verdict;

pub use cause::{Cause, Shortage};
pub use deadlock::{Deadlock, Standing, Thread};
pub use evidence::{Evidence, Holder};
pub use open_reports::{OpenReport, OpenReports, SeenAside};
pub use pile_up::{LongTurn, PileUp, TurnCounters};
pub use pulse::{Look, Pulse, Timing, came_late, last_came, period};
pub use slices::{Share, is_division_due, pace};
pub use standstill::{PAUSE, Standstill};
pub use suspect::{Action, Circumstances, Doing, Sight, Suspect};
pub use timing::{next_look, next_telling};
pub use verdict::{Looks, Verdict};
