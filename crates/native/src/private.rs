//! Names of asyncio and the standard library that are not public, and that the native half leans on.
//!
//! An entry says what for, and what is lost where the name is missing; Python's half of the list is `everloop.private`,
//! which also tells a loss, once. tests/test_private.py has a test for each entry: that it is there and means what we
//! believe, and that only what it says is lost without it. Those of CPython's C interface stand in ffi/private.rs.

use crate::ffi::{self, Name, Version};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

const NO_CLAIM: &str = "isinstance() does not take everloop's own for one of asyncio's, which its code may ask for";
pub static SOCKET_TRANSPORT: Name =
    Name::new("asyncio.selector_events._SelectorSocketTransport", "what transports of sockets claim to be", NO_CLAIM);
pub static DATAGRAM_TRANSPORT: Name =
    Name::new("asyncio.selector_events._SelectorDatagramTransport", "what datagram transports claim to be", NO_CLAIM);
pub static READ_PIPE_TRANSPORT: Name =
    Name::new("asyncio.unix_events._UnixReadPipeTransport", "what transports of pipes claim to be", NO_CLAIM);
pub static WRITE_PIPE_TRANSPORT: Name =
    Name::new("asyncio.unix_events._UnixWritePipeTransport", "what transports of pipes claim to be", NO_CLAIM);
pub static TLS_TRANSPORT: Name =
    Name::new("asyncio.sslproto._SSLProtocolTransport", "what transports of TLS claim to be", NO_CLAIM);
pub static TLS_PROTOCOL: Name =
    Name::new("asyncio.sslproto.SSLProtocol", "what the protocol of TLS claims to be", NO_CLAIM);
pub static THREAD_SAFE_HANDLE: Name =
    Name::new("asyncio.events._ThreadSafeHandle", "what handles of call_soon_threadsafe claim to be", NO_CLAIM)
        .since((3, 14));
pub static TLS_STATE: Name =
    Name::new("asyncio.sslproto.SSLProtocolState", "the state of TLS, as asyncio names it", "it is a string");

static SENDFILE_MODE: Name =
    Name::new("asyncio.constants._SendfileMode", "how loop.sendfile() sends", "loop.sendfile() may refuse transports");

/// The answer of a transport to `loop.sendfile`, by its name in that enumeration. None: asyncio has the enumeration no
/// more.
pub fn sendfile_mode(py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
    let modes = SENDFILE_MODE.look_up(py)?;
    modes.map(|modes| modes.getattr(name).map(Bound::unbind)).transpose()
}

const NOT_COUNTED: &str = "a server does not know its connections, and its wait_closed() does not wait for them";
pub static SERVER_ATTACH: Name = Name::new("asyncio.Server._attach", "connections of asyncio's servers", NOT_COUNTED);
pub static SERVER_DETACH: Name = Name::new("asyncio.Server._detach", "connections of asyncio's servers", NOT_COUNTED);
const NOT_HELD: &str = "whoever closes the socket object of a transport closes it under the transport";
pub static IO_REFS: Name = Name::new("socket.socket._io_refs", "a transport holds its socket open", NOT_HELD);
pub static DECREF_SOCKETIOS: Name = Name::new(
    "socket.socket._decref_socketios",
    "a transport lets go of its socket",
    "a socket object that a transport has had is closed later, when nobody has it",
);

pub static FORCE_CLOSE: Name = Name::new(
    "asyncio.selector_events._SelectorTransport._force_close",
    "ends the transport below TLS with an error",
    "connections of TLS that fail are lost without the error",
);
pub static SSL_OBJECT: Name =
    Name::new("ssl.SSLObject._sslobj", "reads and writes of TLS in C", "they go through Python, which costs more");

pub static MUST_CANCEL: Name = Name::new(
    "asyncio.Task._must_cancel",
    "a task was cancelled in the middle of its step",
    "to cancel a task that waits in block_on() does not cancel what it waits for",
);
const NO_ROOM: &str = "a task is in the way of others while its step is aside";
pub static SWAP_TASK: Name =
    Name::new("_asyncio._swap_current_task", "the current task goes aside with its step", NO_ROOM).until((3, 13));
/// From 3.14 on each thread has a current task of its own; but for tasks in pure Python.
pub static SWAP_PYTHON_TASK: Name =
    Name::new("asyncio.tasks._py_swap_current_task", "the current task goes aside with its step", NO_ROOM)
        .since((3, 14));

pub static FORMAT_CALLBACK: Name = Name::new(
    "asyncio.format_helpers._format_callback_source",
    "callbacks in the log, and in the repr of handles",
    "they are shown by their repr",
);
pub static CONVERT_ERROR: Name = Name::new(
    "asyncio.futures._convert_future_exc",
    "asyncio's own errors in place of those of concurrent.futures",
    "errors of concurrent.futures stay what they are when a thread raises them",
);

static ALL_EVENTS: Name = Name::new(
    "sys.monitoring._all_events",
    "whether any thread has a trace function",
    "steps in frames that a debugger has traced and left are neither rescued nor reported",
);

/// The tool that stands for the trace functions of all threads, among the bits of each event
/// (`PY_MONITORING_SYS_TRACE_ID`).
const SYS_TRACE: u32 = 1 << 7;

