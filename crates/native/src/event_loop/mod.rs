//! LoopCore: the native half of `EventLoop`. It owns the queues, the poller and the baton; `driver` runs them.
//!
//! Who touches what:
//! - `turn`: the holder of the baton, nobody else;
//! - `inbox`: anybody pushes, the holder empties;
//! - `registry`: anybody, under its lock, which is held for a system call at the most and never while Python runs;
//! - flags: atomics, written under the GIL.

pub mod counters;
pub mod create_task;
pub mod factories;
pub mod pins;
pub mod timing;

use crate::clock;
use crate::errors::os_error;
use crate::event_loop::counters::Counters;
use crate::event_loop::factories::Factories;
use crate::event_loop::pins::Pins;
use crate::ffi::{self, Arguments, FastMethod, GilCell};
use crate::handle::{Args, Handle};
use crate::member::{Member, lock, own_id};
use crate::threadsafe_hook;
use everloop_core::baton::{After, Baton, Pending, ThreadId};
use everloop_core::guarded::Guarded;
use everloop_core::heartbeat::Heartbeat;
use everloop_core::poll::Poller;
use everloop_core::ready::Inbox;
use everloop_core::registry::{Change, Direction, Registry};
use everloop_core::timers::Cancelled;
use everloop_core::turn::{Turn, Wait};
use everloop_core::wait::spin_then_park::Moment;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use pyo3::{PyTraverseError, PyVisit};
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What other threads see of a loop without the GIL.
pub struct Shared {
    pub baton: Baton,
    pub heartbeat: Heartbeat,
    /// Gone once the loop is closed. Whoever polls holds a reference of its own, so nobody's descriptor is closed under it.
    poller: Mutex<Option<Arc<Poller>>>,
    /// When another thread has posted something last.
    pub posted: Moment,
    /// Whether blocked steps are put aside.
    pub rescue: AtomicBool,
    /// How long a call may block before that, in nanoseconds.
    pub rescue_after: AtomicU64,
    /// How long a step may take before it is reported, in nanoseconds: `slow_callback_duration`.
    pub report_after: AtomicU64,
    /// How many relief threads there may be.
    pub max_relief: AtomicUsize,
    pub counters: Counters,
}

impl Shared {
    /// What the loop sleeps in, unless it is closed.
    pub fn poller(&self) -> Option<Arc<Poller>> {
        lock(&self.poller).clone()
    }

    /// Ends the sleep of whoever polls.
    pub fn wake(&self) {
        if let Some(poller) = self.poller() {
            poller.wake();
        }
    }

    /// Ends the loop's sleep, if it sleeps.
    pub fn wake_sleeper(&self) {
        if self.baton.is_polling() {
            self.wake();
        }
    }

    /// Tells the kernel what is watched. A closed loop watches nothing.
    fn apply(&self, change: Change) -> std::io::Result<()> {
        self.poller().map_or(Ok(()), |poller| Ok(poller.apply(change)?))
    }
}

/// What a thread that does not hold the baton has for the loop.
pub enum Post {
    Soon(Py<Handle>),
    /// At a time of the loop's clock, in seconds.
    At(f64, Py<Handle>),
}

