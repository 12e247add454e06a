//! The baton: the right to run the steps of one loop.
//!
//! One thread holds it, or nobody while it changes hands. It is a lock with manners:
//! - a thread whose step was interrupted (it *resumes*) goes before everybody else, first come first served;
//! - the *home* thread, which called `run_forever`, goes before relief threads;
//! - a thread that sleeps in the poll holds the baton in name only: whoever resumes takes it without waking the
//!   sleeper, and a later release can hand it back to the same sleeper, again without a system call;
//! - a release may be *quiet*: nobody is woken. If the releaser comes back soon it finds the baton where it left it (as
//!   a goroutine finds its processor after a short system call: Go's `entersyscall`); if it does not, the *sentinel*, a
//!   spare relief thread that looks twice some tens of microseconds apart, takes the baton;
//! - a thread whose step computes for long is *patient*: it waits until the loop lies down with nothing to do, or until
//!   somebody who keeps the time has it *hurried*, which makes it one that resumes.
//!
//! Where two threads each announce something and then look for the other's announcement, a fence stands between, with
//! a comment of the form "announce | look": one of the two sees the other.
//!
//! `state` is the only truth about who holds it:
//!
//! | state | meaning | who ends it |
//! |---|---|---|
//! | `STOPPED` | no home: nobody may run steps | home, in `enter` and `leave` |
//! | `FREE` | nobody holds it, whoever comes first may | the thread that takes it |
//! | `holder` | that thread runs steps | that thread, or on its behalf whoever saw it blocked |
//! | `holder + POLLING` | that thread sleeps in the poll | that thread, or a resuming thread |
//!
//! All transitions that wake somebody happen under `queue`; taking a free baton and releasing it quietly do not.
//! Model-checked in `tests/loom_baton/`.

mod patients;
mod sentinel;

use crate::sync::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering, fence, lock, rank, replace_after_fork,
};
use crate::wait::{Parker, Wake};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The number by which a baton knows a thread.
pub type ThreadId = NonZeroU32;

const STOPPED: u64 = u64::MAX;
const FREE: u64 = 0;
const POLLING: u64 = 1 << 32;

/// The time that the sentinel waits between two looks at a quietly released baton.
pub const SENTINEL_LOOK: Duration = Duration::from_micros(40);
/// After so many looks without a quiet release the sentinel goes to sleep: about a millisecond.
const SENTINEL_PATIENCE: u32 = 20;

/// A thread that may wait for a baton: what others need to find and to wake it.
#[derive(Debug)]
pub struct Waiter {
    id: ThreadId,
    parker: Parker,
}

impl Waiter {
    pub fn new(id: ThreadId) -> Arc<Self> {
        Arc::new(Self { id, parker: Parker::default() })
    }

    pub fn id(&self) -> ThreadId {
        self.id
    }

    pub fn parker(&self) -> &Parker {
        &self.parker
    }

    fn holding(&self) -> u64 {
        u64::from(self.id.get())
    }
}

/// The manner of a release: whether another thread is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The releaser may be back in a moment: wake nobody.
    Quiet,
    /// Somebody has to go on now.
    Loud,
}

/// The work that the loop has, as the releaser knows it.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Something is ready to run.
    pub ready: bool,
    /// The time at which the first timer is due, in the clock of [`Baton::begin_poll`].
    pub deadline: Option<f64>,
}

/// A duty that is left after a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum After {
    /// Nothing: somebody has the baton, or it lies where the sentinel sees it.
    Nothing,
    /// A thread that sleeps in the poll has the baton, but has to look again: wake the poll.
    WakePoll,
    /// No relief thread is free: start one.
    Spawn,
}

/// The end of a spare relief thread's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// It holds the baton now.
    Holds,
    /// It waited as long as it was told to; it is no longer a spare.
    TimedOut,
    /// The loop has no use for spares any more.
    Dismissed,
}

/// What a spare does next.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum SpareAction {
    /// Its wait is over.
    End(Spare),
    /// It sleeps until it is unparked, or its time is up: then [`Baton::get_up`].
    Sleep,
    /// It is the sentinel: after [`SENTINEL_LOOK`], [`Baton::stand_by`].
    StandBy(SentinelWatch),
}

/// What the sentinel remembers: the quiet releases it has seen, and for how many more looks it waits for another one.
#[derive(Clone, Copy, Debug)]
pub struct SentinelWatch {
    seen: u32,
    patience: u32,
}