/// Tells if nobody knows whether any thread has a trace function: the watchdog cannot.
pub fn tell_untold_traces(monitoring: &Bound<'_, PyAny>) -> PyResult<()> {
    ALL_EVENTS.of(monitoring).map(drop)
}

/// True if some thread has a trace function, or nobody knows.
pub fn is_traced(monitoring: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(all_events) = monitoring.getattr_opt(ALL_EVENTS.attribute(monitoring.py()))? else { return Ok(true) };
    let events = all_events.call0()?.cast_into::<PyDict>()?;
    for tools in events.values() {
        if tools.extract::<u32>()? & SYS_TRACE != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True for the names of coverage's trace functions: `coverage.CTracer`, and a method of its own in pure Python.
pub fn is_coverages(name: &str) -> bool {
    name.starts_with("coverage.")
}

const LOCKS: &str = "futures are looked at under their lock, which costs more";
pub static FUTURE_STATE: Name = Name::new("concurrent.futures.Future._state", "whether it is queued, or done", LOCKS);
pub static FUTURE_RESULT: Name = Name::new("concurrent.futures.Future._result", "what it has returned", LOCKS);
pub static FUTURE_EXCEPTION: Name = Name::new("concurrent.futures.Future._exception", "what it has raised", LOCKS);
pub static FUTURE_WAITERS: Name = Name::new(
    "concurrent.futures.Future._waiters",
    "who waits, as concurrent.futures.wait() does",
    "each wait for a future leaves a callback there until it is done",
);

static ALL: [&Name; 25] = [
    &SOCKET_TRANSPORT,
    &DATAGRAM_TRANSPORT,
    &READ_PIPE_TRANSPORT,
    &WRITE_PIPE_TRANSPORT,
    &TLS_TRANSPORT,
    &TLS_PROTOCOL,
    &THREAD_SAFE_HANDLE,
    &TLS_STATE,
    &SENDFILE_MODE,
    &SERVER_ATTACH,
    &SERVER_DETACH,
    &IO_REFS,
    &DECREF_SOCKETIOS,
    &FORCE_CLOSE,
    &SSL_OBJECT,
    &MUST_CANCEL,
    &SWAP_TASK,
    &SWAP_PYTHON_TASK,
    &FORMAT_CALLBACK,
    &CONVERT_ERROR,
    &ALL_EVENTS,
    &FUTURE_STATE,
    &FUTURE_RESULT,
    &FUTURE_EXCEPTION,
    &FUTURE_WAITERS,
];

/// All entries of the native half.
fn all() -> impl Iterator<Item = &'static Name> {
    ffi::private::ALL.into_iter().chain(ALL)
}

// ---- what Python's half of the list needs

/// Has `tell(place)` called where a name is missing. Once.
#[pyfunction]
pub fn set_teller(py: Python<'_>, tell: Py<PyAny>) {
    ffi::set_teller(py, tell);
    ffi::private::tell_unprotected(py);
}

/// The entries of the native half: place, purpose, loss, and the first and the last version that are known.
#[pyfunction]
pub fn private_names() -> Vec<(&'static str, &'static str, &'static str, Version, Version)> {
    all().map(|name| name.entry()).collect()
}

/// Modules of the standard library whose functions and methods call no Python before they return (gates/leaves.rs): they
/// wait for time, files, sockets, locks, queues and child processes; or hash and compress without the GIL. Where a module
/// has another name, calls of Python functions are slower while a step is blocked in it. `_zstd` came with CPython 3.14.
pub const LEAF_MODULES: [&str; 17] = [
    "time",
    "posix",
    "select",
    "fcntl",
    "_socket",
    "_thread",
    "_queue",
    "_signal",
    "_posixsubprocess",
    "_multiprocessing",
    "_posixshmem",
    "_hashlib",
    "_blake2",
    "zlib",
    "_bz2",
    "_lzma",
    "_zstd",
];
/// The same of classes of other modules.
pub const LEAF_CLASSES: [&str; 2] = ["_io.FileIO", "mmap.mmap"];

/// The files of the standard library that only compute on what they are given: they hold no lock, and keep nothing that
/// others share but caches that are filled in one operation. A step may be divided in them. Where a file has another name
/// a step is divided when it is back in the code that has called it.
pub const COMPUTING_FILES: [&str; 28] = [
    "ast.py",
    "bisect.py",
    "colorsys.py",
    "copy.py",
    "csv.py",
    "dataclasses.py",
    "difflib.py",
    "fractions.py",
    "graphlib.py",
    "heapq.py",
    "html/__init__.py",
    "html/parser.py",
    "json/__init__.py",
    "json/decoder.py",
    "json/encoder.py",
    "json/scanner.py",
    "numbers.py",
    "pickle.py",
    "pprint.py",
    "_pydecimal.py",
    "re/__init__.py",
    "re/_compiler.py",
    "re/_parser.py",
    "shlex.py",
    "statistics.py",
    "textwrap.py",
    "tomllib/_parser.py",
    "xml/etree/ElementTree.py",
];

/// For tests: has an entry look for another name, as if this interpreter had renamed it; None: for its own again.
#[pyfunction]
pub fn rename_private(py: Python<'_>, place: &str, other: Option<Bound<'_, PyString>>) {
    for name in all().filter(|name| name.place() == place) {
        name.rename(py, other.as_ref());
    }
}
