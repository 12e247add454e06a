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
        _ => match name.strip_prefix("anon_inode:") {
            Some("[eventpoll]") => any_watched(number),
            Some(other) => Thing::new(Kind::Call, other.trim_matches(['[', ']']).to_owned()),
            None => Thing::new(Kind::File, name.into_owned()),
        },
    })
}

/// Whoever reads an epoll, or polls it, waits for what it watches.
fn any_watched(number: i32) -> Thing {
    let count = watched(number).map(|watched| format!("{} files", watched.len()));
    Thing::new(Kind::Poll, count)
}

/// The descriptors that an epoll watches; None: the kernel does not tell.
pub fn watched(epoll: i32) -> Option<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).ok()?;
    let number = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok();
    Some(text.lines().filter_map(number).collect())
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
