//! The parts of everloop that know no language: what a loop does, who may run it, and what its watchdog concludes.
//!
//! Reading order: [`turn`] (what a loop does, without a clock or a system call), [`ready`] and [`timers`] (what it is
//! made of), [`registry`], [`descriptor`] and [`poll`] (files), [`write_queue`] (bytes that a file could not take yet),
//! [`flow`] (when a source is to pause), [`tls_framing`] (where TLS's records end), [`wait`] (how a thread waits for
//! another one), [`baton`] and [`guarded`] (who may run the loop), [`heartbeat`] and [`watchdog`] (what others see of
//! the loop, and conclude), [`sites`] (where it is known to block), [`slots`] (a pool's jobs and threads),
//! [`lock_share`] (when the loop lends the global lock), [`meter`] (what its time goes into).

pub mod baton;
pub mod descriptor;
pub mod flow;
pub mod guarded;
pub mod heartbeat;
pub mod lock_share;
pub mod meter;
pub mod poll;
pub mod ready;
pub mod registry;
pub mod sites;
pub mod slots;
pub mod sync;
pub mod sys;
pub mod timers;
pub mod tls_framing;
pub mod turn;
pub mod wait;
pub mod watchdog;
pub mod write_queue;
