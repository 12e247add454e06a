//! The system calls in which threads wait, and what each of them waits for.

use super::memory;
use super::names::{self, Address};
use crate::sys::activity::SystemCall;
use crate::sys::thing::{Kind, Thing};

/// More descriptors than this are not named one by one.
const MOST: usize = 64;

/// The part of a system call's arguments that tells what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Sleep,
    /// The descriptor is the argument at this place.
    Descriptor(usize),
    /// The path is at the address in this argument.
    Path(usize),
    /// It waits for a lock of the file whose descriptor is the first argument.
    FileLock,
    /// It waits for a lock that processes share, or for a queue.
    Lock,
    Poll,
    Select,
    Epoll,
    Connect,
    /// The address is in the fifth argument, if the socket has no peer.
    SendTo,
    /// The process is the argument at this place.
    Child(usize),
    Other,
}

/// The names and roles of system calls that may take long.
const TABLE: &[(i64, &str, Role)] = &[
    (libc::SYS_nanosleep, "nanosleep", Role::Sleep),
    (libc::SYS_clock_nanosleep, "clock_nanosleep", Role::Sleep),
    (libc::SYS_read, "read", Role::Descriptor(0)),
    (libc::SYS_readv, "readv", Role::Descriptor(0)),
    (libc::SYS_pread64, "pread64", Role::Descriptor(0)),
    (libc::SYS_preadv, "preadv", Role::Descriptor(0)),
    (libc::SYS_preadv2, "preadv2", Role::Descriptor(0)),
    (libc::SYS_write, "write", Role::Descriptor(0)),
    (libc::SYS_writev, "writev", Role::Descriptor(0)),
    (libc::SYS_pwrite64, "pwrite64", Role::Descriptor(0)),
    (libc::SYS_pwritev, "pwritev", Role::Descriptor(0)),
    (libc::SYS_pwritev2, "pwritev2", Role::Descriptor(0)),
    (libc::SYS_fsync, "fsync", Role::Descriptor(0)),
    (libc::SYS_fdatasync, "fdatasync", Role::Descriptor(0)),
    (libc::SYS_sync_file_range, "sync_file_range", Role::Descriptor(0)),
    (libc::SYS_syncfs, "syncfs", Role::Descriptor(0)),
    (libc::SYS_sync, "sync", Role::Other),
    (libc::SYS_ftruncate, "ftruncate", Role::Descriptor(0)),
    (libc::SYS_fallocate, "fallocate", Role::Descriptor(0)),
    (libc::SYS_fstat, "fstat", Role::Descriptor(0)),
    (libc::SYS_close, "close", Role::Descriptor(0)),
    (libc::SYS_getdents64, "getdents64", Role::Descriptor(0)),
    (libc::SYS_ioctl, "ioctl", Role::Descriptor(0)),
    (libc::SYS_sendfile, "sendfile", Role::Descriptor(0)),
    (libc::SYS_splice, "splice", Role::Descriptor(0)),
    (libc::SYS_copy_file_range, "copy_file_range", Role::Descriptor(2)),
    (libc::SYS_recvfrom, "recvfrom", Role::Descriptor(0)),
    (libc::SYS_recvmsg, "recvmsg", Role::Descriptor(0)),
    (libc::SYS_recvmmsg, "recvmmsg", Role::Descriptor(0)),
    (libc::SYS_sendto, "sendto", Role::SendTo),
    (libc::SYS_sendmsg, "sendmsg", Role::Descriptor(0)),
    (libc::SYS_sendmmsg, "sendmmsg", Role::Descriptor(0)),
    (libc::SYS_accept, "accept", Role::Descriptor(0)),
    (libc::SYS_accept4, "accept4", Role::Descriptor(0)),
    (libc::SYS_connect, "connect", Role::Connect),
    (libc::SYS_openat, "openat", Role::Path(1)),
    (libc::SYS_openat2, "openat2", Role::Path(1)),
    (libc::SYS_newfstatat, "newfstatat", Role::Path(1)),
    (libc::SYS_statx, "statx", Role::Path(1)),
    (libc::SYS_statfs, "statfs", Role::Path(0)),
    (libc::SYS_faccessat, "faccessat", Role::Path(1)),
    (libc::SYS_readlinkat, "readlinkat", Role::Path(1)),
    (libc::SYS_unlinkat, "unlinkat", Role::Path(1)),
    (libc::SYS_mkdirat, "mkdirat", Role::Path(1)),
    (libc::SYS_renameat2, "renameat2", Role::Path(1)),
    (libc::SYS_truncate, "truncate", Role::Path(0)),
    (libc::SYS_execve, "execve", Role::Path(0)),
    (libc::SYS_flock, "flock", Role::FileLock),
    (libc::SYS_fcntl, "fcntl", Role::FileLock),
    (libc::SYS_semop, "semop", Role::Lock),
    (libc::SYS_semtimedop, "semtimedop", Role::Lock),
    (libc::SYS_msgrcv, "msgrcv", Role::Lock),
    (libc::SYS_msgsnd, "msgsnd", Role::Lock),
    (libc::SYS_mq_timedreceive, "mq_timedreceive", Role::Lock),
    (libc::SYS_mq_timedsend, "mq_timedsend", Role::Lock),
    (libc::SYS_wait4, "wait4", Role::Child(0)),
    (libc::SYS_waitid, "waitid", Role::Child(1)),
    (libc::SYS_ppoll, "ppoll", Role::Poll),
    (libc::SYS_pselect6, "pselect6", Role::Select),
    (libc::SYS_epoll_pwait, "epoll_pwait", Role::Epoll),
    (libc::SYS_epoll_pwait2, "epoll_pwait2", Role::Epoll),
    (libc::SYS_futex, "futex", Role::Lock),
    (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait", Role::Other),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend", Role::Other),
    (libc::SYS_io_uring_enter, "io_uring_enter", Role::Other),
    (libc::SYS_io_getevents, "io_getevents", Role::Other),
    (libc::SYS_msync, "msync", Role::Other),
    (libc::SYS_munmap, "munmap", Role::Other),
    (libc::SYS_madvise, "madvise", Role::Other),
    (libc::SYS_mmap, "mmap", Role::Other),
    (libc::SYS_exit_group, "exit_group", Role::Other),
    (libc::SYS_getrandom, "getrandom", Role::Other),
];

