//! The conclusions of the watchdog. It looks at each loop a few times within the shortest time that is of interest;
//! this folder says what its looks mean, as functions of what was seen and of the time.
//!
//! [`Pulse`] tells from the heartbeat how long a step has lasted, and [`Suspect`] whether a step that lasts is blocked.

mod pulse;
mod suspect;

pub use pulse::{Look, Pulse, Timing, period};
pub use suspect::{Action, Circumstances, Doing, Sight, Suspect};