/// The native half of an event loop. `everloop.EventLoop` is the other half: use that.
#[pyclass(frozen, subclass, dict, weakref, module = "everloop._native")]
pub struct LoopCore {
    pub shared: Arc<Shared>,
    pub turn: Guarded<Turn<Py<Handle>>>,
    pub inbox: Inbox<Post>,
    registry: Mutex<Registry<Py<Handle>>>,
    pub cancelled: Arc<Cancelled>,
    /// The transports by descriptor, weakly.
    owned: GilCell<HashMap<RawFd, Py<PyWeakrefReference>>>,
    /// Every thread that turns this loop or is aside in it. Changed under the GIL.
    pub members: Mutex<HashMap<ThreadId, Arc<Member>>>,
    /// Handles whose context is entered by a step that is aside, and those pinned to a thread that is aside. They are put
    /// back into the queue when a step comes back.
    pub deferred: Mutex<Vec<Py<Handle>>>,
    /// Steps in `block_on` (handoff/block_on.rs), whose tasks are looked at every turn for a `cancel()`.
    pub block_ons: Mutex<Vec<Py<PyAny>>>,
    /// Tasks that only one thread may step.
    pub pins: Pins,
    pub factories: Factories,
    pub clock: clock::Source,
    /// SystemExit or KeyboardInterrupt of a step on a relief thread, for home to raise.
    pub fatal: Mutex<Option<PyErr>>,
    pub debug: AtomicBool,
    pub stopping: AtomicBool,
    closed: AtomicBool,
    /// The thread whose step is aside and has left its task as the loop's current one, 0 for none. See handoff/tasks.rs.
    pub task_owner: AtomicU32,
    /// A relief thread is being started.
    pub spawning: AtomicBool,
    /// `wait(fd, seconds or None)`, in which home sleeps where greenlets of its thread are to go on meanwhile.
    pub sleeper: Mutex<Option<Py<PyAny>>>,
    /// The machinery has failed on a relief thread: none goes on with this run, whose end home tells.
    pub failed: AtomicBool,
    /// What a panic said that has ended this loop.
    pub panic: Mutex<Option<String>>,
    /// It was told that there are as many relief threads as there may be.
    pub told_full: AtomicBool,
}

impl LoopCore {
    #[inline]
    pub fn baton(&self) -> &Baton {
        &self.shared.baton
    }

