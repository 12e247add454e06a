//! The stack of one thread.
//!
//! The thread may run while we look. So its frames are read first, then what they refer to, and then the frames once
//! more: if each is what it was, then what was read in between was theirs. Whoever runs Python at full speed is often
//! seen to move, and then has the GIL to give; a thread in C code is not.
//!
//! System calls cost most. Frames lie beside each other, so a page of them is read at once; what all of them refer to is
//! read together. A stack of any depth takes about seven.

use crate::locations::{Span, locate};
use crate::memory::{Memory, Piece, int, page_of, reach, word};
use crate::process::Thread;
use crate::reader::{Reader, TRIES};
use crate::text::{self, Text};
use std::collections::BTreeMap;

/// Where a thread stands in one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub file: String,
    /// The name of the function, and that with what it is defined in.
    pub function: String,
    pub qualified: String,
    /// 0: the instruction belongs to no line.
    pub line: u32,
    /// None: nobody knows.
    pub span: Option<Span>,
    /// The address of the code object.
    pub code: usize,
    /// In bytes from the start of the code.
    pub instruction: usize,
}

/// The most frames that are read, whatever is asked for.
const MOST_FRAMES: usize = 10_000;
/// So much is read of what a code object refers to, unless it ends before: enough for most.
const GUESS: usize = 256;
/// The most bytes of a table of lines, and of all those of one stack.
const MOST_LINES: usize = 1 << 20;
const MOST_LINES_OF_ALL: usize = 8 << 20;

/// One frame as the interpreter keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    at: usize,
    previous: usize,
    code: usize,
    instruction: usize,
    owner: u8,
}

impl Header {
    /// Frames between C and Python have no code of their own: `FRAME_OWNED_BY_CSTACK`, and `..._INTERPRETER`.
    fn has_code(&self) -> bool {
        self.owner < 3
    }
}

/// What frames of one code object have in common.
struct Code {
    names: [String; 3],
    first_line: i32,
    lines: Vec<u8>,
}

impl Reader {
    /// The stack of a thread, the innermost frame first, and `most` frames of it. None: it has moved while it was read,
    /// in each of five tries, or is there no more.
    pub fn stack(&self, thread: &Thread, most: usize) -> Option<Vec<Frame>> {
        (0..TRIES).find_map(|_| self.try_stack(thread, most))
    }

    fn try_stack(&self, thread: &Thread, most: usize) -> Option<Vec<Frame>> {
        let top = self.top(thread)?;
        let headers = self.headers(top, most.min(MOST_FRAMES))?;
        let codes = self.codes(&headers)?;
        if self.top(thread)? != top || !self.are_unchanged(&headers) {
            return None;
        }
        headers.iter().filter(|header| header.has_code()).map(|header| self.frame(header, &codes)).collect()
    }

    /// The address of the innermost frame of a thread, 0 for none. None: the thread is not there any more.
    fn top(&self, thread: &Thread) -> Option<usize> {
        let layout = &self.layout.thread;
        let state = self.state(thread.state)?;
        let is_same = word(&state, layout.interpreter)? == thread.interpreter_state
            && word(&state, layout.number)? == thread.number as usize;
        let frame = word(&state, layout.frame).filter(|_| is_same)?;
        if layout.frame_is_indirect && frame != 0 { self.word(frame) } else { Some(frame) }
    }

    fn header_length(&self) -> usize {
        let layout = &self.layout.frame;
        [layout.previous + 8, layout.code + 8, layout.instruction + 8, layout.owner + 1].into_iter().max().unwrap_or(0)
    }

    fn header(&self, at: usize, bytes: &[u8]) -> Option<Header> {
        let layout = &self.layout.frame;
        Some(Header {
            at,
            previous: word(bytes, layout.previous)?,
            // From 3.14 on the pointer has a tag in its lowest bits.
            code: word(bytes, layout.code)? & !3,
            instruction: word(bytes, layout.instruction)?,
            owner: *bytes.get(layout.owner)?,
        })
    }

    /// The frames from this one outwards, `most` of those that have code.
    fn headers(&self, top: usize, most: usize) -> Option<Vec<Header>> {
        let (length, mut window) = (self.header_length(), Window::default());
        let (mut at, mut headers, mut found) = (top, Vec::new(), 0);
        while at != 0 && found < most {
            // There is one without code for each call of Python from C, at most, and one at the bottom.
            if headers.len() > 2 * most + 1 {
                return None;
            }
            let header = self.header(at, window.get(&*self.memory, at, length)?)?;
            found += usize::from(header.has_code());
            at = header.previous;
            headers.push(header);
        }
        Some(headers)
    }

    fn are_unchanged(&self, headers: &[Header]) -> bool {
        let length = self.header_length();
        let pieces: Vec<_> = headers.iter().map(|header| (header.at, length)).collect();
        let Some(bytes) = self.pieces(&pieces) else { return false };
        headers.iter().zip(bytes.chunks(length)).all(|(header, now)| self.header(header.at, now) == Some(*header))
    }

