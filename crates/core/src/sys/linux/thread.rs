//! The numbers that the kernel keeps of a thread.

use std::mem;

/// The kernel's number of the calling thread.
pub fn thread_number() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// No process or thread has a higher number (`PID_MAX_LIMIT`).
const HIGHEST_NUMBER: u32 = 1 << 22;

/// The CPU time that a thread has used, readable from other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// The clock of the calling thread.
    pub fn of_this_thread() -> Option<Self> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: pthread_self() is this live thread, and `clock` a valid place for the result. (rustix has no such
        // clocks.)
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        (failed == 0).then_some(Self(clock))
    }

    /// The clock of a thread of this process, named by its number in the kernel. None: no thread has such a number.
    pub fn of_thread(number: u32) -> Option<Self> {
        // The kernel's interface says how: the number inverted, then three bits, "of a thread" and "by the scheduler".
        let clock = (!number.cast_signed() << 3) | 4 | 2;
        (1..=HIGHEST_NUMBER).contains(&number).then_some(Self(clock))
    }

    /// The CPU time used so far, in nanoseconds. None once the thread has ended.
    pub fn now(self) -> Option<u64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for the result; the kernel answers an unknown clock with EINVAL.
        let failed = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        (failed == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }
}

/// The number of times that the calling thread has gone to sleep so far. If it is the same before and after a piece of
/// work, the thread has not waited for a lock in between. (Time would not tell: on a busy host a thread can be kept
/// from running.)
pub fn times_slept() -> i64 {
    // SAFETY: all zeros is a valid rusage, and a valid place for the result. (rustix has no getrusage.)
    unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage.ru_nvcsw
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn the_time_of_a_thread_that_sleeps_stands_still_and_that_of_one_that_has_ended_is_gone() {
        let (tell, told) = mpsc::channel();
        let (end, until) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            tell.send(CpuClock::of_this_thread().expect("each thread has one")).expect("the test waits");
            let _gone = until.recv();
        });
        let clock = told.recv().expect("the thread tells");
        // The thread may be on its way to sleep still.
        let asleep = (0..1_000_000).any(|_| {
            let before = clock.now();
            thread::yield_now();
            before.is_some() && clock.now() == before
        });
        assert!(asleep);
        drop(end);
        other.join().expect("it only waits");
        assert_eq!(clock.now(), None);
    }

    #[test]
    fn the_time_of_a_thread_that_computes_goes_on() {
        let clock = CpuClock::of_this_thread().expect("each thread has one");
        let before = clock.now().expect("this thread lives");
        // To ask for the time takes CPU time, too.
        assert!((0..1_000_000).any(|_| clock.now().is_some_and(|now| now > before)));
    }

    #[test]
    fn the_clock_of_a_thread_is_found_by_its_number() {
        let clock = CpuClock::of_this_thread().expect("each thread has one");
        assert_eq!(CpuClock::of_thread(thread_number()), Some(clock));
        assert_eq!(CpuClock::of_thread(0), None, "that would be the thread that asks");
        assert_eq!(CpuClock::of_thread(u32::MAX), None, "that would be another clock");
    }

    #[test]
    fn a_sleep_is_counted_and_work_is_not() {
        let before = times_slept();
        std::hint::black_box((0..1000u64).sum::<u64>());
        assert_eq!(times_slept(), before);
        thread::sleep(Duration::from_millis(1));
        assert!(times_slept() > before);
    }

    #[test]
    fn threads_have_numbers_of_their_own() {
        let other = thread::spawn(thread_number).join().expect("it only asks");
        assert!(other != 0 && other != thread_number());
    }
}
