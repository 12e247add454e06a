//! Linux: the names that the table in [`super`] lists.

mod calls;
mod clock;
mod epoll;
#[cfg(not(loom))]
mod futex;
mod memory;
mod names;
mod procfs;
mod thread;
mod throttling;

pub use calls::{call_name, thing};
pub use clock::{now, process_cpu};
pub use epoll::{Events, Poller};
#[cfg(not(loom))]
pub use futex::Park;
pub use memory::read_memory;
pub use procfs::{activity, state, thread_numbers, thread_title, usage, waits_without_end};
pub use thread::{CpuClock, thread_number, times_slept};
pub use throttling::Throttling;