/// A thread that sleeps in the poll without holding the baton.
struct Stale {
    waiter: Arc<Waiter>,
    /// The time until which it sleeps.
    deadline: Option<f64>,
    /// True if it has something to do, and is about to be woken.
    told: bool,
}

#[derive(Default)]
struct Queue {
    /// Threads whose steps want to go on, in the order they came.
    resuming: VecDeque<Arc<Waiter>>,
    /// Threads whose steps compute, and go on when nobody else has anything to do, in the order they came.
    patients: VecDeque<Arc<Waiter>>,
    /// Home, while it waits for the baton.
    home: Option<Arc<Waiter>>,
    /// The poll sleeper from whom the baton was taken last.
    stale: Option<Stale>,
    /// The thread that sleeps in the poll and holds the baton in name, with its deadline. Only meaningful while `state`
    /// says so.
    polling: Option<Stale>,
    /// Relief threads with nothing to do, the latest last: that one is the warmest.
    spares: Vec<Arc<Waiter>>,
    /// The spare that watches for quiet releases.
    sentinel: Option<Arc<Waiter>>,
    /// True once spares are to go.
    dismissed: bool,
    /// The number of the home thread, while the loop runs.
    home_id: Option<ThreadId>,
}

pub struct Baton {
    state: AtomicU64,
    /// The number of threads that go before any relief thread: those that resume, and home (asleep in the poll, too, if
    /// it lost the baton there). Written under `queue`, SeqCst; read without it by the holder between two steps (Relaxed:
    /// a step late is soon enough) and, SeqCst, after it has let go: then one of the two sees the other.
    wanted: AtomicUsize,
    /// Grows with every quiet release. Written by the holder, read by the sentinel.
    quiet: AtomicU32,
    /// True if the sentinel is up. SeqCst: pairs with `state` in quiet releases.
    sentinel_up: AtomicBool,
    /// The number of `queue.patients`. Written under `queue`, SeqCst; read without it by a thread that has lain down in the
    /// poll: a patient that queued before is seen, and one that queues afterwards finds that thread asleep.
    patient: AtomicUsize,
    /// True if `queue.stale` holds somebody. Written under `queue`, read by quiet releases as a hint.
    has_stale: AtomicBool,
    queue: Mutex<Queue, { rank::BATON }>,
}

impl Default for Baton {
    fn default() -> Self {
        Self {
            state: AtomicU64::new(STOPPED),
            wanted: AtomicUsize::new(0),
            quiet: AtomicU32::new(0),
            sentinel_up: AtomicBool::new(false),
            patient: AtomicUsize::new(0),
            has_stale: AtomicBool::new(false),
            queue: Mutex::new(Queue::default()),
        }
    }
}

impl Baton {
    // ---- the home thread

    /// Home takes the baton of a stopped loop. False: the loop runs already.
    pub fn enter(&self, me: &Waiter) -> bool {
        let mut queue = lock(&self.queue);
        let entered = self.compare_exchange(STOPPED, me.holding());
        if entered {
            queue.home_id = Some(me.id);
            queue.dismissed = false;
        }
        entered
    }

    /// Home, which holds the baton, stops the loop. Spares are dismissed; threads whose steps are aside keep waiting,
    /// for the next `enter`.
    pub fn leave(&self, me: &Waiter) {
        let mut queue = lock(&self.queue);
        let left = self.compare_exchange(me.holding(), STOPPED);
        assert!(left, "only the holder leaves");
        queue.home_id = None;
        queue.dismissed = true;
        for spare in &queue.spares {
            spare.parker.unpark();
        }
    }

    // ---- the holder

    /// True if this thread runs the loop. Needs no ordering for the thread itself: only it, or somebody who saw it
    /// blocked while it could not ask, changes the answer.
    #[inline]
    pub fn is_held_by(&self, id: ThreadId) -> bool {
        self.state.load(Ordering::Relaxed) == u64::from(id.get())
    }

    /// The thread that runs steps or sleeps in the poll, if there is one.
    pub fn holder(&self) -> Option<ThreadId> {
        match self.state.load(Ordering::SeqCst) {
            STOPPED => None,
            state => ThreadId::new(state as u32),
        }
    }

    /// True if the baton lies about for anybody to take.
    pub fn is_free(&self) -> bool {
        self.state.load(Ordering::SeqCst) == FREE
    }

