//! Linux: the names that the table in [`super`] lists.

mod clock;
mod epoll;
#[cfg(not(loom))]
mod futex;
mod procfs;
mod thread;

pub use clock::now;
pub use epoll::{Events, Poller};
#[cfg(not(loom))]
pub use futex::Park;
pub use procfs::{activity, thread_numbers, waits_without_end};
pub use thread::{CpuClock, thread_number, times_slept};
