//! For how long steps have blocked at which lines, and why: for those who ask from outside, without the GIL.

use crate::clock;
use everloop_core::sync::{Mutex, lock, replace_after_fork};
use pyo3::prelude::*;

/// So many lines are kept; what comes after them is counted as one.
const MOST: usize = 32;

/// A line at which steps have blocked.
#[derive(Clone, Debug)]
pub struct BlockedLine {
    /// All of these are empty for the lines that found no place.
    pub file: String,
    pub line: u32,
    pub function: String,
    pub cause: String,
    pub count: u64,
    pub nanoseconds: u64,
}

/// Written by who judges and who reports blocks, and read by who answers, with the GIL or without it.
static LINES: Mutex<Vec<BlockedLine>> = Mutex::new(Vec::new());

/// A step has blocked at this line for so long more; `begins`: and was not counted yet.
pub fn add(file: &str, line: u32, function: &str, cause: &str, nanoseconds: u64, begins: bool) {
    let mut lines = lock(&LINES);
    let is_there = |known: &BlockedLine| known.line == line && known.cause == cause && known.file == file;
    let is_other = |known: &BlockedLine| known.file.is_empty();
    let at = lines.iter().position(is_there).or_else(|| lines.iter().position(is_other).filter(|_| lines.len() > MOST));
    let at = at.unwrap_or_else(|| {
        let has_room = lines.len() < MOST;
        let text = |text: &str| if has_room { text.to_owned() } else { String::new() };
        lines.push(BlockedLine {
            file: text(file),
            line: if has_room { line } else { 0 },
            function: text(function),
            cause: text(cause),
            count: 0,
            nanoseconds: 0,
        });
        lines.len() - 1
    });
    lines[at].count += u64::from(begins);
    lines[at].nanoseconds += nanoseconds;
}

/// A step has blocked at this line for so many seconds more; `begins`: and was not counted yet.
#[pyfunction]
pub fn note_blocked_line(file: &str, line: u32, function: &str, cause: &str, seconds: f64, begins: bool) {
    add(file, line, function, cause, clock::from_seconds(seconds), begins);
}

/// The lines at which steps have blocked, those of the longest time first, and what found no place last.
pub fn all() -> Vec<BlockedLine> {
    let mut lines = lock(&LINES).clone();
    lines.sort_by_key(|line| (line.file.is_empty(), u64::MAX - line.nanoseconds));
    lines
}

/// In a forked child: the lines are the parent's, and a thread of it may have held the lock.
pub fn after_fork() {
    replace_after_fork(&LINES, Vec::new());
}
