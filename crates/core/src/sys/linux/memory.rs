//! The memory of this process, as the kernel reads it: an address that means nothing is an error, not the end.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// A path is no longer than this.
const LONGEST_TEXT: usize = 4096;
/// The kernel maps memory in pages of this size, or of a multiple.
const PAGE: u64 = 4096;

/// So many bytes from this address on; None: they cannot be read.
pub fn bytes(address: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    if count > 0 {
        File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, address).ok()?;
    }
    Some(bytes)
}

/// The text from this address on, to the first zero.
pub fn text(address: u64) -> Option<String> {
    let memory = File::open("/proc/self/mem").ok()?;
    let (mut text, mut at) = (Vec::new(), address);
    // The next page may not be there.
    while text.len() < LONGEST_TEXT {
        let mut bytes = vec![0; (PAGE - at % PAGE) as usize];
        memory.read_exact_at(&mut bytes, at).ok()?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&bytes[..end]);
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(&bytes);
        at = at.checked_add(bytes.len() as u64)?;
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

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
