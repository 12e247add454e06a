//! Where CPython keeps what a stack is read from: offsets into its objects.
//!
//! From 3.13 on the interpreter tells them itself, at the start of `_PyRuntime` (`_Py_DebugOffsets` of
//! `internal/pycore_debug_offsets.h`, in 3.13 of `internal/pycore_runtime.h`), for tools that read another process; 3.12
//! is known by a table. What such a table leaves out, and is the same in all of these versions, is said where it is
//! used: the bits of a string (`text.rs`), who owns a frame, and the tags of a pointer (`stack.rs`).
//!
//! The offsets are believed only in so far as they stay small. Whether they are right tells a self-test.

use crate::memory::{Memory, word};

/// The names of the interpreter that all begins at.
#[derive(Clone, Copy, Debug)]
pub struct Symbols {
    /// The address of `_PyRuntime`.
    pub runtime: usize,
    /// The address of `PyCode_Type`.
    pub code_type: usize,
    /// `Py_Version`: 0x030d00f0 for 3.13.0.
    pub version: u32,
    /// True for a debug build.
    pub debug: bool,
}

/// Offsets in bytes: each from the start of the object that the group is named after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In `_PyRuntime`: the newest interpreter.
    pub newest: usize,
    pub interpreter: Interpreter,
    pub thread: ThreadState,
    pub frame: FrameObject,
    pub code: CodeObject,
    /// In every object: its class.
    pub class: usize,
    /// The number of bytes of a `bytes` object, and its first one.
    pub bytes: [usize; 2],
    /// The state and the length of a string, and the size of its head: of ASCII, and of other text.
    pub text: [usize; 4],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    pub id: usize,
    pub next: usize,
    pub threads: usize,
    pub collecting: usize,
    /// Where the GIL's record is; and in that: whether it is held, and by whom.
    pub gil: usize,
    pub locked: usize,
    pub holder: usize,
}

