//! Strings: their heads, where their characters lie, and how wide those are.

use crate::layout::Layout;
use crate::memory::{Memory, Piece, int, word};

/// So many characters of a name are told.
const MOST: usize = 1024;

/// Where the characters of a string lie.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub place: Piece,
    /// The bytes of one character: 1, 2 or 4.
    width: usize,
    is_cut: bool,
}

/// The length of the shortest head.
pub fn least_head_length(layout: &Layout) -> usize {
    let [state, length, ascii, _] = layout.text;
    (state + 4).max(length + 8).max(ascii)
}

impl Text {
    /// The string at this address, of which at least the shortest head has been read. None: it is none.
    pub fn new(memory: &dyn Memory, at: usize, head: &[u8], layout: &Layout) -> Option<Self> {
        let [state, length, ascii, other] = layout.text;
        let state = int(head, state)?.cast_unsigned();
        let length = word(head, length)?;
        // Two bits say whether it is interned, three how wide its characters are; then: compact, ASCII.
        let width = state >> 2 & 7;
        let (is_compact, is_ascii) = (state >> 5 & 1 == 1, state >> 6 & 1 == 1);
        if !matches!(width, 1 | 2 | 4) || (is_ascii && width != 1) || length > isize::MAX as usize {
            return None;
        }
        let start = match (is_compact, is_ascii) {
            (true, true) => at.checked_add(ascii)?,
            (true, false) => at.checked_add(other)?,
            // One of a subclass: its characters lie elsewhere. Its head is longer than that of others, so what was read
            // of it may end too soon, at the end of a page.
            (false, _) => word(head, other).or_else(|| memory.word(at.checked_add(other)?))?,
        };
        let width = width as usize;
        Some(Self { place: (start, length.min(MOST) * width), width, is_cut: length > MOST })
    }

    /// The text, of the bytes at its place. What is no character, half of a pair, is shown as one that says so.
    pub fn decode(&self, bytes: &[u8]) -> String {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let characters = bytes.chunks_exact(self.width).map(number);
        let mut text: String =
            characters.map(|number| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        if self.is_cut {
            text.push('…');
        }
        text
    }
}
