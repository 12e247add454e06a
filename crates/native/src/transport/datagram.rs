//! Datagram sockets: UDP and Unix.

use super::address;
use super::base::{Kind, Transport, in_context};
use super::ending::{call_connection_lost, fatal_error};
use super::file::{Extra, File, extra_of_socket};
use super::info::{file_names, file_object, finalize_as_transport};
use super::input::{self, RECEIVE};
use super::opening;
use super::output::{Data, Datagram, DatagramQueue, Output, SEND};
use super::readiness::start_writing;
use super::sending::{QUIET_LOST_WRITES, count_lost_write, is_drained, maybe_pause_protocol};
use crate::errors::os_error;
use crate::event_loop::LoopCore;
use crate::ffi::{self, Arguments, FastMethod, GilCell, borrow_fd, name};
use crate::private;
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use pyo3::{PyTraverseError, PyVisit};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrAny};
use std::ffi::CStr;

/// The number of datagrams that one event may bring, where several wait. (With one for each event, each would cost a
/// poll.)
const MOST_AT_ONCE: usize = 32;

static KIND: Kind = Kind {
    name: "DatagramTransport",
    asyncio: &private::DATAGRAM_TRANSPORT,
    file: "socket",
    read: |slf| read_ready(slf.cast()?),
    write: |slf| write_ready(slf.cast()?),
};

struct Peers {
    /// The address given to `create_datagram_endpoint`: the only one to send to. None: not connected.
    address: Option<Py<PyAny>>,
    /// The last address that sent or was sent to, in both forms: most answers go where the question came from.
    last: Option<(SocketAddrAny, Py<PyAny>)>,
    /// True if the last event brought more than one datagram.
    busy: bool,
}

/// A datagram socket and its protocol: what `create_datagram_endpoint` gives.
#[pyclass(frozen, extends = Transport, module = "everloop._native")]
pub struct DatagramTransport {
    /// None: addresses are for Python's `socket` to translate.
    family: Option<AddressFamily>,
    /// True if the socket is connected: the kernel knows its peer.
    connected: bool,
    peers: GilCell<Peers>,
}

finalize_as_transport!(DatagramTransport);
file_names!(DatagramTransport, _sock, _sock_fd);

pub fn install(py: Python<'_>) -> PyResult<()> {
    ffi::install_finalizer::<DatagramTransport>(&py.get_type::<DatagramTransport>());
    ffi::install::<SendTo>(py)
}

#[pymethods]
impl DatagramTransport {
    /// For the loop: makes the transport of a socket object, and tells the protocol in the next turn.
    #[staticmethod]
    #[pyo3(signature = (r#loop, sock, protocol, address=None, waiter=None, extra=None))]
    fn _open<'py>(
        r#loop: &Bound<'py, LoopCore>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        let extra = extra_of_socket(sock, extra)?;
        let connected = extra.get_item("peername")?.is_some_and(|peer| peer.is_truthy().unwrap_or(false));
        let family = sock.getattr("family")?.extract().ok().map(AddressFamily::from_raw);
        let fd = sock.call_method0("fileno")?.extract()?;
        let output = Output::Datagrams(DatagramQueue::default());
        let base = Transport::new(&KIND, r#loop, fd, File::hold(sock)?, Extra::Known(extra.unbind()), output, None)?;
        let address = match address {
            Some(address) if address.is_truthy()? => Some(address.unbind()),
            _ => None,
        };
        let peers = GilCell::new(Peers { address, last: None, busy: false });
        let this = Self { family: family.filter(|family| address::is_known(*family)), connected, peers };
        let transport = Bound::new(sock.py(), PyClassInitializer::from(base).add_subclass(this))?;
        opening::open(transport.as_super(), protocol, waiter)?;
        Ok(transport)
    }

