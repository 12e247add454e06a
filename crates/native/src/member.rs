//! A member: a thread that turns a loop, or did and is blocked. What the loop's other threads and the watchdog need to know of it.

use crate::ffi::{self, CurrentHandle, ThreadState, thread_ident};
use everloop_core::baton::{ThreadId, Waiter};
use everloop_core::sys::{self, CpuClock};
use everloop_core::wait;
use pyo3::marker::Ungil;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFrame, PyWeakrefMethods, PyWeakrefReference};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Locks a mutex; a panic of another holder does not make its data worse than it was.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Why a step is aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It said so: `everloop.blocking()`.
    Blocking = 1,
    /// It waits for an awaitable: `everloop.block_on()`.
    BlockOn = 2,
    /// The watchdog found it blocked.
    Rescued = 3,
    /// It is at a call that was found blocked before.
    Learned = 4,
}

/// A step that has let go of the baton in its middle.
pub struct Aside {
    pub reason: Reason,
    /// Where it comes back: the code whose next instruction is a gate (rescued), or the call (learned).
    pub site: Option<(Py<PyCode>, i32)>,
    /// When it began to block, in the loop's clock; 0 where the step said so itself, and nobody asks.
    pub since: u64,
    /// When it let go of the baton.
    pub released: u64,
    /// The task that ran, once it had to make room: see handoff/tasks.rs.
    pub task: Option<Py<PyAny>>,
    /// Whether Python code that it calls from C waits for the baton: see handoff/frames.rs.
    pub gated: bool,
    /// Tells this release from every other.
    pub serial: u64,
}

/// An [`Aside`]'s numbers.
pub struct AsideTimes {
    pub since: u64,
    pub released: u64,
    pub serial: u64,
}

/// One thread that turns the loop, or did and is blocked.
pub struct Member {
    pub waiter: Arc<Waiter>,
    /// Whether this thread called `run_forever`.
    pub home: bool,
    /// `threading.get_ident()`
    pub ident: u64,
    pub name: String,
    pub state: ThreadState,
    /// The kernel's number of this thread.
    pub thread: u32,
    pub cpu: Option<CpuClock>,
    /// The address of the frame below every step, 0 for none: a thread whose top frame is this one runs no Python in its
    /// step. It is there for as long as the member is on its loop's list.
    pub base_frame: usize,
    /// What it runs now. Written by the thread, read under the GIL.
    pub current: CurrentHandle,
    /// Whether it runs Python code that is not its step's, which no gate stops: it starts a relief thread, or handles a
    /// signal while it waits for the baton. Changed by the thread.
    ungated: AtomicBool,
    /// Whether it is in a call that must not be put aside: see `no_rescue`. Changed by the thread, read under the GIL.
    no_rescue: Arc<AtomicBool>,
    /// Its step, if that is aside. Written under the GIL, by the thread or by the watchdog.
    aside: Mutex<Option<Aside>>,
    /// `aside`'s reason, 0 for none: to ask without the lock.
    reason: AtomicU8,
    /// Whether the thread's next instruction is to be noted: see handoff/rescue.rs. Changed under the GIL.
    probing: AtomicBool,
    /// Where that was asked for.
    probed: Mutex<Option<(Py<PyCode>, i32)>>,
    /// The step that has passed cancellations of its task on to what it waited for, and how many: see
    /// handoff/block_on.rs. Changed under the GIL.
    passed_on: Mutex<Option<(Py<PyWeakrefReference>, u64)>>,
    /// Greenlets that the step has switched to: see handoff/pinning.rs.
    greenlets: Mutex<Vec<Py<PyAny>>>,
    /// Whether there are any: asked for every step. Changed under the GIL.
    switched: AtomicBool,
}

