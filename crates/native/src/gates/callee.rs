//! The function that a blocked frame is in, found out afterwards by a thread that looks on.
//!
//! The interpreter keeps what it calls on a stack that nobody else can read. But the code says by which names it got
//! there, and these still have their values. The call `self.socket.recv(n)` begins in the source where its callee does,
//! which ends earlier: so the last instruction before it that does so loads `recv`, and those right before that load
//! `self.socket`. Only names and attributes are followed; all else is unknown.

use super::opcodes::Opcodes;
use super::tool::Tool;
use crate::ffi::{self, lookup, name};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCode, PyFrame, PyString, PyTuple};

/// The number of code units before a call that are looked through: enough for the arguments that a line has.
const MOST_UNITS: usize = 200;

/// One instruction: its number, its argument, and its offset in bytes.
struct Instruction {
    opcode: u8,
    argument: usize,
    offset: usize,
}

/// The instructions before an offset, the last one first.
fn before<'a>(opcodes: &'a Opcodes, bytecode: &'a [u8], offset: usize) -> impl Iterator<Item = Instruction> + 'a {
    let unit = |at: usize| (bytecode[at], usize::from(bytecode[at + 1]));
    let mut next = offset;
    std::iter::from_fn(move || {
        next = next.checked_sub(2)?;
        let (opcode, mut argument) = unit(next);
        let offset = next;
        let mut shift = 8;
        while next >= 2 && Some(unit(next - 2).0) == opcodes.extended_arg {
            next -= 2;
            argument |= unit(next).1 << shift;
            shift += 8;
        }
        Some(Instruction { opcode, argument, offset })
    })
    .take(MOST_UNITS)
}

/// The C function that the frame calls at the instruction where it is, or None: it cannot be told. The GIL is held, and
/// nothing of the program runs.
pub fn callee<'py>(tool: &Tool, frame: &Bound<'py, PyFrame>) -> Option<Bound<'py, PyAny>> {
    let py = frame.py();
    let opcodes = &tool.opcodes;
    let code = ffi::frame_code(frame);
    let offset = usize::try_from(ffi::frame_instruction(frame)).ok()?;
    let bytecode = code.getattr(name!(py, "co_code")).ok()?.cast_into::<PyBytes>().ok()?;
    let bytecode = bytecode.as_bytes();
    let opcode = *bytecode.get(offset)?;
    if Some(opcode) == opcodes.before_with {
        let manager = loaded(opcodes, frame, &code, before(opcodes, bytecode, offset))?;
        return lookup::of_class(&manager, &name!(py, "__enter__"));
    }
    if !opcodes.is_call(opcode) {
        return None;
    }
    let mut last = before(opcodes, bytecode, offset).filter(|one| !opcodes.ignored.contains(&one.opcode)).peekable();
    if last.peek().is_some_and(|one| Some(one.opcode) == opcodes.load_special) {
        let is_between =
            |one: &Instruction| Some(one.opcode) == opcodes.load_special || opcodes.between.contains(&one.opcode);
        let manager = loaded(opcodes, frame, &code, last.skip_while(is_between))?;
        return lookup::of_class(&manager, &name!(py, "__enter__"));
    }
    let [line, column, last_line, last_column] = ffi::place(&code, offset)?;
    let loads_callee = |one: &Instruction| {
        !opcodes.keywords.contains(&one.opcode)
            && ffi::place(&code, one.offset)
                .is_some_and(|[from, at, to, end]| [from, at] == [line, column] && (to, end) < (last_line, last_column))
    };
    loaded(opcodes, frame, &code, before(opcodes, bytecode, offset).skip_while(|one| !loads_callee(one)))
}

/// The value that these instructions load, the last one first: attributes of a variable.
fn loaded<'py>(
    opcodes: &Opcodes,
    frame: &Bound<'py, PyFrame>,
    code: &Bound<'py, PyCode>,
    instructions: impl Iterator<Item = Instruction>,
) -> Option<Bound<'py, PyAny>> {
    let py = code.py();
    let names = code.getattr(name!(py, "co_names")).ok()?.cast_into::<PyTuple>().ok()?;
    let name_at = |index: usize| names.get_item(index).ok()?.cast_into_exact::<PyString>().ok();
    let mut attributes = Vec::new();
    for one in instructions {
        if opcodes.ignored.contains(&one.opcode) {
            continue;
        }
        if Some(one.opcode) == opcodes.load_attr {
            attributes.push(name_at(one.argument >> 1)?);
            continue;
        }
        let base = if Some(one.opcode) == opcodes.load_global {
            lookup::global(frame, &name_at(one.argument >> 1)?)?
        } else if opcodes.load_fast.contains(&one.opcode) || Some(one.opcode) == opcodes.load_deref {
            lookup::variable(frame, &variable_name(code, one.argument)?)?
        } else {
            return None;
        };
        return attributes.iter().rev().try_fold(base, |object, name| lookup::attribute(&object, name));
    }
    None
}

/// The name of a variable by its number: those of the function first, then what inner functions share, then what it
/// shares itself.
fn variable_name<'py>(code: &Bound<'py, PyCode>, number: usize) -> Option<Bound<'py, PyString>> {
    let py = code.py();
    let names = |name: &Bound<'py, PyString>| code.getattr(name).ok()?.cast_into::<PyTuple>().ok();
    let own = names(&name!(py, "co_varnames"))?;
    let shared = names(&name!(py, "co_cellvars"))?;
    let is_own = |name: &Bound<'py, PyAny>| own.iter().any(|own| own.is(name));
    let all =
        own.iter().chain(shared.iter().filter(|name| !is_own(name))).chain(names(&name!(py, "co_freevars"))?.iter());
    all.into_iter().nth(number)?.cast_into_exact::<PyString>().ok()
}
