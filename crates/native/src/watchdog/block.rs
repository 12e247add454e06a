//! A block: what the watchdog and its deputy have seen of it, without the GIL.
//!
//! Each look asks the kernel what the thread does, and reads where it stands from memory (`reader.rs`). What the looks
//! mean is decided in the core (`everloop_core::watchdog::Looks`).

use super::deputy::{self, is_overdue};
use super::snapshot::{Origin, origin};
use crate::bases::is_base;
use crate::event_loop::{Shared, StepNames};
use crate::ffi;
use crate::reader::reader;
use everloop_core::sync::{Mutex, lock, replace_after_fork};
use everloop_core::sys::{self, Activity, CpuClock, Throttling};
use everloop_core::watchdog::{Doing, Evidence, Holder, Looks, Verdict, next_look, next_telling};
use everloop_stacks::{Frame, Reader, Span};
use std::sync::{Arc, LazyLock};

/// The most frames that are read of a stack, and that are kept of it.
const MOST_READ: usize = 256;
const MOST_KEPT: usize = 32;
/// So often a stack is tried to be read.
const TRIES: usize = 4;
/// So often the innermost frame is read once more, to see whether it moves.
const READS: usize = 6;
/// Less CPU time than this, in nanoseconds, is too little to be seen moving.
const MOVING: u64 = 10_000;
/// A step that gives the GIL away before it has used so much CPU time was asked for it in the middle of no long call. In
/// nanoseconds.
const GIVES: u64 = 8_000_000;
/// The innermost frames of a thread that starts another one: it waits for a condition, of an event.
const FRAMES_OF_A_START: usize = 3;
/// The shortest time between two looks, in nanoseconds.
const SOONEST: u64 = 4_000_000;
/// The places of which the names are kept.
const MOST_PLACES: usize = 64;

/// What blocks a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKey {
    /// The step of this heartbeat.
    Step(u64),
    /// Whoever has the GIL, which the loop has waited for since its sleep ended at this time.
    Waking(u64),
    /// The many short steps of the turn of this number.
    Turn(u64),
    /// Nothing but its own step, which this release has put aside.
    Aside(u64),
}

/// A thread that may block its loop.
#[derive(Clone, Copy, Debug)]
pub struct Suspected {
    pub key: BlockKey,
    /// The time at which that began.
    pub since: u64,
    /// The kernel's number of the thread that turns the loop.
    pub thread: u32,
}

/// A place in the program's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    code: usize,
    line: u32,
}

/// A heartbeat, and when a closer look first found it.
#[derive(Clone, Copy, Default)]
pub struct Noticed {
    tick: u64,
    at: u64,
}

impl Noticed {
    /// The time at which this heartbeat was first found, which may be now.
    pub fn since(&mut self, tick: u64, now: u64) -> u64 {
        if self.tick != tick {
            *self = Self { tick, at: now };
        }
        self.at
    }

    /// The time at which this heartbeat was first found, if it was the last that was.
    pub fn known(&self, tick: u64) -> Option<u64> {
        (self.tick == tick).then_some(self.at)
    }
}

/// What one look has found.
pub struct Found {
    evidence: Evidence<Option<Place>>,
    /// The depth, code and instruction at which it stands.
    stands: Option<(usize, usize, usize)>,
    stack: Vec<Frame>,
    /// Another thread that has the GIL, and where it stands.
    other_holder: Option<(u32, Vec<Frame>)>,
}

/// The processors that the process was not given.
static THROTTLING: LazyLock<Throttling> = LazyLock::new(Throttling::find);

/// Finds what looks need, with the GIL: a fork that came while a thread without it does so would leave the child where
/// nobody ever ends that.
pub fn prepare() {
    LazyLock::force(&THROTTLING);
    let _looked_up = ffi::is_interpreters(0);
}

