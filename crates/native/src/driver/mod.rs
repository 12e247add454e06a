//! Turning the loop: what a thread does while it holds the baton.
//!
//! The one long function is [`Driver::turn`], and it reads top to bottom: who goes first, what came in, how long to
//! sleep, what is due, and then one generation of steps.

mod run;

use crate::clock;
use crate::errors::os_error;
use crate::event_loop::timing;
use crate::event_loop::{LoopCore, Post};
use crate::ffi;
use crate::handle::{Handle, Ran};
use crate::handoff::{self, SIGNAL_CHECK, block_on, pinning};
use crate::member::{Member, lock};
use crate::watchdog_sleep;
use everloop_core::baton::ThreadId;
use everloop_core::poll::{Events, Poller};
use everloop_core::registry::Direction;
use everloop_core::turn::Wait;
use everloop_core::wait::parker::stay_awake;
use everloop_core::wait::spin_then_park::{AWAKE, Habit, Moment};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rustix::io::Errno;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// While work is ready, files are looked at after so many steps, and whenever the watchdog has looked.
const STEPS_BETWEEN_LOOKS: usize = 256;
/// The same in turns.
const TURNS_BETWEEN_LOOKS: u32 = 32;
/// So many turns after a sleep files are looked at in every turn, as asyncio does: programs, tests above all, let a few turns
/// pass and expect that what was sent has arrived. A loop that is busy for longer saves the system call.
const TURNS_OF_LOOKS: u32 = 16;
/// So many bytes are read in a turn, more or less, before what they set going runs. More of them would have left the
/// processor's caches by then, and each would need memory of its own. (Streams: twice the throughput.)
const INTAKE: usize = 256 * 1024;

/// A sleep that was shorter than this, in nanoseconds, was none: something was ready already, and letting go of the GIL for
/// it was a risk for nothing.
const IDLE: u64 = 5_000;

/// How long a thread that has posted something, and need not tell, is given to let go of the GIL.
const LETTING_GO: Duration = Duration::from_micros(10);

/// When a loop that always has work to do lends the GIL to other threads.
///
/// The interpreter would take it away only every five milliseconds (`sys.getswitchinterval`), twice for each call that runs in
/// an executor. Letting go of it for a moment now and then is worse than nothing: each time the waiting threads are woken,
/// come too late, and begin their five milliseconds anew. So it is lent for as long as it takes to wake up; often while
/// somebody takes it, and ever more seldom while nobody does.
struct GilShare {
    /// When the GIL is to be lent next, in nanoseconds of the system's clock; None while it has just been free.
    due: Option<u64>,
    /// Nanoseconds between two times.
    interval: u64,
    /// Another thread has sent something since the GIL was last lent.
    heard: bool,
    /// Until then other threads are taken to be at work, because one was heard.
    company_until: u64,
}

impl Default for GilShare {
    fn default() -> Self {
        Self { due: None, interval: Self::LONGEST, heard: false, company_until: 0 }
    }
}

impl GilShare {
    const SHORTEST: u64 = 50_000;
    const LONGEST: u64 = 5_000_000;
    /// The longest while other threads are at work: those of steps that are aside, or of an executor.
    const LONGEST_IN_COMPANY: u64 = 400_000;
    /// How long one sign of another thread counts.
    const COMPANY: u64 = 100_000_000;
    /// How long a sleeping thread is given to wake up.
    const WAKE_UP: Duration = Duration::from_micros(25);

    /// This thread has let go of the GIL anyway.
    fn was_free(&mut self) {
        self.due = None;
    }

    fn is_due(&mut self, now: u64) -> bool {
        now >= *self.due.get_or_insert(now + self.interval)
    }

    fn lend(&mut self, py: Python<'_>, member: &Member, now: u64, aside: bool) {
        let before = ffi::times_slept();
        member.without_gil(py, || {
            let begin = Instant::now();
            while begin.elapsed() < Self::WAKE_UP {
                std::thread::yield_now();
            }
        });
        // Who has to sleep to get it back has lent it.
        let lent = ffi::times_slept() != before;
        if mem::take(&mut self.heard) || aside {
            self.company_until = now + Self::COMPANY;
        }
        let longest = if now < self.company_until { Self::LONGEST_IN_COMPANY } else { Self::LONGEST };
        self.interval = if lent { self.interval / 2 } else { self.interval * 2 }.clamp(Self::SHORTEST, longest);
        self.due = Some(now + self.interval);
    }
}

