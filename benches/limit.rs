//! The limit of an echo server: epoll and two more system calls for a message, without Python, or with one call of an
//! empty Python function for each message. `echo_server.py` loads it; `make bench` builds it.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::ptr::null_mut;

const READABLE: u32 = 1;
const ADD: c_int = 1;
const AT_ONCE: usize = 256;
const BUFFER: usize = 256 * 1024;

/// `struct epoll_event`, which is packed on one processor.
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy)]
struct Event {
    events: u32,
    file: u64,
}

unsafe extern "C" {
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_ctl(epoll: c_int, operation: c_int, file: c_int, event: *mut Event) -> c_int;
    fn epoll_wait(epoll: c_int, events: *mut Event, most: c_int, timeout: c_int) -> c_int;
    fn accept(listener: c_int, address: *mut c_void, length: *mut c_void) -> c_int;
    fn close(file: c_int) -> c_int;
    fn PyObject_CallNoArgs(function: *mut c_void) -> *mut c_void;
    fn Py_DecRef(object: *mut c_void);
}

/// Sends back what it gets, for ever.
///
/// # Safety
/// `listener` is a socket that listens. `function` is null, or a Python object, and the caller has the GIL then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn serve(listener: c_int, function: *mut c_void) {
    let (mut buffer, mut events) = (vec![0; BUFFER], [Event { events: 0, file: 0 }; AT_ONCE]);
    // SAFETY: these calls take numbers, and memory of ours that outlives them.
    unsafe {
        let epoll = epoll_create1(0);
        let watch = |file: c_int| epoll_ctl(epoll, ADD, file, &mut Event { events: READABLE, file: file as u64 });
        watch(listener);
        loop {
            let count = epoll_wait(epoll, events.as_mut_ptr(), AT_ONCE as c_int, -1);
            for event in events.iter().take(count.max(0) as usize) {
                let file = event.file as c_int;
                if file == listener {
                    watch(accept(listener, null_mut(), null_mut()));
                } else if !echo(file, &mut buffer) {
                    close(file);
                } else if !function.is_null() {
                    let result = PyObject_CallNoArgs(function);
                    if result.is_null() {
                        return;
                    }
                    Py_DecRef(result);
                }
            }
        }
    }
}

/// Sends back what one read gives. False: the connection is over.
fn echo(file: c_int, buffer: &mut [u8]) -> bool {
    // SAFETY: the connection stays open while this runs, and this does not close it.
    let mut connection = ManuallyDrop::new(unsafe { File::from_raw_fd(file) });
    match connection.read(buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => connection.write_all(&buffer[..count]).is_ok(),
    }
}
