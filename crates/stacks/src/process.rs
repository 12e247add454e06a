//! The threads that an interpreter knows, its GIL, and its collector.
//!
//! Threads come and go while we look. So each link of their list is checked: the next one has to know the last one, and
//! to be of the same interpreter.

use crate::memory::word;
use crate::reader::{Reader, TRIES};

/// What a look at the process shows. The GIL and the collector are those of the main interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Those of the main interpreter first.
    pub threads: Vec<Thread>,
    pub gil_locked: bool,
    /// The kernel's number of the thread that holds the GIL. None: nobody does, or it is just changing hands.
    pub gil_holder: Option<u32>,
    /// How often the GIL has gone to another thread so far.
    pub gil_switches: Option<u64>,
    /// True while garbage is collected.
    pub collecting: bool,
}

impl Process {
    /// The thread of this number: that of the main interpreter, where it runs code of another one, too.
    pub fn thread(&self, number: u32) -> Option<&Thread> {
        self.threads.iter().find(|thread| thread.number == number)
    }
}

/// A thread that an interpreter knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The kernel's number. A thread that runs code of another interpreter is there twice.
    pub number: u32,
    /// 0 for the main interpreter.
    pub interpreter: u64,
    pub(crate) state: usize,
    pub(crate) interpreter_state: usize,
}

const MOST_INTERPRETERS: usize = 1024;
const MOST_THREADS: usize = 10_000;

impl Reader {
    /// The threads, the GIL and the collector. None: threads came and went, in each of five tries.
    pub fn process(&self) -> Option<Process> {
        (0..TRIES).find_map(|_| self.try_process())
    }

    fn try_process(&self) -> Option<Process> {
        let layout = &self.layout.interpreter;
        let mut at = self.word(self.runtime.checked_add(self.layout.newest)?)?;
        let mut process =
            Process { threads: Vec::new(), gil_locked: false, gil_holder: None, gil_switches: None, collecting: false };
        for _ in 0..MOST_INTERPRETERS {
            let offsets = [layout.id, layout.next, layout.threads, layout.gil, layout.collecting];
            let words = self.words(at, &offsets)?;
            let [id, next, threads, gil, _] = words[..] else { return None };
            let mut threads = self.threads(at, id as u64, threads)?;
            if id != 0 {
                process.threads.append(&mut threads);
                at = next;
                continue;
            }
            threads.append(&mut process.threads);
            process.threads = threads;
            // The collector's is an int.
            process.collecting = words[4] as u32 != 0;
            process.gil_switches =
                gil.checked_add(layout.switches()).and_then(|at| self.word(at)).map(|count| count as u64);
            let gil = self.words(gil, &[layout.locked, layout.holder])?;
            process.gil_locked = gil[0] as u32 == 1;
            let holder = process.threads.iter().find(|thread| thread.state == gil[1]);
            process.gil_holder = holder.filter(|_| process.gil_locked).map(|thread| thread.number);
            return Some(process);
        }
        None
    }

    /// The threads of an interpreter. Those that have only been made are left out.
    fn threads(&self, interpreter_state: usize, interpreter: u64, first: usize) -> Option<Vec<Thread>> {
        let layout = &self.layout.thread;
        let (mut threads, mut last, mut at) = (Vec::new(), 0, first);
        for _ in 0..MOST_THREADS {
            if at == 0 {
                return Some(threads);
            }
            let state = self.state(at)?;
            if word(&state, layout.interpreter)? != interpreter_state || word(&state, layout.previous)? != last {
                return None;
            }
            let number = u32::try_from(word(&state, layout.number)?).ok()?;
            if number != 0 {
                threads.push(Thread { number, interpreter, state: at, interpreter_state });
            }
            (last, at) = (at, word(&state, layout.next)?);
        }
        None
    }

    /// What is read of a thread's state.
    pub(crate) fn state(&self, at: usize) -> Option<Vec<u8>> {
        self.pieces(&[(at, self.state_length())])
    }

    pub(crate) fn state_length(&self) -> usize {
        let layout = &self.layout.thread;
        let words = [layout.previous, layout.next, layout.interpreter, layout.frame, layout.number];
        words.into_iter().max().unwrap_or(0) + 8
    }

    /// The words at these offsets from an address.
    fn words(&self, at: usize, offsets: &[usize]) -> Option<Vec<usize>> {
        let pieces: Option<Vec<_>> = offsets.iter().map(|offset| Some((at.checked_add(*offset)?, 8))).collect();
        let bytes = self.pieces(&pieces?)?;
        bytes.chunks(8).map(|bytes| word(bytes, 0)).collect()
    }
}