/// One thread that turns the loop whenever it holds the baton.
pub struct Driver<'py> {
    py: Python<'py>,
    core: Bound<'py, LoopCore>,
    member: Arc<Member>,
    poller: Arc<Poller>,
    events: Events,
    posts: Vec<Post>,
    lookout: pinning::Lookout<'py>,
    sleeper: Option<Bound<'py, PyAny>>,
    share: GilShare,
    /// The last sleep was one.
    idle: bool,
    /// Of sleeping, where other threads end the sleep.
    habit: Habit,
    /// Steps and turns left before files are looked at again.
    steps_left: usize,
    turns_left: u32,
    /// Turns since the last sleep, as far as that matters.
    turns_awake: u32,
}

impl<'py> Driver<'py> {
    pub fn new(core: &Bound<'py, LoopCore>, member: Arc<Member>) -> PyResult<Self> {
        let (py, home) = (core.py(), member.home);
        Ok(Self {
            py,
            core: core.clone(),
            member,
            poller: core.get().shared.poller().ok_or_else(|| PyRuntimeError::new_err("Event loop is closed"))?,
            events: Events::default(),
            posts: Vec::new(),
            lookout: pinning::Lookout::new(py)?,
            sleeper: if home { lock(&core.get().sleeper).as_ref().map(|wait| wait.bind(py).clone()) } else { None },
            share: GilShare::default(),
            idle: false,
            habit: Habit::default(),
            steps_left: 0,
            turns_left: 0,
            turns_awake: 0,
        })
    }

    fn this(&self) -> &LoopCore {
        self.core.get()
    }

    fn id(&self) -> ThreadId {
        self.member.id()
    }

    fn on_turn<R>(&self, f: impl FnOnce(&mut everloop_core::turn::Turn<Py<Handle>>) -> R) -> R {
        let this = self.this();
        this.turn.with(this.baton(), self.id(), f).expect("a driver holds the baton between its waits")
    }

    /// Turns until the loop stops or another thread has the baton.
    pub fn drive(&mut self) -> PyResult<()> {
        self.share.was_free();
        while self.turn()? {}
        Ok(())
    }

    /// This thread no longer turns the loop.
    pub fn end(self) -> PyResult<()> {
        self.lookout.end()
    }