/// Calls that younger architectures have not.
#[cfg(target_arch = "x86_64")]
const OLD: &[(i64, &str, Role)] = &[
    (libc::SYS_poll, "poll", Role::Poll),
    (libc::SYS_select, "select", Role::Select),
    (libc::SYS_epoll_wait, "epoll_wait", Role::Epoll),
    (libc::SYS_open, "open", Role::Path(0)),
    (libc::SYS_stat, "stat", Role::Path(0)),
    (libc::SYS_lstat, "lstat", Role::Path(0)),
    (libc::SYS_access, "access", Role::Path(0)),
    (libc::SYS_readlink, "readlink", Role::Path(0)),
    (libc::SYS_unlink, "unlink", Role::Path(0)),
    (libc::SYS_mkdir, "mkdir", Role::Path(0)),
    (libc::SYS_rmdir, "rmdir", Role::Path(0)),
    (libc::SYS_rename, "rename", Role::Path(0)),
    (libc::SYS_creat, "creat", Role::Path(0)),
    (libc::SYS_pause, "pause", Role::Other),
    (libc::SYS_vfork, "vfork", Role::Other),
    (libc::SYS_fork, "fork", Role::Other),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(i64, &str, Role)] = &[];

fn find(number: i64) -> Option<(&'static str, Role)> {
    TABLE.iter().chain(OLD).find(|entry| entry.0 == number).map(|(_, name, role)| (*name, *role))
}

/// The name of a system call; None: it is none of those that threads wait in as a rule.
pub fn call_name(call: SystemCall) -> Option<&'static str> {
    find(call.number).map(|(name, _)| name)
}