impl Interpreter {
    /// Where the GIL's record counts how often it has gone to another thread (`switch_number`): it is not published, and
    /// follows `locked`, an int, as an unsigned long.
    pub fn switches(&self) -> usize {
        self.locked + 8
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadState {
    pub previous: usize,
    pub next: usize,
    pub interpreter: usize,
    /// The innermost frame; in 3.12 what points to it.
    pub frame: usize,
    pub frame_is_indirect: bool,
    pub number: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameObject {
    pub previous: usize,
    pub code: usize,
    pub instruction: usize,
    pub owner: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    pub file: usize,
    pub name: usize,
    pub qualified: usize,
    pub lines: usize,
    pub first_line: usize,
    pub instructions: usize,
}

/// CPython 3.12, on 64-bit systems: the same in all its releases, and whether built for debugging or not.
const KNOWN_3_12: Layout = Layout {
    newest: 40,
    interpreter: Interpreter { id: 8, next: 0, threads: 72, collecting: 112 + 200, gil: 384, locked: 16, holder: 8 },
    thread: ThreadState { previous: 0, next: 8, interpreter: 16, frame: 56, frame_is_indirect: true, number: 144 },
    frame: FrameObject { previous: 8, code: 0, instruction: 56, owner: 70 },
    code: CodeObject { file: 112, name: 120, qualified: 128, lines: 136, first_line: 68, instructions: 192 },
    class: 8,
    bytes: [16, 32],
    text: [32, 16, 40, 56],
};

/// What follows cookie, version and `free_threaded`, in the words of the header: a number of 64 bits for each.
const TABLE_3_13: &str = "
    runtime_state: size finalizing interpreters_head
    interpreter_state: size id next threads_head gc imports_modules sysdict builtins ceval_gil gil_runtime_state
        gil_runtime_state_enabled gil_runtime_state_locked gil_runtime_state_holder
    thread_state: size prev next interp current_frame thread_id native_thread_id datastack_chunk status
    interpreter_frame: size previous executable instr_ptr localsplus owner
    code_object: size filename name qualname linetable firstlineno argcount localsplusnames localspluskinds
        co_code_adaptive
    pyobject: size ob_type
    type_object: size tp_name tp_repr tp_flags
    tuple_object: size ob_item ob_size
    list_object: size ob_item ob_size
    dict_object: size ma_keys ma_values
    float_object: size ob_fval
    long_object: size lv_tag ob_digit
    bytes_object: size ob_size ob_sval
    unicode_object: size state length asciiobject_size
    gc: size collecting
";
const TABLE_3_14: &str = "
    runtime_state: size finalizing interpreters_head
    interpreter_state: size id next threads_head threads_main gc imports_modules sysdict builtins ceval_gil
        gil_runtime_state gil_runtime_state_enabled gil_runtime_state_locked gil_runtime_state_holder
        code_object_generation tlbc_generation
    thread_state: size prev next interp current_frame thread_id native_thread_id datastack_chunk status
    interpreter_frame: size previous executable instr_ptr localsplus owner stackpointer tlbc_index
    code_object: size filename name qualname linetable firstlineno argcount localsplusnames localspluskinds
        co_code_adaptive co_tlbc
    pyobject: size ob_type
    type_object: size tp_name tp_repr tp_flags
    tuple_object: size ob_item ob_size
    list_object: size ob_item ob_size
    set_object: size used table mask
    dict_object: size ma_keys ma_values
    float_object: size ob_fval
    long_object: size lv_tag ob_digit
    bytes_object: size ob_size ob_sval
    unicode_object: size state length asciiobject_size
    gc: size collecting
";
const TABLE_3_15: &str = "
    runtime_state: size finalizing interpreters_head
    interpreter_state: size id next threads_head threads_main gc imports_modules sysdict builtins ceval_gil
        gil_runtime_state gil_runtime_state_enabled gil_runtime_state_locked gil_runtime_state_holder
        code_object_generation tlbc_generation
    thread_state: size prev next interp current_frame base_frame last_profiled_frame last_profiled_frame_seq thread_id
        native_thread_id datastack_chunk status holds_gil gil_requested current_exception exc_state
    err_stackitem: exc_value
    interpreter_frame: size previous executable instr_ptr localsplus owner stackpointer tlbc_index
    code_object: size filename name qualname linetable firstlineno argcount localsplusnames localspluskinds
        co_code_adaptive co_tlbc
    pyobject: size ob_type
    type_object: size tp_name tp_repr tp_flags tp_basicsize tp_dictoffset
    heap_type_object: size ht_cached_keys
    tuple_object: size ob_item ob_size
    list_object: size ob_item ob_size
    set_object: size used table mask
    dict_object: size ma_keys ma_values
    float_object: size ob_fval
    long_object: size lv_tag ob_digit
    bytes_object: size ob_size ob_sval
    unicode_object: size state length asciiobject_size compactunicodeobject_size
    gc: size collecting
";

/// The most words that are read of what is published.
const MOST_WORDS: usize = 128;
/// An interpreter's state is large, all else is small.
const LARGE: usize = 1 << 24;
const SMALL: usize = 2048;

impl Layout {
    /// The layout of the interpreter with these symbols. The text says why there is none.
    pub fn find(memory: &dyn Memory, symbols: &Symbols) -> Result<Self, String> {
        if cfg!(not(all(target_pointer_width = "64", target_endian = "little"))) {
            return Err("only 64-bit little-endian systems are known".to_owned());
        }
        let table = match symbols.version >> 16 {
            0x030c if symbols.debug => return Err("debug builds of CPython 3.12 are not known".to_owned()),
            0x030c => return Ok(KNOWN_3_12),
            0x030d => TABLE_3_13,
            0x030e => TABLE_3_14,
            0x030f => TABLE_3_15,
            other => return Err(format!("CPython {}.{} is not known", other >> 8, other & 255)),
        };
        let mut bytes = [0; MOST_WORDS * 8];
        if !memory.read(symbols.runtime, &mut bytes) {
            return Err("the memory of this process cannot be read".to_owned());
        }
        Published::new(&bytes, table, symbols.version)?.layout()
    }
}

/// What the interpreter publishes.
struct Published<'a> {
    bytes: &'a [u8],
    table: &'static str,
}

impl<'a> Published<'a> {
    fn new(bytes: &'a [u8], table: &'static str, version: u32) -> Result<Self, String> {
        if bytes.first_chunk() != Some(b"xdebugpy") {
            return Err("the interpreter does not publish its layout".to_owned());
        }
        let (of_version, free_threaded) = (word(bytes, 8), word(bytes, 16));
        if of_version != Some(version as usize) {
            return Err(format!("the published layout is of another version ({:#x})", of_version.unwrap_or(0)));
        }
        if free_threaded != Some(0) {
            return Err("free-threaded interpreters are not known".to_owned());
        }
        Ok(Self { bytes, table })
    }

    fn layout(&self) -> Result<Layout, String> {
        let large = |name| self.offset("interpreter_state", name, LARGE);
        let thread = |name| self.offset("thread_state", name, SMALL);
        let frame = |name| self.offset("interpreter_frame", name, SMALL);
        let code = |name| self.offset("code_object", name, SMALL);
        let bytes = |name| self.offset("bytes_object", name, SMALL);
        let text = |name| self.offset("unicode_object", name, SMALL);
        // Published from the start of the interpreter's state, in which the main interpreter's record is.
        let record = large("gil_runtime_state")?;
        let in_record = |name| Ok::<_, String>(large(name)?.checked_sub(record).ok_or("the GIL's offsets are wrong")?);
        let ascii = text("asciiobject_size")?;
        let layout = Layout {
            newest: self.offset("runtime_state", "interpreters_head", LARGE)?,
            interpreter: Interpreter {
                id: large("id")?,
                next: large("next")?,
                threads: large("threads_head")?,
                collecting: large("gc")? + self.offset("gc", "collecting", SMALL)?,
                gil: large("ceval_gil")?,
                locked: in_record("gil_runtime_state_locked")?,
                holder: in_record("gil_runtime_state_holder")?,
            },
            thread: ThreadState {
                previous: thread("prev")?,
                next: thread("next")?,
                interpreter: thread("interp")?,
                frame: thread("current_frame")?,
                frame_is_indirect: false,
                number: thread("native_thread_id")?,
            },
            frame: FrameObject {
                previous: frame("previous")?,
                code: frame("executable")?,
                instruction: frame("instr_ptr")?,
                owner: frame("owner")?,
            },
            code: CodeObject {
                file: code("filename")?,
                name: code("name")?,
                qualified: code("qualname")?,
                lines: code("linetable")?,
                first_line: code("firstlineno")?,
                instructions: code("co_code_adaptive")?,
            },
            class: self.offset("pyobject", "ob_type", SMALL)?,
            bytes: [bytes("ob_size")?, bytes("ob_sval")?],
            // The head of text that is not ASCII has a length and a pointer more (published from 3.15 on).
            text: [text("state")?, text("length")?, ascii, ascii + 16],
        };
        let CodeObject { file, name, qualified, lines, first_line, instructions } = layout.code;
        if [file, name, qualified, lines, first_line, layout.class].iter().any(|part| part + 8 > instructions) {
            return Err("the published layout of code objects is wrong".to_owned());
        }
        Ok(layout)
    }

    fn offset(&self, group: &str, name: &str, most: usize) -> Result<usize, String> {
        let offset = position(self.table, group, name).and_then(|at| word(self.bytes, at * 8));
        offset.filter(|offset| *offset < most).ok_or_else(|| format!("the published offset of {group}.{name} is wrong"))
    }
}

/// Which of the published words is that of `name` in `group`.
fn position(table: &str, group: &str, name: &str) -> Option<usize> {
    let (mut at, mut inside) = (3, "");
    for each in table.split_whitespace() {
        if let Some(head) = each.strip_suffix(':') {
            inside = head;
            continue;
        }
        if (inside, each) == (group, name) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_place_as_in_the_header() {
        for (table, places) in [
            (TABLE_3_13, [5, 10, 18, 25, 33, 43, 66, 70, 72]),
            (TABLE_3_14, [5, 11, 19, 28, 36, 48, 76, 80, 82]),
            (TABLE_3_15, [5, 11, 19, 31, 44, 56, 88, 92, 95]),
        ] {
            let names = [
                ("runtime_state", "interpreters_head"),
                ("interpreter_state", "gc"),
                ("interpreter_state", "gil_runtime_state_holder"),
                ("thread_state", "native_thread_id"),
                ("interpreter_frame", "owner"),
                ("code_object", "co_code_adaptive"),
                ("bytes_object", "ob_sval"),
                ("unicode_object", "asciiobject_size"),
                ("gc", "collecting"),
            ];
            assert_eq!(names.map(|(group, name)| position(table, group, name)), places.map(Some));
            assert!(table.split_whitespace().count() < MOST_WORDS);
        }
    }
}
