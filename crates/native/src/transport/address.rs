//! Socket addresses, between the kernel's form and Python's.

use crate::ffi::{address_bytes, borrow_fd};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, getsockname};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// The address families whose addresses are translated here; Python's `socket` knows the others.
pub fn is_known(family: AddressFamily) -> bool {
    [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX].contains(&family)
}

/// The address that a socket is bound to.
pub fn of_socket(fd: RawFd) -> Option<SocketAddrAny> {
    getsockname(borrow_fd(fd)).ok().filter(|address| is_known(address.address_family()))
}

/// As Python's `socket` would show it. Only for a family that is known.
pub fn to_python<'py>(py: Python<'py>, address: &SocketAddrAny) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(v4) = SocketAddrV4::try_from(address.clone()) {
        return Ok((v4.ip().to_string(), v4.port()).into_pyobject(py)?.into_any());
    }
    if let Ok(v6) = SocketAddrV6::try_from(address.clone()) {
        let tuple = (ipv6_text(v6.ip()), v6.port(), u32::from_be(v6.flowinfo()), v6.scope_id());
        return Ok(tuple.into_pyobject(py)?.into_any());
    }
    match address.address_family() {
        AddressFamily::UNIX => unix_to_python(py, address),
        _ => Ok(py.None().into_bound(py)),
    }
}

/// Only what the C library writes differently from Rust: an IPv4 address in the last four bytes of an IPv6 address.
fn ipv6_text(ip: &Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            format!("::{}", Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => ip.to_string(),
    }
}

/// Not through `SocketAddrUnix`: for that an address without a name has one, and a path of 108 bytes, which needs no
/// NUL, is a reason to panic (rustix 1.1.6).
fn unix_to_python<'py>(py: Python<'py>, address: &SocketAddrAny) -> PyResult<Bound<'py, PyAny>> {
    let name = address_bytes(address).get(size_of::<u16>()..).unwrap_or_default();
    if name.first() == Some(&0) {
        return Ok(PyBytes::new(py, name).into_any());
    }
    let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
    py.import("os")?.call_method1("fsdecode", (PyBytes::new(py, path),))
}

/// An address of a socket of `family` as Python writes it. None: for Python's `socket` to find out, or to refuse.
pub fn from_python(family: AddressFamily, address: &Bound<'_, PyAny>) -> Option<SocketAddrAny> {
    if family == AddressFamily::UNIX {
        return unix_from_python(address).ok();
    }
    let tuple = address.cast_exact::<PyTuple>().ok()?;
    let host = tuple.get_borrowed_item(0).ok()?;
    let ip: IpAddr = host.cast_exact::<PyString>().ok()?.to_str().ok()?.parse().ok()?;
    let number = |index: usize| tuple.get_borrowed_item(index).ok()?.extract::<u32>().ok();
    let port = u16::try_from(number(1)?).ok()?;
    match (ip, tuple.len()) {
        (IpAddr::V4(ip), 2) if family == AddressFamily::INET => Some(SocketAddr::from((ip, port)).into()),
        (IpAddr::V6(ip), 2) if family == AddressFamily::INET6 => Some(SocketAddr::from((ip, port)).into()),
        (IpAddr::V6(ip), 4) if family == AddressFamily::INET6 => {
            let flow = number(2).filter(|flow| *flow <= 0xf_ffff)?;
            Some(SocketAddrV6::new(ip, port, flow.to_be(), number(3)?).into())
        }
        _ => None,
    }
}

fn unix_from_python(address: &Bound<'_, PyAny>) -> PyResult<SocketAddrAny> {
    let path: Vec<u8> = match address.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().to_vec(),
        Err(_) => address.py().import("os")?.call_method1("fsencode", (address,))?.extract()?,
    };
    let unix = match path.split_first() {
        Some((0, name)) => SocketAddrUnix::new_abstract_name(name),
        Some(_) => SocketAddrUnix::new(path),
        None => return Err(PyTypeError::new_err("an empty address")),
    };
    unix.map(SocketAddrAny::from).map_err(crate::errors::os_error)
}