/// Looks at the thread. `steps`: those of the turn so far. Needs no GIL, and must not be called with it: then everybody
/// would seem to wait for that.
pub fn look(who: &Suspected, now: u64, steps: u64) -> Found {
    let activity = sys::activity(who.thread);
    let process = reader().and_then(Reader::process);
    let read = |number, most| reader()?.stack(process.as_ref()?.thread(number)?, most);
    // One that runs Python at full speed is missed now and then.
    let stack = (0..TRIES).find_map(|_| read(who.thread, MOST_READ));
    let usage = sys::usage(who.thread);
    let state = sys::state(who.thread);
    let moves = reader().and_then(|_| moves(who.thread, stack.as_deref(), |most| read(who.thread, most)));
    let holder = match &process {
        None => Holder::Unknown,
        Some(process) if !process.gil_locked => Holder::Nobody,
        Some(process) => match process.gil_holder {
            None => Holder::Unknown,
            Some(number) if number == who.thread => Holder::Step,
            Some(number) => Holder::Other(number),
        },
    };
    let other_holder = match holder {
        Holder::Other(number) => Some((number, kept(read(number, MOST_READ).unwrap_or_default()))),
        _ => None,
    };
    let mut stack = stack.unwrap_or_default();
    let stands = stack.first().map(|frame| (stack.len(), frame.code, frame.instruction));
    let end = stack.iter().position(|frame| is_base(frame.code));
    stack.truncate(if matches!(who.key, BlockKey::Waking(_)) { 0 } else { end.unwrap_or(stack.len()) });
    let imports = stack.iter().any(imports_modules);
    // A thread that starts another one waits until that has had the GIL.
    let starts = stack.iter().take(FRAMES_OF_A_START).any(|frame| frame.qualified == "Thread.start");
    let doing = match Doing::new(activity, ffi::is_interpreters) {
        Doing::Waits if starts && matches!(activity, Activity::WaitsForLock(_)) => Doing::WaitsForGlobalLock,
        doing => doing,
    };
    let resolves = stack.first().is_some_and(resolves);
    let evidence = Evidence {
        moves,
        call: activity.call(),
        state,
        cpu: usage.cpu,
        delay: usage.delay,
        holder,
        holder_delay: if let Holder::Other(number) = holder { sys::usage(number).delay } else { None },
        holder_waits: matches!(holder, Holder::Other(number)
            if Doing::new(sys::activity(number), ffi::is_interpreters) == Doing::Waits),
        changes: process.as_ref().and_then(|process| process.gil_switches),
        asked: deputy::asked(),
        process_cpu: sys::process_cpu(),
        collecting: process.as_ref().is_some_and(|process| process.collecting),
        importing: imports,
        resolving: resolves,
        steps,
        // The deputy's would be another one.
        watchdog_delay: if is_overdue(now) { None } else { sys::usage(sys::thread_number()).delay },
        throttled: THROTTLING.total(),
        ..Evidence::new(now, own(&stack).map(place), doing)
    };
    Found { evidence, stands, stack: kept(stack), other_holder }
}

/// True if the thread's innermost frame is found at another place when it is read again, false if it has not moved though
/// it had a processor; None: it had none.
fn moves(thread: u32, stack: Option<&[Frame]>, read: impl Fn(usize) -> Option<Vec<Frame>>) -> Option<bool> {
    let Some(stack) = stack else { return Some(true) };
    let stands = |frames: &[Frame]| frames.first().map(|frame| (frame.code, frame.instruction));
    let used = cpu(thread);
    let mut was_read = false;
    // Who is in a short loop is often found at the same instruction.
    for again in (0..READS).filter_map(|_| read(1)) {
        if stands(&again) != stands(stack) {
            return Some(true);
        }
        was_read = true;
    }
    let used = used.and_then(|before| Some(cpu(thread)?.saturating_sub(before)));
    match used {
        Some(used) if used < MOVING => None,
        _ => Some(!was_read), // who cannot be read runs Python
    }
}

/// CPU time of a thread so far.
fn cpu(thread: u32) -> Option<u64> {
    CpuClock::of_thread(thread).and_then(CpuClock::now)
}

/// The innermost frame of a thread.
fn innermost(number: u32) -> Option<Frame> {
    reader()?.stack(reader()?.process()?.thread(number)?, 1)?.into_iter().next()
}

fn kept(mut frames: Vec<Frame>) -> Vec<Frame> {
    // The program's own frame may be far out, below a deep library: it is the one that is told of.
    if let Some(at) = frames.iter().position(is_own).filter(|at| *at >= MOST_KEPT) {
        frames.swap(MOST_KEPT - 1, at);
    }
    frames.truncate(MOST_KEPT);
    frames
}

fn is_own(frame: &Frame) -> bool {
    origin(&frame.file) == Origin::Own
}

/// The frame of the program's own code that a report names; another one if there is none.
pub fn own(frames: &[Frame]) -> Option<&Frame> {
    let generated = || frames.iter().find(|frame| origin(&frame.file) == Origin::Generated);
    frames.iter().find(|frame| is_own(frame)).or_else(generated).or_else(|| frames.first())
}

