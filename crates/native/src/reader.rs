//! The reader of Python stacks that needs no GIL, for the watchdog and whoever looks in from outside.
//!
//! It knows how the interpreter lays out its memory (`everloop_stacks`), which nobody promises. So it proves itself
//! first: when the first loop begins to be watched, with the GIL, it reads the stack of the thread that begins, and that
//! has to be what the interpreter says of it. Where anything differs it stays blind, for good, and says so once in the
//! log. Nothing but what it would tell is lost then.
//!
//! A forked child goes on with its parent's reader: the layout and the addresses are the same, and it reads the memory
//! of whichever process asks.

use crate::clock;
use crate::errors;
use crate::ffi::{self, name};
use crate::outbox;
use everloop_core::sys;
use everloop_stacks::{Frame, OwnMemory, Reader, Span, Symbols};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrame};
use std::sync::OnceLock;
use std::time::Duration;

/// None: it is blind.
static READER: OnceLock<Option<Reader>> = OnceLock::new();

/// The reader, once a loop was watched; None: there is none, as the interpreter cannot be read. Needs no GIL.
pub fn reader() -> Option<&'static Reader> {
    READER.get()?.as_ref()
}

/// Makes the reader and tests it, once.
pub fn prepare(py: Python<'_>) {
    if READER.get().is_some() {
        return;
    }
    // Where the interpreter has no such name, that is told already.
    let (reader, reason) = match ffi::private::symbols(py).map(|symbols| make(py, symbols)) {
        Some(Ok(reader)) => (Some(reader), None),
        Some(Err(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    // Another thread may have come first: it has found the same, and told it.
    if READER.set(reader).is_ok()
        && let Some(reason) = reason
    {
        outbox::leave("blind", move |details| details.set_item("reason", reason));
    }
}

/// So many frames are compared.
const COMPARED: usize = 8;

fn make(py: Python<'_>, symbols: Symbols) -> Result<Reader, String> {
    let reader = Reader::new(Box::new(OwnMemory), symbols)?;
    test(py, &reader)?;
    Ok(reader)
}

/// Reads the stack of the calling thread, and compares it with what the interpreter says. The text tells what differs.
fn test(py: Python<'_>, reader: &Reader) -> Result<(), String> {
    let number = sys::thread_number();
    let process = reader.process().ok_or("its threads cannot be read")?;
    let thread = process.thread(number).ok_or("this thread was not found")?;
    if !process.gil_locked || process.gil_holder != Some(number) {
        return Err("the GIL's holder was not found".to_owned());
    }
    let frames = reader.stack(thread, COMPARED).ok_or("the stack of this thread cannot be read")?;
    let mut known = ffi::ThreadState::current(py).top_frame(py);
    for frame in &frames {
        let Some(object) = known else { return Err("more frames were read than there are".to_owned()) };
        if let Some(what) = difference(&object, frame).map_err(|error| error.to_string())? {
            return Err(format!("a frame's {what} was read wrongly"));
        }
        known = ffi::caller(&object);
    }
    if known.is_some() && frames.len() < COMPARED {
        return Err("fewer frames were read than there are".to_owned());
    }
    Ok(())
}

/// What differs between a frame as the interpreter tells it and as it was read.
fn difference(object: &Bound<'_, PyFrame>, read: &Frame) -> PyResult<Option<&'static str>> {
    let code = ffi::frame_code(object);
    let py = object.py();
    for (name, text) in [
        (name!(py, "co_filename"), &read.file),
        (name!(py, "co_name"), &read.function),
        (name!(py, "co_qualname"), &read.qualified),
    ] {
        let known = ffi::code_text(&code, &name)?;
        // What is no character is shown in another way here, and a name that is too long is cut.
        let known = known.to_string_lossy();
        if known != *text && !known.contains(char::REPLACEMENT_CHARACTER) && !text.ends_with('…') {
            return Ok(Some("names"));
        }
    }
    if ffi::address(&code) != read.code {
        return Ok(Some("code"));
    }
    let instruction = ffi::frame_instruction(object);
    if usize::try_from(instruction).is_ok_and(|instruction| instruction != read.instruction) {
        return Ok(Some("instruction"));
    }
    if ffi::frame_line(object) != read.line {
        return Ok(Some("line"));
    }
    let span = read.span.map(|span| [span.line, span.column, span.end_line, span.end_column]);
    Ok((ffi::place(&code, read.instruction) != span).then_some("columns"))
}

/// A frame as Python gets it: file, line, qualified name; and line, end line, column, end column.
type PlainFrame = (String, u32, String, Option<(u32, u32, u32, u32)>);

fn told(frame: Frame) -> PlainFrame {
    let span = |span: Span| (span.line, span.end_line, span.column, span.end_column);
    (frame.file, frame.line, frame.qualified, frame.span.map(span))
}

/// The frames of a thread that are read at most.
const MOST_FRAMES: usize = 1000;

/// The stack of the thread with this native id, the innermost frame first, read without the GIL.
///
/// For each frame: file, line, qualified name, and the place of the instruction: line, end line, column, end column;
/// the columns in bytes. None: there is no such thread, or it moves, or the interpreter cannot be read.
#[pyfunction]
pub fn read_stack(py: Python<'_>, thread: u32) -> Option<Vec<PlainFrame>> {
    prepare(py);
    py.detach(|| stack_of(reader()?, thread))
}

fn stack_of(reader: &Reader, number: u32) -> Option<Vec<PlainFrame>> {
    let process = reader.process()?;
    let thread = process.thread(number)?;
    Some(reader.stack(thread, MOST_FRAMES)?.into_iter().map(told).collect())
}

/// The native ids of `threads`, `gil_locked`, `gil_holder`, and `collecting`, read without the GIL.
///
/// None: the interpreter cannot be read.
#[pyfunction]
pub fn read_process(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    prepare(py);
    let Some(process) = py.detach(|| reader()?.process()) else { return Ok(None) };
    let told = PyDict::new(py);
    told.set_item("threads", process.threads.iter().map(|thread| thread.number).collect::<Vec<_>>())?;
    told.set_item("gil_locked", process.gil_locked)?;
    told.set_item("gil_holder", process.gil_holder)?;
    told.set_item("collecting", process.collecting)?;
    Ok(Some(told))
}

/// For tests: waits, without the GIL, until that thread holds it and stands still; returns its stack as it was then.
///
/// A byte is written to the file `gate` then, which may end what the thread does; or once the time is over.
#[pyfunction]
pub fn read_holder(py: Python<'_>, thread: u32, seconds: f64, gate: i32) -> PyResult<Option<Vec<PlainFrame>>> {
    prepare(py);
    let (stack, opened) = py.detach(|| {
        let end = sys::now().saturating_add(clock::from_seconds(seconds));
        let (mut last, mut stack) = (None, None);
        while stack.is_none() && sys::now() < end {
            let now = reader().and_then(|reader| {
                let holds = reader.process()?.gil_holder == Some(thread);
                stack_of(reader, thread).filter(|_| holds)
            });
            stack = now.clone().filter(|_| now == last);
            last = now;
            std::thread::sleep(PAUSE);
        }
        (stack, rustix::io::write(ffi::borrow_fd(gate), &[0]))
    });
    opened.map_err(errors::os_error)?;
    Ok(stack)
}

/// Between two looks at the holder.
const PAUSE: Duration = Duration::from_millis(5);