impl Member {
    pub fn new(py: Python<'_>, home: bool, name: String) -> Self {
        let state = ThreadState::current(py);
        let base_frame = state.top_frame(py).map_or(0, |frame| ffi::address(&frame));
        Self {
            waiter: own_waiter(),
            home,
            ident: thread_ident(),
            name,
            state,
            thread: sys::thread_number(),
            cpu: CpuClock::of_this_thread(),
            base_frame,
            current: CurrentHandle::default(),
            aside: Mutex::new(None),
            reason: AtomicU8::new(0),
            ungated: AtomicBool::new(false),
            no_rescue: NO_RESCUE.with(Arc::clone),
            probing: AtomicBool::new(false),
            probed: Mutex::new(None),
            passed_on: Mutex::new(None),
            greenlets: Mutex::new(Vec::new()),
            switched: AtomicBool::new(false),
        }
    }

    #[inline]
    pub fn id(&self) -> ThreadId {
        self.waiter.id()
    }

    /// The frame that this thread is in. Only while the member is on its loop's list, and not to be kept: a frame that
    /// somebody still has when its function returns takes over what its variables name.
    pub fn top_frame<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyFrame>> {
        self.state.top_frame(py)
    }

    /// Whether the step is in Python code of its own. Only while the member is on its loop's list.
    pub fn runs_python(&self, py: Python<'_>) -> bool {
        self.top_frame(py).is_some_and(|frame| ffi::address(&frame) != self.base_frame)
    }

    /// Why this thread's step is aside, if it is.
    #[inline]
    pub fn aside_reason(&self) -> Option<Reason> {
        match self.reason.load(Ordering::Relaxed) {
            1 => Some(Reason::Blocking),
            2 => Some(Reason::BlockOn),
            3 => Some(Reason::Rescued),
            4 => Some(Reason::Learned),
            _ => None,
        }
    }

    /// Lets go of the GIL while `f` sleeps: the one way in which a thread that turns a loop does so.
    pub fn without_gil<T: Ungil>(&self, py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
        py.detach(|| {
            wait::note_release();
            f()
        })
    }

    /// Whether the thread is in a call that must not be put aside.
    pub fn forbids_rescue(&self) -> bool {
        self.no_rescue.load(Ordering::Relaxed)
    }

    pub fn is_ungated(&self) -> bool {
        self.ungated.load(Ordering::SeqCst)
    }

