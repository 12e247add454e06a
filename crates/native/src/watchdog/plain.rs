//! The report as it is written while nobody can run Python: a few lines, or one of JSON.

use super::named_verdict::NamedVerdict;
use crate::clock;
use crate::json::Json;
use everloop_stacks::Frame;
use std::fmt::Write;
use std::process;

/// So many frames are written.
const MOST: usize = 6;

/// The text for a block that has lasted for so many nanoseconds, with the frames of the thread that it is about.
pub fn text(verdict: &NamedVerdict, line: Option<&Frame>, frames: &[Frame], lasted: u64) -> String {
    let cause = cause(verdict);
    let mut text = format!(
        "warning[blocked]: the event loop has been blocked for {} ms (still blocked): {cause}\n",
        lasted / 1_000_000
    );
    if let Some(frame) = line {
        add(&mut text, format_args!("  --> {}:{} in {}\n", frame.file, frame.line, frame.qualified));
    }
    for frame in frames.iter().take(MOST) {
        add(&mut text, format_args!("   = at: {}:{} in {}\n", frame.file, frame.line, frame.qualified));
    }
    if let Some((number, _)) = &verdict.other_holder {
        add(&mut text, format_args!("   = thread: {number}\n"));
    }
    add(&mut text, format_args!("   = note: nothing can run Python meanwhile; the report follows in the log\n"));
    text
}

/// The cause, and the place, in one line.
pub fn line(verdict: &NamedVerdict, frame: Option<&Frame>) -> String {
    let at = frame.map(|frame| format!(", at {}:{} in {}", frame.file, frame.line, frame.qualified));
    format!("{}{}", cause(verdict), at.unwrap_or_default())
}

fn cause(verdict: &NamedVerdict) -> String {
    let kind = match (verdict.kind, &verdict.other_holder) {
        ("gil", _) => "C code of this step holds the GIL",
        ("collector", _) => "garbage is collected",
        ("thread", Some(_)) => "another thread holds the GIL",
        ("thread", None) => "other threads hold the GIL",
        ("import", _) => "a module is imported",
        ("python", _) => "it computes in Python",
        ("native", _) => "C code computes, without the GIL",
        ("steps", _) => "many short steps run, one after the other",
        ("host", _) => "the machine gave no processor to this process",
        ("sleep", _) => "it waits until a time has passed",
        ("unknown", _) => "a step of it has not ended",
        (kind, _) => {
            return format!("it waits: {kind}{}", verdict.on.as_ref().map(|on| format!(" {on}")).unwrap_or_default());
        }
    };
    kind.to_owned()
}

/// The same as a line of JSON.
pub fn json(verdict: &NamedVerdict, line: Option<&Frame>, lasted: u64) -> String {
    let mut cause = vec![("kind", Json::Text(verdict.kind.to_owned()))];
    cause.extend(verdict.other_holder.as_ref().map(|(number, _)| ("thread", Json::Whole(u64::from(*number)))));
    let mut record = vec![
        ("state", Json::Text("blocked".to_owned())),
        ("told", Json::True),
        ("pid", Json::Whole(u64::from(process::id()))),
        ("seconds", Json::Number(clock::to_seconds(lasted))),
        ("cause", Json::Object(cause)),
    ];
    if let Some(frame) = line {
        record.push(("file", Json::Text(frame.file.clone())));
        record.push(("line", Json::Whole(u64::from(frame.line))));
        record.push(("function", Json::Text(frame.function.clone())));
    }
    format!("{}\n", Json::Object(record))
}

fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Text in memory takes whatever comes.
    let _never = text.write_fmt(more);
}
