//! Every call of CPython's C interface that PyO3 does not wrap, each with the reason why it is sound here.
//!
//! Nothing outside this folder is `unsafe`. All functions take a `Python` token: the caller is attached to the
//! interpreter, which means that it holds the GIL. The module declares that it needs the GIL (`gil_used = true` in
//! lib.rs); [`GilCell`] leans on that.
//!
//! Reading order: [`cells`], [`peek`], [`private`] (what is not public); [`contexts`], [`functions`], [`calls`],
//! [`objects`], [`reuse`], [`threads`], [`frames`]; [`buffers`] and [`window`] (memory); [`fastcall`], [`finalizers`], [`hashing`]
//! (what the interpreter calls); [`onlooker`], [`lookup`], [`runtime`], [`ended`], [`children`], [`interruption`] (what
//! few need).

mod buffers;
mod calls;
pub mod cells;
pub mod children;
mod contexts;
mod ended;
mod fastcall;
mod finalizers;
mod frames;
mod functions;
mod hashing;
mod interruption;
pub mod lookup;
mod objects;
mod onlooker;
mod panics;
mod peek;
pub mod private;
mod private_name;
mod reuse;
mod runtime;
mod sigaction;
mod threads;
mod window;

pub use buffers::{Pinned, View, address_bytes, borrow_fd, fill_bytes};
pub use calls::{Called, call_in_context, call_tuple_in_context, run_in_context};
pub(crate) use cells::name;
pub use cells::{GilCell, Made};
pub use contexts::{copy_context, copy_of_context, enter_context, have_same_variables, is_context, leave_context};
pub use ended::stay_when_ended;
pub use fastcall::{Arguments, FastMethod, install};
pub use finalizers::{Finalize, install_finalizer};
pub use frames::{frame_code, frame_instruction};
pub use functions::{is_c_callable, is_function_of, plain_code};
pub use hashing::hook_hashes;
pub use interruption::{call_on_main_thread, interrupt_call};
pub use objects::{address, file_descriptor, is_plain_number, set_attribute, type_name};
pub use onlooker::{
    attach_quietly, bound_to, call_c_method, callback_name, caller, code_text, definition_address, frame_line,
    is_of_class, owner_name, place, qualified_name, text_of, untraced,
};
pub use peek::{peek, peek_traverse};
pub use private_name::{Name, Version, set_teller};
pub use reuse::{Free, Reuse, install_reuse, reuse};
pub use runtime::is_interpreters;
pub use sigaction::awaits_signals;
pub use threads::{CurrentHandle, ThreadState, thread_ident};
pub use window::Window;
