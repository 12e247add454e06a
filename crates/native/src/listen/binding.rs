//! Sockets that listen, and the connections that come in there.

use super::address::{Address, own_user};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many connections may wait to be accepted.
const BACKLOG: i32 = 64;

pub enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A socket that listens, and the address of it.
pub struct Binding {
    pub socket: Socket,
    pub address: Address,
    /// The file of a Unix socket: where it is, and the numbers by which it is known again.
    file: Option<(PathBuf, u64, u64)>,
    descriptor: Option<Descriptor>,
}

/// A descriptor, and what tells whether its number is still that of the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub number: RawFd,
    pub node: u64,
}

impl Descriptor {
    /// None: it is closed.
    pub fn of(number: RawFd) -> Option<Self> {
        let found = rustix::fs::fstat(crate::ffi::borrow_fd(number)).ok()?;
        let is_socket = rustix::fs::FileType::from_raw_mode(found.st_mode).is_socket();
        is_socket.then_some(Self { number, node: found.st_ino })
    }

    /// True unless somebody has closed it, and its number may be another one's.
    pub fn is_there(self) -> bool {
        Self::of(self.number) == Some(self)
    }
}

pub trait Connection: Read + Write + AsRawFd + Send {
    /// Reads and writes end after so long.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
    /// Nothing more is written.
    fn finish(&self);
}

impl Connection for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience)).and(self.set_write_timeout(Some(patience)))
    }

    fn finish(&self) {
        let _gone = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Connection for UnixStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience)).and(self.set_write_timeout(Some(patience)))
    }

    fn finish(&self) {
        let _gone = self.shutdown(std::net::Shutdown::Write);
    }
}

impl Binding {
    pub fn new(address: &Address) -> Result<Self, String> {
        address.check()?;
        match address {
            Address::Path(path) => {
                remove_dead(path)?;
                let socket = bind_path(path).map_err(|error| format!("{address} cannot be had: {error}"))?;
                let found = fs::symlink_metadata(path).map_err(|error| format!("{address} is gone: {error}"))?;
                let file = Some((path.clone(), found.dev(), found.ino()));
                let descriptor = Descriptor::of(socket.as_raw_fd());
                Ok(Self { socket: Socket::Unix(socket), address: address.clone(), file, descriptor })
            }
            Address::Net { address: net, open } => {
                let socket = TcpListener::bind(net).map_err(|error| match error.kind() {
                    io::ErrorKind::AddrInUse => format!("{net} is taken by another process, or by this one"),
                    _ => format!("{net} cannot be had: {error}"),
                })?;
                let address = socket.local_addr().unwrap_or(*net);
                let (address, descriptor) = (Address::Net { address, open: *open }, Descriptor::of(socket.as_raw_fd()));
                Ok(Self { socket: Socket::Tcp(socket), address, file: None, descriptor })
            }
        }
    }

    pub fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match &self.socket {
            Socket::Unix(socket) => Box::new(socket.accept()?.0),
            Socket::Tcp(socket) => Box::new(socket.accept()?.0),
        })
    }

    /// The descriptor, to be closed in a forked child.
    pub fn descriptor(&self) -> Option<Descriptor> {
        self.descriptor
    }

    /// Ends whoever waits in `accept`, and removes the file, if it is still ours.
    pub fn stop(&self) {
        let fd: BorrowedFd<'_> = match &self.socket {
            Socket::Unix(socket) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        };
        let _closed_behind_us = rustix::net::shutdown(fd, Shutdown::Both);
        if let Some((path, device, node)) = &self.file
            && let Ok(found) = fs::symlink_metadata(path)
            && (found.dev(), found.ino()) == (*device, *node)
        {
            let _gone = fs::remove_file(path);
        }
    }
}

/// Removes a socket of ours in which nobody listens any more: that of a process which was killed.
fn remove_dead(path: &Path) -> Result<(), String> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() || found.uid() != own_user() {
        return Ok(()); // refused by now
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| format!("{} cannot be replaced: {error}", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(format!(
            "{} is taken by another process, or by this one: {{pid}} in the path gives each process its own",
            path.display()
        )),
    }
}

/// Nobody can connect before `listen`, so nobody connects before the mode is set.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let ready = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    if let Err(error) = ready.and_then(|()| Ok(rustix::net::listen(&socket, BACKLOG)?)) {
        let _gone = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(socket))
}

/// True if the host that a request names leads to this machine by itself: a name of somebody else's, which they point
/// here, would let their page read what is answered.
pub fn is_own_name(host: &str) -> bool {
    let is_port = |text: &&str| text.parse::<u16>().is_ok();
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let is_address = || host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() || is_address()
}
