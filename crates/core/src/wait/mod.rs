//! Three ways in which a thread waits for another thread, with one vocabulary. A thread *parks* until it is *unparked*;
//! an unpark that comes first lets the next park return at once.
//!
//! | way | who waits so | why |
//! |---|---|---|
//! | [`Parker`] | who queues for a baton; who writes notes | nothing to know but the wake-up itself |
//! | [`SpinThenPark`] | a thread of the pool, who waits for a future, and a loop in its poll | what it waits for comes at once, or not for long |
//! | [`IdleSleep`] | the watchdog | it is woken from the hot path, by threads that hardly ever find it asleep |
//!
//! The *global lock*, in what follows, is one that each thread of the program has while it works and lets go of while
//! it waits. A thread that is unparked by one that has this lock cannot go on yet: it has to wait for the lock.
//!
//! These are the only files of this crate that read a clock (`sys::now`): a thread that spins has to know how long it
//! has.

mod adaptive_spin;
mod idle_sleep;
mod parker;
mod spin_then_park;

pub use crate::sys::Wake;
pub use adaptive_spin::{AdaptiveSpin, SPIN, spin};
pub use idle_sleep::IdleSleep;
pub use parker::Parker;
pub use spin_then_park::{LastPost, SpinThenPark, note_release};
