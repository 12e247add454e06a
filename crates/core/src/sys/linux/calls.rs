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
    /// The process is the first argument.
    Child,
    /// The process is the second argument, if the first says that this is a process.
    AnyChild,
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
    (libc::SYS_wait4, "wait4", Role::Child),
    (libc::SYS_waitid, "waitid", Role::AnyChild),
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

/// Calls that not every architecture has.
#[cfg(target_arch = "x86_64")]
const MORE: &[(i64, &str, Role)] = &[
    (libc::SYS_poll, "poll", Role::Poll),
    (libc::SYS_sync_file_range, "sync_file_range", Role::Descriptor(0)),
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
const MORE: &[(i64, &str, Role)] = &[];

fn find(number: i64) -> Option<(&'static str, Role)> {
    TABLE.iter().chain(MORE).find(|entry| entry.0 == number).map(|(_, name, role)| (*name, *role))
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
        Role::Poll => names::any_of(polled(first, second)),
        Role::Select => names::any_of(selected(first, [second, third, fourth])),
        Role::Epoll => names::any_of(names::watched(first as i32)),
        Role::Connect => at_address(second, third).unwrap_or_else(|| descriptor(0)),
        Role::SendTo => at_address(fifth, sixth).unwrap_or_else(|| descriptor(0)),
        Role::AnyChild if first == u64::from(libc::P_PID) => Thing::new(Kind::Child, names::process(second as i32)),
        Role::AnyChild if first == u64::from(libc::P_PIDFD) => descriptor(1),
        Role::AnyChild => Thing::new(Kind::Child, None),
        Role::Child => Thing::new(Kind::Child, names::process(first as i32)),
        Role::Other => named(),
    }
}

/// True if flock(2) or fcntl(2) waits for a lock.
fn is_lock(call: SystemCall) -> bool {
    let waiting = [libc::F_SETLKW, libc::F_OFD_SETLKW].map(|command| command as u64);
    call.number == libc::SYS_flock || waiting.contains(&call.arguments[1])
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
    let count = (count as u32 as usize).min(libc::FD_SETSIZE);
    let words = count.div_ceil(64);
    let mut all = vec![0; words];
    for set in sets.into_iter().filter(|set| *set != 0) {
        let bytes = memory::bytes(set, words * 8)?;
        for (word, bits) in all.iter_mut().zip(bytes.chunks_exact(8)) {
            *word |= bits.first_chunk().copied().map_or(0, u64::from_ne_bytes);
        }
    }
    let is_set = |number: &usize| all[number / 64] >> (number % 64) & 1 == 1;
    Some((0..count).filter(is_set).take(MOST).map(|number| number as i32).collect())
}

