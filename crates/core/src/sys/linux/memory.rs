//! Memory of this process, read by the kernel: where nothing lies it says so, and nobody crashes.

use rustix::io::Errno;
use std::fs::File;
use std::io::Error;
use std::os::unix::fs::FileExt;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most pieces that the kernel takes at once (`UIO_MAXIOV`).
const MOST_PIECES: usize = 1024;

/// True once the kernel has refused process_vm_readv(2): a sandbox forbids it, or it is not built in. `/proc/self/mem`
/// is slower, but allowed wherever a process may open its own files.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Reads these pieces of memory, each an address and a length, into `into`, one after the other. False: not all of it
/// can be read, or the lengths are not those of `into`; what `into` holds then is anything.
pub fn read_memory(pieces: &[(usize, usize)], into: &mut [u8]) -> bool {
    let length = pieces.iter().try_fold(0usize, |sum, piece| sum.checked_add(piece.1));
    if length != Some(into.len()) {
        return false;
    }
    if !REFUSED.load(Ordering::Relaxed) {
        match read_at_once(pieces, into) {
            Err(Errno::PERM | Errno::NOSYS | Errno::ACCESS) => REFUSED.store(true, Ordering::Relaxed),
            outcome => return outcome == Ok(true),
        }
    }
    read_file(pieces, into).unwrap_or(false)
}

/// As many pieces as possible with one system call. False: some lie where nothing is.
fn read_at_once(pieces: &[(usize, usize)], mut into: &mut [u8]) -> Result<bool, Errno> {
    for some in pieces.chunks(MOST_PIECES) {
        let length = some.iter().map(|piece| piece.1).sum();
        let Some((here, rest)) = into.split_at_mut_checked(length) else { return Ok(false) };
        into = rest;
        if vm_read(some, here)? != length {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads pieces that together have the length of `into`, until one cannot be read. Returns how much was read.
fn vm_read(pieces: &[(usize, usize)], into: &mut [u8]) -> Result<usize, Errno> {
    let there: Vec<_> = pieces
        .iter()
        .map(|(at, length)| libc::iovec { iov_base: std::ptr::without_provenance_mut(*at), iov_len: *length })
        .collect();
    let here = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // A forked child has another number, so it is asked for each time.
    let process = process::id().cast_signed();
    // SAFETY: the kernel writes to `here` only, which is all of `into`; addresses that it reads may be any, and it
    // answers those where nothing lies with EFAULT, or with less. (rustix has no such call.)
    let read = unsafe { libc::process_vm_readv(process, &raw const here, 1, there.as_ptr(), there.len() as u64, 0) };
    usize::try_from(read).map_err(|_| Errno::from_io_error(&Error::last_os_error()).unwrap_or(Errno::IO))
}

/// The same through a file, opened each time: a descriptor that is kept would be the parent's memory after a fork.
fn read_file(pieces: &[(usize, usize)], mut into: &mut [u8]) -> std::io::Result<bool> {
    let memory = File::open("/proc/self/mem")?;
    for (at, length) in pieces {
        let Some((here, rest)) = into.split_at_mut_checked(*length) else { return Ok(false) };
        into = rest;
        memory.read_exact_at(here, *at as u64)?;
    }
    Ok(true)
}

/// A path is no longer than this.
const LONGEST_TEXT: usize = 4096;
/// The kernel maps memory in pages of this size, or of a multiple.
const PAGE: u64 = 4096;

/// So many bytes from this address on; None: they cannot be read.
pub fn bytes(address: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    let address = usize::try_from(address).ok()?;
    (count == 0 || read_memory(&[(address, count)], &mut bytes)).then_some(bytes)
}

/// The text from this address on, to the first zero.
pub fn text(address: u64) -> Option<String> {
    let (mut text, mut at) = (Vec::new(), address);
    // The next page may not be there.
    while text.len() < LONGEST_TEXT {
        let page = bytes(at, (PAGE - at % PAGE) as usize)?;
        if let Some(end) = page.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&page[..end]);
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(&page);
        at = at.checked_add(page.len() as u64)?;
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn place(bytes: &[u8]) -> (usize, usize) {
        (bytes.as_ptr().addr(), bytes.len())
    }

    #[test]
    fn pieces_are_read_one_after_the_other_in_both_ways() {
        let (one, two) = (*b"sight", *b" without a lock");
        let pieces = [place(&one), (0, 0), place(&two)];
        for read in [read_memory, |pieces: &[_], into: &mut [u8]| read_file(pieces, into).expect("a file")] {
            let mut into = [0; 20];
            assert!(read(&pieces, &mut into));
            assert_eq!(&into, b"sight without a lock");
        }
    }

    #[test]
    fn where_nothing_lies_nothing_is_read() {
        let known = *b"known";
        for nowhere in [0, 8, usize::MAX - 4, 1 << 63] {
            let pieces = [place(&known), (nowhere, 4)];
            assert!(!read_memory(&pieces, &mut [0; 9]));
            assert!(!read_file(&pieces, &mut [0; 9]).unwrap_or(false));
        }
        assert!(!REFUSED.load(Ordering::Relaxed), "that is no refusal");
    }

    #[test]
    fn lengths_must_be_those_of_the_buffer() {
        let known = *b"known";
        assert!(!read_memory(&[place(&known)], &mut [0; 4]));
        assert!(!read_memory(&[place(&known)], &mut [0; 6]));
        assert!(!read_memory(&[(1, usize::MAX), (1, 6)], &mut [0; 5]));
        assert!(read_memory(&[], &mut []));
    }

    #[test]
    fn more_pieces_than_the_kernel_takes_at_once_are_read() {
        let known = *b"abcde";
        let pieces: Vec<_> = (0..3000).map(|at| (known.as_ptr().addr() + at % 5, 1)).collect();
        let mut into = vec![0; pieces.len()];
        assert!(read_memory(&pieces, &mut into));
        assert!(into.chunks(5).all(|some| some == known));
    }

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_none() {
        let numbers = [7u8, 8, 9];
        let address = numbers.as_ptr() as u64;
        assert_eq!(bytes(address, 3), Some(vec![7, 8, 9]));
        assert_eq!(bytes(address, 0), Some(vec![]));
        for nowhere in [0, 1, u64::MAX, u64::MAX - 1] {
            assert_eq!(bytes(nowhere, 3), None, "{nowhere:x}");
            assert_eq!(text(nowhere), None, "{nowhere:x}");
        }
    }

    #[test]
    fn a_text_ends_at_the_first_zero_however_long_it_is() {
        for length in [0, 3, 4000, 9000] {
            let mut memory = vec![b'a'; length];
            memory.extend_from_slice(b"\0b");
            let expected = (length < LONGEST_TEXT).then(|| "a".repeat(length));
            let found = text(memory.as_ptr() as u64);
            // What is too long may end in the page in which the bound is reached.
            assert!(found == expected || expected.is_none() && found == Some("a".repeat(length)), "{length}");
        }
    }
}
