//! Linux: what the table in [`super`] asks for.

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
pub use procfs::activity;
pub use thread::{CpuClock, thread_number, times_slept};
