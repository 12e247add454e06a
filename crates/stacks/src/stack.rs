//! The stack of one thread.
//!
//! The thread may run while we look. So its frames are read first, then what they refer to, and then the frames once
//! more: if each is what it was, then what was read in between was theirs. The innermost one may have gone on to another
//! instruction. Whoever calls functions at full speed is often seen to move, and then has the GIL to give; a thread in C
//! code is not.
//!
//! System calls cost most. Frames lie beside each other, so a page of them is read at once; what all of them refer to is
//! read together. A stack of any depth takes about seven.

use crate::codes::Code;
use crate::locations::{Span, locate};
use crate::memory::{Memory, page_of, word};
use crate::process::Thread;
use crate::reader::{Reader, TRIES};
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

impl Frame {
    /// True for what the interpreter itself puts below an `__init__` that it calls in its quick way, to throw the result
    /// away (`_Py_InitCleanup`): it has no line, and its file has the name of the function. The interpreter does not
    /// show it either.
    fn is_internal(&self) -> bool {
        self.line == 0 && self.file == "__init__" && self.function == "__init__"
    }
}

/// The most frames that are read, whatever is asked for.
const MOST_FRAMES: usize = 10_000;

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

impl Reader {
    /// The stack of a thread, the innermost frame first, and `most` frames of it. None: it has moved while it was read,
    /// in each of five tries, or is there no more.
    pub fn stack(&self, thread: &Thread, most: usize) -> Option<Vec<Frame>> {
        (0..TRIES).find_map(|_| self.try_stack(thread, most))
    }

    fn try_stack(&self, thread: &Thread, most: usize) -> Option<Vec<Frame>> {
        let top = self.top(thread, &self.state(thread.state)?)?;
        let headers = self.headers(top, most.min(MOST_FRAMES))?;
        let mut addresses: Vec<_> = headers.iter().filter(|frame| frame.has_code()).map(|frame| frame.code).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let codes = self.codes(addresses)?;
        if !self.is_unchanged(thread, top, &headers)? {
            return None;
        }
        let frames: Option<Vec<_>> =
            headers.iter().filter(|header| header.has_code()).map(|header| self.frame(header, &codes)).collect();
        Some(frames?.into_iter().filter(|frame| !frame.is_internal()).collect())
    }

    /// The address of the innermost frame of a thread, 0 for none, of what was read of its state. None: the thread is
    /// not there any more.
    fn top(&self, thread: &Thread, state: &[u8]) -> Option<usize> {
        let layout = &self.layout.thread;
        let is_same = word(state, layout.interpreter)? == thread.interpreter_state
            && word(state, layout.number)? == thread.number as usize;
        let frame = word(state, layout.frame).filter(|_| is_same)?;
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

    /// True if the thread is in the functions that it was in: its innermost frame, and all that were read.
    fn is_unchanged(&self, thread: &Thread, top: usize, headers: &[Header]) -> Option<bool> {
        let (first, length) = (self.state_length(), self.header_length());
        let mut pieces = vec![(thread.state, first)];
        pieces.extend(headers.iter().map(|header| (header.at, length)));
        let bytes = self.pieces(&pieces)?;
        let (state, frames) = bytes.split_at_checked(first)?;
        let mut both = headers.iter().zip(frames.chunks(length)).enumerate();
        let are_same = both.all(|(depth, (header, now))| {
            let now = self.header(header.at, now);
            let now = if depth > 0 { now } else { now.map(|now| Header { instruction: header.instruction, ..now }) };
            now == Some(*header)
        });
        Some(are_same && self.top(thread, state)? == top)
    }

    fn frame(&self, header: &Header, codes: &BTreeMap<usize, Code>) -> Option<Frame> {
        let Code { file, function, qualified, first_line, lines } = codes.get(&header.code)?;
        // A frame that has not begun yet is one unit before its code, in 3.12.
        let start = header.code.checked_add(self.layout.code.instructions)?;
        let instruction =
            if header.instruction.checked_add(2)? == start { 0 } else { header.instruction.checked_sub(start)? };
        let (line, span) = locate(lines, *first_line, instruction / 2).unwrap_or((0, None));
        let (file, function, qualified) = (file.clone(), function.clone(), qualified.clone());
        Some(Frame { file, function, qualified, line, span, code: header.code, instruction })
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
