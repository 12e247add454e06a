//! Threads that come back to an interpreter which is ending.
//!
//! A daemon thread that wants the GIL once the interpreter finalizes never gets it. From CPython 3.14 on it sleeps for
//! ever. Before, it is ended on the spot, wherever it stands, by `pthread_exit`, and glibc unwinds its stack for that.
//! Frames of Rust must not be unwound like that: the process is aborted ("Rust cannot catch foreign exceptions"), or
//! references are dropped without the GIL. So threads whose stacks may hold such frames sleep on there too.
//!
//! glibc runs the cleanup handlers of a thread as soon as unwinding has left the frame that a handler's record lies in,
//! and before it goes on to the next frame. A record that lies in no frame at all has been left from the start: its
//! handler is what `pthread_exit` does first. Other systems do not unwind: there the thread ends without touching a
//! frame.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod handler {
    use crate::ffi::private::find;
    use std::cell::OnceCell;
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;
    use std::{mem, ptr};

    /// `struct _pthread_cleanup_buffer` of pthread.h
    #[repr(C)]
    struct Record {
        routine: Option<unsafe extern "C" fn(*mut c_void)>,
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Record,
    }

    type Push = unsafe extern "C" fn(*mut Record, unsafe extern "C" fn(*mut c_void), *mut c_void);
    type Pop = unsafe extern "C" fn(*mut Record, c_int);

    /// A record that is on this thread's list, until the thread ends.
    struct Pushed {
        record: *mut Record,
        pop: Pop,
    }

    impl Drop for Pushed {
        fn drop(&mut self) {
            // SAFETY: pushed by this thread, and made by `Box`. Records are taken off in any order: each only says
            // which one is first from now on, and nobody else in a Python process has any.
            unsafe {
                (self.pop)(self.record, 0);
                drop(Box::from_raw(self.record));
            }
        }
    }

    thread_local! {
        static PUSHED: OnceCell<Option<Pushed>> = const { OnceCell::new() };
    }

    pub fn install() {
        // Without the list, as during the end of a thread, there is nothing left to protect.
        let _ = PUSHED.try_with(|pushed| pushed.get_or_init(push).is_some());
    }

    #[cold]
    fn push() -> Option<Pushed> {
        static FUNCTIONS: OnceLock<Option<(Push, Pop)>> = OnceLock::new();
        // SAFETY: both are exported by every glibc since 2.2.5, with these signatures.
        let (push, pop) = (*FUNCTIONS.get_or_init(|| unsafe {
            Some((
                mem::transmute::<*mut c_void, Push>(find(c"_pthread_cleanup_push")?),
                mem::transmute::<*mut c_void, Pop>(find(c"_pthread_cleanup_pop")?),
            ))
        }))?;
        let empty = Record { routine: None, argument: ptr::null_mut(), cancel_type: 0, previous: ptr::null_mut() };
        let record = Box::into_raw(Box::new(empty));
        // SAFETY: the record stays where it is until it is popped.
        unsafe { push(record, stay, ptr::null_mut()) };
        Some(Pushed { record, pop })
    }

    /// The thread is being ended. By the interpreter: then it sleeps on.
    unsafe extern "C" fn stay(_: *mut c_void) {
        while is_finalizing() {
            // SAFETY: no preconditions. It returns after a signal's handler.
            unsafe { libc::pause() };
        }
    }

    /// True if the interpreter is ending. Needs no GIL.
    fn is_finalizing() -> bool {
        // 3.13 gave it its public name; later versions end no thread.
        let function = find(c"Py_IsFinalizing").or_else(|| find(c"_Py_IsFinalizing"));
        // SAFETY: the interpreter's function, which reads a flag. Where it cannot be found, nobody else is known to end
        // threads.
        function.is_none_or(|function| unsafe {
            mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(function)() != 0
        })
    }
}

/// If the interpreter should end this thread, it sleeps on instead. To be called by whoever runs Python code from a
/// frame of Rust; of no effect after the first time.
#[inline]
pub fn stay_when_ended() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    handler::install();
}
