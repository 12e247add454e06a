//! The activity of a thread, as `/proc` tells it.

use super::thread::CpuClock;
use crate::sys::activity::{Activity, State, SystemCall, Usage};
use std::ffi::c_int;

/// The activity of a thread of this process, named by its number in the kernel.
pub fn activity(thread: u32) -> Activity {
    read(thread, "syscall").map_or(Activity::Unknown, |line| parse(&line))
}

/// The state of a thread of this process.
pub fn state(thread: u32) -> State {
    read(thread, "stat").map_or(State::Unknown, |line| parse_state(&line))
}

/// The use that a thread of this process has made of processors.
pub fn usage(thread: u32) -> Usage {
    let counted = read(thread, "schedstat").map_or_else(Usage::default, |line| parse_usage(&line));
    // The file's CPU time is as old as the kernel's last tick.
    Usage { cpu: CpuClock::of_thread(thread).and_then(CpuClock::now).or(counted.cpu), ..counted }
}

/// True if a thread of this process waits for another thread of it, whatever that takes: at a futex of this process
/// alone, without a time-out. Locks, conditions and semaphores all are futexes. False also where the kernel does not tell.
pub fn waits_without_end(thread: u32) -> bool {
    read(thread, "syscall").is_some_and(|line| is_endless(&line))
}

/// The numbers of all threads of this process; None: the kernel does not tell.
pub fn thread_numbers() -> Option<Vec<u32>> {
    let folder = std::fs::read_dir("/proc/self/task").ok()?;
    folder.map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The name by which the kernel knows a thread of this process; None: it has none of its own.
pub fn thread_title(thread: u32) -> Option<String> {
    let title = read(thread, "comm")?;
    // A thread inherits the name of the one that has started it, in the end that of the program.
    (read(std::process::id(), "comm")? != title).then(|| title.trim_end().to_owned())
}

/// One of the files about a thread; None: the thread has ended, or the kernel does not tell.
fn read(thread: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok()
}

/// Reads the arguments of futex(2): the address, what is to be done, a value, and where the time-out is.
fn is_endless(line: &str) -> bool {
    let Some(call) = call(line).filter(|call| call.number == libc::SYS_futex) else { return false };
    let [_, operation, _, timeout, ..] = call.arguments;
    let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].map(|wait| wait | libc::FUTEX_PRIVATE_FLAG);
    let is_wait = |operation| waits.contains(&(operation & !libc::FUTEX_CLOCK_REALTIME));
    timeout == 0 && c_int::try_from(operation).is_ok_and(is_wait)
}

/// Reads proc_pid_syscall(5): the number of a system call and its arguments, or "running".
fn parse(line: &str) -> Activity {
    if line.trim_end() == "running" {
        return Activity::Runs;
    }
    match call(line) {
        // A call that goes on after the process was stopped. The kernel does not say which call it is.
        Some(call) if call.number == libc::SYS_restart_syscall => Activity::Unknown,
        Some(call) if call.number == libc::SYS_futex => Activity::WaitsForLock(call.arguments[0] as usize),
        Some(call) => Activity::Waits(call),
        None => Activity::Unknown,
    }
}

/// Reads the number of a system call and its arguments. None, too, if it is -1: asleep, but not in a system call.
fn call(line: &str) -> Option<SystemCall> {
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number >= 0)?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(SystemCall { number, arguments })
}

/// Reads proc_pid_stat(5), whose third word is the state. The second is a name in parentheses, with anything in it.
fn parse_state(line: &str) -> State {
    let Some((_, after)) = line.rsplit_once(')') else { return State::Unknown };
    match after.trim_start().chars().next() {
        Some('R') => State::Runs,
        Some('S') => State::Sleeps,
        Some('D') => State::SleepsDeep,
        Some('T' | 't') => State::Stopped,
        _ => State::Unknown,
    }
}

/// Reads "run time, run delay, number of slices". A kernel that does not count says zero of all.
fn parse_usage(line: &str) -> Usage {
    let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    match numbers[..] {
        [0, 0, 0] => Usage::default(),
        [cpu, delay, _] => Usage { cpu: Some(cpu), delay: Some(delay) },
        _ => Usage::default(),
    }
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
            (&read, Activity::Waits(SystemCall { number: libc::SYS_read, arguments: [3, 0x55d1, 0x1000, 0, 0, 0] })),
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
            &format!("{} 12", libc::SYS_futex),
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
        let call = activity(me).call();
        assert_eq!(call.map(|call| call.number), tells.then_some(libc::SYS_read));
    }

    #[test]
    fn of_a_thread_that_is_not_there_nothing_is_known() {
        assert_eq!(activity(u32::MAX), Activity::Unknown);
        assert_eq!(state(u32::MAX), State::Unknown);
        assert_eq!(usage(u32::MAX), Usage::default());
    }

    #[test]
    fn the_state_stands_behind_a_name_that_may_be_anything() {
        for (line, expected) in [
            ("7 (name) R 1 7", State::Runs),
            ("7 (a) S (b) D 1 7", State::SleepsDeep),
            ("7 (name) S 1 7", State::Sleeps),
            ("7 (name) T 1 7", State::Stopped),
            ("7 (name) t 1 7", State::Stopped),
            ("7 (name) Z 1 7", State::Unknown),
            ("7 (name)", State::Unknown),
            ("", State::Unknown),
        ] {
            assert_eq!(parse_state(line), expected, "{line:?}");
        }
        assert_eq!(state(crate::sys::thread_number()), State::Runs, "it asks");
    }

    #[test]
    fn the_use_of_processors_is_read_where_the_kernel_counts_it() {
        let usage = |cpu, delay| Usage { cpu: Some(cpu), delay: Some(delay) };
        for (line, expected) in [
            ("80510 127620 1\n", usage(80510, 127_620)),
            ("80510 0 1", usage(80510, 0)),
            ("0 0 0", Usage::default()),
            ("80510 127620", Usage::default()),
            ("80510 much 1", Usage::default()),
            ("", Usage::default()),
        ] {
            assert_eq!(parse_usage(line), expected, "{line:?}");
        }
    }
}