    pub fn is_debug(&self) -> bool {
        self.debug.load(Ordering::Relaxed)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    #[inline]
    pub fn check_open(&self) -> PyResult<()> {
        if self.is_closed() { Err(PyRuntimeError::new_err("Event loop is closed")) } else { Ok(()) }
    }

    /// Queues a handle: in the loop's own queue if this thread holds the baton, else in the inbox.
    #[inline]
    pub fn schedule(&self, handle: Py<Handle>) {
        let mut handle = Some(handle);
        let queued = self.turn.with(self.baton(), own_id(), |turn| handle.take().map(|handle| turn.push(handle)));
        if queued.is_none()
            && let Some(handle) = handle
        {
            self.post(Post::Soon(handle));
        }
    }

    /// As `schedule`, for a time of the loop's clock, in seconds.
    pub fn schedule_at(&self, when: f64, handle: Py<Handle>) {
        let mut handle = Some(handle);
        let queued =
            self.turn.with(self.baton(), own_id(), |turn| handle.take().map(|handle| turn.timers.insert(when, handle)));
        if queued.is_none()
            && let Some(handle) = handle
        {
            self.post(Post::At(when, handle));
        }
    }

    fn post(&self, post: Post) {
        self.shared.posted.note();
        self.inbox.push(post);
        self.shared.wake_sleeper();
    }

    /// As `schedule`, of a thread that does not run this loop. It wakes the loop soon, when it has let go of
    /// the GIL: a loop that is woken before that only wakes up to wait.
    pub fn post_quietly(&self, handle: Py<Handle>) {
        self.shared.posted.note();
        self.inbox.push(Post::Soon(handle));
    }

    /// What a thread that lets go of the baton tells the next one. Only for the thread that holds it, or on its behalf.
    pub fn pending(&self, holder: ThreadId) -> Pending {
        let (ready, deadline) = self
            .turn
            .with(self.baton(), holder, |turn| (turn.wait() == Wait::No, turn.timers.first()))
            .unwrap_or((true, None));
        Pending { ready: ready || self.inbox.is_filled() || self.is_stopping(), deadline }
    }

    /// Carries out what a release left to do, but for starting threads: says whether that is needed.
    pub fn after_release(&self, after: After) -> bool {
        match after {
            After::Nothing => false,
            After::WakePoll => {
                self.shared.wake();
                false
            }
            After::Spawn => true,
        }
    }

    /// The handles that an event concerns.
    pub fn owners(&self, py: Python<'_>, event: everloop_core::poll::Event) -> [Option<Py<Handle>>; 2] {
        let registry = lock(&self.registry);
        let (reader, writer) = registry.owners(event.token);
        [
            reader.filter(|_| event.readable).map(|handle| handle.clone_ref(py)),
            writer.filter(|_| event.writable).map(|handle| handle.clone_ref(py)),
        ]
    }

    /// Whether a handle waits for a step that is aside.
    pub fn is_deferred(&self, handle: &Py<Handle>) -> bool {
        self.shared.counters.aside.load(Ordering::Relaxed) > 0
            && lock(&self.deferred).iter().any(|deferred| deferred.is(handle))
    }

    /// Forgets a handle that was cancelled while registered.
    pub fn forget(&self, event: everloop_core::poll::Event, direction: Direction, handle: &Py<Handle>) {
        let fd = Registry::<Py<Handle>>::fd(event.token);
        let mut registry = lock(&self.registry);
        if registry.owner(fd, direction).is_some_and(|owner| owner.is(handle)) {
            let (change, gone) = registry.clear(fd, direction);
            // A descriptor that the kernel has forgotten already is as good as deleted.
            let _ = self.shared.apply(change);
            drop(registry);
            drop(gone);
        }
    }

    /// Of a file whose handle waits for a step that is aside: looks away until such a step comes back. The kernel would report
    /// it over and over, and there is nothing that could be done.
    pub fn mute(&self, event: everloop_core::poll::Event, direction: Direction) {
        let mut registry = lock(&self.registry);
        let change = registry.mute(Registry::<Py<Handle>>::fd(event.token), direction);
        // If it cannot be told: it goes on reporting.
        let _ = self.shared.apply(change);
    }

    /// A step has come back: looks at all files again.
    pub fn unmute(&self) {
        let mut registry = lock(&self.registry);
        for change in registry.unmute() {
            // A file that was closed meanwhile has nothing to report.
            let _ = self.shared.apply(change);
        }
    }

    /// Runs the handle as long as the file is ready in that direction. An earlier handle is cancelled.
    pub fn watch(&self, py: Python<'_>, fd: RawFd, direction: Direction, handle: &Py<Handle>) -> PyResult<()> {
        let mut registry = lock(&self.registry);
        let (change, old) = registry.set(fd, direction, handle.clone_ref(py));
        let told = self.shared.apply(change);
        let undone = if told.is_err() { registry.clear(fd, direction).1 } else { None };
        drop(registry);
        drop(undone);
        told.map_err(os_error)?;
        match old {
            Some(old) => Handle::cancel(old.bind(py)),
            None => Ok(()),
        }
    }

    /// Forgets the handle of a file, and cancels it. False: there was none.
    pub fn unwatch(&self, py: Python<'_>, fd: RawFd, direction: Direction) -> PyResult<bool> {
        if self.is_closed() {
            return Ok(false); // the kernel has forgotten everything with the poller
        }
        let mut registry = lock(&self.registry);
        let (change, old) = registry.clear(fd, direction);
        // As selectors.unregister: errors of a descriptor that is closed by now are of no interest.
        let _ = self.shared.apply(change);
        drop(registry);
        match old {
            Some(old) => Handle::cancel(old.bind(py)).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether a file is watched in that direction.
    pub fn is_watched(&self, fd: RawFd, direction: Direction) -> bool {
        lock(&self.registry).owner(fd, direction).is_some()
    }

    /// A handle that is not queued yet, in a context that is its own or shared.
    pub fn handle_in(
        slf: &Bound<'_, Self>,
        context: Py<PyAny>,
        callback: Py<PyAny>,
        args: Args,
    ) -> PyResult<Py<Handle>> {
        Self::noted(slf, Handle::new(callback, args, context, slf.clone().into_any().unbind()))
    }

    /// `call_soon` of those that are written in Rust.
    pub fn call_soon_in(slf: &Bound<'_, Self>, context: Py<PyAny>, callback: Py<PyAny>, args: Args) -> PyResult<()> {
        slf.get().check_open()?;
        slf.get().schedule(Self::handle_in(slf, context, callback, args)?);
        Ok(())
    }

    /// In debug mode a handle knows where it was made.
    fn noted(slf: &Bound<'_, Self>, handle: Handle) -> PyResult<Py<Handle>> {
        let handle = Py::new(slf.py(), handle)?;
        if slf.get().is_debug() {
            note_source(slf.py(), &handle)?;
        }
        Ok(handle)
    }

    /// A descriptor has got an owner that nobody else may watch it beside.
    pub fn claim(&self, fd: RawFd, owner: &Bound<'_, PyAny>) -> PyResult<()> {
        let reference = PyWeakrefReference::new(owner)?.unbind();
        let before = self.owned.with(owner.py(), |owned| owned.insert(fd, reference));
        drop(before);
        Ok(())
    }

    /// The owner has gone, or lets others watch for a while.
    pub fn disclaim(&self, py: Python<'_>, fd: RawFd) {
        let before = self.owned.with(py, |owned| owned.remove(&fd));
        drop(before);
    }

    /// The thread that steps are running on, or home while nobody holds the baton.
    fn thread_ident(&self) -> Option<u64> {
        if !self.baton().is_open() {
            return None;
        }
        let members = lock(&self.members);
        let holder = self.baton().holder().and_then(|id| members.get(&id).cloned());
        holder.or_else(|| members.values().find(|member| member.home).cloned()).map(|member| member.ident)
    }
}

/// The handle that a call of `call_soon` or its like asks for, whose callback is the argument at `skip`.
pub fn new_handle<'py>(
    slf: Borrowed<'_, 'py, LoopCore>,
    arguments: &Arguments<'_, 'py>,
    method: &str,
    skip: usize,
) -> PyResult<Handle> {
    let py = slf.py();
    let context = match arguments.context(method)? {
        None => ffi::copy_context(py)?,
        Some(context) if ffi::is_context(&context) => context.to_owned().unbind(),
        Some(other) => {
            let name = ffi::type_name(&other.get_type());
            return Err(PyTypeError::new_err(format!("{method}() needs a contextvars.Context as context, not {name}")));
        }
    };
    let Some(callback) = arguments.get(skip) else {
        let missing = if skip == 0 || arguments.len() >= skip { "'callback'" } else { "a time and 'callback'" };
        return Err(PyTypeError::new_err(format!("{method}() missing required positional argument: {missing}")));
    };
    let args = Args::new(py, arguments.from(skip + 1))?;
    Ok(Handle::new(callback.to_owned().unbind(), args, context, slf.to_owned().into_any().unbind()))
}

/// What debug mode checks and notes, as asyncio does.
#[cold]
pub fn check_debug(
    slf: Borrowed<'_, '_, LoopCore>,
    arguments: &Arguments<'_, '_>,
    method: &str,
    skip: usize,
    thread: bool,
) -> PyResult<()> {
    ffi::stay_when_ended();
    // A thread whose step is aside is one of the loop's own: a signal handler may run there, and cancel a task.
    if thread && !lock(&slf.get().members).contains_key(&own_id()) {
        slf.call_method0("_check_thread")?;
    }
    if let Some(callback) = arguments.get(skip) {
        slf.call_method1("_check_callback", (callback, method))?;
    }
    Ok(())
}

/// Notes where a handle was made.
#[cold]
pub fn note_source(py: Python<'_>, handle: &Py<Handle>) -> PyResult<()> {
    let frame = py.import("sys")?.call_method1("_getframe", (0,))?;
    let traceback = py.import("asyncio.format_helpers")?.call_method1("extract_stack", (frame,))?;
    handle.get().set_source_traceback(py, traceback.unbind());
    Ok(())
}

/// Whether this interpreter's asyncio makes threads wait that cancel what runs: see handle/running.rs.
fn waits_for_callbacks(py: Python<'_>) -> bool {
    static ANSWER: PyOnceLock<bool> = PyOnceLock::new();
    *ANSWER.get_or_init(py, || py.version_info() >= (3, 14))
}

macro_rules! schedule_method {
    ($type:ident, $name:literal, $cname:literal, $doc:literal, thread_check: $check:literal) => {
        pub struct $type;
        impl FastMethod for $type {
            const NAME: &'static CStr = $cname;
            const DOC: &'static CStr = $doc;
            const BY_NAME: &'static [&'static str] = &["callback"];
            type Class = LoopCore;

            #[inline]
            fn call<'py>(slf: Borrowed<'_, 'py, LoopCore>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>> {
                let py = slf.py();
                let core = slf.get();
                core.check_open()?;
                let debug = core.is_debug();
                if debug {
                    check_debug(slf, &arguments, $name, 0, $check)?;
                }
                let handle = Py::new(py, new_handle(slf, &arguments, $name, 0)?)?;
                if !$check {
                    if let Some(other) = threadsafe_hook::look_at(arguments.get(0))? {
                        handle.get().replace_callback(py, other);
                    }
                    if waits_for_callbacks(py) {
                        handle.get().set_thread_safe(py);
                    }
                }
                if debug {
                    note_source(py, &handle)?;
                }
                core.schedule(handle.clone_ref(py));
                Ok(handle.into_any())
            }
        }
    };
}

