//! A way to look into this process from outside, also while everything in it stands still.
//!
//! `EVERLOOP_LISTEN` names Unix sockets and addresses. A native thread accepts at each of them, and answers requests of
//! HTTP. It begins with the first run of a loop, and not when everloop is imported: a process that only starts others
//! (a server's supervisor, a command) would take the address from the one that is meant.
//!
//! **Who may touch what.** The threads of this folder never take the GIL, and wait for nobody who does. They read
//! atomics, and lists under locks that nobody holds for long: `runs.rs`, and what was last seen of a loop
//! (`event_loop/sighting.rs`). [`SERVER`] is written and read under the GIL only.
//!
//! **Bad clients.** A request has 8 KiB and a second; so has whoever reads the answer. At most eight are served at
//! once: seven on threads of their own, and one by the thread that accepts, which takes no more meanwhile. Those wait
//! in the kernel's queue, and are not refused: a probe must not fail because somebody else asks too.
//!
//! **The races.**
//! - *A fork.* The child has none of the threads, and closes its copies of the sockets: they would keep the address and
//!   the connections of the parent open. One that was accepted at that very moment may be missed, and stays open until
//!   the child ends. What is served is the parent's. The child listens itself once a loop begins to run in it.
//! - *The interpreter ends.* The files of sockets are removed, and who accepts is ended. A thread that answers still
//!   touches nothing of the interpreter's, and ends with the process.
//! - *A socket of a process that was killed* is found dead by connecting to it. Two processes that find that at the same
//!   moment may each replace it: the later one has the path. `{pid}` gives each its own.

pub mod address;
mod binding;
mod http;
mod pages;
pub mod runs;

use crate::clock;
use crate::own_threads::OwnThread;
use binding::{Binding, Connection, Descriptor};
use everloop_core::sync::{Mutex, lock};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// So many connections are served by threads of their own.
const MOST: usize = 7;
/// The pause after the system has refused a connection, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

struct Server {
    bindings: Vec<Arc<Binding>>,
    threads: Vec<JoinHandle<()>>,
}

static SERVER: Mutex<Option<Server>> = Mutex::new(None);
/// True once the server is to end.
static ENDS: AtomicBool = AtomicBool::new(false);
/// The threads that serve a connection now.
static SERVING: AtomicUsize = AtomicUsize::new(0);
/// The descriptors of connections, -1 for none, and what they are known by: read in a forked child, which closes them.
static OPEN: [(AtomicI32, AtomicU64); MOST + 1] = [const { (AtomicI32::new(-1), AtomicU64::new(0)) }; MOST + 1];

/// Raises ValueError if these are no addresses at which a process may listen. Makes nothing.
#[pyfunction]
pub fn check_addresses(text: &str) -> PyResult<()> {
    let addresses = address::parse(text).map_err(PyValueError::new_err)?;
    addresses.iter().try_for_each(|address| address.check().map_err(PyValueError::new_err))
}

/// Listens at these addresses, unless this process listens already. A loop may be blocked for `limit` seconds before
/// `/live` says so.
#[pyfunction]
pub fn listen(text: &str, limit: f64) -> PyResult<()> {
    if lock(&SERVER).is_some() {
        return Ok(());
    }
    let addresses = address::parse(text).map_err(PyValueError::new_err)?;
    let bindings = addresses.iter().map(Binding::new).collect::<Result<Vec<_>, _>>().map_err(PyOSError::new_err)?;
    let mut server = Server { bindings: bindings.into_iter().map(Arc::new).collect(), threads: Vec::new() };
    ENDS.store(false, Ordering::SeqCst);
    let limit = clock::from_seconds(limit);
    for binding in &server.bindings {
        let own = Arc::clone(binding);
        match thread::Builder::new().name("everloop-listen".to_owned()).spawn(move || accept_all(&own, limit)) {
            Ok(thread) => server.threads.push(thread),
            Err(error) => {
                end(server);
                return Err(error.into());
            }
        }
    }
    *lock(&SERVER) = Some(server);
    Ok(())
}

