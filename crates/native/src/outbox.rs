//! The outbox: the notes that are to be written to the log, and the thread that writes them.
//!
//! A handler of the log may take long, or wait for a lock that a blocked step holds. So whoever looks after blocked
//! steps only leaves a note here, which takes no GIL. A thread of Python's (`watch/report_writer.py`) is started when
//! there are notes, writes them in their order, and ends when there have been none for a moment. When a loop is closed,
//! and when the interpreter ends, what is left is waited for, but not for long.
//!
//! # Who may touch what
//!
//! - [`leave`]: any thread, with the GIL or without it. The watchdog is one, so it runs no Python code, waits for
//!   nobody who does, and destroys nothing: a note that finds no room is dropped outside the lock, and what it refers
//!   to is left to PyO3.
//! - [`next_note`]: the one thread that writes: `written` is true while it is there, or on its way. A note's details
//!   become Python objects only here.
//! - [`write_notes`]: whoever closes a loop or ends the interpreter, with the GIL, which it lets go of while it waits.
//! - `UNWRITTEN` is what everybody waits for: it counts the note, too, that is being written, which is in the outbox no
//!   longer.
//!
//! # Races, and what decides them
//!
//! - *A note comes while the writer is about to end.* The writer says that it ends (`written`) under the lock, and only
//!   if the outbox is empty. So either it finds the note, or whoever leaves the note finds that nobody writes, and
//!   starts a thread.
//! - *A note comes before the writer sleeps.* A parker keeps a wake-up that comes early.
//! - *A handler is stuck.* Up to [`MOST`] notes wait; those past it are counted, and their number is told after the
//!   others. Whoever waits for the outbox gives up after a second, and says so: at the end of the interpreter the log,
//!   too, is then closed without waiting for longer than a second.
//! - *A handler closes a loop*, on the thread that writes: it would wait for itself. `WRITES` tells, and it does not
//!   wait.
//! - *A handler, or a filter, raises.* The note counts as written, and the next one is taken.
//! - *No thread is to be had*: the system refuses it, or the interpreter ends. Then nobody writes, and the next note
//!   tries again. Whoever closes a loop tries too, and else writes the notes on its own thread. One that asks while the
//!   thread is on its way cannot tell whether it will arrive, and gives up after a second.
//! - *A fork.* The notes and the thread are the parent's: the child begins with an empty outbox. Where a handler has
//!   forked, the child goes on with a note that it does not count.
//!
//! # What was tried, and what would change it
//!
//! The watchdog wrote the log itself. While a handler took long nobody was rescued, in no loop; and a step that was put
//! aside with a handler's lock, whose report waited for that lock, stopped rescue for ever. A log that can be written
//! without the GIL and without a lock of the program's would make the thread needless; nobody's handlers promise that.