/// The socket that has this address, of so many bytes; None: there is none.
fn at_address(address: u64, length: u64) -> Option<Thing> {
    let bytes = memory::bytes(address, (length as u32 as usize).min(size_of::<libc::sockaddr_storage>()))?;
    Address::parse(&bytes).map(names::socket_to)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::{activity, thread_number};
    use rustix::event;
    use std::ffi::CString;
    use std::fs::File;
    use std::io::{self, Read};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::thread;

    fn call<const N: usize>(number: i64, first: [u64; N]) -> SystemCall {
        let mut arguments = [0; 6];
        arguments[..N].copy_from_slice(&first);
        SystemCall { number, arguments }
    }

    fn of(file: &impl AsRawFd) -> u64 {
        file.as_raw_fd() as u64
    }

    fn named(kind: Kind, on: impl ToString) -> Thing {
        Thing::new(kind, on.to_string())
    }

    fn unnamed(kind: Kind) -> Thing {
        Thing::new(kind, None)
    }

    /// What a thread waits for that does this; None: the kernel does not tell. `end` ends its wait.
    fn seen_in(wait: impl FnOnce() + Send, end: impl FnOnce()) -> Option<Thing> {
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            scope.spawn(move || {
                tell.send(thread_number()).expect("the test waits");
                wait();
            });
            let thread = told.recv().expect("the thread tells");
            // It may be on its way.
            let found = (0..1_000_000).find_map(|_| activity(thread).call().map(thing));
            end();
            found
        })
    }

    #[test]
    fn each_number_stands_in_the_table_once() {
        let mut numbers: Vec<_> = TABLE.iter().chain(MORE).map(|entry| entry.0).collect();
        numbers.sort_unstable();
        assert!(numbers.is_sorted_by(|one, other| one < other));
        assert_eq!(call_name(call(libc::SYS_flock, [])), Some("flock"));
        assert_eq!(call_name(call(-7, [])), None);
    }

    #[test]
    fn what_a_thread_waits_for_is_seen_while_it_waits() {
        if activity(thread_number()).call().is_none() {
            return; // some systems forbid to look
        }
        let (mut reader, writer) = io::pipe().expect("there are pipes");
        let read = || reader.read(&mut [0]).map(drop).expect("it ends");
        assert_eq!(seen_in(read, || drop(writer)), Some(unnamed(Kind::Pipe)));

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("there is a cat");
        let (number, input) = (child.id(), child.stdin.take());
        let expected = format!("{number} (cat)");
        // Until the new program is there the child has the name of this one.
        while names::process(number as i32).is_none_or(|name| name != expected) {
            thread::yield_now();
        }
        let found = seen_in(|| child.wait().map(drop).expect("it ends"), || drop(input));
        assert_eq!(found, Some(named(Kind::Child, expected)));
    }

    #[test]
    fn what_a_descriptor_stands_for_is_told_by_its_kind_and_name() {
        let exe = std::env::current_exe().expect("this is one");
        let file = File::open(&exe).expect("it is there");
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let stream = TcpStream::connect(address).expect("it listens");
        let name_server = UdpSocket::bind("127.0.0.1:0").expect("there is a port");
        name_server.connect("127.0.0.1:53").expect("nothing is sent");
        let (pair, _other) = UnixStream::pair().expect("there are sockets");
        let (reader, _writer) = io::pipe().expect("there are pipes");
        let read = |file: u64| thing(call(libc::SYS_read, [file]));

        assert_eq!(read(of(&file)), named(Kind::File, exe.display()));
        assert_eq!(read(of(&stream)), named(Kind::Socket, address));
        assert_eq!(read(of(&listener)), named(Kind::Socket, address));
        assert_eq!(read(of(&name_server)), named(Kind::Dns, "127.0.0.1:53"));
        assert_eq!(read(of(&pair)), unnamed(Kind::Socket));
        assert_eq!(read(of(&reader)), unnamed(Kind::Pipe));
        assert_eq!(read(-1i64 as u64), named(Kind::Call, "read"), "it stands for nothing");
        assert_eq!(thing(call(libc::SYS_flock, [of(&file), 2])), named(Kind::Lock, exe.display()));
        let lock = libc::F_SETLKW as u64;
        assert_eq!(thing(call(libc::SYS_fcntl, [of(&file), lock])), named(Kind::Lock, exe.display()));
        assert_eq!(thing(call(libc::SYS_fcntl, [of(&file), 1])), named(Kind::Call, "fcntl"));
    }

    #[test]
    fn what_is_named_in_memory_is_read_there() {
        let path = CString::new("/some/where").expect("without a zero");
        let open = |address| thing(call(libc::SYS_openat, [0, address]));
        assert_eq!(open(path.as_ptr() as u64), named(Kind::File, "/some/where"));
        assert_eq!(open(1), unnamed(Kind::File), "there is nothing");

        let mut address = [0u8; 16];
        address[..8].copy_from_slice(&[2, 0, 0x01, 0xbb, 10, 0, 0, 1]);
        assert_eq!(u16::from_ne_bytes([2, 0]) == 2, cfg!(target_endian = "little"));
        let connect = |at: u64| thing(call(libc::SYS_connect, [u64::MAX, at, 16]));
        assert_eq!(connect(address.as_ptr() as u64), named(Kind::Socket, "10.0.0.1:443"));
        assert_eq!(connect(1), named(Kind::Call, "connect"));
        let send = call(libc::SYS_sendto, [u64::MAX, 0, 0, 0, address.as_ptr() as u64, 16]);
        assert_eq!(thing(send), named(Kind::Socket, "10.0.0.1:443"));
    }

    #[test]
    fn who_polls_waits_for_its_files_or_for_a_time() {
        let (reader, writer) = io::pipe().expect("there are pipes");
        let (pair, _other) = UnixStream::pair().expect("there are sockets");
        let poll = |files: &[RawFd]| {
            let entry = |fd: &RawFd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 };
            let entries: Vec<_> = files.iter().map(entry).collect();
            thing(call(libc::SYS_ppoll, [entries.as_ptr() as u64, entries.len() as u64]))
        };
        let select = |files: &[RawFd], count: u64| {
            let mut set = [0u64; 16];
            files.iter().for_each(|fd| set[*fd as usize / 64] |= 1 << (fd % 64));
            thing(call(libc::SYS_pselect6, [count, 0, set.as_ptr() as u64]))
        };
        let [one, two, three] = [reader.as_raw_fd(), writer.as_raw_fd(), pair.as_raw_fd()];
        for (files, expected) in [
            (&[one][..], unnamed(Kind::Pipe)),
            (&[one, two], unnamed(Kind::Pipe)),
            (&[one, three], named(Kind::Poll, "2 files")),
            (&[], unnamed(Kind::Sleep)),
        ] {
            assert_eq!(poll(files), expected, "{files:?}");
            assert_eq!(select(files, 1024), expected, "{files:?}");
        }
        assert_eq!(poll(&[-1, three]), unnamed(Kind::Socket), "an entry that is passed over");
        assert_eq!(select(&[one], 0), unnamed(Kind::Sleep));
        assert_eq!(thing(call(libc::SYS_ppoll, [1, 3])), unnamed(Kind::Poll), "there is nothing");
        assert_eq!(thing(call(libc::SYS_pselect6, [64, 1])), unnamed(Kind::Poll));
    }

    #[test]
    fn who_waits_for_events_waits_for_the_files_that_are_watched() {
        let (reader, _writer) = io::pipe().expect("there are pipes");
        let epoll = event::epoll::create(event::epoll::CreateFlags::CLOEXEC).expect("there is epoll");
        let wait = || thing(call(libc::SYS_epoll_pwait, [of(&epoll)]));
        assert_eq!(wait(), unnamed(Kind::Sleep));
        let (data, flags) = (event::epoll::EventData::new_u64(0), event::epoll::EventFlags::IN);
        event::epoll::add(&epoll, &reader, data, flags).expect("it can be watched");
        assert_eq!(wait(), unnamed(Kind::Pipe));
        assert_eq!(thing(call(libc::SYS_read, [of(&epoll)])), unnamed(Kind::Pipe));
        assert_eq!(thing(call(libc::SYS_epoll_pwait, [u64::MAX])), unnamed(Kind::Poll));
    }

    #[test]
    fn other_calls_are_known_by_their_names() {
        for (number, expected) in [
            (libc::SYS_clock_nanosleep, unnamed(Kind::Sleep)),
            (libc::SYS_futex, unnamed(Kind::Lock)),
            (libc::SYS_semop, unnamed(Kind::Lock)),
            (libc::SYS_wait4, unnamed(Kind::Child)),
            (libc::SYS_waitid, unnamed(Kind::Child)),
            (libc::SYS_io_uring_enter, named(Kind::Call, "io_uring_enter")),
            (100_000, named(Kind::Call, "number 100000")),
        ] {
            assert_eq!(thing(call(number, [0])), expected, "{number}");
        }
    }
}
