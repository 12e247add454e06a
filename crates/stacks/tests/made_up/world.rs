//! An interpreter that is made up: its objects lie in pages, and between those nothing.

use everloop_stacks::{Memory, Symbols};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: usize = 4096;

/// The offsets of this interpreter. Where it publishes them they are unlike those of any CPython.
#[derive(Clone, Copy)]
pub struct Offsets {
    pub newest: usize,
    pub interpreter: [usize; 5],
    /// Of the GIL's record in the interpreter's state; in that: locked, holder.
    pub gil: [usize; 3],
    pub collecting: usize,
    pub thread: [usize; 5],
    pub frame: [usize; 4],
    pub code: [usize; 6],
    pub ob_type: usize,
    pub bytes: [usize; 2],
    pub text: [usize; 3],
}

const OF_3_12: Offsets = Offsets {
    newest: 40,
    interpreter: [8, 0, 72, 112, 384],
    gil: [1040, 16, 8],
    collecting: 200,
    thread: [0, 8, 16, 56, 144],
    frame: [8, 0, 56, 70],
    code: [112, 120, 128, 136, 68, 192],
    ob_type: 8,
    bytes: [16, 32],
    text: [32, 16, 40],
};
const PUBLISHED: Offsets = Offsets {
    newest: 1040,
    interpreter: [24, 16, 200, 808, 360],
    gil: [720, 4, 48],
    collecting: 36,
    thread: [32, 8, 48, 80, 160],
    frame: [16, 40, 24, 65],
    code: [40, 16, 64, 88, 28, 136],
    ob_type: 8,
    bytes: [16, 40],
    text: [28, 16, 48],
};

#[derive(Clone)]
pub struct World {
    pub version: u32,
    pub offsets: Offsets,
    pub runtime: usize,
    pub code_type: usize,
    pages: BTreeMap<usize, [u8; PAGE]>,
    next: usize,
    objects: Vec<Range<usize>>,
}

impl World {
    pub fn new(version: u32) -> Self {
        let offsets = if version >> 16 == 0x030c { OF_3_12 } else { PUBLISHED };
        let mut world = Self {
            version,
            offsets,
            runtime: 0,
            code_type: 0x7700,
            pages: BTreeMap::new(),
            next: 0x10000,
            objects: vec![],
        };
        world.runtime = world.place(1100);
        world.publish();
        world
    }

    /// Where each group of words begins: interpreter, thread, frame, code, object, bytes, text, collector.
    fn groups(&self) -> Option<(usize, [usize; 8])> {
        match self.version >> 16 {
            0x030d => Some((0, [6, 19, 28, 34, 44, 64, 67, 71])),
            0x030e => Some((1, [6, 22, 31, 39, 50, 74, 77, 81])),
            0x030f => Some((3, [6, 22, 39, 47, 58, 86, 89, 94])),
            _ => None,
        }
    }

    fn publish(&mut self) {
        let Some((later, [i, t, f, c, o, b, u, g])) = self.groups() else { return };
        let Offsets { newest, interpreter, gil, collecting, thread, frame, code, ob_type, bytes, text } = self.offsets;
        // From 3.14 on there is `threads_main`, in 3.15 three words more before the native id.
        let (main, more) = (usize::from(later > 0), if later == 3 { 3 } else { 0 });
        let words = [
            (0, usize::from_ne_bytes(*b"xdebugpy")),
            (1, self.version as usize),
            (2, 0),
            (5, newest),
            (i + 1, interpreter[0]),
            (i + 2, interpreter[1]),
            (i + 3, interpreter[2]),
            (i + main + 4, interpreter[3]),
            (i + main + 8, interpreter[4]),
            (i + main + 9, gil[0]),
            (i + main + 11, gil[0] + gil[1]),
            (i + main + 12, gil[0] + gil[2]),
            (t + 1, thread[0]),
            (t + 2, thread[1]),
            (t + 3, thread[2]),
            (t + 4, thread[3]),
            (t + more + 6, thread[4]),
            (f + 1, frame[0]),
            (f + 2, frame[1]),
            (f + 3, frame[2]),
            (f + 5, frame[3]),
            (c + 1, code[0]),
            (c + 2, code[1]),
            (c + 3, code[2]),
            (c + 4, code[3]),
            (c + 5, code[4]),
            (c + 9, code[5]),
            (o + 1, ob_type),
            (b + 1, bytes[0]),
            (b + 2, bytes[1]),
            (u + 1, text[0]),
            (u + 2, text[1]),
            (u + 3, text[2]),
            (g + 1, collecting),
        ]; // fmt: skip
        for (at, word) in words {
            self.set(self.runtime + at * 8, word);
        }
    }