/// The thing that a thread of this process waits for, which is in this system call. It asks the kernel for names, and
/// waits for nothing itself: no file is opened but those of `/proc`.
pub fn thing(call: SystemCall) -> Thing {
    let Some((name, role)) = find(call.number) else {
        return Thing::new(Kind::Call, format!("number {}", call.number));
    };
    let named = || Thing::new(Kind::Call, name.to_owned());
    let [first, second, third, fourth, fifth, sixth] = call.arguments;
    let descriptor = |at: usize| names::descriptor(call.arguments[at] as i32).unwrap_or_else(named);
    match role {
        Role::Sleep => Thing::new(Kind::Sleep, None),
        Role::Descriptor(at) => descriptor(at),
        Role::Path(at) => Thing::new(Kind::File, memory::text(call.arguments[at])),
        Role::FileLock if is_lock(call) => Thing::new(Kind::Lock, descriptor(0).on),
        Role::FileLock => named(),
        Role::Lock => Thing::new(Kind::Lock, None),
        Role::Poll => any_of(polled(first, second)),
        Role::Select => any_of(selected(first, [second, third, fourth])),
        Role::Epoll => any_of(names::watched(first as i32)),
        Role::Connect => at_address(second, third).unwrap_or_else(|| descriptor(0)),
        Role::SendTo => at_address(fifth, sixth).unwrap_or_else(|| descriptor(0)),
        Role::Child(at) => Thing::new(Kind::Child, names::process(call.arguments[at] as i32)),
        Role::Other => named(),
    }
}

/// True if flock(2) or fcntl(2) waits for a lock.
fn is_lock(call: SystemCall) -> bool {
    let waiting = [libc::F_SETLKW, libc::F_OFD_SETLKW].map(|command| command as u64);
    call.number == libc::SYS_flock || waiting.contains(&call.arguments[1])
}

/// The thing that is waited for with several descriptors; None: they cannot be told. Without any it is a sleep.
fn any_of(descriptors: Option<Vec<i32>>) -> Thing {
    let Some(descriptors) = descriptors else { return Thing::new(Kind::Poll, None) };
    match descriptors[..] {
        [] => Thing::new(Kind::Sleep, None),
        [only] => names::descriptor(only).unwrap_or_else(|| Thing::new(Kind::Poll, None)),
        _ => {
            let mut things: Vec<_> = descriptors.iter().filter_map(|number| names::descriptor(*number)).collect();
            let number = things.len();
            things.dedup();
            match &things[..] {
                [same] => same.clone(),
                _ => Thing::new(Kind::Poll, format!("{number} files")),
            }
        }
    }
}

/// The descriptors that poll(2) was given.
fn polled(address: u64, count: u64) -> Option<Vec<i32>> {
    let count = (count as u32 as usize).min(MOST);
    let bytes = memory::bytes(address, count * size_of::<libc::pollfd>())?;
    let numbers = bytes.chunks_exact(size_of::<libc::pollfd>()).map(|entry| entry.first_chunk().copied());
    Some(numbers.flatten().map(i32::from_ne_bytes).filter(|number| *number >= 0).collect())
}

/// The descriptors that select(2) was given: bits of up to three sets.
fn selected(count: u64, sets: [u64; 3]) -> Option<Vec<i32>> {
    let words = (count as u32 as usize).min(libc::FD_SETSIZE).div_ceil(64);
    let mut all = vec![0; words];
    for set in sets.into_iter().filter(|set| *set != 0) {
        let bytes = memory::bytes(set, words * 8)?;
        for (word, bits) in all.iter_mut().zip(bytes.chunks_exact(8)) {
            *word |= bits.first_chunk().copied().map_or(0, u64::from_ne_bytes);
        }
    }
    let is_set = |number: &usize| all[number / 64] >> (number % 64) & 1 == 1;
    Some((0..words * 64).filter(is_set).take(MOST).map(|number| number as i32).collect())
}

/// The socket that has this address, of so many bytes; None: there is none.
fn at_address(address: u64, length: u64) -> Option<Thing> {
    let bytes = memory::bytes(address, (length as u32 as usize).min(size_of::<libc::sockaddr_storage>()))?;
    Address::parse(&bytes).map(names::socket_to)
}
