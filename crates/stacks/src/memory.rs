//! The memory that is read: of this process, through the kernel; or one that a test has made.

use everloop_core::sys;

/// A piece of memory: its address and its length.
pub type Piece = (usize, usize);

/// Memory in which anything may lie, or nothing.
pub trait Memory: Send + Sync {
    /// Fills `into` with what lies at this address. False: not all of it can be read.
    fn read(&self, at: usize, into: &mut [u8]) -> bool;

    /// The word at this address.
    fn word(&self, at: usize) -> Option<usize> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes).then(|| usize::from_ne_bytes(bytes))
    }

    /// Fills `into` with these pieces, one after the other. False: not all of it can be read.
    fn read_pieces(&self, pieces: &[Piece], mut into: &mut [u8]) -> bool {
        pieces.iter().all(|(at, length)| {
            let Some((here, rest)) = std::mem::take(&mut into).split_at_mut_checked(*length) else { return false };
            into = rest;
            self.read(*at, here)
        })
    }
}

/// The memory of this process. No address is followed: the kernel reads it, and says where nothing lies.
pub struct OwnMemory;

impl Memory for OwnMemory {
    fn read(&self, at: usize, into: &mut [u8]) -> bool {
        sys::read_memory(&[(at, into.len())], into)
    }

    fn read_pieces(&self, pieces: &[Piece], into: &mut [u8]) -> bool {
        sys::read_memory(pieces, into)
    }
}

/// A page of memory, or a part of one: what lies in the same page as something that is there can be read as well.
const PAGE: usize = 4096;

/// The start of the page in which this address lies.
pub fn page_of(at: usize) -> usize {
    at & !(PAGE - 1)
}

/// The length of what can be read from an object of which `least` bytes are there for sure: up to `most`, or to the end
/// of the page in which those end.
pub fn reach(at: usize, least: usize, most: usize) -> usize {
    let Some(end) = at.checked_add(least) else { return least };
    let spare = end.wrapping_neg() & (PAGE - 1);
    least + spare.min(most.saturating_sub(least))
}

/// The word at an offset into what was read.
pub fn word(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|bytes| usize::from_ne_bytes(*bytes))
}

/// The `int` at an offset into what was read.
pub fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}
