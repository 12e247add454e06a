//! The reader: the memory, and how the interpreter lays it out.

use crate::layout::{Layout, Symbols};
use crate::memory::{Memory, Piece};

/// Reads the threads and stacks of one process. Its methods stand in the files of what they return.
pub struct Reader {
    pub(crate) memory: Box<dyn Memory>,
    pub(crate) layout: Layout,
    /// The address of `_PyRuntime`.
    pub(crate) runtime: usize,
    /// The address of `PyCode_Type`.
    pub(crate) code_type: usize,
}

/// How often a look is tried that finds things moving.
pub const TRIES: usize = 5;

/// The most bytes that are read at once.
const MOST_BYTES: usize = 64 << 20;

impl Reader {
    /// # Errors
    /// A text that says why this interpreter cannot be read.
    pub fn new(memory: Box<dyn Memory>, symbols: Symbols) -> Result<Self, String> {
        let layout = Layout::find(&*memory, &symbols)?;
        Ok(Self { memory, layout, runtime: symbols.runtime, code_type: symbols.code_type })
    }

    pub(crate) fn word(&self, at: usize) -> Option<usize> {
        self.memory.word(at)
    }

    /// These pieces, one after the other.
    pub(crate) fn pieces(&self, pieces: &[Piece]) -> Option<Vec<u8>> {
        let length = pieces.iter().try_fold(0usize, |sum, piece| sum.checked_add(piece.1))?;
        if length > MOST_BYTES {
            return None;
        }
        let mut bytes = vec![0; length];
        self.memory.read_pieces(pieces, &mut bytes).then_some(bytes)
    }
}
