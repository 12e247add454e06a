//! The numbers of the instructions that are looked for in code: each version of CPython has others.

use everloop_core::sites::{Event, Kind};
use pyo3::prelude::*;

/// Instructions by what they do, which differ from version to version.
pub struct Opcodes {
    /// Those that are calls.
    calls: Vec<u8>,
    call_with_unpacking: Option<u8>,
    /// Others that C code may block in.
    others: Vec<u8>,
    /// Enters a `with` block, up to CPython 3.13.
    pub before_with: Option<u8>,
    /// Loads `__enter__`, or `__exit__`, from CPython 3.14 on; and what comes between the two.
    pub load_special: Option<u8>,
    pub between: Vec<u8>,
    pub load_attr: Option<u8>,
    pub load_global: Option<u8>,
    /// Those that load a local variable.
    pub load_fast: Vec<u8>,
    pub load_deref: Option<u8>,
    pub extended_arg: Option<u8>,
    /// Those that load the names of arguments, in the callee's place.
    pub keywords: Vec<u8>,
    /// Those that load nothing.
    pub ignored: Vec<u8>,
}

impl Opcodes {
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let numbers = py.import("opcode")?.getattr("opmap")?;
        let number = |name: &str| numbers.get_item(name).ok().and_then(|number| number.extract::<u8>().ok());
        let numbers = |names: &[&str]| names.iter().filter_map(|name| number(name)).collect();
        Ok(Self {
            calls: numbers(&["CALL", "CALL_KW"]),
            call_with_unpacking: number("CALL_FUNCTION_EX"),
            others: numbers(&[
                "BINARY_OP",
                "BINARY_SLICE",
                "BINARY_SUBSCR",
                "BEFORE_WITH",
                "COMPARE_OP",
                "CONTAINS_OP",
                "DELETE_ATTR",
                "DELETE_SUBSCR",
                "FOR_ITER",
                "GET_ITER",
                "LIST_EXTEND",
                "LOAD_ATTR",
                "SET_UPDATE",
                "STORE_ATTR",
                "STORE_SLICE",
                "STORE_SUBSCR",
                "TO_BOOL",
                "UNARY_INVERT",
                "UNARY_NEGATIVE",
                "UNARY_NOT",
                "UNPACK_EX",
                "UNPACK_SEQUENCE",
            ]),
            before_with: number("BEFORE_WITH"),
            load_special: number("LOAD_SPECIAL"),
            between: numbers(&["COPY", "SWAP"]),
            load_attr: number("LOAD_ATTR"),
            load_global: number("LOAD_GLOBAL"),
            load_fast: numbers(&["LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"]),
            load_deref: number("LOAD_DEREF"),
            extended_arg: number("EXTENDED_ARG"),
            keywords: numbers(&["LOAD_CONST", "KW_NAMES"]),
            ignored: numbers(&["CACHE", "NOP", "PUSH_NULL"]),
        })
    }

    pub fn is_call(&self, opcode: u8) -> bool {
        self.kind(opcode).is_some_and(|kind| kind.event() == Event::Call)
    }

    /// The kind of site that an instruction would be. None: a step is not put aside in the middle of it.
    pub fn kind(&self, opcode: u8) -> Option<Kind> {
        if self.calls.contains(&opcode) {
            Some(Kind::Call)
        } else if Some(opcode) == self.call_with_unpacking {
            Some(Kind::UnpackingCall)
        } else {
            self.others.contains(&opcode).then_some(Kind::Instruction)
        }
    }
}