schedule_method!(CallSoon, "call_soon", c"call_soon",
    c"call_soon($self, callback, *args, context=None)\n--\n\nRun callback(*args) in the next turn of the loop.\n\nArgs:\n    callback: Any callable. Callbacks run in the order of the calls.\n    context: The contextvars.Context to run it in; None for a copy of the current one.\n\nReturns:\n    Handle: to cancel it with.\n\nRaises:\n    RuntimeError: the loop is closed; in debug mode also a call from another thread.\n    TypeError: no callback, or a context that is none.\n\nThe trap: from a thread that does not run the loop it wakes the loop, as\ncall_soon_threadsafe does; other loops wait for their next wake-up.\n\nExample:\n    >>> loop = everloop.new_event_loop()\n    >>> handle = loop.call_soon(loop.stop)\n    >>> loop.run_forever()\n    >>> loop.close()\n",
    thread_check: true);
schedule_method!(CallSoonThreadsafe, "call_soon_threadsafe", c"call_soon_threadsafe",
    c"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nRun callback(*args) in the next turn of the loop, from any thread.\n\nArgs:\n    callback: Any callable.\n    context: The contextvars.Context to run it in; None for a copy of the current one.\n\nReturns:\n    Handle: to cancel it with.\n\nRaises:\n    RuntimeError: the loop is closed.\n    TypeError: no callback, or a context that is none.\n",
    thread_check: false);

