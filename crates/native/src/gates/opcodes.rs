//! The numbers of the instructions that are looked for in code: each version of CPython has others.

use pyo3::prelude::*;

/// The instructions that callees are loaded by, which differ from version to version.
pub struct Opcodes {
    /// Those that are calls.
    pub calls: Vec<u8>,
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
            calls: numbers(&["CALL", "CALL_KW", "CALL_FUNCTION_EX"]),
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
        self.calls.contains(&opcode)
    }
}
