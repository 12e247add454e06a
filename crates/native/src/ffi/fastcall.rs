//! Methods without PyO3's trampoline: those that are called too often for its parsing of arguments.

use super::cells::{Made, name};
use super::panics::panicked;
use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use std::ffi::CStr;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The arguments of a FASTCALL method, all borrowed from its caller.
#[derive(Clone, Copy)]
pub struct Arguments<'a, 'py> {
    py: Python<'py>,
    positional: &'a [*mut ffi::PyObject],
    keywords: Option<Borrowed<'a, 'py, PyTuple>>,
    values: &'a [*mut ffi::PyObject],
}

impl<'a, 'py> Arguments<'a, 'py> {
    pub fn len(&self) -> usize {
        self.positional.len()
    }

    pub fn get(&self, index: usize) -> Option<Borrowed<'a, 'py, PyAny>> {
        self.positional.get(index).map(|&object| borrow(self.py, object))
    }

    /// The arguments of a method that takes these, by position or by name: None for those that are missing.
    #[inline]
    pub fn named<const N: usize>(
        &self,
        names: [&str; N],
        method: &str,
    ) -> PyResult<[Option<Borrowed<'a, 'py, PyAny>>; N]> {
        if self.len() > N {
            let count = self.len();
            return Err(PyTypeError::new_err(format!("{method}() takes at most {N} arguments ({count} given)")));
        }
        let mut all = std::array::from_fn(|index| self.get(index));
        for (name, &value) in self.keywords.iter().flat_map(|keywords| keywords.iter_borrowed()).zip(self.values) {
            let name = name.cast::<PyString>()?;
            let name = name.to_cow()?;
            let unexpected = || PyTypeError::new_err(format!("{method}() got an unexpected keyword argument '{name}'"));
            let index = names.iter().position(|known| *known == name).ok_or_else(unexpected)?;
            if all[index].replace(borrow(self.py, value)).is_some() {
                return Err(PyTypeError::new_err(format!("{method}() got multiple values for argument '{name}'")));
            }
        }
        Ok(all)
    }

    pub fn from(&self, from: usize) -> impl ExactSizeIterator<Item = Borrowed<'a, 'py, PyAny>> {
        let py = self.py;
        self.positional.get(from..).unwrap_or_default().iter().map(move |&object| borrow(py, object))
    }

    pub fn keywords(&self) -> Option<Borrowed<'a, 'py, PyTuple>> {
        self.keywords
    }

    /// Calls `callable` with these arguments and `loop=`.
    pub fn call_with_loop(&self, callable: &Bound<'py, PyAny>, loop_: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        static ALONE: Made<PyTuple> = Made::new();
        let name = name!(self.py, "loop");
        let names = match self.keywords {
            None => ALONE.get(self.py, |py| PyTuple::new(py, [name]))?,
            Some(keywords) => PyTuple::new(self.py, keywords.iter().chain([name.into_any()]).collect::<Vec<_>>())?,
        };
        self.vectorcall(callable, None, Some(loop_), Some(names.as_borrowed()))
    }

    /// Calls an unbound method of `slf` with these arguments.
    pub fn call_method_of(&self, method: &Bound<'py, PyAny>, slf: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        self.vectorcall(method, Some(slf), None, self.keywords)
    }