use crate::exit;
use crate::ffi;
use crate::starter::start_elsewhere;
use everloop_core::sync::{Mutex, lock, replace_after_fork};
use everloop_core::wait::{Parker, Wake};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Fills in the arguments of the method of the report writer that writes a note. Runs on the thread that does.
type Details = Box<dyn FnOnce(&Bound<'_, PyDict>) -> PyResult<()> + Send>;

/// So many notes may wait: more only while a handler of the log is stuck.
const MOST: usize = 1000;
/// The thread that writes ends after so long without a note.
const LINGER: Duration = Duration::from_millis(100);
/// The time that the end of a loop, or of the program, waits for notes to be written.
const PATIENCE: Duration = Duration::from_secs(1);

struct Note {
    /// The method of the report writer.
    method: &'static str,
    details: Details,
}

struct Outbox {
    notes: VecDeque<Note>,
    /// True if the thread that writes them is there, or on its way.
    written: bool,
    /// The number of notes that were left out since the last one that was written.
    lost: usize,
}

impl Outbox {
    const fn new() -> Self {
        Self { notes: VecDeque::new(), written: false, lost: 0 }
    }
}

/// Never locked while Python code runs or the GIL is waited for.
static OUTBOX: Mutex<Outbox> = Mutex::new(Outbox::new());
/// The place where the thread that writes sleeps.
static WRITER: LazyLock<Parker> = LazyLock::new(Parker::default);
/// The number of notes that are not written yet, with the one that is being written. Added to under the lock of the
/// outbox.
static UNWRITTEN: AtomicUsize = AtomicUsize::new(0);
/// Writes the texts (`watch/report_writer.py`). Has a method for each kind of note, `start_thread`, and `write_all`.
static REPORT_WRITER: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

thread_local! {
    /// True while this thread writes a note.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// The form in which blocks are told: 0 off, 1 text, 2 JSON. Written by the program; read by whoever writes a report.
static REPORT_MODE: AtomicU8 = AtomicU8::new(1);

/// Says in which form blocks are told: 0 off, 1 text, 2 JSON.
#[pyfunction]
pub fn set_report_mode(mode: u8) {
    REPORT_MODE.store(mode, Ordering::Relaxed);
}

/// The form in which blocks are told: 0 off, 1 text, 2 JSON.
#[pyfunction]
pub fn report_mode() -> u8 {
    REPORT_MODE.load(Ordering::Relaxed)
}

/// Registers the object that makes the texts.
#[pyfunction]
pub fn set_report_writer(writer: Option<Py<PyAny>>) {
    let old = std::mem::replace(&mut *lock(&REPORT_WRITER), writer);
    drop(old);
}

fn report_writer(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    lock(&REPORT_WRITER).as_ref().map(|writer| writer.bind(py).clone())
}

/// Leaves a note for a method of the report writer. Needs no GIL, runs no Python code, and drops nothing.
pub fn leave(method: &'static str, details: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()> + Send + 'static) {
    let mut outbox = lock(&OUTBOX);
    if outbox.notes.len() >= MOST {
        outbox.lost += 1;
        return;
    }
    outbox.notes.push_back(Note { method, details: Box::new(details) });
    UNWRITTEN.fetch_add(1, Ordering::SeqCst);
    let starts = !std::mem::replace(&mut outbox.written, true);
    drop(outbox);
    if !starts {
        WRITER.unpark();
        return;
    }
    let started = start_elsewhere(|py| {
        let started = report_writer(py).map(|writer| writer.call_method0("start_thread"));
        if !matches!(started, Some(Ok(_))) {
            nobody_writes();
        }
    });
    if started.is_err() {
        nobody_writes();
    }
}

/// No thread is to be had: the next note tries again, or the end of the loop.
fn nobody_writes() {
    lock(&OUTBOX).written = false;
}

/// The next note: the method that writes it, and its arguments. None: there is none, and no need to come again.
///
/// `wait` says that the calling thread is the one that writes, and lives for it.
#[pyfunction]
pub fn next_note(py: Python<'_>, wait: bool) -> PyResult<Option<(Py<PyAny>, Py<PyDict>)>> {
    ffi::stay_when_ended();
    if WRITES.replace(false) {
        // In a child that a handler of the log has forked, the note was the parent's.
        let _ = UNWRITTEN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
    }
    loop {
        let (note, lost) = {
            let mut outbox = lock(&OUTBOX);
            let lost = if outbox.notes.is_empty() { std::mem::take(&mut outbox.lost) } else { 0 };
            (outbox.notes.pop_front(), lost)
        };
        let Some(writer) = report_writer(py) else { return Ok(None) };
        let arguments = PyDict::new(py);
        if let Some(note) = note {
            WRITES.set(true);
            (note.details)(&arguments)?;
            return Ok(Some((writer.getattr(note.method)?.unbind(), arguments.unbind())));
        }
        if lost > 0 {
            arguments.set_item("count", lost)?;
            return Ok(Some((writer.getattr("lost")?.unbind(), arguments.unbind())));
        }
        if !wait {
            return Ok(None);
        }
        let woken = if exit::is_exiting() { Wake::TimedOut } else { py.detach(|| WRITER.park(Some(LINGER))) };
        let mut outbox = lock(&OUTBOX);
        if woken == Wake::TimedOut && outbox.notes.is_empty() {
            outbox.written = false;
            return Ok(None);
        }
    }
}

/// Waits until all notes are written, for a second at the most. False: a handler of the log is stuck.
#[pyfunction]
pub fn write_notes(py: Python<'_>) -> PyResult<bool> {
    ffi::stay_when_ended();
    let begin = Instant::now();
    let is_over = || UNWRITTEN.load(Ordering::SeqCst) == 0 || begin.elapsed() > PATIENCE;
    if WRITES.get() {
        return Ok(true); // a handler closes a loop
    }
    while !is_over() {
        let starts = !std::mem::replace(&mut lock(&OUTBOX).written, true);
        if starts
            && let Some(writer) = report_writer(py)
            && writer.call_method0("start_thread").is_err()
        {
            // No thread is to be had, at the interpreter's end for one.
            let written = writer.call_method1("write_all", (false,));
            nobody_writes();
            return written.map(|_| true);
        }
        // The thread that writes may be on its way still, and not get anywhere.
        py.detach(|| {
            while !is_over() && lock(&OUTBOX).written {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
    Ok(UNWRITTEN.load(Ordering::SeqCst) == 0)
}

/// In a forked child: the notes are the parent's, and so is the thread that writes, or any other that held the lock.
pub fn after_fork() {
    replace_after_fork(&OUTBOX, Outbox::new());
    UNWRITTEN.store(0, Ordering::SeqCst);
}
