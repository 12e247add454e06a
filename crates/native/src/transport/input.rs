//! Bytes that come in: one `recv` or `read` for each event.
//!
//! They come through a scratch buffer into bytes of their exact size. A transport that has sent much at once is
//! expected to have more to say: from then on it reads straight into large bytes objects, without the copy, until
//! several reads in a row were small. (To allocate a large one for every small read costs more than the read.)

use crate::ffi::{self, GilCell};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// A read of as many bytes is a large one.
const SMALL: usize = 64 * 1024;
/// The most that one read takes, as asyncio's `max_size`. A datagram that is longer is cut off.
pub const LARGE: usize = 256 * 1024;

/// A read never blocks, also of a socket that somebody has made blocking again: the GIL is held.
pub const RECEIVE: RecvFlags = RecvFlags::DONTWAIT;

/// The scratch buffer of all transports: it is filled and emptied under the GIL, with no Python code in between.
static SCRATCH: OnceLock<GilCell<Box<[MaybeUninit<u8>]>>> = OnceLock::new();

/// After so many small reads in a row the next one is expected to be small too. (Not after one: the last part of a
/// large message is small.)
const SMALL_IN_A_ROW: u8 = 4;

/// The amount that a transport is expected to receive at once.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Expected {
    #[default]
    Small,
    /// Much. Counts the small reads since the last large one.
    Large(u8),
}

/// Receives bytes, none at the end of the file. `receive` fills memory and says how far.
pub fn receive<'py>(
    py: Python<'py>,
    expected: &mut Expected,
    receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, Errno>,
) -> PyResult<Result<Bound<'py, PyBytes>, Errno>> {
    if let Expected::Large(small) = *expected {
        let received = ffi::fill_bytes(py, LARGE, receive)?;
        *expected = match &received {
            Ok(bytes) if bytes.as_bytes().len() >= SMALL => Expected::Large(0),
            _ if small + 1 < SMALL_IN_A_ROW => Expected::Large(small + 1),
            _ => Expected::Small,
        };
        return Ok(received);
    }
    through_scratch(py, |scratch| {
        let received = receive(scratch)?;
        if received >= SMALL {
            *expected = Expected::Large(0);
        }
        Ok(received)
    })
}

/// Receives into the scratch buffer, and makes bytes of what is in there.
pub fn through_scratch<'py>(
    py: Python<'py>,
    receive: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, Errno>,
) -> PyResult<Result<Bound<'py, PyBytes>, Errno>> {
    let scratch = SCRATCH.get_or_init(|| GilCell::new(Box::new_uninit_slice(LARGE)));
    // A bytes object is made inside: that runs no Python code, since the garbage collector knows nothing of bytes.
    scratch.with(py, |scratch| match receive(scratch) {
        Ok(received) => ffi::fill_bytes(py, received, |bytes| {
            bytes.copy_from_slice(&scratch[..received]);
            Ok(received)
        }),
        Err(error) => Ok(Err(error)),
    })
}
