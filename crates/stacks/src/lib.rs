//! Reads the Python stacks of this process without the GIL, also while C code holds it.
//!
//! No pointer is followed: all memory is read through [`Memory`], which says where nothing lies. Nothing that was read
//! is trusted: each length has a bound, each list an end, and what does not fit together is read once more. No object
//! is touched, nothing of the interpreter's is called or allocated. So whoever looks needs no lock and no GIL, and may
//! be any thread.
//!
//! Reading order: [`memory`], [`layout`] (where CPython keeps what); [`locations`], [`text`];
//! [`reader`], [`process`], [`codes`], [`stack`].
//! Whether the layout is right the owner of a [`Reader`] finds out with a stack that it knows.

mod codes;
mod layout;
mod locations;
mod memory;
mod process;
mod reader;
mod stack;
mod text;

pub use layout::Symbols;
pub use locations::Span;
pub use memory::{Memory, OwnMemory, Piece};
pub use process::{Process, Thread};
pub use reader::Reader;
pub use stack::Frame;
