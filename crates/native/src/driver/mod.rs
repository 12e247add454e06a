//! Turning the loop: what a thread does while it holds the baton.
//!
//! The one long function is [`Driver::turn`], and it reads top to bottom: who goes first, what came in, how long to
//! sleep, what is due, and then one generation of steps.

mod collect;
mod gil_share;
mod handover;
mod poll_files;
mod run;
mod sleep;
mod state;
mod steps;
mod turn;