/// The addresses at which this process listens.
#[pyfunction]
pub fn listens_at() -> Vec<String> {
    lock(&SERVER)
        .as_ref()
        .map_or_else(Vec::new, |server| server.bindings.iter().map(|binding| binding.address.to_string()).collect())
}

/// Listens no more, and removes the files of sockets.
#[pyfunction]
pub fn stop_listening(py: Python<'_>) {
    let server = lock(&SERVER).take();
    if let Some(server) = server {
        py.detach(|| end(server));
    }
}

fn end(server: Server) {
    ENDS.store(true, Ordering::SeqCst);
    server.bindings.iter().for_each(|binding| binding.stop());
    for thread in server.threads {
        // It serves for two seconds at the most; a panic was printed when it happened.
        let _ = thread.join();
    }
}

/// The life of a thread that accepts.
fn accept_all(binding: &Binding, limit: u64) {
    let _own = OwnThread::enter();
    let open = matches!(binding.address, address::Address::Net { open: true, .. });
    let checks = matches!(binding.address, address::Address::Net { open: false, .. });
    let serve = move |connection: Box<dyn Connection>| serve(connection, limit, open, checks);
    while !ENDS.load(Ordering::SeqCst) {
        let Ok(connection) = binding.accept() else {
            if !ENDS.load(Ordering::SeqCst) {
                thread::sleep(PAUSE);
            }
            continue;
        };
        if SERVING.fetch_add(1, Ordering::Relaxed) < MOST {
            // What does not get a thread is lost with it, and so is asked for again.
            let thread = thread::Builder::new().name("everloop-listen".to_owned());
            let served = Served;
            let _refused = thread.spawn(move || {
                let (_served, _own) = (served, OwnThread::enter());
                serve(connection);
            });
        } else {
            let _served = Served;
            serve(connection);
        }
    }
}

/// One that is counted in `SERVING`, until it is dropped.
struct Served;

impl Drop for Served {
    fn drop(&mut self) {
        SERVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One that stands in `OPEN`, until it is dropped.
struct Entry(Option<usize>);

impl Entry {
    fn new(connection: Option<Descriptor>) -> Self {
        let Some(Descriptor { number, node }) = connection else { return Self(None) };
        let take = |(place, _): &(AtomicI32, AtomicU64)| {
            place.compare_exchange(-1, number, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        let at = OPEN.iter().position(take);
        // A child that is forked before this finds another file's, and leaves it open.
        at.into_iter().for_each(|at| OPEN[at].1.store(node, Ordering::SeqCst));
        Self(at)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(at) = self.0 {
            OPEN[at].0.store(-1, Ordering::SeqCst);
        }
    }
}

fn serve(mut connection: Box<dyn Connection>, limit: u64, open: bool, checks_host: bool) {
    let _entry = Entry::new(Descriptor::of(connection.as_raw_fd()));
    // Whoever has asked may be gone by now.
    let _ended = http::serve(&mut *connection, |request| {
        if checks_host && request.host.as_ref().is_some_and(|host| !binding::is_own_name(host)) {
            return http::Answer::text(403, "ask for this by its address, or as localhost");
        }
        pages::answer(request, limit, open)
    });
}

/// In a forked child: closes what is the parent's.
pub fn after_fork(py: Python<'_>) -> PyResult<()> {
    let server = lock(&SERVER).take();
    let taken = OPEN.iter().map(|(place, node)| (place.swap(-1, Ordering::SeqCst), node.load(Ordering::SeqCst)));
    let mut all: Vec<_> =
        taken.map(|(number, node)| Descriptor { number, node }).filter(|one| one.number >= 0).collect();
    SERVING.store(0, Ordering::Relaxed);
    runs::after_fork();
    if let Some(server) = server {
        all.extend(server.bindings.iter().filter_map(|binding| binding.descriptor()));
        mem::forget(server); // closed below, while those who have it too are gone
    }
    let close = py.import("os")?.getattr("close")?;
    // The program, or a hook of its own that came first, may have closed them and opened something else.
    all.into_iter().filter(|one| one.is_there()).try_for_each(|one| close.call1((one.number,)).map(drop))
}