    /// `first` goes before the positional arguments, and `last` behind the values of the keywords; `names` has a name
    /// for each of those.
    fn vectorcall(
        &self,
        callable: &Bound<'py, PyAny>,
        first: Option<&Bound<'py, PyAny>>,
        last: Option<&Bound<'py, PyAny>>,
        names: Option<Borrowed<'_, 'py, PyTuple>>,
    ) -> PyResult<Py<PyAny>> {
        let all = iter::once(ptr::null_mut())
            .chain(first.map(Bound::as_ptr))
            .chain(self.positional.iter().copied())
            .chain(self.values.iter().copied())
            .chain(last.map(Bound::as_ptr));
        let (mut few, mut many) = ([ptr::null_mut(); 8], Vec::new());
        let slots = if 3 + self.positional.len() + self.values.len() <= few.len() {
            few.iter_mut().zip(all).for_each(|(slot, object)| *slot = object);
            &few[..]
        } else {
            many.extend(all);
            &many[..]
        };
        let count = self.len() + usize::from(first.is_some());
        // SAFETY: all of it is alive for the call, as the caller of this method, or ours, keeps it; behind the free
        // slot are `count` positional arguments, and then a value for each of the names. The result is a new reference
        // or NULL with an error set.
        unsafe {
            let result = ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                slots.as_ptr().add(1),
                count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                names.map_or(ptr::null_mut(), |names| names.as_ptr()),
            );
            Ok(Bound::from_owned_ptr_or_err(self.py, result)?.unbind())
        }
    }

    /// True if some arguments are given by another name than `context`.
    #[inline]
    fn has_other_names(&self) -> bool {
        self.keywords.is_some_and(|keywords| !KNOWN.is(self.py, &keywords) && !is_only_context(keywords))
    }

    /// The only keyword that the methods of a loop know besides those: `context`, where None means as good as absent.
    #[inline]
    pub fn context(&self, method: &str) -> PyResult<Option<Borrowed<'a, 'py, PyAny>>> {
        let Some(names) = self.keywords else { return Ok(None) };
        match self.values {
            &[value] if KNOWN.is(self.py, &names) => Ok(Some(borrow(self.py, value)).filter(|value| !value.is_none())),
            _ => self.named_context(names, method),
        }
    }

    fn named_context(
        &self,
        names: Borrowed<'a, 'py, PyTuple>,
        method: &str,
    ) -> PyResult<Option<Borrowed<'a, 'py, PyAny>>> {
        let mut context = None;
        for (name, &value) in names.iter_borrowed().zip(self.values) {
            let expected = name!(self.py, "context");
            if !name.is(&expected) && !name.eq(&expected)? {
                let name = name.cast::<PyString>()?.to_cow()?.into_owned();
                return Err(PyTypeError::new_err(format!("{method}() got an unexpected keyword argument '{name}'")));
            }
            context = Some(borrow(self.py, value)).filter(|value| !value.is_none());
        }
        Ok(context)
    }
}

/// True if there is one name, and that is `context`. The names that C code gives are remembered: they are not the
/// interned one.
fn is_only_context(names: Borrowed<'_, '_, PyTuple>) -> bool {
    let py = names.py();
    let expected = name!(py, "context");
    let name = match names.get_borrowed_item(0) {
        Ok(name) if names.len() == 1 => name,
        _ => return names.is_empty(),
    };
    if name.is(&expected) {
        return true;
    }
    let is_equal = name.eq(&expected).unwrap_or(false);
    if is_equal {
        KNOWN.replace(py, names.to_owned());
    }
    is_equal
}

/// The last names of a call that were "context" alone, without being the interned object that they are in Python code:
/// tasks and futures in C call with the same tuple each time.
static KNOWN: Made<PyTuple> = Made::new();

fn borrow<'a, 'py>(py: Python<'py>, object: *mut ffi::PyObject) -> Borrowed<'a, 'py, PyAny> {
    // SAFETY: only called with the members of a vectorcall's argument array, which its caller keeps alive for 'a.
    unsafe { Borrowed::from_ptr(py, object) }
}

/// A method whose calls are too frequent for PyO3's argument parsing: METH_FASTCALL | METH_KEYWORDS.
pub trait FastMethod {
    const NAME: &'static CStr;
    const DOC: &'static CStr;
    /// Arguments that come first, and that a caller may give by name, as one may those of functions written in Python.
    const BY_NAME: &'static [&'static str] = &[];
    /// The class that the method is installed in: the only type that `slf` can have.
    type Class: pyo3::PyClass;

    fn call<'py>(slf: Borrowed<'_, 'py, Self::Class>, arguments: Arguments<'_, 'py>) -> PyResult<Py<PyAny>>;
}

