//! The C functions of which it is known that they call no Python before they return: most of what blocks. While a step
//! is aside in one, calls of Python functions cost nobody more.
//!
//! Not among them are those that may: database drivers, TLS (callbacks of its context), buffered files over other
//! objects. What such a function asks of its arguments, it asks before it blocks. (One exception is known and lived
//! with: a buffer that is written in Python, with `__release_buffer__`.)

use crate::ffi;
use pyo3::prelude::*;

/// Modules all of whose functions, and methods of classes, are such: waiting for time, files, sockets, locks, queues
/// and child processes; and hashing and compression, which compute without the GIL.
const MODULES: [&str; 17] = [
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
/// Classes of other modules.
const CLASSES: [&str; 2] = ["_io.FileIO", "mmap.mmap"];

/// True if a C function is known to call no Python before it returns. Nothing of the program runs.
pub fn is_leaf(function: &Bound<'_, PyAny>) -> bool {
    let Some(owner) = ffi::owner_name(function) else { return false };
    let module = owner.rsplit_once('.').map_or(owner.as_str(), |(module, _)| module);
    MODULES.contains(&module) || MODULES.contains(&owner.as_str()) || CLASSES.contains(&owner.as_str())
}