    pub fn symbols(&self) -> Symbols {
        Symbols { runtime: self.runtime, code_type: self.code_type, version: self.version, debug: false }
    }

    // ---- memory

    /// Room for an object, which ends at the end of a page after which nothing lies.
    pub fn place(&mut self, size: usize) -> usize {
        let pages = size.div_ceil(PAGE);
        for page in 0..pages {
            self.pages.insert(self.next + page * PAGE, [0; PAGE]);
        }
        let end = self.next + pages * PAGE;
        self.next = end + PAGE;
        let at = (end - size) & !7;
        self.objects.push(at..at + size);
        at
    }

    /// Room for an object of which so many bytes lie in one page, and the others in the next one.
    fn place_over(&mut self, before: usize) -> usize {
        self.place(2 * PAGE) + PAGE - before
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            let at = at + offset;
            let page = self.pages.get_mut(&(at & !(PAGE - 1))).expect("a page was made for it");
            page[at & (PAGE - 1)] = *byte;
        }
    }

    pub fn set(&mut self, at: usize, word: usize) {
        self.write(at, &word.to_ne_bytes());
    }

    /// The addresses of all words of all objects.
    pub fn words(&self) -> Vec<usize> {
        self.objects.iter().cloned().flat_map(|object| object.step_by(8)).collect()
    }

    fn read(&self, at: usize, into: &mut [u8]) -> bool {
        into.iter_mut().enumerate().all(|(offset, byte)| {
            let Some(at) = at.checked_add(offset) else { return false };
            let Some(page) = self.pages.get(&(at & !(PAGE - 1))) else { return false };
            *byte = page[at & (PAGE - 1)];
            true
        })
    }

    // ---- objects

    pub fn text(&mut self, text: &str) -> usize {
        let [state, length, ascii] = self.offsets.text;
        let most = text.chars().map(u32::from).max().unwrap_or(0);
        let width = if most < 0x100 {
            1
        } else if most < 0x10000 {
            2
        } else {
            4
        };
        let (flags, head) = if most < 0x80 { (0b110_0000, ascii) } else { (0b010_0000, ascii + 16) };
        let count = text.chars().count();
        let at = self.place(head + (count + 1) * width);
        self.write(at + state, &(flags | (width as u32) << 2 | 1).to_ne_bytes());
        self.set(at + length, count);
        for (index, character) in text.chars().enumerate() {
            self.write(at + head + index * width, &u32::from(character).to_ne_bytes()[..width]);
        }
        at
    }

    /// A string of a subclass, whose characters lie elsewhere.
    pub fn text_of_subclass(&mut self, text: &str) -> usize {
        let at = self.place(self.offsets.text[2] + 40);
        self.text_of_subclass_at(at, text)
    }

    /// Such a string of which so many bytes lie in one page, and the others in the next one.
    pub fn text_of_subclass_over(&mut self, before: usize, text: &str) -> usize {
        let at = self.place_over(before);
        self.text_of_subclass_at(at, text)
    }

    fn text_of_subclass_at(&mut self, at: usize, text: &str) -> usize {
        let [state, length, ascii] = self.offsets.text;
        let elsewhere = self.place(text.len());
        self.write(at + state, &(0b100_0000u32 | 1 << 2).to_ne_bytes());
        self.set(at + length, text.len());
        self.set(at + ascii + 16, elsewhere);
        self.write(elsewhere, text.as_bytes());
        at
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> usize {
        let [size, first] = self.offsets.bytes;
        let at = self.place(first + bytes.len() + 1);
        self.set(at + size, bytes.len());
        self.write(at + first, bytes);
        at
    }

    /// A code object of 20 units, of these three texts.
    pub fn code(&mut self, texts: [usize; 3], first_line: i32, lines: &[u8]) -> usize {
        let lines = self.bytes(lines);
        let [file, name, qualified, table, first, instructions] = self.offsets.code;
        let at = self.place(instructions + 40);
        self.set(at + self.offsets.ob_type, self.code_type);
        for (offset, object) in [(file, texts[0]), (name, texts[1]), (qualified, texts[2]), (table, lines)] {
            self.set(at + offset, object);
        }
        self.write(at + first, &first_line.to_ne_bytes());
        at
    }

    /// The code of a function whose units are each one line further down than the one before.
    pub fn function(&mut self, file: &str, name: &str, first_line: i32) -> usize {
        let texts = [self.text(file), self.text(name), self.text(&format!("made.{name}"))];
        let lines: Vec<_> = (0..20).flat_map(|unit| [0x80 | if unit == 0 { 10 } else { 11 } << 3, 4, 9]).collect();
        self.code(texts, first_line, &lines)
    }

    /// A frame that is at a unit of this code, and was called by `previous`.
    pub fn frame(&mut self, code: usize, unit: usize, previous: usize) -> usize {
        let size = self.offsets.frame.into_iter().max().unwrap_or(0) + 8;
        let at = self.place(size);
        self.set_frame(at, code, unit, previous);
        at
    }

    pub fn set_frame(&mut self, at: usize, code: usize, unit: usize, previous: usize) {
        let [before, executable, instruction, owner] = self.offsets.frame;
        let tag = usize::from(self.version >> 16 >= 0x030e);
        self.set(at + before, previous);
        self.set(at + executable, code | tag);
        self.set(at + instruction, code + self.offsets.code[5] + unit * 2);
        self.write(at + owner, &[0]);
    }

    /// A frame without code, between C and Python.
    pub fn bare_frame(&mut self, previous: usize) -> usize {
        let at = self.frame(0x6600, 0, previous);
        self.write(at + self.offsets.frame[3], &[3]);
        at
    }

    /// An interpreter with these threads, each a number and its innermost frame. Returns its address, and theirs.
    pub fn interpreter(&mut self, id: usize, threads: &[(usize, usize)], next: usize) -> (usize, Vec<usize>) {
        let [id_at, next_at, head, _, gil] = self.offsets.interpreter;
        let at = self.place(2000);
        self.set(at + id_at, id);
        self.set(at + next_at, next);
        self.set(at + gil, at + self.offsets.gil[0]);
        let states: Vec<_> = threads.iter().map(|_| self.place(self.offsets.thread[4] + 8)).collect();
        self.set(at + head, states.first().copied().unwrap_or(0));
        let [before, after, interpreter, frame, number] = self.offsets.thread;
        for (index, (state, (thread, top))) in states.iter().zip(threads).enumerate() {
            self.set(state + before, if index == 0 { 0 } else { states[index - 1] });
            self.set(state + after, states.get(index + 1).copied().unwrap_or(0));
            self.set(state + interpreter, at);
            self.set(state + number, *thread);
            let top = if self.version >> 16 == 0x030c {
                let cframe = self.place(8);
                self.set(cframe, *top);
                cframe
            } else {
                *top
            };
            self.set(state + frame, top);
        }
        self.set(self.runtime + self.offsets.newest, at);
        (at, states)
    }

    /// Has the GIL of an interpreter held by this thread.
    pub fn hold(&mut self, interpreter: usize, locked: i32, holder: usize) {
        let [record, locked_at, holder_at] = self.offsets.gil;
        self.write(interpreter + record + locked_at, &locked.to_ne_bytes());
        self.set(interpreter + record + holder_at, holder);
    }

    pub fn collect(&mut self, interpreter: usize, collecting: i32) {
        let at = interpreter + self.offsets.interpreter[3] + self.offsets.collecting;
        self.write(at, &collecting.to_ne_bytes());
    }
}

/// A world of which each read is counted, and which changes while it is read.
pub struct Moving<F: Fn(usize) -> bool + Send + Sync> {
    pub worlds: [World; 2],
    pub reads: Arc<AtomicUsize>,
    /// A look at this address is of one world or the other, by how many of those there were before.
    pub place: usize,
    pub looks: AtomicUsize,
    pub is_other: F,
}

impl<F: Fn(usize) -> bool + Send + Sync> Memory for Moving<F> {
    fn read(&self, at: usize, into: &mut [u8]) -> bool {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let looks_there = (at..at.saturating_add(into.len())).contains(&self.place);
        let is_other = looks_there && (self.is_other)(self.looks.fetch_add(1, Ordering::Relaxed));
        self.worlds[usize::from(is_other)].read(at, into)
    }
}

impl Memory for World {
    fn read(&self, at: usize, into: &mut [u8]) -> bool {
        World::read(self, at, into)
    }
}