    #[getter]
    fn _address(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.peers.with(py, |peers| peers.address.as_ref().map(|address| address.clone_ref(py)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.peers.traverse(|peers| {
            visit.call(&peers.address)?;
            visit.call(peers.last.as_ref().map(|(_, address)| address))
        })
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        let garbage = slf.get().peers.with(slf.py(), |peers| (peers.address.take(), peers.last.take()));
        drop(garbage);
    }
}

// ---- receiving

fn read_ready(slf: &Bound<'_, DatagramTransport>) -> PyResult<()> {
    let (py, this, base) = (slf.py(), slf.get(), slf.as_super().get());
    // If the last event brought only one datagram, most likely no more than one waits now.
    let most = if this.peers.with(py, |peers| std::mem::take(&mut peers.busy)) { MOST_AT_ONCE } else { 2 };
    let mut count = 0;
    while count < most {
        // Its methods may have closed or paused the transport, or set another protocol.
        let Some((protocol, _)) = base.receiver(py).filter(|_| base.is_open_for_reading(py)) else { break };
        match receive(slf)? {
            Received::Datagram(data, address) => {
                count += 1;
                protocol.call_method1(name!(py, "datagram_received"), (data, address))?;
            }
            Received::Nothing => break,
            Received::Failed(error) => {
                protocol.call_method1(name!(py, "error_received"), (error.into_value(py),))?;
                break;
            }
        }
    }
    if count > 1 {
        this.peers.with(py, |peers| peers.busy = true);
    }
    Ok(())
}

enum Received<'py> {
    Datagram(Bound<'py, PyBytes>, Bound<'py, PyAny>),
    Nothing,
    /// The error that `error_received` is told: an ICMP message, for one.
    Failed(PyErr),
}

fn receive<'py>(slf: &Bound<'py, DatagramTransport>) -> PyResult<Received<'py>> {
    let (py, base) = (slf.py(), slf.as_super().get());
    if slf.get().family.is_none() {
        return receive_through_python(slf);
    }
    let mut from = None;
    let received = input::through_scratch(py, |memory| {
        let ((filled, _), _, address) = net::recvfrom(borrow_fd(base.fd), memory, RECEIVE)?;
        from = address;
        Ok(filled.len())
    })?;
    match received {
        Ok(data) => Ok(Received::Datagram(data, sender(slf, from)?)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
        Err(error) => Ok(Received::Failed(os_error(error))),
    }
}

/// The Python form of an address, which is the same object as long as it is the same address.
fn sender<'py>(slf: &Bound<'py, DatagramTransport>, from: Option<SocketAddrAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let Some(from) = from else { return Ok(py.None().into_bound(py)) };
    let known = slf.get().peers.with(py, |peers| match &peers.last {
        Some((last, address)) if *last == from => Some(address.bind(py).clone()),
        _ => None,
    });
    if let Some(address) = known {
        return Ok(address);
    }
    let address = address::to_python(py, &from)?;
    remember(slf, from, &address);
    Ok(address)
}

fn remember(slf: &Bound<'_, DatagramTransport>, translated: SocketAddrAny, address: &Bound<'_, PyAny>) {
    let new = address.clone().unbind();
    let before = slf.get().peers.with(slf.py(), |peers| peers.last.replace((translated, new)));
    drop(before);
}

fn receive_through_python<'py>(slf: &Bound<'py, DatagramTransport>) -> PyResult<Received<'py>> {
    let py = slf.py();
    let Some(socket) = file_object(slf.as_super())? else { return Ok(Received::Nothing) };
    match socket.call_method1("recvfrom", (input::LARGE,)).and_then(|pair| pair.extract()) {
        Ok((data, address)) => Ok(Received::Datagram(data, address)),
        Err(error) if would_block(py, &error) => Ok(Received::Nothing),
        Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(Received::Failed(error)),
        Err(error) => {
            fatal_error(slf.as_super(), error, "Fatal read error on datagram transport")?;
            Ok(Received::Nothing)
        }
    }
}

fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

// ---- sending

/// `transport.sendto(data, addr=None)`.
pub struct SendTo;

impl FastMethod for SendTo {
    const NAME: &'static CStr = c"sendto";
    const DOC: &'static CStr = c"sendto($self, data, addr=None)\n--\n\nSend a datagram, at once if the kernel takes it.\n\nArgs:\n    data: Bytes, bytearray or memoryview; may be empty.\n    addr: Where to; None for a connected socket.\n\nRaises:\n    TypeError: data is of another type.\n    ValueError: another address than that of a connected socket.\n\nThe trap: errors of the network go to the protocol's error_received, not to the caller.\n";
    type Class = DatagramTransport;

    fn call<'py>(slf: Borrowed<'_, 'py, DatagramTransport>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
        let [data, address] = arguments.named(["data", "addr"], "sendto")?;
        let data =
            data.ok_or_else(|| PyTypeError::new_err("sendto() missing 1 required positional argument: 'data'"))?;
        send_to(&slf, &data, address.filter(|address| !address.is_none()).as_deref())?;
        Ok(slf.py().None())
    }
}

