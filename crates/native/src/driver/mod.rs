//! Turning the loop: what a thread does while it holds the baton.
//!
//! A [`state::Driver`] belongs to one thread, home or a relief thread. It does nothing unless its thread holds the
//! baton, and it holds the GIL, but for the places that the section "When the GIL is let go of" lists. So all it reads
//! and writes of the loop is its own until it gives the baton away: between two steps (`handover.rs`), in the sleep
//! (`sleep.rs`), or because a step in the middle went aside and came back.
//!
//! # The order of a turn (`turn.rs`), and why
//!
//! 1. Whoever wants the baton gets it first: a step that comes back has waited for longer than all that is queued.
//! 2. Home raises what a relief thread left for it. It looks for that here and at the end of a run, since a step may
//!    stop the loop in the turn in which it raises.
//! 3. The inbox is emptied. Then the tasks of `block_on` are asked whether they were cancelled.
//! 4. Files are polled before every sleep, and in the 16 turns after one, as asyncio does in all turns: programs, tests
//!    above all, let a few turns pass and expect that what was sent has arrived. A loop that is busy for longer saves
//!    the system call: it polls after 32 turns or 256 steps, and when the watchdog has looked, which is a sign of long
//!    steps.
//! 5. Timers are collected in every turn: what is due by now runs in the next turn, `call_later(0, ...)` first of all,
//!    and programs count on it. It costs one reading of the clock, 40 ns, while there are timers.
//! 6. One generation of steps runs. What they make ready runs in the next turn, so that a callback which schedules
//!    itself cannot starve files and timers. Between two steps the baton goes to whoever wants it.
//!
//! A turn takes only as many ready files as will read 256 KiB, judged by those of the last turn (`collect.rs`). The
//! others are the loop's, not the driver's: whoever turns it next goes on with them before it polls again. All of them
//! at once was tried: streams had half the throughput, since what was read had left the processor's caches before it
//! was worked on.
//!
//! # When the GIL is let go of
//!
//! Always through `Member::without_gil`. A thread that waits for the baton lets go of it (`handover.rs`). One that has
//! the baton does so in two places:
//!
//! - `sleep.rs`, where there is nothing to do. An idle loop does not poll with a time-out of zero first: one system
//!   call fewer for each message. It does so again once a sleep has ended at once: then files are ready most of the
//!   time, and each release of the GIL could cost five milliseconds to get it back.
//! - `gil_share.rs`, which lends the GIL while the loop always has work. To let go of it shortly at each poll was
//!   tried, and starves those who wait: each time they wake up too late, and the five milliseconds after which the
//!   interpreter would take the GIL for them begin anew. They got it after 27 ms; when it is lent for as long as they
//!   need to wake up, after 0.3 ms. Polls that find something count as no release: an executor's call beside a
//!   connection that never pauses took 5.1 ms while they did, and takes 0.4 ms.
//!
//! A system call that cannot wait (a poll of zero, a read, a write) is made with the GIL held.
//!
//! # The races
//!
//! - *Post before the sleep.* Another thread pushes into the inbox, then looks whether the loop sleeps. This thread
//!   says that it sleeps (`begin_poll`), then looks into the inbox. One of the two sees the other.
//! - *Baton taken during the sleep.* A thread in the poll holds the baton in name only. `end_poll` says whether it
//!   still does: home waits for it then, a relief thread goes back to its wait. What such a thread has found is thrown
//!   away: the kernel reports it again to whoever polls next.
//! - *Signal before the sleep.* A signal that arrives after the last check and before the system call does not end that
//!   call. A home that waits for the baton, and one that has stayed awake before its sleep, therefore wakes up every
//!   200 ms to check.
//! - *Watchdog asleep.* It sleeps while all loops sleep. Whoever has got a baton, perhaps from a thread in the poll,
//!   wakes it.
//! - *Closed during the sleep.* The driver has a reference of its own to the poller, so that its descriptor is not
//!   closed, and given to another file, while the kernel waits on it.
//! - *Pinned step.* A step that only one thread may run is put in front of the queue, and that thread runs it before it
//!   looks who else wants the baton. Otherwise it and home would hand the baton to and fro for ever.
//! - *File of a step that is aside.* Its handle cannot run, and the kernel would report it in every poll: a million
//!   steps a second, and with rescue the blocked step never got the GIL. Such a file is disarmed until a step comes
//!   back.
//!
//! # What would change these decisions
//!
//! A free-threaded interpreter: then nothing is lent, and the poll need not come before the generation. io_uring: then
//! what is read arrives without a system call for each file, and the bound on reads goes. An interpreter whose waiting
//! threads keep their place in the queue for the GIL: then `gil_share.rs` goes.

mod collect;
mod gil_share;
mod handover;
mod poll_files;
mod run;
mod sleep;
mod state;
mod steps;
mod turn;