    /// The code objects of these frames.
    fn codes(&self, headers: &[Header]) -> Option<BTreeMap<usize, Code>> {
        let mut addresses: Vec<_> =
            headers.iter().filter(|header| header.has_code()).map(|header| header.code).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let layout = &self.layout.code;
        // What is read comes before the instructions, and those are part of the object: it is there for sure.
        let length = layout.instructions;
        let bytes = self.pieces(&addresses.iter().map(|at| (*at, length)).collect::<Vec<_>>())?;
        let mut parts = Vec::with_capacity(addresses.len() * 4);
        let mut first_lines = Vec::with_capacity(addresses.len());
        for code in bytes.chunks(length.max(1)) {
            if word(code, self.layout.ob_type)? != self.code_type {
                return None;
            }
            for part in [layout.file, layout.name, layout.qualified, layout.lines] {
                parts.push(word(code, part)?);
            }
            first_lines.push(int(code, layout.first_line)?);
        }
        let parts = self.parts(&parts)?;
        let codes = parts.into_iter().zip(&first_lines).map(|((names, lines), first_line)| Code {
            names,
            first_line: *first_line,
            lines,
        });
        Some(addresses.into_iter().zip(codes).collect())
    }

    /// The three names and the table of lines of each code object, of their addresses.
    fn parts(&self, addresses: &[usize]) -> Option<Vec<([String; 3], Vec<u8>)>> {
        let [size, first] = self.layout.bytes;
        let least_text = text::least_head_length(&self.layout);
        let least = |at: usize| if at % 4 == 3 { (size + 8).max(first) } else { least_text };
        let most = GUESS.max(text::head_length(&self.layout));
        let heads: Vec<Piece> =
            addresses.iter().enumerate().map(|(at, address)| (*address, reach(*address, least(at), most))).collect();
        let bytes = self.pieces(&heads)?;
        // Where each lies, and how to read it.
        let (mut rest, mut spare) = (&bytes[..], MOST_LINES_OF_ALL);
        let mut texts = Vec::with_capacity(addresses.len());
        for (at, (address, length)) in heads.iter().enumerate() {
            let (head, others) = rest.split_at_checked(*length)?;
            rest = others;
            texts.push(if at % 4 == 3 {
                let length = word(head, size)?;
                // A table that is too long tells nothing.
                let length = if length <= MOST_LINES.min(spare) { length } else { 0 };
                spare -= length;
                Part { place: (address.checked_add(first)?, length), text: None, head: (*address, head) }
            } else {
                let text = Text::new(*address, head, &self.layout)?;
                Part { place: text.place, text: Some(text), head: (*address, head) }
            });
        }
        let missing: Vec<_> = texts.iter().filter(|part| part.known().is_none()).map(|part| part.place).collect();
        let bytes = self.pieces(&missing)?;
        let mut rest = &bytes[..];
        let mut contents = Vec::with_capacity(texts.len());
        for part in &texts {
            contents.push(match part.known() {
                Some(known) => known,
                None => {
                    let (here, others) = rest.split_at_checked(part.place.1)?;
                    rest = others;
                    here
                }
            });
        }
        let name = |at: usize| texts[at].text.map_or_else(String::new, |text| text.decode(contents[at]));
        let of_code = |at: usize| ([name(at), name(at + 1), name(at + 2)], contents[at + 3].to_vec());
        Some((0..texts.len()).step_by(4).map(of_code).collect())
    }

    fn frame(&self, header: &Header, codes: &BTreeMap<usize, Code>) -> Option<Frame> {
        let code = codes.get(&header.code)?;
        // A frame that has not begun yet is one unit before its code, in 3.12.
        let start = header.code.checked_add(self.layout.code.instructions)?;
        let instruction =
            if header.instruction.checked_add(2)? == start { 0 } else { header.instruction.checked_sub(start)? };
        let (line, span) = locate(&code.lines, code.first_line, instruction / 2).unwrap_or((0, None));
        let [file, function, qualified] = code.names.clone();
        Some(Frame { file, function, qualified, line, span, code: header.code, instruction })
    }
}

/// Something that a code object refers to: where its contents lie, and what was read of it already.
struct Part<'a> {
    place: Piece,
    text: Option<Text>,
    head: (usize, &'a [u8]),
}

impl<'a> Part<'a> {
    /// The contents, if they were read with the head.
    fn known(&self) -> Option<&'a [u8]> {
        let (address, head) = self.head;
        let from = self.place.0.checked_sub(address)?;
        head.get(from..from.checked_add(self.place.1)?)
    }
}

/// What was read last of the memory in which frames lie.
#[derive(Default)]
struct Window {
    start: usize,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes of a frame. What lies before it in its page is read with it: there are the frames that have called it.
    fn get(&mut self, memory: &dyn Memory, at: usize, length: usize) -> Option<&[u8]> {
        if !at.is_multiple_of(8) {
            return None;
        }
        let end = at.checked_add(length)?;
        if at < self.start || end > self.start + self.bytes.len() {
            self.start = page_of(at);
            self.bytes.resize(end - self.start, 0);
            if !memory.read(self.start, &mut self.bytes) {
                return None;
            }
        }
        self.bytes.get(at - self.start..end - self.start)
    }
}