    /// Runs Python code on this thread that is not its step's, and so need not wait for the baton.
    pub fn ungated<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.ungated.swap(true, Ordering::SeqCst);
        let result = f();
        self.ungated.store(before, Ordering::SeqCst);
        result
    }

    /// Whether this thread has to stop before it runs another instruction, or to have it noted.
    #[inline]
    pub fn is_gated(&self) -> bool {
        self.reason.load(Ordering::Relaxed) >= Reason::Rescued as u8 || self.is_probing()
    }

    /// The step that runs here has passed on so many cancellations of its task.
    pub fn note_passed_on(&self, py: Python<'_>, count: u64) -> PyResult<()> {
        let Some(handle) = self.current.get(py) else { return Ok(()) };
        let step = PyWeakrefReference::new(handle.bind(py))?.unbind();
        let old = lock(&self.passed_on).replace((step, count));
        drop(old);
        Ok(())
    }

    /// How many cancellations of its task the step that runs here has passed on; None: it has passed on none.
    pub fn passed_on(&self, py: Python<'_>) -> Option<u64> {
        let (step, count) = lock(&self.passed_on).as_ref().map(|(step, count)| (step.clone_ref(py), *count))?;
        let handle = self.current.get(py)?;
        step.bind(py).upgrade().is_some_and(|noted| noted.is(&handle)).then_some(count)
    }

    /// The step has switched to this greenlet.
    pub fn note_greenlet(&self, greenlet: Py<PyAny>) {
        self.switched.store(true, Ordering::Relaxed);
        lock(&self.greenlets).push(greenlet);
    }

    #[inline]
    pub fn has_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed)
    }

    /// The greenlets that the step has switched to.
    pub fn take_greenlets(&self) -> Vec<Py<PyAny>> {
        self.switched.store(false, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.greenlets))
    }

    pub fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Relaxed)
    }

    pub fn begin_probe(&self, site: Option<(Py<PyCode>, i32)>) {
        self.probing.store(true, Ordering::Relaxed);
        let old = std::mem::replace(&mut *lock(&self.probed), site);
        drop(old);
    }

    /// Ends the probe: None if there is none, else where it was.
    pub fn take_probe(&self) -> Option<Option<(Py<PyCode>, i32)>> {
        self.probing.swap(false, Ordering::Relaxed).then(|| lock(&self.probed).take())
    }

    pub fn put_aside(&self, aside: Aside) {
        self.reason.store(aside.reason as u8, Ordering::Relaxed);
        *lock(&self.aside) = Some(aside);
    }

    pub fn take_aside(&self) -> Option<Aside> {
        self.reason.store(0, Ordering::Relaxed);
        lock(&self.aside).take()
    }

    /// Its task, moved out of the way while its step is aside.
    pub fn keep_task(&self, task: Py<PyAny>) {
        let old = lock(&self.aside).as_mut().and_then(|aside| aside.task.replace(task));
        drop(old);
    }

    /// Looks at its step, if that is aside. `f` runs no Python code.
    pub fn with_aside<R>(&self, f: impl FnOnce(&Aside) -> R) -> Option<R> {
        lock(&self.aside).as_ref().map(f)
    }

    /// When its step went aside.
    pub fn aside_since(&self) -> Option<u64> {
        lock(&self.aside).as_ref().map(|aside| aside.since)
    }

    /// When its step began to block, when it went aside, and the number of that release.
    pub fn aside_times(&self) -> Option<AsideTimes> {
        lock(&self.aside).as_ref().map(|aside| AsideTimes {
            since: aside.since,
            released: aside.released,
            serial: aside.serial,
        })
    }

    /// The number of the release by which its step went aside.
    pub fn aside_serial(&self) -> Option<u64> {
        lock(&self.aside).as_ref().map(|aside| aside.serial)
    }

    /// Whether its step is aside at this call.
    pub fn is_aside_at(&self, code: &Bound<'_, PyCode>, offset: i32) -> bool {
        lock(&self.aside)
            .as_ref()
            .and_then(|aside| aside.site.as_ref())
            .is_some_and(|(at, instruction)| at.is(code) && *instruction == offset)
    }
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many forks lie behind this process: what threads did in an earlier one, they do here no more.
pub fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// This is a forked child.
pub fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static ID: Cell<u32> = const { Cell::new(0) };
    static NO_RESCUE: Arc<AtomicBool> = Arc::default();
    static WAITER: RefCell<Option<Arc<Waiter>>> = const { RefCell::new(None) };
}

/// Calls what lets go of the GIL but does not block: its step is not to be rescued there. No gate would stop our own code
/// afterwards, which would go on beside another step of the same connection.
#[inline]
pub fn no_rescue<T>(f: impl FnOnce() -> T) -> T {
    NO_RESCUE.with(|inside| {
        let before = inside.swap(true, Ordering::Relaxed);
        let result = f();
        inside.store(before, Ordering::Relaxed);
        result
    })
}

/// Names the calling thread, for as long as the process lives.
#[inline]
pub fn own_id() -> ThreadId {
    ThreadId::new(ID.get()).unwrap_or_else(new_id)
}

#[cold]
fn new_id() -> ThreadId {
    ffi::stay_when_ended();
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    ID.set(id);
    ThreadId::new(id).expect("four thousand million threads have not been started")
}

/// The calling thread's waiter: one for all loops, as a thread waits in one place at a time.
fn own_waiter() -> Arc<Waiter> {
    WAITER.with_borrow_mut(|waiter| Arc::clone(waiter.get_or_insert_with(|| Waiter::new(own_id()))))
}
