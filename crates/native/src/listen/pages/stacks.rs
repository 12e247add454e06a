//! `/stacks`: where each thread of the process is, and what it waits for.

use crate::listen::http::Answer;
use crate::listen::runs::{self, Role};
use crate::reader;
use everloop_core::sys::{self, Activity};
use everloop_stacks::{Process, Reader, Thread};
use std::fmt::Write as _;
use std::fs;

/// The most frames that are told of a thread.
const MOST: usize = 100;
/// A thread that moves is looked at so often, with five tries each.
const LOOKS: usize = 10;

pub fn answer() -> Answer {
    let reader = reader::reader();
    let process = reader.and_then(Reader::process);
    let mut text = String::new();
    let _ = match &process {
        Some(Process { collecting: true, .. }) => writeln!(text, "The garbage collector is at work."),
        Some(_) => Ok(()),
        None => writeln!(
            text,
            "The Python stacks of this process cannot be read: that needs a loop that has run, and a known interpreter."
        ),
    };
    let threads = process.as_ref().map_or(&[][..], |process| &process.threads);
    let own = sys::thread_number();
    for number in sys::thread_numbers().unwrap_or_default().into_iter().filter(|number| *number != own) {
        let holds = process.as_ref().is_some_and(|process| process.gil_holder == Some(number));
        write_head(&mut text, number, holds);
        for thread in threads.iter().filter(|thread| thread.number == number) {
            write_stack(&mut text, reader, thread);
        }
    }
    Answer::text(200, text.trim_end())
}

fn write_head(text: &mut String, number: u32, holds: bool) {
    let name = fs::read_to_string(format!("/proc/self/task/{number}/comm")).unwrap_or_default();
    let separator = if text.is_empty() { "" } else { "\n" };
    let _ = write!(text, "{separator}thread {number} {:?}", name.trim_end());
    let mut sleeps = false;
    for run in runs::all() {
        let Some(role) = run.role(number) else { continue };
        let _ = match role {
            Role::Home => write!(text, ", home of the loop of {}", run.name),
            Role::HomeAside => write!(text, ", home of the loop of {}, with a step that is aside", run.name),
            Role::Relief => write!(text, ", goes on with the loop of {}", run.name),
        };
        sleeps |= role != Role::HomeAside && run.shared.baton.is_polling();
    }
    text.push_str(if holds { ", has the GIL" } else { "" });
    let _ = match sys::activity(number) {
        Activity::Runs => writeln!(text, ": runs"),
        Activity::Waits(_) if sleeps => writeln!(text, ": waits for files and timers"),
        Activity::Waits(call) => writeln!(text, ": waits for {}", sys::thing(call)),
        Activity::WaitsForLock(_) => writeln!(text, ": waits for a lock"),
        Activity::Unknown => writeln!(text),
    };
}

fn write_stack(text: &mut String, reader: Option<&Reader>, thread: &Thread) {
    if thread.interpreter != 0 {
        let _ = writeln!(text, "  in interpreter {}:", thread.interpreter);
    }
    let look = |_| reader?.stack(thread, MOST);
    let Some(frames) = (0..LOOKS).find_map(look) else {
        text.push_str("  it moves too fast for its stack to be read, or has ended\n");
        return;
    };
    if frames.len() == MOST {
        let _ = writeln!(text, "  the innermost {MOST} frames:");
    }
    for frame in frames {
        let _ = writeln!(text, "  {}:{} in {}", frame.file, frame.line, frame.qualified);
    }
}
