//! A run of a loop: the lives of the threads that turn it, home and relief threads, from `run_forever` to its end.

use crate::clock;
use crate::driver::state::Driver;
use crate::event_loop::LoopCore;
use crate::gates::{self, codes};
use crate::handoff;
use crate::listen::runs;
use crate::member::Member;
use crate::watchdog;
use crate::watchdog_sleep;
use everloop_core::baton::{Manner, Pending, Spare};
use everloop_core::sync::lock;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The time that a relief thread waits for work before it ends.
const LINGER: Duration = Duration::from_secs(10);

fn enter_member<'py>(core: &Bound<'py, LoopCore>, home: bool, name: String) -> PyResult<Arc<Member>> {
    let py = core.py();
    let member = Arc::new(Member::new(py, home, name));
    lock(&core.get().threads.members).insert(member.id(), Arc::clone(&member));
    Ok(member)
}

fn leave_member(core: &Bound<'_, LoopCore>, member: &Arc<Member>) {
    // A step in C may have ended without another instruction, and nobody answers after this.
    if let Err(error) = member.end_probe(core.py()).and(member.end_division(core.py())) {
        error.write_unraisable(core.py(), Some(core));
    }
    let gone = lock(&core.get().threads.members).remove(&member.id());
    drop(gone);
}

#[pymethods]
impl LoopCore {
    /// Turns the loop on this thread until it is stopped. It sleeps in `sleeper(fd, seconds or None)`, if given.
    #[pyo3(signature = (name, sleeper=None, /))]
    fn _run<'py>(slf: &Bound<'py, Self>, name: String, sleeper: Option<Bound<'py, PyAny>>) -> PyResult<()> {
        let this = slf.get();
        if let Some(panic) = &*lock(&this.run.panic) {
            let text = format!("everloop has panicked in this loop ({panic}): close the loop, and make another one");
            return Err(PyRuntimeError::new_err(text));
        }
        let member = enter_member(slf, true, name.clone())?;
        if !this.baton().enter(&member.waiter) {
            // Another thread was quicker.
            leave_member(slf, &member);
            return Err(PyRuntimeError::new_err("This event loop is already running"));
        }
        for other in lock(&this.threads.members).values() {
            other.waiter.parker().unpark(); // pinned threads wait for the next run
        }
        handoff::enter(slf, &member);
        runs::begin(&this.shared, &name, member.id());
        this.shared.meter.begin(clock::now());
        let outcome = watchdog::begin(slf).and_then(|()| {
            this.queues.turn.with(this.baton(), member.id(), |turn| turn.found.clear()); // of the last run, long ago
            surviving(slf, || turn_home(slf, &member, sleeper))
        });
        leave_baton(slf, &member);
        this.shared.meter.look(clock::now());
        watchdog::end(slf);
        runs::end(&this.shared);
        handoff::leave();
        leave_member(slf, &member);
        this.run.stopping.store(false, Ordering::Relaxed);
        this.run.hears_signals.store(false, Ordering::Relaxed);
        this.run.failed.store(false, Ordering::Relaxed);
        if this.shared.counters.relief.load(Ordering::Relaxed) != 0 {
            this.shared.wake(); // whoever is still in the poll has no business there
        }
        codes::forget_unused(slf.py());
        let outcome = outcome.and(gates::settle(slf.py()));
        // This error was raised on a relief thread in the very turn that stopped the loop: nobody else asks for it any
        // more.
        let fatal = this.run.fatal.take();
        outcome.and(fatal.map_or(Ok(()), Err))
    }

    /// The life of a relief thread.
    fn _relieve(slf: &Bound<'_, Self>, name: String) -> PyResult<()> {
        let this = slf.get();
        let relief = &this.shared.counters.relief;
        this.shared.counters.add_relief();
        let member = enter_member(slf, false, name)?;
        handoff::enter(slf, &member);
        let driver = Driver::new(slf, Arc::clone(&member), None);
        this.threads.spawning.store(false, Ordering::Relaxed);
        this.threads.told_refused.store(false, Ordering::Relaxed);
        let outcome = match driver {
            Ok(mut driver) => {
                let outcome = surviving(slf, || relieve(slf, &member, &mut driver));
                let outcome = outcome.or_else(|error| give_up(slf, &member, error));
                // This thread is counted off at once: whoever needs a relief thread from here on starts another one.
                relief.fetch_sub(1, Ordering::Relaxed);
                driver.end().and(outcome)
            }
            Err(error) => {
                relief.fetch_sub(1, Ordering::Relaxed);
                // The loop that it was started for may be closed already.
                if this.is_closed() { Ok(()) } else { Err(error) }
            }
        };
        handoff::leave();
        leave_member(slf, &member);
        outcome
    }

    /// The idents of threads that cannot end with this run: their steps are aside, or tasks pinned to them.
    fn _staying(&self) -> Vec<u64> {
        let members: Vec<_> = lock(&self.threads.members).values().cloned().collect();
        members
            .iter()
            .filter(|member| member.aside_reason().is_some() || self.threads.pins.holds(member.id()))
            .map(|member| member.ident)
            .collect()
    }
}

