//! The native threads of everloop's own that wait for nobody's step and that no step waits for: whoever asks what the
//! threads of the program do leaves them out.

use everloop_core::sys;
use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel's numbers, 0 for none. Each is written by its thread; read by the watchdog. Relaxed: each stands for itself.
static NUMBERS: [AtomicU32; 32] = [const { AtomicU32::new(0) }; 32];

/// The calling thread is one of them for as long as this lives. Where there is no room it is not left out.
pub struct OwnThread(Option<usize>);

impl OwnThread {
    pub fn enter() -> Self {
        let number = sys::thread_number();
        let free = |place: &AtomicU32| place.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Self(NUMBERS.iter().position(free))
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        if let Some(at) = self.0 {
            NUMBERS[at].store(0, Ordering::Relaxed);
        }
    }
}

/// True if this is the number of such a thread.
pub fn is_own(number: u32) -> bool {
    NUMBERS.iter().any(|own| own.load(Ordering::Relaxed) == number)
}

/// A forked child has none of them.
pub fn after_fork() {
    NUMBERS.iter().for_each(|own| own.store(0, Ordering::Relaxed));
}
