//! Code objects: the names of a function, and the table of its lines.

use crate::memory::{Piece, int, reach, word};
use crate::reader::Reader;
use crate::text::{self, Text};
use std::collections::BTreeMap;

/// What frames of one code object have in common.
pub struct Code {
    pub file: String,
    pub function: String,
    pub qualified: String,
    pub first_line: i32,
    /// See `locations.rs`.
    pub lines: Vec<u8>,
}

/// So much is read of what a code object refers to, unless it ends before: enough for most.
const GUESS: usize = 256;
/// The most bytes of a table of lines, and of all those of one stack. One that is longer tells nothing.
const MOST_LINES: usize = 1 << 20;
const MOST_LINES_OF_ALL: usize = 8 << 20;

/// What a code object refers to: strings, and a `bytes` object.
enum Part {
    Text(Text),
    Lines(Piece),
}

impl Part {
    fn place(&self) -> Piece {
        match self {
            Self::Text(text) => text.place,
            Self::Lines(place) => *place,
        }
    }
}

impl Reader {
    /// The code objects at these addresses. None: at one of them is none, or what it refers to cannot be read.
    pub(crate) fn codes(&self, addresses: Vec<usize>) -> Option<BTreeMap<usize, Code>> {
        let layout = &self.layout.code;
        // What is read comes before the instructions, and those are part of the object: it is there for sure.
        let length = layout.instructions;
        let bytes = self.pieces(&addresses.iter().map(|at| (*at, length)).collect::<Vec<_>>())?;
        let (mut referred, mut first_lines) = (Vec::new(), Vec::new());
        for code in bytes.chunks(length) {
            if word(code, self.layout.class)? != self.code_type {
                return None;
            }
            for part in [layout.file, layout.name, layout.qualified, layout.lines] {
                referred.push(word(code, part)?);
            }
            first_lines.push(int(code, layout.first_line)?);
        }
        let mut contents = self.contents(&referred)?.into_iter();
        let mut codes = BTreeMap::new();
        for (address, first_line) in addresses.into_iter().zip(first_lines) {
            let mut text = || match contents.next()? {
                (Part::Text(text), bytes) => Some(text.decode(&bytes)),
                (Part::Lines(_), _) => None,
            };
            let (file, function, qualified) = (text()?, text()?, text()?);
            let (_, lines) = contents.next()?;
            codes.insert(address, Code { file, function, qualified, first_line, lines });
        }
        Some(codes)
    }

    /// Reads what code objects refer to: of each, three strings and the table of lines.
    fn contents(&self, referred: &[usize]) -> Option<Vec<(Part, Vec<u8>)>> {
        let is_lines = |index: usize| index % 4 == 3;
        let [size, first] = self.layout.bytes;
        let (least_text, least_lines) = (text::least_head_length(&self.layout), (size + 8).max(first));
        let least = |index| if is_lines(index) { least_lines } else { least_text };
        let head = |(index, at): (usize, &usize)| (*at, reach(*at, least(index), GUESS));
        let heads: Vec<Piece> = referred.iter().enumerate().map(head).collect();
        let bytes = self.pieces(&heads)?;

        let (mut heads_left, mut spare) = (Pieces(&bytes), MOST_LINES_OF_ALL);
        let mut parts = Vec::with_capacity(referred.len());
        for (index, (at, length)) in heads.iter().enumerate() {
            let head = heads_left.next(*length)?;
            let part = if is_lines(index) {
                let length = Some(word(head, size)?).filter(|length| *length <= MOST_LINES.min(spare)).unwrap_or(0);
                spare -= length;
                Part::Lines((at.checked_add(first)?, length))
            } else {
                Part::Text(Text::new(&*self.memory, *at, head, &self.layout)?)
            };
            let known = within(part.place(), *at, head);
            parts.push((part, known));
        }
        let missing = parts.iter().filter(|(_, known)| known.is_none()).map(|(part, _)| part.place());
        let bytes = self.pieces(&missing.collect::<Vec<_>>())?;
        let mut rest = Pieces(&bytes);
        let read = |(part, known): (Part, Option<&[u8]>)| {
            let bytes = known.map_or_else(|| rest.next(part.place().1), Some)?.to_vec();
            Some((part, bytes))
        };
        parts.into_iter().map(read).collect()
    }
}

/// Pieces that were read one after the other.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    fn next(&mut self, length: usize) -> Option<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }
}

/// What lies at a place, if it is part of these bytes, which were read at `at`.
fn within(place: Piece, at: usize, bytes: &[u8]) -> Option<&[u8]> {
    let start = place.0.checked_sub(at)?;
    bytes.get(start..start.checked_add(place.1)?)
}