/// True for the interpreter's own code that imports.
pub fn imports_modules(frame: &Frame) -> bool {
    frame.file.starts_with("<frozen importlib")
}

/// True for code that asks for the address that belongs to a name.
fn resolves(frame: &Frame) -> bool {
    frame.function == "getaddrinfo"
}

fn place(frame: &Frame) -> Place {
    Place { code: frame.code, line: frame.line }
}

/// A line that was written of is quiet for so many nanoseconds, as in the log (`watch/report_writer.py`).
const QUIET: u64 = 10_000_000_000;

/// The lines that were written of lately, and when. Written and read by the watchdog and its deputy.
static WRITTEN: Mutex<Vec<(Place, u64)>> = Mutex::new(Vec::new());

/// In a forked child: the watchdog of the parent may have held the lock.
pub fn after_fork() {
    replace_after_fork(&WRITTEN, Vec::new());
}

/// All looks at a block.
pub struct Block {
    pub who: Suspected,
    looks: Looks<Option<Place>>,
    /// The time of the next look, and the time that it will have lasted when it is told of again.
    next: u64,
    tell_at: u64,
    /// The names of the places: file, function, and the span of the instruction that was found there last.
    names: Vec<(Place, String, String, Option<Span>)>,
    /// The stack at the last look that could read it, and the thread that had the GIL then, if that was another one.
    stack: Vec<Frame>,
    other_holder: Option<(u32, Vec<Frame>)>,
    /// Where the step stood at the last look: the line, and the instruction.
    at: Option<Place>,
    stood: Option<(usize, usize, usize)>,
    /// Where it stood when the GIL came soon to one who asked for it.
    came_at: Option<Place>,
    /// The time by which the watchdog had overslept at the last look, in all.
    overslept: u64,
    /// The steps of the turn at the last look.
    steps: u64,
    /// Where it is told whose step that is, once that was asked.
    names_asked: Option<Arc<StepNames>>,
}

impl Block {
    pub fn new(who: Suspected, report_after: u64, overslept: u64) -> Self {
        let looks = Looks::new(who.since);
        let (names, stack) = (Vec::new(), Vec::new());
        Self {
            who,
            looks,
            next: who.since.saturating_add(next_look(0, report_after)),
            tell_at: next_telling(0),
            names,
            stack,
            other_holder: None,
            at: None,
            stood: None,
            came_at: None,
            overslept,
            steps: 0,
            names_asked: None,
        }
    }

    /// Asks whose step this is: whoever runs it tells when it has ended, if that is all that can be known.
    pub fn ask_names(&mut self, shared: &Shared, tick: u64) {
        if self.names_asked.is_none() && shared.heartbeat.tick() == tick {
            self.names_asked = Some(shared.sighting.ask(tick));
            shared.heartbeat.ask();
        }
    }

    /// Where it is told whose step that is, if anybody has asked.
    pub fn names_asked(&self) -> Option<Arc<StepNames>> {
        self.names_asked.clone()
    }

    /// It has been put aside by this release, or was when this was made: it is looked at from now on only until it is due
    /// for a report.
    pub fn put_aside(&mut self, serial: u64) {
        self.who.key = BlockKey::Aside(serial);
        self.next = 0;
    }

    /// It is looked at only once it has lasted for three fifths of what is told of. Steps that are put aside at places
    /// that are known are many, and most are over before that.
    pub fn wait_for_most(&mut self, report_after: u64) {
        self.next = self.who.since.saturating_add(report_after / 5 * 3);
    }

    /// True if it is time for another look.
    pub fn is_look_due(&self, now: u64) -> bool {
        now >= self.next
    }