/// Adds the method to its class.
pub fn install<M: FastMethod>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<M::Class>();
    // A method descriptor points to its definition for as long as it lives: for ever, once per class and method.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: M::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: fastcall::<M> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: M::DOC.as_ptr(),
    }));
    // SAFETY: the type is alive, the definition is leaked and well-formed, and `fastcall` has the signature that its
    // flags announce. The result is a new reference or NULL with an error set.
    let descriptor =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))? };
    class.setattr(M::NAME.to_str().map_err(|_| PySystemError::new_err("a method's name is not UTF-8"))?, descriptor)
}

unsafe extern "C" fn fastcall<M: FastMethod>(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a method with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the descriptor has checked that `slf` is an instance of its class. The array holds `count` positional
        // arguments, then one value for each name in the tuple `names`, which may be NULL; it may itself be NULL or
        // dangling only where it is empty. All stay alive until we return.
        unsafe {
            let slf = Borrowed::from_ptr(py, slf).cast_unchecked::<M::Class>();
            let keywords =
                if names.is_null() { None } else { Some(Borrowed::from_ptr(py, names).cast_unchecked::<PyTuple>()) };
            let count = count as usize;
            let values = keywords.map_or(0, |names| names.len());
            let all = if count + values == 0 { &[] } else { std::slice::from_raw_parts(arguments, count + values) };
            let (positional, values) = all.split_at(count);
            let arguments = Arguments { py, positional, keywords, values };
            let moves = !M::BY_NAME.is_empty() && arguments.has_other_names();
            let moved = if moves { Some(Moved::of::<M>(&arguments)?) } else { None };
            // The only call of the method stands here, so that it can be inlined.
            M::call(slf, moved.as_ref().map_or(arguments, Moved::arguments))
        }
    }));
    match result {
        Ok(Ok(object)) => object.into_ptr(),
        Ok(Err(error)) => raise(py, error),
        Err(_) => raise(py, panicked()),
    }
}

/// Arguments of a call that gave some by name, now where they belong.
struct Moved<'a, 'py> {
    positional: Vec<*mut ffi::PyObject>,
    names: Bound<'py, PyTuple>,
    values: Vec<*mut ffi::PyObject>,
    given: Arguments<'a, 'py>,
}

impl<'a, 'py> Moved<'a, 'py> {
    #[cold]
    fn of<M: FastMethod>(given: &Arguments<'a, 'py>) -> PyResult<Self> {
        let (mut named, mut names, mut values) = (vec![None; M::BY_NAME.len()], Vec::new(), Vec::new());
        for (name, &value) in given.keywords.iter().flat_map(|names| names.iter_borrowed()).zip(given.values) {
            let text = name.cast::<PyString>()?.to_cow()?.into_owned();
            match M::BY_NAME.iter().position(|known| *known == text) {
                Some(at) if at < given.len() => {
                    let method = M::NAME.to_string_lossy();
                    return Err(PyTypeError::new_err(format!("{method}() got multiple values for argument '{text}'")));
                }
                Some(at) => named[at] = Some(value),
                None => {
                    names.push(name);
                    values.push(value);
                }
            }
        }
        // Arguments after one that is missing are left out: the method raises an error for the missing one.
        let mut positional = given.positional.to_vec();
        positional.extend(named.into_iter().skip(given.len()).map_while(|value| value));
        Ok(Self { positional, names: PyTuple::new(given.py, names)?, values, given: *given })
    }

    fn arguments(&self) -> Arguments<'_, 'py> {
        let keywords = (!self.values.is_empty()).then(|| self.names.as_borrowed());
        Arguments { positional: &self.positional, keywords, values: &self.values, ..self.given }
    }
}

#[cold]
fn raise(py: Python<'_>, error: PyErr) -> *mut ffi::PyObject {
    error.restore(py);
    ptr::null_mut()
}
