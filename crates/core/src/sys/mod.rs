//! All that differs from one platform to the next. The rest of this crate is the same everywhere.
//!
//! A port is one folder beside `linux`, with these names and their functions. The types that belong to no platform
//! stand beside the folders: [`Activity`], [`SystemCall`], [`State`], [`Usage`], [`Thing`] and [`Wake`].
//!
//! | name | functions | on Linux |
//! |---|---|---|
//! | `Poller`, `Events` | `new`, `as_raw_fd`, `add`, `modify`, `delete`, `wait`, `notify`, `acknowledge`; `count`, `get`, `clear` | epoll, eventfd |
//! | `Park` | `park`, `unpark`, `is_unparked` | futex |
//! | `now` | the only clock of this crate; only threads that spin (`wait/`) read it | CLOCK_MONOTONIC |
//! | `CpuClock` | `of_this_thread`, `of_thread`, `now` | `pthread_getcpuclockid` |
//! | `process_cpu` | CPU time of all threads | CLOCK_PROCESS_CPUTIME_ID |
//! | `thread_number`, `times_slept` | of the calling thread | gettid, getrusage |
//! | `activity`, `waits_without_end` | what the kernel says that another thread does | `/proc/self/task/N/syscall` |
//! | `thread_numbers` | of all threads of the process | `/proc/self/task` |
//! | `thread_title` | the name that the kernel knows a thread by, if it has one of its own | `/proc/self/task/N/comm` |
//! | `read_memory` | of this process, where nothing may lie | process_vm_readv, `/proc/self/mem` |
//! | `state`, `usage` | of another thread: is it stopped; how long has it had a processor, and waited for one | `/proc/self/task/N/stat`, `schedstat` |
//! | `thing`, `call_name` | what a thread waits for that is in a system call | `/proc/self/fd`, getpeername |
//! | `Throttling` | `open`, `total`: the time for which the process may not run | `cpu.stat` of its control groups |
//!
//! With kqueue, `notify` is an EVFILT_USER event, `Park` a mutex and a condition variable, as in [`model`] (a signal
//! then ends no sleep: sleep in slices), and `activity` and `state` may always be `Unknown`, `waits_without_end` false,
//! `thing` a [`Kind::Call`] without a name, and all others None: the watchdog then says less, and nothing wrong.

mod activity;
mod thing;
mod wake;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(loom)]
mod model;

pub use activity::{Activity, State, SystemCall, Usage};
pub use thing::{Kind, Thing};
pub use wake::Wake;

#[cfg(target_os = "linux")]
pub use linux::{
    CpuClock, Throttling, activity, call_name, now, process_cpu, read_memory, state, thing, thread_number,
    thread_numbers, thread_title, times_slept, usage, waits_without_end,
};
#[cfg(target_os = "linux")]
pub(crate) use linux::{Events, Poller};

#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) use linux::Park;
#[cfg(loom)]
pub(crate) use model::Park;

#[cfg(not(target_os = "linux"))]
compile_error!("everloop runs on Linux only, so far: crates/core/src/sys/mod.rs lists what a port provides");
