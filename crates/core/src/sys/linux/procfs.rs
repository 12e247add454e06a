//! The activity of a thread, as `/proc` tells it.

use crate::sys::activity::Activity;

/// The activity of a thread of this process, named by its number in the kernel.
pub fn activity(thread: u32) -> Activity {
    let line = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"));
    line.map_or(Activity::Unknown, |line| parse(&line))
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