fn send_to(
    slf: &Bound<'_, DatagramTransport>,
    object: &Bound<'_, PyAny>,
    address: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let (py, this, transport) = (slf.py(), slf.get(), slf.as_super());
    let base = transport.get();
    Data::check(object)?;

    // A connected transport sends to one address only.
    let only = this.peers.with(py, |peers| peers.address.as_ref().map(|only| only.bind(py).clone()));
    if let (Some(only), Some(address)) = (&only, address)
        && !address.eq(only)?
    {
        return Err(PyValueError::new_err(format!("Invalid address: must be None or {}", only.str()?)));
    }
    let address = only.as_ref().or(address);
    let data = match Data::new(object) {
        Ok(data) => data,
        Err(error) => return fatal_error(transport, error, "Fatal write error on datagram transport"),
    };
    // As with asyncio, one without a fixed address sends until its protocol was told of the end.
    if base.is_closed(py) || (only.is_some() && base.is_lost(py)) {
        return write_lost(slf);
    }
    let translated = address.and_then(|address| translate(slf, address));
    if base.body.with(py, |body| body.output.is_empty()) {
        match send(slf, data.bytes(), object, address, translated.as_ref()) {
            Ok(()) => return Ok(()),
            Err(error) if would_block(py, &error) => start_writing(transport)?,
            Err(error) => return send_failed(slf, error),
        }
    }

    // Data that waits must not change.
    let kept = match object.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        Err(_) => PyBytes::new(py, data.bytes()),
    };
    let address = address.map_or_else(|| py.None(), |address| address.clone().unbind());
    let datagram = Datagram { data: kept.unbind(), address, translated };
    base.body.with(py, |body| body.output.datagrams().map(|queue| queue.push(py, datagram)));
    maybe_pause_protocol(transport)
}

/// The kernel's form of an address.
fn translate(slf: &Bound<'_, DatagramTransport>, address: &Bound<'_, PyAny>) -> Option<SocketAddrAny> {
    let py = slf.py();
    let family = slf.get().family?;
    let known = slf.get().peers.with(py, |peers| match &peers.last {
        Some((translated, last)) if last.is(address) => Some(translated.clone()),
        _ => None,
    });
    if known.is_some() {
        return known;
    }
    let translated = address::from_python(family, address)?;
    remember(slf, translated.clone(), address);
    Some(translated)
}

/// Sends one datagram now.
fn send(
    slf: &Bound<'_, DatagramTransport>,
    data: &[u8],
    object: &Bound<'_, PyAny>,
    address: Option<&Bound<'_, PyAny>>,
    translated: Option<&SocketAddrAny>,
) -> PyResult<()> {
    let (this, base) = (slf.get(), slf.as_super().get());
    if this.connected {
        return net::send(borrow_fd(base.fd), data, SEND).map(drop).map_err(os_error);
    }
    if let Some(translated) = translated {
        return net::sendto(borrow_fd(base.fd), data, SEND, translated).map(drop).map_err(os_error);
    }
    if address.is_none() {
        match net::send(borrow_fd(base.fd), data, SEND) {
            // Python's socket has the words for it.
            Err(Errno::DESTADDRREQ | Errno::NOTCONN) => {}
            // A pair of sockets is connected though neither has a name.
            sent => return sent.map(drop).map_err(os_error),
        }
    }
    // A name to resolve, or a mistake: Python's socket finds out.
    let Some(socket) = file_object(slf.as_super())? else { return Ok(()) };
    socket.call_method1("sendto", (object, address)).map(drop)
}

fn send_failed(slf: &Bound<'_, DatagramTransport>, error: PyErr) -> PyResult<()> {
    let py = slf.py();
    if !error.is_instance_of::<PyOSError>(py) {
        return fatal_error(slf.as_super(), error, "Fatal write error on datagram transport");
    }
    let Some(protocol) = slf.as_super().get().protocol(py) else { return Ok(()) };
    let error = error.into_value(py);
    in_context(slf.as_super(), || protocol.call_method1(name!(py, "error_received"), (error,)).map(drop))
}

#[cold]
fn write_lost(slf: &Bound<'_, DatagramTransport>) -> PyResult<()> {
    count_lost_write(slf.as_super(), QUIET_LOST_WRITES, "socket.send() raised exception.")
}

fn write_ready(slf: &Bound<'_, DatagramTransport>) -> PyResult<()> {
    let (py, transport) = (slf.py(), slf.as_super());
    let base = transport.get();
    while let Some(datagram) = base.body.with(py, |body| body.output.datagrams()?.pop(py)) {
        let data = datagram.data.bind(py);
        let address = Some(datagram.address.bind(py)).filter(|address| !address.is_none());
        match send(slf, data.as_bytes(), data.as_any(), address, datagram.translated.as_ref()) {
            Ok(()) => {}
            Err(error) if would_block(py, &error) => {
                base.body.with(py, |body| body.output.datagrams().map(|queue| queue.restore(py, datagram)));
                break;
            }
            Err(error) => return send_failed(slf, error),
        }
    }
    let closes = is_drained(transport)? && base.body.with(py, |body| body.closing);
    if closes { call_connection_lost(transport) } else { Ok(()) }
}