    /// Adds a look, where the watchdog has overslept by so much in all.
    pub fn add(&mut self, mut seen: Found, report_after: u64, overslept: u64) {
        let now = seen.evidence.now;
        // Those of the turn so far, until here.
        let steps = seen.evidence.steps;
        seen.evidence.steps = steps.saturating_sub(self.steps);
        self.steps = steps;
        seen.evidence.overslept = overslept.saturating_sub(self.overslept);
        self.overslept = overslept;
        if is_overdue(now) {
            self.came_at = None;
        } else if seen.evidence.holder == Holder::Step
            && self.came_at.is_some()
            && self.came_at == seen.evidence.position
        {
            seen.evidence.moves = Some(true); // it is there again and again, and would let go of the GIL
        }
        // It had no processor while it was read; it had one before that.
        if seen.evidence.moves.is_none() && self.stood.is_some() && seen.stands.is_some() && self.stood != seen.stands {
            seen.evidence.moves = Some(true);
        }
        self.stood = seen.stands;
        self.looks.add(seen.evidence, sys::thing);
        let next = self.who.since.saturating_add(next_look(now.saturating_sub(self.who.since), report_after));
        // As soon as it may be due for a report, but not at once again.
        let next = match self.who.key {
            BlockKey::Step(_) | BlockKey::Waking(_) => next,
            // Each of its steps is another one: it is seen often for as long as it lasts.
            BlockKey::Turn(_) => now.saturating_add(next_look(0, report_after)),
            BlockKey::Aside(_) => u64::MAX,
        };
        let missing = report_after.saturating_sub(self.looks.charged());
        self.next =
            if missing > 0 { next.min(now.saturating_add(missing.max(SOONEST.min(report_after / 2)))) } else { next };
        self.at = seen.evidence.position;
        if let Some(frame) = own(&seen.stack) {
            let at = place(frame);
            if let Some((.., span)) = self.names.iter_mut().find(|(known, ..)| *known == at) {
                *span = frame.span;
            } else if self.names.len() < MOST_PLACES {
                self.names.push((at, frame.file.clone(), frame.function.clone(), frame.span));
            }
            self.stack = seen.stack;
        }
        if seen.other_holder.as_ref().is_some_and(|(_, frames)| !frames.is_empty()) || self.other_holder.is_none() {
            self.other_holder = seen.other_holder;
        }
    }

    /// The CPU time of the step so far.
    pub fn cpu(&self) -> Option<u64> {
        cpu(self.who.thread)
    }

    /// The GIL was asked for when the step had used so much CPU time, and has come: a step that runs on had it to give.
    pub fn lock_came(&mut self, asked: Option<u64>) {
        if self.cpu().zip(asked).is_some_and(|(now, asked)| now.saturating_sub(asked) < GIVES) {
            self.looks.lock_came();
            self.came_at = self.at;
        }
    }

    /// True if it is proven that the step gives the GIL to nobody who asks for it.
    pub fn keeps_gil(&self) -> bool {
        self.looks.keeps_lock()
    }

    /// Adds a look at a step that is aside: it waits, or computes without the GIL.
    pub fn add_aside(&mut self, now: u64) {
        let activity = sys::activity(self.who.thread);
        let mut evidence = Evidence::new(now, None, Doing::new(activity, ffi::is_interpreters));
        (evidence.call, evidence.holder) = (activity.call(), Holder::Nobody);
        evidence.resolving = innermost(self.who.thread).is_some_and(|frame| resolves(&frame));
        self.looks.add(evidence, sys::thing);
    }

    /// True if anybody has looked at it.
    pub fn has_looks(&self) -> bool {
        !self.looks.is_empty()
    }

    /// Judges it, as of now.
    pub fn judge(&self, now: u64, report_after: u64) -> Verdict<Option<Place>> {
        self.looks.judge(now, report_after)
    }

    /// True if it is to be told of once more: it has been told of before.
    pub fn is_telling_due(&mut self, now: u64) -> bool {
        let lasted = now.saturating_sub(self.who.since);
        let is_due = lasted >= self.tell_at;
        if is_due {
            self.tell_at = next_telling(lasted);
        }
        is_due
    }

    /// True if the line at which it stands, or stood at the last look, was not written of lately: then it is now.
    pub fn line_is_news(&self, now: u64) -> bool {
        let frames = self.other_holder.as_ref().map_or(&self.stack, |(_, frames)| frames);
        let Some(at) = own(frames).map(place) else { return true };
        let mut written = lock(&WRITTEN);
        written.retain(|(_, when)| now.saturating_sub(*when) < QUIET);
        let is_news = written.len() < MOST_PLACES && written.iter().all(|(known, _)| *known != at);
        if is_news {
            written.push((at, now));
        }
        is_news
    }

    /// The innermost frames of the step.
    pub fn stack(&self) -> &[Frame] {
        &self.stack
    }

    /// The frames of this thread when it last had the GIL.
    pub fn other_holder(&self, number: u32) -> &[Frame] {
        self.other_holder.as_ref().filter(|(thread, _)| *thread == number).map_or(&[], |(_, frames)| frames)
    }

    /// The names of a place: file, line, function and span.
    pub fn name(&self, at: Place) -> Option<(String, u32, String, Option<Span>)> {
        let (place, file, function, span) = self.names.iter().find(|(known, ..)| *known == at)?;
        Some((file.clone(), place.line, function.clone(), *span))
    }
}