/// Adds the methods that need no trampoline.
pub fn install_methods(py: Python<'_>) -> PyResult<()> {
    ffi::install::<CallSoon>(py)?;
    ffi::install::<CallSoonThreadsafe>(py)
}

#[pymethods]
impl LoopCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        _args: &Bound<'_, pyo3::types::PyTuple>,
        _kwargs: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> PyResult<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                baton: Baton::default(),
                heartbeat: Heartbeat::default(),
                poller: Mutex::new(Some(Arc::new(Poller::new().map_err(os_error)?))),
                posted: Moment::default(),
                rescue: AtomicBool::new(false),
                rescue_after: AtomicU64::new(20_000_000),
                report_after: AtomicU64::new(100_000_000),
                max_relief: AtomicUsize::new(128),
                counters: Counters::default(),
            }),
            turn: Guarded::new(Turn::default()),
            inbox: Inbox::default(),
            registry: Mutex::new(Registry::default()),
            cancelled: Arc::new(Cancelled::default()),
            owned: GilCell::new(HashMap::new()),
            members: Mutex::new(HashMap::new()),
            deferred: Mutex::new(Vec::new()),
            block_ons: Mutex::new(Vec::new()),
            pins: Pins::default(),
            factories: Factories::default(),
            clock: clock::Source::default(),
            fatal: Mutex::new(None),
            debug: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            task_owner: AtomicU32::new(0),
            spawning: AtomicBool::new(false),
            sleeper: Mutex::default(),
            failed: AtomicBool::new(false),
            panic: Mutex::default(),
            told_full: AtomicBool::new(false),
        })
    }

    /// The time of the loop's clock, in seconds.
    pub fn time(&self) -> f64 {
        clock::to_seconds(clock::now())
    }

    /// Programs replace `time` on a loop, and timers heed it.
    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let set = ffi::set_attribute(slf, name, Some(value));
        slf.get().clock.forget();
        set
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let set = ffi::set_attribute(slf, name, None);
        slf.get().clock.forget();
        set
    }

    /// Stops the loop at the end of its turn. Steps that are aside in a blocking call come back first.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        if self.baton().is_polling() {
            self.shared.wake();
        }
    }

    /// Whether the loop is running.
    fn is_running(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let baton = slf.get().baton();
        let is_running = baton.is_open();
        if is_running && !baton.is_held_by(own_id()) {
            // A task that begins at once asks this, and must not begin beside the loop's steps.
            slf.call_method0("_refuse_foreign_start")?;
        }
        Ok(is_running)
    }

    #[getter(_stopping)]
    fn get_stopping(&self) -> bool {
        self.is_stopping()
    }

    #[setter(_stopping)]
    fn set_stopping(&self, stopping: bool) {
        self.stopping.store(stopping, Ordering::Relaxed);
    }

    /// Whether the loop is in debug mode. Every future asks for it.
    fn get_debug(&self) -> bool {
        self.is_debug()
    }

    #[getter(_task_factory)]
    fn task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.factories.factory(py)
    }

    #[setter(_task_factory)]
    fn set_task_factory(&self, factory: &Bound<'_, PyAny>) {
        self.factories.set_factory(factory);
    }

    #[getter(_debug)]
    fn get_debug_flag(&self) -> bool {
        self.is_debug()
    }

    #[setter(_debug)]
    fn set_debug_flag(&self, debug: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.store(debug.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }

    #[getter(_closed)]
    fn get_closed(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// The thread whose steps run now; asyncio's debug checks compare with it.
    #[getter(_thread_id)]
    fn get_thread_id(&self) -> Option<u64> {
        self.thread_ident()
    }

    /// asyncio's constructor sets it; the baton knows better.
    #[setter(_thread_id)]
    fn set_thread_id(&self, _ident: &Bound<'_, PyAny>) {}

    /// Seconds that a step may take before it is reported.
    #[getter(slow_callback_duration)]
    fn get_slow_callback_duration(&self) -> f64 {
        clock::to_seconds(self.shared.report_after.load(Ordering::Relaxed))
    }

    #[setter(slow_callback_duration)]
    fn set_slow_callback_duration(&self, seconds: f64) {
        self.shared.report_after.store(clock::from_seconds(seconds), Ordering::Relaxed);
    }

    /// Whether steps that block in a call are put aside while others go on.
    #[getter]
    fn get_rescue(&self) -> bool {
        self.shared.rescue.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_rescue(slf: &Bound<'_, Self>, rescue: bool) -> PyResult<()> {
        let this = slf.get();
        if rescue && this.baton().is_open() {
            slf.call_method0("_prepare_rescue")?; // else when it begins to run
        }
        this.shared.rescue.store(rescue, Ordering::Relaxed);
        Ok(())
    }

    /// Seconds that a call may block before its step is put aside.
    #[getter]
    fn get_rescue_after(&self) -> f64 {
        clock::to_seconds(self.shared.rescue_after.load(Ordering::Relaxed))
    }

    #[setter]
    fn set_rescue_after(&self, seconds: f64) -> PyResult<()> {
        // Written so that NaN is refused too.
        if !(0.0001..=3600.0).contains(&seconds) {
            return Err(PyValueError::new_err(format!(
                "rescue_after must be between 0.0001 and 3600 seconds, not {seconds}"
            )));
        }
        self.shared.rescue_after.store(clock::from_seconds(seconds), Ordering::Relaxed);
        Ok(())
    }

    /// How many relief threads this loop may have.
    #[getter]
    fn get_max_relief_threads(&self) -> usize {
        self.shared.max_relief.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_max_relief_threads(&self, count: i64) -> PyResult<()> {
        let count = usize::try_from(count)
            .map_err(|_| PyValueError::new_err(format!("max_relief_threads must not be negative, not {count}")))?;
        self.shared.max_relief.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// Runs the handle as long as the file is readable, or writable. An earlier handle of that file is cancelled.
    fn _watch(slf: &Bound<'_, Self>, fd: &Bound<'_, PyAny>, handle: &Bound<'_, Handle>, write: bool) -> PyResult<()> {
        let direction = if write { Direction::Write } else { Direction::Read };
        slf.get().watch(slf.py(), ffi::file_descriptor(fd)?, direction, &handle.clone().unbind())
    }

    /// A handle that is not queued yet: for files.
    #[pyo3(signature = (callback, *args, context=None))]
    fn _new_handle<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: &Bound<'py, pyo3::types::PyTuple>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<Py<Handle>> {
        let context = context.map_or_else(|| ffi::copy_context(slf.py()), Ok)?;
        let args = match args.len() {
            0 => Args::None,
            _ => Args::Many(args.clone().unbind()),
        };
        Self::handle_in(slf, context, callback.unbind(), args)
    }

    /// The transport that has this descriptor, if any.
    fn _transport_of<'py>(&self, py: Python<'py>, fd: RawFd) -> Option<Bound<'py, PyAny>> {
        let reference = self.owned.with(py, |owned| owned.get(&fd).map(|reference| reference.clone_ref(py)))?;
        reference.bind(py).upgrade()
    }

    /// The transports that are there.
    fn _own_transports<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let references: Vec<_> =
            self.owned.with(py, |owned| owned.values().map(|reference| reference.clone_ref(py)).collect());
        references.iter().filter_map(|reference| reference.bind(py).upgrade()).collect()
    }

    /// Nobody else may watch this descriptor from now on (True), or others may for a while (False).
    fn _claim(&self, fd: RawFd, transport: &Bound<'_, PyAny>, claimed: bool) -> PyResult<()> {
        if claimed {
            return self.claim(fd, transport);
        }
        self.disclaim(transport.py(), fd);
        Ok(())
    }

    /// Forgets the handle of a file, and cancels it. False: there was none.
    fn _unwatch(slf: &Bound<'_, Self>, fd: RawFd, write: bool) -> PyResult<bool> {
        if fd < 0 {
            return Ok(false);
        }
        slf.get().unwatch(slf.py(), fd, if write { Direction::Write } else { Direction::Read })
    }

    /// Descriptor -> (reads, writes) of everything that is watched.
    fn _watched(&self) -> HashMap<RawFd, (bool, bool)> {
        lock(&self.registry).watched().map(|(fd, interest)| (fd, (interest.read, interest.write))).collect()
    }

    /// From the next run on, home sleeps in `wait(fd, seconds or None)`; None: by itself.
    fn _sleep_in(&self, wait: Option<Py<PyAny>>) {
        let before = std::mem::replace(&mut *lock(&self.sleeper), wait);
        drop(before);
    }

    /// Wakes a loop that sleeps: asyncio's own code calls this after it has queued something.
    fn _write_to_self(&self) {
        self.shared.wake();
    }

    /// Throws away what is queued or watched; steps that are aside get RuntimeError when they come back.
    fn _close_core(slf: &Bound<'_, Self>) {
        let this = slf.get();
        this.closed.store(true, Ordering::Relaxed);
        let mut posts = Vec::new();
        this.inbox.take(&mut posts);
        // SAFETY of the baton aside: a loop that is closed does not run, so nobody is inside `turn`.
        let queued = ffi::peek(&this.turn, slf.py(), Turn::take_all);
        let watched = {
            let mut registry = lock(&this.registry);
            let fds: Vec<_> = registry.watched().map(|(fd, _)| fd).collect();
            for fd in fds {
                let _ = this.shared.apply(Change::Delete(fd));
            }
            registry.take_all()
        };
        let deferred = std::mem::take(&mut *lock(&this.deferred));
        let poller = lock(&this.shared.poller).take();
        drop(poller);
        drop((posts, queued, watched, deferred));
        this.factories.forget_keywords(slf.py());
        for member in lock(&this.members).values() {
            member.waiter.parker().unpark();
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut result = Ok(());
        let mut see = |handle: &Py<Handle>| {
            if result.is_ok() {
                result = visit.call(handle);
            }
        };
        ffi::peek_traverse(&self.turn, |turn| turn.iter().for_each(&mut see));
        self.inbox.try_each(|post| match post {
            Post::Soon(handle) | Post::At(_, handle) => see(handle),
        });
        if let Ok(registry) = self.registry.try_lock() {
            registry.iter().for_each(&mut see);
        }
        if let Ok(deferred) = self.deferred.try_lock() {
            deferred.iter().for_each(&mut see);
        }
        result.and_then(|()| self.factories.traverse(&visit))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        Self::_close_core(slf);
        slf.get().factories.set_factory(&slf.py().None().into_bound(slf.py()));
    }
}
