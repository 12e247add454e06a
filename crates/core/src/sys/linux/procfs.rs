//! The activity of a thread, as `/proc` tells it.

use crate::sys::activity::Activity;
use std::ffi::c_int;

/// The activity of a thread of this process, named by its number in the kernel.
pub fn activity(thread: u32) -> Activity {
    let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
    line.map_or(Activity::Unknown, |line| parse(&line))
}

/// True if a thread of this process waits for another thread of it, whatever that takes: at a futex of this process
/// alone, without a time-out. Locks, conditions and semaphores all are futexes. False also where the kernel does not tell.
pub fn waits_without_end(thread: u32) -> bool {
    std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).is_ok_and(|line| is_endless(&line))
}

/// The numbers of all threads of this process; None: the kernel does not tell.
pub fn thread_numbers() -> Option<Vec<u32>> {
    let folder = std::fs::read_dir("/proc/self/task").ok()?;
    folder.map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Reads the arguments of futex(2): the address, what is to be done, a value, and where the time-out is.
fn is_endless(line: &str) -> bool {
    let mut words = line.split_whitespace();
    if words.next().and_then(|number| number.parse().ok()) != Some(libc::SYS_futex) {
        return false;
    }
    let arguments: Option<Vec<_>> = words.take(4).map(address).collect();
    let Some([_, operation, _, 0]) = arguments.as_deref() else { return false };
    let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].map(|wait| wait | libc::FUTEX_PRIVATE_FLAG);
    c_int::try_from(*operation).is_ok_and(|operation| waits.contains(&(operation & !libc::FUTEX_CLOCK_REALTIME)))
}

/// Reads proc_pid_syscall(5): the number of a system call and its arguments, or "running".
fn parse(line: &str) -> Activity {
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Activity::Unknown };
    if first == "running" {
        return Activity::Runs;
    }
    match first.parse() {
        Ok(libc::SYS_futex) => words.next().and_then(address).map_or(Activity::Unknown, Activity::WaitsForLock),
        // A call that goes on after the process was stopped. The kernel does not say which call it is.
        Ok(libc::SYS_restart_syscall) => Activity::Unknown,
        Ok(0..) => Activity::Waits,
        // -1: asleep, but not in a system call.
        _ => Activity::Unknown,
    }
}

/// Reads a number like "0x7f03988a3f16".
fn address(word: &str) -> Option<usize> {
    usize::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line_is_understood() {
        let futex = format!("{} 0x7f03988a3f16 0x189 0x0 0x0 0x0 0x0 0x7ffd 0x7f03", libc::SYS_futex);
        let restarted = format!("{} 0x0 0x0 0x0 0x0 0x0 0x0 0x7ffd 0x7f03", libc::SYS_restart_syscall);
        let read = format!("{} 0x3 0x55d1 0x1000 0x0 0x0 0x0 0x7ffd 0x7f03\n", libc::SYS_read);
        for (line, expected) in [
            ("running\n", Activity::Runs),
            (&read, Activity::Waits),
            (&futex, Activity::WaitsForLock(0x7f03_988a_3f16)),
            (&restarted, Activity::Unknown),
            ("-1 0x7ffd 0x7f03", Activity::Unknown),
            ("", Activity::Unknown),
            ("nonsense", Activity::Unknown),
            (&libc::SYS_futex.to_string(), Activity::Unknown),
            (&format!("{} 12", libc::SYS_futex), Activity::Unknown),
        ] {
            assert_eq!(parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn who_waits_at_a_futex_of_this_process_without_a_time_out_waits_without_end() {
        let line = |operation: &str, timeout: &str| {
            format!("{} 0x7f03 {operation} 0x0 {timeout} 0x0 0x0 0x7ffd 0x7f03", libc::SYS_futex)
        };
        for (operation, timeout, expected) in [
            ("0x189", "0x0", true), // FUTEX_WAIT_BITSET, private, by the clock of the day
            ("0x89", "0x0", true),  // FUTEX_WAIT_BITSET, private
            ("0x80", "0x0", true),  // FUTEX_WAIT, private
            ("0x189", "0x7ffd9a10", false),
            ("0x109", "0x0", false), // another process may wake it
            ("0x86", "0x0", false),  // FUTEX_LOCK_PI
        ] {
            assert_eq!(is_endless(&line(operation, timeout)), expected, "{operation} {timeout}");
        }
        for other in [
            "running",
            "",
            "-1 0x7ffd 0x7f03",
            &format!("{} 0x3 0x89 0x0 0x0", libc::SYS_read),
            &format!("{} 0x3 0x89", libc::SYS_futex),
        ] {
            assert!(!is_endless(other), "{other:?}");
        }
    }

    #[test]
    fn the_threads_of_this_process_are_listed() {
        let other = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let (end, until) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                tell.send(crate::sys::thread_number()).expect("the test waits");
                let _gone = until.recv();
            });
            let other = told.recv().expect("the thread tells");
            let all = thread_numbers().expect("there is /proc");
            assert!(all.contains(&other) && all.contains(&crate::sys::thread_number()));
            // It waits for this one, once it has got there.
            let tells = activity(other) != Activity::Unknown;
            assert!(!tells || (0..1_000_000).any(|_| waits_without_end(other)));
            drop(end);
            other
        });
        assert!(!waits_without_end(other), "it is gone");
    }

    #[test]
    fn a_thread_that_looks_at_itself_is_in_the_system_call_that_reads() {
        let me = crate::sys::thread_number();
        let tells = std::fs::read(format!("/proc/self/task/{me}/syscall")).is_ok();
        // Some systems forbid to look.
        assert_eq!(activity(me), if tells { Activity::Waits } else { Activity::Unknown });
    }

    #[test]
    fn of_a_thread_that_is_not_there_nothing_is_known() {
        assert_eq!(activity(u32::MAX), Activity::Unknown);
    }
}
