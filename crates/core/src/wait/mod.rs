//! How a thread waits for another thread.

pub mod idle_sleep;
pub mod parker;
pub mod spin_then_park;
