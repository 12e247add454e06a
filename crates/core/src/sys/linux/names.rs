//! The names of what descriptors and numbers stand for.

use crate::sys::thing::{Kind, Thing};
use std::ffi::c_int;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where name servers listen.
const DNS_PORT: u16 = 53;
/// Parts of the paths of sockets at which a name service of this machine listens: nscd and systemd-resolved.
const NAME_SERVICES: [&str; 2] = ["/nscd/", "/io.systemd.Resolve"];
/// Tables of connections that are longer than this are not read to their end.
const LONGEST_TABLE: u64 = 1 << 20;

/// An address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Ip(SocketAddr),
    /// A path; one that begins with "@" is no file. Empty: it has no name.
    Unix(String),
}

impl Address {
    /// Reads a `sockaddr`. None: it is of another family.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let family = c_int::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
        match family {
            libc::AF_INET => {
                let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
                Some(Self::Ip((Ipv4Addr::from(address), port()?).into()))
            }
            libc::AF_INET6 => {
                let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
                Some(Self::Ip((Ipv6Addr::from(address).to_canonical(), port()?).into()))
            }
            libc::AF_UNIX => {
                let path = &bytes[2..];
                let is_abstract = path.len() > 1 && path[0] == 0;
                let name = if is_abstract { &path[1..] } else { path };
                let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or(name));
                Some(Self::Unix(if is_abstract && !name.is_empty() { format!("@{name}") } else { name.into() }))
            }
            _ => None,
        }
    }

    fn is_name_service(&self) -> bool {
        match self {
            Self::Ip(address) => address.port() == DNS_PORT,
            Self::Unix(path) => NAME_SERVICES.iter().any(|part| path.contains(part)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(to),
            Self::Unix(path) => path.fmt(to),
        }
    }
}

/// A socket whose peer has this address.
pub fn socket_to(peer: Address) -> Thing {
    let kind = if peer.is_name_service() { Kind::Dns } else { Kind::Socket };
    let name = peer.to_string();
    Thing::new(kind, (!name.is_empty()).then_some(name))
}

/// The thing behind a descriptor of this process; None: there is none.
pub fn descriptor(number: i32) -> Option<Thing> {
    let name = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    let name = name.to_string_lossy();
    Some(match name.split_once(":[") {
        Some(("socket", inode)) => socket(number, inode.trim_end_matches(']')),
        Some(("pipe", _)) => Thing::new(Kind::Pipe, None),
        Some(("pidfd", _) | ("anon_inode", "pidfd]")) => Thing::new(Kind::Child, process_behind(number)),
        _ => match name.strip_prefix("anon_inode:") {
            Some("[eventpoll]") => any_of(watched(number)),
            Some(other) => Thing::new(Kind::Call, other.trim_matches(['[', ']']).to_owned()),
            None => Thing::new(Kind::File, name.into_owned()),
        },
    })
}

/// The thing that is waited for with several descriptors; None: they cannot be told. Without any it is a sleep.
pub fn any_of(descriptors: Option<Vec<i32>>) -> Thing {
    let Some(descriptors) = descriptors else { return Thing::new(Kind::Poll, None) };
    match descriptors[..] {
        [] => Thing::new(Kind::Sleep, None),
        [only] => descriptor(only).unwrap_or_else(|| Thing::new(Kind::Poll, None)),
        _ => {
            let mut things = descriptors.iter().filter_map(|number| descriptor(*number));
            let first = things.next().filter(|first| things.all(|other| other == *first));
            first.unwrap_or_else(|| Thing::new(Kind::Poll, format!("{} files", descriptors.len())))
        }
    }
}

/// The descriptors that an epoll watches; None: the kernel does not tell.
pub fn watched(epoll: i32) -> Option<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).ok()?;
    let number = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok();
    Some(text.lines().filter_map(number).collect())
}

/// The name and number of the process that a descriptor stands for; None: it has ended, or the kernel does not tell.
fn process_behind(descriptor: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    process(text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())?)
}

/// A socket, by its descriptor and its number.
fn socket(number: i32, inode: &str) -> Thing {
    let peer = address(number, libc::getpeername).or_else(|| connecting(inode));
    // One that listens has an address of its own.
    let end = peer
        .or_else(|| address(number, libc::getsockname).filter(|own| !matches!(own, Address::Ip(ip) if ip.port() == 0)));
    end.map_or_else(|| Thing::new(Kind::Socket, None), socket_to)
}

type AddressCall = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> c_int;

/// The address of one end of a socket.
fn address(number: i32, ask: AddressCall) -> Option<Address> {
    let mut bytes = [0u8; size_of::<libc::sockaddr_storage>()];
    let mut length = bytes.len() as libc::socklen_t;
    // SAFETY: `bytes` is a valid place of `length` bytes for the result; the kernel answers a number that stands for
    // no socket, or for none any more, with an error. (rustix wants a descriptor that stays open.)
    let failed = unsafe { ask(number, bytes.as_mut_ptr().cast(), &raw mut length) };
    if failed != 0 {
        return None;
    }
    Address::parse(bytes.get(..length as usize)?)
}

