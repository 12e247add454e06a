//! What `EVERLOOP_LISTEN` says: the addresses at which this process can be looked into.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest path of a socket, in bytes: the kernel takes no more.
const LONGEST: usize = 107;

const FORMS: &str = "give it the path of a Unix socket (/run/app/{pid}.sock), an address of this machine alone \
                     (127.0.0.1:9123, [::1]:9123), or several of them with commas between";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Path(PathBuf),
    /// `open` is true if the program has said that machines may ask which are not this one.
    Net {
        address: SocketAddr,
        open: bool,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "unix:{}", path.display()),
            Self::Net { address, open } => write!(formatter, "{}{address}", if *open { "public:" } else { "" }),
        }
    }
}

/// Reads a list of addresses. The error says what is wrong, and what would be right.
pub fn parse(text: &str) -> Result<Vec<Address>, String> {
    text.split(',').map(|one| parse_one(one.trim())).collect()
}

fn parse_one(text: &str) -> Result<Address, String> {
    if text.starts_with('/') || text.starts_with("unix:") {
        return parse_path(text.strip_prefix("unix:").unwrap_or(text));
    }
    let (net, open) = text.strip_prefix("public:").map_or((text, false), |net| (net, true));
    let address = match net.strip_prefix("localhost:").map(str::parse::<u16>) {
        Some(Ok(port)) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Some(Err(_)) => None,
        None => net.parse().ok(),
    };
    let address = address.ok_or_else(|| format!("{text:?} is no address: {FORMS}"))?;
    if !open && !address.ip().is_loopback() {
        return Err(format!(
            "{address} can be reached from other machines, and whoever reaches it is told how this program does. \
             If you mean that, say public:{address}: it answers /live and /metrics, and nothing else"
        ));
    }
    Ok(Address::Net { address, open })
}

fn parse_path(text: &str) -> Result<Address, String> {
    let path = text.replace("{pid}", &std::process::id().to_string());
    if !path.starts_with('/') {
        return Err(format!("the path {path:?} does not begin with /: {FORMS}"));
    }
    if path.len() > LONGEST {
        return Err(format!(
            "the path {path} has {} bytes, and that of a socket may have {LONGEST}: take a shorter one",
            path.len()
        ));
    }
    if path.contains('\0') || path.ends_with('/') {
        return Err(format!("{path:?} is no path of a file: {FORMS}"));
    }
    Ok(Address::Path(path.into()))
}

impl Address {
    /// Refuses a path at which no socket should be made. Makes and removes nothing.
    pub fn check(&self) -> Result<(), String> {
        let Self::Path(path) = self else { return Ok(()) };
        check_directory(path.parent().unwrap_or(Path::new("/")))?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => Err(format!(
                "{} is there already, and is no socket: everloop replaces only sockets of its own",
                path.display()
            )),
            Ok(found) if found.uid() != own_user() => {
                Err(format!("{} is there already, and belongs to another user", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Whoever may write to the directory could put a socket of theirs in the place of ours.
fn check_directory(directory: &Path) -> Result<(), String> {
    let name = directory.display();
    let found =
        fs::metadata(directory).map_err(|error| format!("the directory {name} cannot be looked at: {error}"))?;
    if !found.is_dir() {
        return Err(format!("{name} is no directory"));
    }
    if found.uid() != own_user() && found.uid() != 0 {
        return Err(format!("the directory {name} belongs to another user: take one of your own"));
    }
    let (shared, sticky) = (found.mode() & 0o022 != 0, found.mode() & 0o1000 != 0);
    if shared && !sticky {
        return Err(format!(
            "others may write to the directory {name} (mode {:o}), and could put a socket of theirs in the place of \
             this one: take a directory that only you may write to (chmod go-w), or one with the sticky bit, as /tmp",
            found.mode() & 0o7777
        ));
    }
    Ok(())
}

pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}