/// Turns the loop on the thread that called `run_forever`.
fn turn_home<'py>(
    core: &Bound<'py, LoopCore>,
    member: &Arc<Member>,
    sleeper: Option<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let mut driver = Driver::new(core, Arc::clone(member), sleeper)?;
    let outcome = driver.drive();
    driver.end().and(outcome)
}

/// A panic ends the loop, and not what its threads hold: an error says so, in this run and when it is to run again.
fn surviving(core: &Bound<'_, LoopCore>, f: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        *lock(&core.get().run.panic) = Some(text.clone());
        core.get().shared.heartbeat.end_step();
        Err(PyRuntimeError::new_err(format!(
            "everloop has panicked, by an error of its own, and this loop cannot go on: {text}"
        )))
    })
}

/// Home stops the loop. It may be without the baton, where a signal or a panic has interrupted it.
fn leave_baton(core: &Bound<'_, LoopCore>, member: &Member) {
    let this = core.get();
    handoff::end_of_step(core, member);
    if this.baton().is_open() && !this.baton().is_held_by(member.id()) {
        // An error that signal handlers raise meanwhile comes too late: the run ends anyway.
        let (_granted, _raised) =
            handoff::wait_granted(core.py(), this, member, || this.baton().queue_home(&member.waiter));
    }
    if this.baton().is_open() {
        this.shared.counters.end_standstill();
        this.baton().leave(&member.waiter);
    }
}

/// The loop's own code has failed on a relief thread, not a callback: this thread ends, no other one goes on, and home
/// tells of the error.
fn give_up(core: &Bound<'_, LoopCore>, member: &Arc<Member>, error: PyErr) -> PyResult<()> {
    let this = core.get();
    this.run.failed.store(true, Ordering::Relaxed);
    handoff::keep_fatal(this, error);
    handoff::end_of_step(core, member);
    hand_home(core, member)
}

/// Takes the baton whenever it is needed, and turns the loop until somebody else wants it.
fn relieve(core: &Bound<'_, LoopCore>, member: &Arc<Member>, driver: &mut Driver<'_>) -> PyResult<()> {
    let py = core.py();
    let this = core.get();
    loop {
        let end = member.without_gil(py, || this.baton().wait_spare(&member.waiter, LINGER));
        if matches!(end, Spare::Holds) {
            this.shared.counters.end_standstill();
        }
        match end {
            Spare::Holds if this.run.failed.load(Ordering::Relaxed) => return hand_home(core, member),
            Spare::Holds => {
                watchdog_sleep::wake();
                if driver.run_pinned()? {
                    driver.drive()?;
                }
            }
            // The baton was let go of while this thread was getting up, and still counted as one that is there.
            Spare::TimedOut if this.baton().is_free() => {}
            _ if this.is_closed() || !this.threads.pins.holds(member.id()) => return Ok(()),
            Spare::TimedOut => {}
            // Tasks are pinned to this thread: it waits for the next run of the loop.
            Spare::Dismissed => member.without_gil(py, || {
                while !this.baton().is_open() && !this.is_closed() {
                    member.waiter.parker().park(None);
                }
            }),
        }
    }
}

/// Lets go of the baton for good, if this thread still has it. Nobody is started to take it: home does, or a step that
/// comes back.
fn hand_home(core: &Bound<'_, LoopCore>, member: &Arc<Member>) -> PyResult<()> {
    let this = core.get();
    let pending = Pending { ready: true, deadline: None };
    if let Some(after) = this.baton().release(&member.waiter, Manner::Loud, pending) {
        let _nobody_to_start = this.after_release(after);
    }
    Ok(())
}
