//! The description of a transport: its file, the names of both ends, and the warning that nobody has closed it.

use super::address;
use super::base::Transport;
use super::ending;
use super::file::{Extra, File, socket_object, wrap_socket};
use super::output::Output;
use super::server;
use everloop_core::registry::Direction;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyDict};

/// The file as a Python object: None once it is closed.
pub fn file_object<'py>(slf: &Bound<'py, Transport>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, this) = (slf.py(), slf.get());
    let known = this.body.with(py, |body| match &body.file {
        File::Object(file) | File::Held(file) => Some(Some(file.bind(py).clone())),
        File::Closed => Some(None),
        File::Descriptor(..) => None,
    });
    if let Some(known) = known {
        return Ok(known);
    }
    // The socket object owns the descriptor from here on.
    let File::Descriptor(fd, numbers) = this.body.with(py, |body| std::mem::replace(&mut body.file, File::Closed))
    else {
        return Ok(None);
    };
    let object = socket_object(py, fd.into_owned(), numbers)?;
    set_file_object(slf, Some(object.clone().unbind()));
    Ok(Some(object))
}

/// Has the transport own another file, or none: the caller looks after the one before.
pub fn set_file_object(slf: &Bound<'_, Transport>, file: Option<Py<PyAny>>) {
    let file = file.map_or(File::Closed, File::Object);
    let before = slf.get().body.with(slf.py(), |body| std::mem::replace(&mut body.file, file));
    drop(before);
}

/// The dictionary behind `get_extra_info`.
pub fn extra<'py>(slf: &Bound<'py, Transport>) -> PyResult<Bound<'py, PyDict>> {
    let (py, this) = (slf.py(), slf.get());
    let (known, ends) = this.body.with(py, |body| match &body.extra {
        Extra::Known(extra) => (Some(extra.bind(py).clone()), None),
        Extra::Later(ends) => (None, Some(ends.clone())),
    });
    if let Some(extra) = known {
        return Ok(extra);
    }
    let extra = PyDict::new(py);
    if let Some(ends) = ends {
        extra.set_item("peername", address::to_python(py, &ends.peername)?)?;
        extra.set_item("socket", transport_socket(slf)?)?;
        extra.set_item("sockname", ends.sockname.map(|name| address::to_python(py, &name)).transpose()?)?;
    }
    let known = extra.clone().unbind();
    let before = this.body.with(py, |body| std::mem::replace(&mut body.extra, Extra::Known(known)));
    drop(before);
    Ok(extra)
}

/// The answer to `get_extra_info("socket")`: the socket without the methods that would disturb the transport.
fn transport_socket<'py>(slf: &Bound<'py, Transport>) -> PyResult<Bound<'py, PyAny>> {
    let py = slf.py();
    let socket = match file_object(slf)? {
        Some(socket) => socket,
        None => {
            // Nobody asked in time: the answer is a socket that is closed, as the real one would be by now.
            let closed = py.import("socket")?.call_method0("socket")?;
            closed.call_method0("close")?;
            closed
        }
    };
    wrap_socket(&socket)
}

/// The `repr` of a transport, as asyncio writes it.
pub fn description(slf: &Bound<'_, Transport>) -> String {
    let (py, this) = (slf.py(), slf.get());
    let (core, closed, closing, writes, size) = this.body.with(py, |body| {
        let core = body.loop_.as_ref().map(|core| core.clone_ref(py));
        let writes = !matches!(body.output, Output::None);
        (core, matches!(body.file, File::Closed), body.closing, writes, body.output.len())
    });
    let mut text = format!("<{}", this.kind.name);
    if closed {
        text += " closed";
    } else if closing {
        text += " closing";
    }
    text += &format!(" fd={}", this.fd);
    if let Some(core) = core.filter(|core| !core.get().is_closed()) {
        let state = |direction| if core.get().is_watched(this.fd, direction) { "polling" } else { "idle" };
        text += &match (this.kind.file, writes) {
            ("pipe", true) => format!(" {} bufsize={size}", state(Direction::Write)),
            ("pipe", false) => format!(" {}", state(Direction::Read)),
            _ => {
                format!(" read={} write=<{}, bufsize={size}>", state(Direction::Read), state(Direction::Write))
            }
        };
    } else if this.kind.file == "pipe" {
        text += if closed { " closed" } else { " open" };
    }
    text + ">"
}

/// `warnings.warn`, looked up when the module is made: at the interpreter's end nothing can be imported any more.
pub fn warn_function(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static WARN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let warn = WARN.get_or_try_init(py, || py.import("warnings")?.getattr("warn").map(Bound::unbind))?;
    Ok(warn.bind(py))
}

/// The finalizer of all transports: warns of one that nobody has closed, and closes its file.
pub fn finalize(slf: &Bound<'_, Transport>) {
    let py = slf.py();
    if slf.get().is_closed(py) {
        return;
    }
    let warn = || -> PyResult<()> {
        let arguments = [("source", slf)].into_py_dict(py)?;
        let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
        let text = format!("unclosed transport {}", description(slf));
        warn_function(py)?.call((text, category), Some(&arguments)).map(drop)
    };
    // A warning can be an error; the file is closed all the same.
    let warned = warn();
    let closed = ending::close_file(slf);
    let detached = server::detach(slf);
    if let Err(error) = warned.and(closed).and(detached) {
        error.write_unraisable(py, Some(slf));
    }
}

/// Implements [`Finalize`] for a subclass of [`Transport`].
macro_rules! finalize_as_transport {
    ($class:ty) => {
        impl crate::ffi::Finalize for $class {
            fn finalize(slf: &Bound<'_, Self>) {
                super::info::finalize(slf.as_super());
            }

            fn original() -> &'static std::sync::OnceLock<pyo3::ffi::destructor> {
                static ORIGINAL: std::sync::OnceLock<pyo3::ffi::destructor> = std::sync::OnceLock::new();
                &ORIGINAL
            }
        }
    };
}
pub(super) use finalize_as_transport;

/// asyncio's private names for the file of a subclass of [`Transport`], and for its descriptor.
macro_rules! file_names {
    ($class:ident, $file:ident, $number:ident) => {
        #[pymethods]
        impl $class {
            #[getter($file)]
            fn file<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
                super::info::file_object(slf.as_super())
            }

            #[setter($file)]
            fn set_file(slf: &Bound<'_, Self>, file: Option<Py<PyAny>>) {
                super::info::set_file_object(slf.as_super(), file);
            }

            #[getter($number)]
            fn number(slf: &Bound<'_, Self>) -> i32 {
                slf.as_super().get().fd
            }
        }
    };
}
pub(super) use file_names;