    /// False: the loop stops, at home; or another thread has the baton, if this is a relief thread.
    fn turn(&mut self) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        let turns = &this.shared.counters.turns;
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed); // nobody else writes

        // Whoever wants a step back goes first.
        if this.baton().is_wanted() && !self.give_way()? {
            return Ok(false);
        }
        if self.member.home
            && let Some(error) = lock(&this.fatal).take()
        {
            return Err(error);
        }

        self.take_posts();
        if this.shared.counters.in_block_on.load(Ordering::Relaxed) != 0 {
            block_on::pass_on_cancellations(&core)?;
        }

        // Files: always before a sleep, and now and then while work is ready. Timers: in every turn, since programs count on
        // it that what is due by now, `call_later(0, ...)` first of all, runs in the next turn.
        let (wait, found) = self.on_turn(|turn| (turn.wait(), !turn.found.is_empty()));
        let stale = this.shared.heartbeat.take_stale();
        let is_fresh = self.turns_awake < TURNS_OF_LOOKS;
        self.turns_awake += u32::from(is_fresh);
        if found || wait != Wait::No || stale || is_fresh || self.steps_left == 0 || self.turns_left == 0 {
            if !self.look(wait, found)? {
                return Ok(self.member.home);
            }
            self.steps_left = STEPS_BETWEEN_LOOKS;
            self.turns_left = TURNS_BETWEEN_LOOKS;
        } else {
            self.collect_timers(clock::now)?;
        }

        // One generation: what these steps make ready runs in the next turn.
        let steps = self.on_turn(|turn| turn.begin());
        self.steps_left = self.steps_left.saturating_sub(steps);
        self.turns_left -= 1;
        while let Some(handle) = self.on_turn(|turn| turn.next()) {
            if !self.step(handle)? {
                return Ok(false);
            }
            if this.baton().is_wanted() && !self.give_way()? {
                return Ok(false);
            }
        }

        if self.member.home && this.is_stopping() && self.may_stop() {
            return Ok(false);
        }
        Ok(true)
    }

    /// Steps in blocking calls come back before the loop stops. Those in `block_on` wait for the next run.
    fn may_stop(&self) -> bool {
        let counters = &self.this().shared.counters;
        counters.aside.load(Ordering::Relaxed) <= counters.in_block_on.load(Ordering::Relaxed)
    }

    // ---- steps

    /// Runs one handle. False: it belongs to another thread, which has the baton now.
    #[inline]
    fn step(&mut self, handle: Py<Handle>) -> PyResult<bool> {
        let this = self.core.get();
        let bound = handle.bind(self.py);
        if !this.pins.is_empty()
            && let Some(thread) = pinning::thread_of(&this.pins, bound)
            && thread != self.id()
        {
            return self.send_to(thread, handle);
        }
        if this.task_owner.load(Ordering::Relaxed) != 0 {
            handoff::tasks::make_room(&self.core, &self.member)?;
        }
        let begun = if this.is_debug() { Some(timing::seconds(&self.core)?) } else { None };
        this.shared.heartbeat.begin_step();
        let running = self.member.current.hold(&handle);
        let ran = Handle::run(bound);
        drop(running);
        if !this.baton().is_held_by(self.id()) && !handoff::end_of_step(&self.core, &self.member) {
            return Ok(false); // the loop was closed while the step was aside
        }
        this.shared.heartbeat.end_step();
        if let Some(begun) = begun {
            self.tell_if_slow(bound, begun)?;
        }
        self.lookout.look(&self.member)?;
        if !this.pins.is_empty() || self.member.has_switched() {
            pinning::settle(self.py, &this.pins, &self.member, bound.get().task(self.py))?;
        }
        match ran {
            Ran::Done => Ok(true),
            Ran::Busy(error) => self.defer(handle, error),
            Ran::Fatal(error) => self.fail(error),
        }
    }

    /// Debug mode tells of slow callbacks, in asyncio's words, and by the loop's own clock as it does.
    #[cold]
    fn tell_if_slow(&self, handle: &Bound<'_, Handle>, begun: f64) -> PyResult<()> {
        let took = timing::seconds(&self.core)? - begun;
        if took >= clock::to_seconds(self.this().shared.report_after.load(Ordering::Relaxed)) {
            self.core.call_method1("_log_slow_callback", (handle, took))?;
        }
        Ok(())
    }

    /// The handle's context is entered: by a step that is aside, and then it waits for that; or by whoever runs the loop.
    fn defer(&self, handle: Py<Handle>, error: PyErr) -> PyResult<bool> {
        if self.this().shared.counters.aside.load(Ordering::Relaxed) > 0 {
            lock(&self.this().deferred).push(handle);
            return Ok(true);
        }
        match Handle::report(handle.bind(self.py), error) {
            Ran::Fatal(error) => self.fail(error),
            _ => Ok(true),
        }
    }

    /// SystemExit and KeyboardInterrupt come out of `run_forever`, on the home thread.
    fn fail(&self, error: PyErr) -> PyResult<bool> {
        if self.member.home {
            return Err(error);
        }
        let replaced = lock(&self.this().fatal).replace(error);
        drop(replaced);
        // Home may sleep in the poll, with nothing else to do.
        self.this().shared.wake();
        Ok(true)
    }

    /// The baton has come to a relief thread: for a step that nobody else may run, if one is next. That runs before the
    /// thread which sent the baton, and waits, gets it back; else the two would hand it to and fro for ever. False: the
    /// baton is elsewhere.
    pub fn run_pinned(&mut self) -> PyResult<bool> {
        let this = self.core.get();
        if this.pins.is_empty() {
            return Ok(true);
        }
        let Some(handle) = self.on_turn(|turn| turn.next()) else { return Ok(true) };
        if pinning::thread_of(&this.pins, handle.bind(self.py)) == Some(self.id()) {
            return self.step(handle);
        }
        self.on_turn(|turn| turn.push_front(handle));
        Ok(true)
    }

    /// A pinned task's step: the baton goes to its thread. True: it cannot go there now, go on with the next.
    fn send_to(&mut self, thread: ThreadId, handle: Py<Handle>) -> PyResult<bool> {
        let this = self.core.get();
        let there = lock(&this.members).get(&thread).cloned();
        match there {
            Some(there) if there.aside_reason().is_some() => {
                lock(&this.deferred).push(handle);
                return Ok(true);
            }
            Some(_) => {}
            None => {
                // Its thread is gone, and its greenlets with it: let it fail in its own words.
                if let Some(task) = handle.bind(self.py).get().task(self.py) {
                    let pin = this.pins.set(ffi::address(&task), None);
                    drop(pin);
                }
                self.on_turn(|turn| turn.push_front(handle));
                return Ok(true);
            }
        }
        self.on_turn(|turn| turn.push_front(handle));
        if this.baton().hand_to(&self.member.waiter, thread) {
            return if self.member.home { self.await_baton().map(|()| true) } else { Ok(false) };
        }
        // It is on its way into or out of the poll: have it sit down, and try again next turn.
        this.shared.wake();
        let handle = self.on_turn(|turn| turn.next());
        if let Some(handle) = handle {
            self.on_turn(|turn| turn.push(handle));
        }
        self.member.without_gil(self.py, std::thread::yield_now);
        Ok(true)
    }

    // ---- the baton

    /// Lets those go first who want the baton. False: this is a relief thread, and its turn is over.
    fn give_way(&mut self) -> PyResult<bool> {
        let this = self.core.get();
        let Some(after) = this.baton().give_way(&self.member.waiter, this.pending(self.id())) else { return Ok(true) };
        let _nobody_to_start = this.after_release(after);
        if !self.member.home {
            return Ok(false);
        }
        self.await_baton().map(|()| true)
    }

    /// Home waits until the baton is back.
    fn await_baton(&self) -> PyResult<()> {
        let this = self.core.get();
        let (member, waiter) = (&*self.member, &self.member.waiter);
        let (_, raised) = handoff::wait_granted(self.py, this, member, || this.baton().queue_home(waiter));
        watchdog_sleep::wake();
        raised.map_or(Ok(()), Err)
    }

    // ---- files and timers

    /// Polls, unless files were `found` already, sleeping if there is nothing else to do, and queues what is ready. False:
    /// the baton is elsewhere.
    fn look(&mut self, wait: Wait, mut found: bool) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        if self.member.home {
            self.py.check_signals()?;
        }

        let mut now = clock::now();
        let timeout = match wait {
            Wait::Until(when) => Some(clock::until(when, timing::due_by(&core, now)?)),
            _ => None,
        };
        let must_stop = this.is_stopping() && (self.member.home && self.may_stop());
        let may_sleep = wait != Wait::No && timeout != Some(Duration::ZERO) && !must_stop;

        // A loop that was idle the last time will have nothing to read this time either: it goes to sleep at once.
        if !(found || may_sleep && self.idle) {
            check_poll(self.poller.wait(&mut self.events, Some(Duration::ZERO)))?;
            found = !self.events.is_empty();
        }
        let sleeps = !found && may_sleep;
        if sleeps {
            if !self.sleep(wait, timeout, now)? {
                return Ok(false);
            }
            found = !self.events.is_empty();
            now = clock::now();
            self.take_posts(); // what has ended the sleep, most likely
        }

        if sleeps {
            self.share.was_free();
        } else if self.share.is_due(now) {
            self.share.lend(self.py, &self.member, now, this.shared.counters.aside.load(Ordering::Relaxed) > 0);
        }

        if found {
            self.collect_events();
        }
        self.collect_timers(|| now)?;
        if this.cancelled.is_majority(self.on_turn(|turn| turn.timers.len())) {
            let py = self.py;
            let dead = self.on_turn(|turn| turn.timers.take_dead(|handle| handle.get().is_cancelled(py)));
            dead.iter().for_each(|_| this.cancelled.remove());
        }
        Ok(true)
    }

    /// Queues the timers that are due, at `now` of the system's clock.
    #[inline]
    fn collect_timers(&self, now: impl FnOnce() -> u64) -> PyResult<()> {
        if !self.on_turn(|turn| turn.timers.is_empty()) {
            let due = timing::due_by(&self.core, now())?;
            self.on_turn(|turn| turn.collect(due));
        }
        Ok(())
    }

    /// Queues what other threads have sent.
    fn take_posts(&mut self) {
        if !self.this().inbox.is_filled() {
            return;
        }
        let mut posts = mem::take(&mut self.posts);
        self.this().inbox.take(&mut posts);
        self.on_turn(|turn| {
            for post in posts.drain(..) {
                match post {
                    Post::Soon(handle) => turn.push(handle),
                    Post::At(when, handle) => turn.timers.insert(when, handle),
                }
            }
        });
        self.posts = posts;
        self.share.heard = true;
    }

    /// The one place where a loop sleeps and lets go of the GIL for it. False: the baton was taken meanwhile, and a relief
    /// thread is out.
    fn sleep(&mut self, wait: Wait, timeout: Option<Duration>, now: u64) -> PyResult<bool> {
        let core = self.core.clone();
        let this = core.get();
        let deadline = if let Wait::Until(when) = wait { Some(when) } else { None };
        if !this.baton().begin_poll(&self.member.waiter, deadline) {
            // Somebody wants the baton: the next turn begins with giving way.
            return Ok(true);
        }
        this.shared.heartbeat.lie_down(now);
        let mut polled = Ok(());
        // Who pushed before we lay down saw no sleeper.
        if this.inbox.is_filled() {
            // It is read next.
        } else if let Some(wait) = &self.sleeper {
            let seconds = timeout.map(|timeout| timeout.as_secs_f64());
            polled = wait.call1((self.poller.as_raw_fd(), seconds)).map(drop);
            let found = check_poll(self.poller.wait(&mut self.events, Some(Duration::ZERO)));
            polled = polled.and(found);
        } else {
            let (poller, events) = (&self.poller, &mut self.events);
            let stays_awake = timeout.is_none_or(|timeout| timeout > AWAKE) && self.habit.stays_awake();
            let (outcome, woke) = self.member.without_gil(self.py, || {
                let outcome = if !stays_awake {
                    poller.wait(events, timeout)
                } else if find_soon(poller, &this.shared.posted, events) {
                    Ok(())
                } else {
                    // A signal that came meanwhile does not end this sleep: it is handled after it.
                    poller.wait(events, Some(timeout.map_or(SIGNAL_CHECK, |timeout| timeout.min(SIGNAL_CHECK))))
                };
                (outcome, clock::now())
            });
            self.habit.learn(stays_awake, Duration::from_nanos(woke - now), poller.is_woken());
            self.idle = woke - now > IDLE;
            self.turns_awake = 0;
            polled = check_poll(outcome);
        }
        if !this.baton().end_poll(&self.member.waiter) {
            self.events.clear();
            if !self.member.home {
                return Ok(false);
            }
            self.await_baton()?;
        }
        watchdog_sleep::wake();
        polled?;
        self.py.check_signals()?;
        Ok(true)
    }

    /// Queues the owners of the files that are ready: as many as will read [`INTAKE`], judging by the last ones. The others
    /// come with the next turns, before files are looked at again.
    fn collect_events(&mut self) {
        let core = self.core.clone();
        let this = core.get();
        if self.on_turn(|turn| !turn.found.is_empty()) {
            // Goes first. What this thread has found besides will be found again.
            self.events.clear();
            self.swap_found();
        } else {
            self.poller.take_wake_up(&self.events);
        }
        let counters = &this.shared.counters;
        let (intake, files) = (counters.intake.swap(0, Ordering::Relaxed), counters.collected.load(Ordering::Relaxed));
        let most = (INTAKE * files).checked_div(intake).map_or(usize::MAX, |most| most.max(1));
        let mut collected = 0;
        while collected < most
            && let Some(event) = self.events.next()
        {
            collected += 1;
            let [reader, writer] = this.owners(self.py, event);
            for (handle, direction) in [(reader, Direction::Read), (writer, Direction::Write)] {
                match handle {
                    Some(handle) if handle.get().is_cancelled(self.py) => this.forget(event, direction, &handle),
                    Some(handle) if this.is_deferred(&handle) => this.mute(event, direction),
                    Some(handle) => self.on_turn(|turn| turn.push(handle)),
                    None => {}
                }
            }
        }
        counters.collected.store(collected, Ordering::Relaxed);
        self.swap_found();
    }

    /// Exchanges what this thread has found for what had to wait.
    fn swap_found(&mut self) {
        let this = self.core.get();
        let events = &mut self.events;
        let swapped = this.turn.with(this.baton(), self.member.id(), |turn| mem::swap(&mut turn.found, events));
        debug_assert!(swapped.is_some(), "a driver holds the baton between its waits");
    }
}

/// A signal ends a poll too: its handler is Python code, for the main thread to run. Anything else means that somebody has
/// closed what the loop sleeps in: no file would ever be ready again.
fn check_poll(outcome: Result<(), Errno>) -> PyResult<()> {
    match outcome {
        Ok(()) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(os_error(error)),
    }
}

/// Polls without sleeping, for a moment: another thread will send something soon. True: a file is ready.
fn find_soon(poller: &Poller, posted: &Moment, events: &mut Events) -> bool {
    let mut woken = None;
    stay_awake(AWAKE, || {
        if poller.is_woken() {
            // By a thread that may have the GIL still, and does not always tell when it has let go of it.
            return posted.is_over() || woken.get_or_insert_with(Instant::now).elapsed() > LETTING_GO;
        }
        poller.wait(events, Some(Duration::ZERO)).is_err() || !events.is_empty()
    });
    !events.is_empty()
}
