//! The deputy: a native thread that looks in the watchdog's place while that waits for the GIL, and that writes what
//! nobody could write who needs the GIL.
//!
//! The watchdog asks for the GIL to act, and C code may hold that for seconds. Nobody who waits for it sees or says
//! anything; the deputy never asks for it. It sleeps unless the watchdog has waited for longer than [`PATIENCE`].
//!
//! **Who touches what.** `ASKED` and `CAME`: written by the watchdog; read by the deputy, and by home when its run ends.
//! `DEPUTY`: the watchdog, and whoever hands over a text, under its lock, for a moment.
//!
//! **The races.**
//! - *Standard error is a pipe that nobody reads.* The deputy is stuck, and holds nothing meanwhile: the watchdog goes
//!   on, texts past [`MOST`] are dropped, and the end of the program waits for [`LAST_WORDS`] only.
//! - *The watchdog asks before the deputy sleeps.* `unpark` is kept for the next `park`.
//! - *The watchdog ends while its deputy looks.* The deputy sees that at its next look. Another watchdog has another one.

use crate::clock;
use crate::own_threads::OwnThread;
use everloop_core::sync::{Mutex, lock, replace_after_fork};
use everloop_core::sys::{self, State};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The watchdog may wait for the GIL so long, in nanoseconds, before another one looks.
pub const PATIENCE: u64 = 10_000_000;
/// The time between two looks of the deputy.
const PERIOD: Duration = Duration::from_millis(5);
/// The end of the program waits so long, in nanoseconds, for texts that are not written yet.
const LAST_WORDS: u64 = 200_000_000;
/// So many texts may wait to be written.
const MOST: usize = 16;

/// The time since which the watchdog waits for the GIL, 0 while it does not; and the time at which the GIL last came
/// late.
pub static ASKED: AtomicU64 = AtomicU64::new(0);
pub static CAME: AtomicU64 = AtomicU64::new(0);
/// The kernel's number of the thread that waits.
static ASKS: AtomicU32 = AtomicU32::new(0);

struct Deputy {
    /// Looks at all loops; None: there is no watchdog. And the number of the watchdog that has said so.
    look: Option<fn()>,
    watchdog: u64,
    /// The thread, once it was wanted, and what is true when it is to end.
    thread: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
    /// The texts that it is to write.
    texts: Vec<String>,
}

impl Deputy {
    const fn new() -> Self {
        Self { look: None, watchdog: 0, thread: None, texts: Vec::new() }
    }

    /// Wakes the thread, or starts it. Where the system refuses it, nobody looks and nothing is said.
    fn wake(&mut self) {
        if let Some((thread, _)) = &self.thread {
            return thread.thread().unpark();
        }
        let Some(look) = self.look else { return };
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let spawned = thread::Builder::new().name("everloop-deputy".to_owned()).spawn(move || serve(&seen, look));
        self.thread = spawned.ok().map(|spawned| (spawned, ends));
    }
}

static DEPUTY: Mutex<Deputy> = Mutex::new(Deputy::new());

/// A watchdog has begun: whoever looks in its place calls this. Returns the number by which its deputy is dismissed.
pub fn appoint(look: fn()) -> u64 {
    let mut deputy = lock(&DEPUTY);
    deputy.look = Some(look);
    deputy.watchdog += 1;
    deputy.watchdog
}

/// The watchdog ends, and its deputy too, as soon as it can: what it has to write still is waited for, but not for long.
pub fn dismiss(watchdog: u64) {
    let thread = {
        let mut deputy = lock(&DEPUTY);
        if deputy.watchdog != watchdog {
            return; // the next one has come already, and goes on with it
        }
        deputy.look = None;
        deputy.thread.take()
    };
    let Some((thread, ends)) = thread else { return };
    ends.store(true, Ordering::Relaxed);
    thread.thread().unpark();
    let begin = clock::now();
    while !thread.is_finished() && clock::now().saturating_sub(begin) < LAST_WORDS {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The watchdog is about to wait for the GIL.
pub fn ask(now: u64) {
    ASKS.store(sys::thread_number(), Ordering::SeqCst);
    ASKED.store(now, Ordering::SeqCst);
    lock(&DEPUTY).wake();
}

/// The watchdog has the GIL, or gets it no more.
pub fn answered() {
    ASKED.store(0, Ordering::SeqCst);
}

/// The time since which the watchdog waits for the GIL; None: it does not, or has no processor to ask for it once more.
pub fn asked() -> Option<u64> {
    let asked = ASKED.load(Ordering::SeqCst);
    (asked != 0 && sys::state(ASKS.load(Ordering::SeqCst)) != State::Runs).then_some(asked)
}

/// True if the watchdog has waited for the GIL for so long that somebody must hold it.
pub fn is_overdue(now: u64) -> bool {
    let asked = ASKED.load(Ordering::SeqCst);
    asked != 0 && now.saturating_sub(asked) >= PATIENCE
}

/// Has the deputy write a text to standard error.
pub fn say(text: String) {
    let mut deputy = lock(&DEPUTY);
    if deputy.texts.len() < MOST {
        deputy.texts.push(text);
    }
    deputy.wake();
}

/// In a forked child nobody waits for the GIL, and there is no deputy.
pub fn after_fork() {
    ASKED.store(0, Ordering::Relaxed);
    replace_after_fork(&DEPUTY, Deputy::new());
}

/// The life of the deputy.
fn serve(ends: &AtomicBool, look: fn()) {
    let _own = OwnThread::enter();
    while !ends.load(Ordering::Relaxed) {
        let asked = ASKED.load(Ordering::SeqCst);
        let waited = clock::now().saturating_sub(asked);
        if asked == 0 {
            thread::park();
        } else if waited < PATIENCE {
            thread::park_timeout(Duration::from_nanos(PATIENCE - waited));
        } else {
            look();
            write_texts();
            thread::park_timeout(PERIOD);
        }
        write_texts();
    }
    write_texts();
}

fn write_texts() {
    let texts = mem::take(&mut lock(&DEPUTY).texts);
    for text in texts {
        // Not through the library's buffer, whose lock a fork may find taken. A closed standard error is nobody's fault.
        let mut rest = text.as_bytes();
        while let Ok(written @ 1..) = rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stderr(), rest)) {
            rest = &rest[written..];
        }
    }
}