/// The address to which a socket is being connected: it has no peer yet.
fn connecting(inode: &str) -> Option<Address> {
    ["tcp", "tcp6"].iter().find_map(|table| {
        use std::io::{BufRead, BufReader, Read};
        let table = fs::File::open(format!("/proc/self/net/{table}")).ok()?;
        let lines = BufReader::new(table.take(LONGEST_TABLE)).lines();
        lines.map_while(Result::ok).find_map(|line| peer_of(&line, inode))
    })
}

/// The peer in a line of proc_net(5)'s table of connections, if it is of the socket with this number and is being
/// connected.
fn peer_of(line: &str, inode: &str) -> Option<Address> {
    const CONNECTING: &str = "02";
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, _, peer, CONNECTING, _, _, _, _, _, found, ..] = words[..] else { return None };
    if found != inode {
        return None;
    }
    let (address, port) = peer.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of four bytes, each as a number of this machine.
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(Address::Ip((ip, port).into()))
}

/// The name and number of a process; None: any child.
pub fn process(number: i32) -> Option<String> {
    if number <= 0 {
        return None;
    }
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok();
    Some(name.map_or_else(|| number.to_string(), |name| format!("{number} ({})", name.trim_end())))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The bytes of an address of this family.
    fn bytes(family: c_int, rest: &[u8]) -> Vec<u8> {
        [&(family as u16).to_ne_bytes(), rest].concat()
    }

    #[test]
    fn a_descriptor_that_stands_for_a_process_is_named_by_it() {
        let this = std::process::id() as i32;
        // SAFETY: it takes two numbers, and answers with a descriptor that is ours, or with -1 where there is none.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, this, 0) } as i32;
        if opened >= 0 {
            assert_eq!(descriptor(opened), Some(Thing::new(Kind::Child, process(this))));
        }
    }

    #[test]
    fn an_address_is_read_whatever_its_family() {
        let mapped = [&[0, 80, 0, 0, 0, 0][..], &[0; 10], &[0xff, 0xff, 10, 0, 0, 1]].concat();
        let local = [&[0, 80, 0, 0, 0, 0][..], &[0; 15], &[1], &[0; 4]].concat();
        for (bytes, expected) in [
            (bytes(libc::AF_INET, &[1, 0xbb, 10, 0, 0, 1, 0, 0]), Some("10.0.0.1:443")),
            (bytes(libc::AF_INET, &[1, 0xbb, 10]), None),
            (bytes(libc::AF_INET6, &local), Some("[::1]:80")),
            (bytes(libc::AF_INET6, &mapped), Some("10.0.0.1:80")),
            (bytes(libc::AF_INET6, &mapped[..9]), None),
            (bytes(libc::AF_UNIX, b"/run/x\0rest"), Some("/run/x")),
            (bytes(libc::AF_UNIX, b"\0hidden"), Some("@hidden")),
            (bytes(libc::AF_UNIX, b""), Some("")),
            (bytes(libc::AF_UNIX, b"\0\0\0"), Some("")),
            (bytes(libc::AF_NETLINK, &[0; 10]), None),
            (vec![2], None),
            (vec![], None),
        ] {
            let found = Address::parse(&bytes).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn who_asks_for_an_address_is_known_by_whom_it_asks() {
        for (peer, kind) in [("10.0.0.2:53", Kind::Dns), ("[::1]:53", Kind::Dns), ("10.0.0.2:443", Kind::Socket)] {
            let address = peer.parse().expect("it is one");
            assert_eq!(socket_to(Address::Ip(address)), Thing::new(kind, peer.to_owned()));
        }
        for (peer, kind) in [
            ("/var/run/nscd/socket", Kind::Dns),
            ("/run/systemd/resolve/io.systemd.Resolve", Kind::Dns),
            ("/run/postgresql/.s.PGSQL.5432", Kind::Socket),
        ] {
            assert_eq!(socket_to(Address::Unix(peer.to_owned())), Thing::new(kind, peer.to_owned()));
        }
    }

    #[test]
    fn whom_a_socket_is_being_connected_to_stands_in_the_table_of_connections() {
        let line = |peer: &str, state: &str| {
            format!("  3: 0100007F:9C40 {peer} {state} 00000001:00000000 01:0000 00000000  0  0 4711 2 00")
        };
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let four = format!("{}:01BB", word([10, 0, 0, 1]));
        let six = format!("{}:0050", [[0; 4], [0; 4], [0; 4], [0, 0, 0, 1]].map(word).concat());
        for (line, inode, expected) in [
            (line(&four, "02"), "4711", Some("10.0.0.1:443")),
            (line(&six, "02"), "4711", Some("[::1]:80")),
            (line(&four, "01"), "4711", None), // it is connected
            (line(&four, "02"), "471", None),
            (line("nonsense", "02"), "4711", None),
            (line("0A:01BB", "02"), "4711", None),
            ("  sl  local_address rem_address   st".to_owned(), "4711", None),
        ] {
            let found = peer_of(&line, inode).map(|peer| peer.to_string());
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_process_has_its_number_and_its_name() {
        let own = process(std::process::id() as i32).expect("it runs");
        assert!(own.starts_with(&format!("{} (", std::process::id())) && own.ends_with(')'), "{own}");
        assert_eq!(process(i32::MAX), Some(i32::MAX.to_string()), "it is gone");
        assert_eq!(process(-1), None);
    }
}