    /// True if the loop has a home.
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::SeqCst) != STOPPED
    }

    /// True if somebody sleeps in the poll, so that new work must end it.
    #[inline]
    pub fn is_polling(&self) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        state & POLLING != 0 && state != STOPPED
    }

    /// True if a thread that resumes, or home, waits for the baton.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) != 0
    }

    /// True if this thread's step, which was aside, can go on, and waits for the baton.
    pub fn is_resuming(&self, id: ThreadId) -> bool {
        lock(&self.queue).resuming.iter().any(|waiter| waiter.id == id)
    }

    /// The holder is about to sleep in the poll until `deadline`. False: somebody wants the baton, give way first.
    ///
    /// After `true`, look at the inbox once more: who pushed before this call saw no sleeper to wake.
    pub fn begin_poll(&self, me: &Arc<Waiter>, deadline: Option<f64>) -> bool {
        let mut queue = lock(&self.queue);
        if self.wanted.load(Ordering::SeqCst) != 0 {
            return false;
        }
        queue.polling = Some(Stale { waiter: Arc::clone(me), deadline, told: false });
        let began = self.compare_exchange(me.holding(), me.holding() | POLLING);
        debug_assert!(began, "only the holder polls");
        fence(Ordering::SeqCst); // lie down | look into the inbox: who pushes fills it first and looks then
        began
    }

    /// The sleeper is back. False: the baton was taken meanwhile; what the poll found is for the new holder to find
    /// again.
    pub fn end_poll(&self, me: &Waiter) -> bool {
        if self.compare_exchange(me.holding() | POLLING, me.holding()) {
            return true;
        }
        let mut queue = lock(&self.queue);
        if queue.stale.as_ref().is_some_and(|stale| stale.waiter.id == me.id) {
            self.clear_stale(&mut queue);
        }
        // The baton may have been handed back between the two lines above.
        self.compare_exchange(me.holding() | POLLING, me.holding())
    }

    /// Gives the baton away, for `me` or on behalf of `me` while that thread is blocked. None: `me` does not hold it,
    /// or no longer, which can only happen on behalf of `me`.
    pub fn release(&self, me: &Waiter, manner: Manner, pending: Pending) -> Option<After> {
        if manner == Manner::Quiet && !self.is_wanted() && !self.has_stale.load(Ordering::Relaxed) {
            if !self.compare_exchange(me.holding(), FREE) {
                return None;
            }
            self.quiet.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst); // let go | look: see `queue_resume` and `stand_by`
            if self.wanted.load(Ordering::SeqCst) == 0 {
                let up = self.sentinel_up.load(Ordering::SeqCst);
                return Some(if up { After::Nothing } else { self.wake_sentinel() });
            }
            // Somebody queued between the two looks. Take the baton back, unless they have taken it, and release it
            // under the lock.
            if !self.compare_exchange(FREE, me.holding()) {
                return Some(After::Nothing);
            }
        }
        let mut queue = lock(&self.queue);
        if self.state.load(Ordering::SeqCst) != me.holding() {
            return None;
        }
        Some(self.pass_on(&mut queue, manner, pending))
    }

    /// Passes the baton, held by the caller, to whoever is first. Under `queue`.
    fn pass_on(&self, queue: &mut Queue, manner: Manner, pending: Pending) -> After {
        if let Some(after) = self.pass_to_wanting(queue, pending) {
            return after;
        }
        if let Some(stale) = queue.stale.take() {
            return self.hand_to_sleeper(queue, stale, pending);
        }
        if manner == Manner::Quiet {
            self.state.store(FREE, Ordering::SeqCst);
            self.quiet.fetch_add(1, Ordering::SeqCst);
            return self.call_sentinel(queue);
        }
        match queue.spares.pop() {
            Some(spare) => {
                self.dismiss_sentinel(queue, &spare);
                self.grant(&spare);
                After::Nothing
            }
            None => {
                self.state.store(FREE, Ordering::SeqCst);
                After::Spawn
            }
        }
    }

    /// The threads that go before any relief thread: those that resume, then home.
    fn pass_to_wanting(&self, queue: &mut Queue, pending: Pending) -> Option<After> {
        if let Some(first) = queue.resuming.pop_front() {
            self.wanted.fetch_sub(1, Ordering::SeqCst);
            self.grant(&first);
            return Some(After::Nothing);
        }
        if let Some(home) = queue.home.take() {
            self.wanted.fetch_sub(1, Ordering::SeqCst);
            self.grant(&home);
            return Some(After::Nothing);
        }
        let home_sleeps = queue.stale.as_ref().is_some_and(|stale| Some(stale.waiter.id) == queue.home_id);
        let stale = if home_sleeps { queue.stale.take() } else { None }?;
        Some(self.hand_to_sleeper(queue, stale, pending))
    }

    fn grant(&self, waiter: &Waiter) {
        self.state.store(waiter.holding(), Ordering::SeqCst);
        waiter.parker.unpark();
    }

    /// The sleeper is in the poll still, or about to find out that it has the baton again.
    fn hand_to_sleeper(&self, queue: &mut Queue, mut stale: Stale, pending: Pending) -> After {
        if Some(stale.waiter.id) == queue.home_id {
            self.wanted.fetch_sub(1, Ordering::SeqCst);
        }
        self.has_stale.store(false, Ordering::SeqCst);
        self.state.store(stale.waiter.holding() | POLLING, Ordering::SeqCst);
        let sleeps_too_long = match (pending.deadline, stale.deadline) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(due), Some(until)) => due < until,
        };
        stale.told = pending.ready || sleeps_too_long;
        let after = if stale.told { After::WakePoll } else { After::Nothing };
        queue.polling = Some(stale);
        self.serve_patient(queue);
        after
    }

    /// The holder, between two steps, lets those go first who want the baton. A relief thread that gave way is a spare
    /// now ([`wait_spare`](Self::wait_spare)); home waits its turn after [`queue_home`](Self::queue_home). `None`:
    /// nobody wanted it, and the caller still holds it.
    pub fn give_way(&self, me: &Arc<Waiter>, pending: Pending) -> Option<After> {
        let mut queue = lock(&self.queue);
        debug_assert_eq!(self.state.load(Ordering::SeqCst), me.holding(), "only the holder gives way");
        let after = self.pass_to_wanting(&mut queue, pending)?;
        if queue.home_id == Some(me.id) {
            queue.home = Some(Arc::clone(me));
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
        Some(after)
    }

    /// Hands the baton to one certain spare. False: that thread is not waiting as a spare.
    pub fn hand_to(&self, me: &Arc<Waiter>, other: ThreadId) -> bool {
        let mut queue = lock(&self.queue);
        let Some(index) = queue.spares.iter().position(|spare| spare.id == other) else {
            return false;
        };
        let spare = queue.spares.remove(index);
        self.dismiss_sentinel(&mut queue, &spare);
        if queue.home_id == Some(me.id) {
            queue.home = Some(Arc::clone(me));
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
        self.grant(&spare);
        true
    }

    // ---- waiting for the baton

    /// Takes the baton if nobody runs a step at this moment.
    pub fn try_resume(&self, me: &Waiter) -> bool {
        self.compare_exchange(FREE, me.holding())
    }

    /// Queues for the baton, before all relief threads: `true` if it came at once. Then wait with
    /// [`wait_granted`](Self::wait_granted).
    pub fn queue_resume(&self, me: &Arc<Waiter>) -> bool {
        let mut queue = lock(&self.queue);
        if self.is_granted(me) {
            return true; // queued twice: what runs between the grant and its use may come here as well
        }
        self.wanted.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst); // announce | look: a quiet releaser lets go first and looks then
        if self.compare_exchange(FREE, me.holding()) || self.take_from_sleeper(&mut queue, me) {
            self.wanted.fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        queue.resuming.push_back(Arc::clone(me));
        false
    }

    /// Takes the baton from a thread that sleeps in the poll and leaves it sleeping.
    fn take_from_sleeper(&self, queue: &mut Queue, me: &Waiter) -> bool {
        let Some(sleeper) = queue.polling.take() else {
            return false;
        };
        if !self.compare_exchange(sleeper.waiter.holding() | POLLING, me.holding()) {
            return false;
        }
        self.clear_stale(queue);
        if Some(sleeper.waiter.id) == queue.home_id {
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
        queue.stale = Some(sleeper);
        self.has_stale.store(true, Ordering::SeqCst);
        true
    }

    /// Forgets the stale sleeper: it is awake, or another one is of more use.
    fn clear_stale(&self, queue: &mut Queue) {
        if let Some(stale) = queue.stale.take() {
            self.has_stale.store(false, Ordering::SeqCst);
            if Some(stale.waiter.id) == queue.home_id {
                self.wanted.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// True if a queued thread has been given the baton.
    pub fn is_granted(&self, me: &Waiter) -> bool {
        self.state.load(Ordering::SeqCst) == me.holding()
    }

    /// Sleeps until the baton comes to this thread, which queued for it. False after `timeout`, with the place kept.
    pub fn wait_granted(&self, me: &Waiter, timeout: Option<Duration>) -> bool {
        while !self.is_granted(me) {
            if me.parker.park_briefly(timeout) == Wake::TimedOut {
                return self.is_granted(me);
            }
        }
        true
    }

    /// Home came back from a poll without the baton, or gave way: queue for it. `true` if it came at once.
    pub fn queue_home(&self, me: &Arc<Waiter>) -> bool {
        let mut queue = lock(&self.queue);
        if self.is_granted(me) || self.compare_exchange(me.holding() | POLLING, me.holding()) {
            return true;
        }
        if queue.home.is_none() {
            queue.home = Some(Arc::clone(me));
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst); // announce | look, as in `queue_resume`
        let came = self.compare_exchange(FREE, me.holding()) || self.take_from_sleeper(&mut queue, me);
        if came {
            queue.home = None;
            self.wanted.fetch_sub(1, Ordering::SeqCst);
        }
        came
    }

    /// A relief thread waits for something to do.
    pub fn wait_spare(&self, me: &Arc<Waiter>, timeout: Duration) -> Spare {
        let mut action = self.sit_down(me);
        loop {
            action = match action {
                SpareAction::End(end) => return end,
                SpareAction::Sleep => self.get_up(me, me.parker.park_briefly(Some(timeout))),
                SpareAction::StandBy(watch) => {
                    pause();
                    self.stand_by(me, watch)
                }
            };
        }
    }

    /// Becomes a spare, unless the baton lies about or spares are not wanted. This and the next two do not wait.
    pub fn sit_down(&self, me: &Arc<Waiter>) -> SpareAction {
        let mut queue = lock(&self.queue);
        if queue.dismissed {
            return SpareAction::End(Spare::Dismissed);
        }
        if self.is_granted(me)
            || self.compare_exchange(me.holding() | POLLING, me.holding())
            || self.compare_exchange(FREE, me.holding())
        {
            return SpareAction::End(Spare::Holds);
        }
        queue.spares.push(Arc::clone(me));
        SpareAction::Sleep
    }

    /// The sleep of a spare has ended, by `wake`.
    pub fn get_up(&self, me: &Arc<Waiter>, wake: Wake) -> SpareAction {
        if self.is_granted(me) {
            return SpareAction::End(Spare::Holds);
        }
        let mut queue = lock(&self.queue);
        if self.is_granted(me) {
            return SpareAction::End(Spare::Holds);
        }
        let sentinel = queue.sentinel.as_ref().is_some_and(|waiter| waiter.id == me.id);
        // A thread that was called as sentinel just when its time was up stands by first: no other one was called.
        if queue.dismissed || (wake == Wake::TimedOut && !sentinel) {
            self.stand_up(&mut queue, me);
            return SpareAction::End(if queue.dismissed { Spare::Dismissed } else { Spare::TimedOut });
        }
        if !sentinel {
            return SpareAction::Sleep;
        }
        SpareAction::StandBy(SentinelWatch { seen: self.quiet.load(Ordering::SeqCst), patience: SENTINEL_PATIENCE })
    }

    fn stand_up(&self, queue: &mut Queue, me: &Arc<Waiter>) {
        queue.spares.retain(|spare| spare.id != me.id);
        self.dismiss_sentinel(queue, me);
    }

    // ---- after a fork

    /// In a forked child only the calling thread lives. Forgets the others; `me` keeps the baton if it held it, and a
    /// free or foreign baton becomes `me`'s to take if its step is `aside`.
    pub fn after_fork(&self, me: Option<&Waiter>, aside: bool) {
        let home_id = me.map(Waiter::id);
        replace_after_fork(&self.queue, Queue { home_id, ..Queue::default() });
        self.wanted.store(0, Ordering::SeqCst);
        self.sentinel_up.store(false, Ordering::SeqCst);
        self.patient.store(0, Ordering::SeqCst);
        self.has_stale.store(false, Ordering::SeqCst);
        let held = me.is_some_and(|waiter| self.state.load(Ordering::SeqCst) & !POLLING == waiter.holding());
        if !held {
            self.state.store(if aside { FREE } else { STOPPED }, Ordering::SeqCst);
        }
    }

    /// A SeqCst compare-and-swap of the state: the one primitive of this file.
    fn compare_exchange(&self, from: u64, to: u64) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

#[cfg(not(loom))]
fn pause() {
    std::thread::sleep(SENTINEL_LOOK);
}

#[cfg(loom)]
fn pause() {
    loom::thread::yield_now();
}
