//! Reads interpreters that are made up, right ones and wrong ones.

mod world;

use everloop_stacks::{Frame, Reader, Span, Thread};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use world::{Moving, World};

const VERSIONS: [u32; 4] = [0x030c_01f0, 0x030d_00f0, 0x030e_08f0, 0x030f_00f0];

fn reader(world: &World) -> Reader {
    Reader::new(Box::new(world.clone()), world.symbols()).expect("a known layout")
}

/// The reader, and the thread with this number.
fn seen(world: &World, number: u32) -> (Reader, Thread) {
    let reader = reader(world);
    let process = reader.process().expect("a process");
    let thread = *process.threads.iter().find(|thread| thread.number == number).expect("the thread");
    (reader, thread)
}

fn lines(frames: &[Frame]) -> Vec<(&str, &str, &str, u32)> {
    frames.iter().map(|frame| (&*frame.file, &*frame.function, &*frame.qualified, frame.line)).collect()
}

/// One thread, number 7, with a stack of three frames and two without code.
fn three(version: u32) -> World {
    let mut world = World::new(version);
    let (inner, outer) = (world.function("/app/ü/Ω.py", "größe", 10), world.function("/app/main.py", "main", 1));
    let bottom = world.bare_frame(0);
    let main = world.frame(outer, 2, bottom);
    let between = world.bare_frame(main);
    let middle = world.frame(inner, 0, between);
    let top = world.frame(inner, 3, middle);
    world.interpreter(0, &[(7, top)], 0);
    world
}

const THREE: [(&str, &str, &str, u32); 3] = [
    ("/app/ü/Ω.py", "größe", "made.größe", 13),
    ("/app/ü/Ω.py", "größe", "made.größe", 10),
    ("/app/main.py", "main", "made.main", 3),
];

#[test]
fn a_stack_is_read_in_every_layout() {
    for version in VERSIONS {
        let world = three(version);
        let (reader, thread) = seen(&world, 7);
        let frames = reader.stack(&thread, 10).expect("a stack");
        assert_eq!(lines(&frames), THREE, "{version:x}");
        assert_eq!(frames[0].span, Some(Span { line: 13, end_line: 13, column: 4, end_column: 9 }));
        assert_eq!(frames.iter().map(|frame| frame.instruction).collect::<Vec<_>>(), [6, 0, 4]);
        assert_eq!(frames[0].code, frames[1].code);
        assert_eq!(lines(&reader.stack(&thread, 2).expect("a stack")), THREE[..2], "no more than was asked for");
        assert_eq!(reader.stack(&thread, 0), Some(vec![]));
    }
}

#[test]
fn a_thread_without_a_frame_has_an_empty_stack() {
    for version in VERSIONS {
        let mut world = World::new(version);
        world.interpreter(0, &[(7, 0)], 0);
        let (reader, thread) = seen(&world, 7);
        assert_eq!(reader.stack(&thread, 10), Some(vec![]));
    }
}

#[test]
fn a_frame_that_has_not_begun_is_at_its_first_instruction() {
    let mut world = World::new(VERSIONS[0]);
    let code = world.function("a.py", "f", 5);
    let top = world.frame(code, 0, 0);
    world.set(top + world.offsets.frame[2], code + world.offsets.code[5] - 2);
    world.interpreter(0, &[(7, top)], 0);
    let (reader, thread) = seen(&world, 7);
    assert_eq!(lines(&reader.stack(&thread, 10).expect("a stack")), [("a.py", "f", "made.f", 5)]);
}

#[test]
fn texts_of_every_width_are_read_and_long_ones_are_cut() {
    let long = "x".repeat(5000);
    let cut = format!("{}…", "x".repeat(1024));
    for (text, expected) in
        [("", ""), ("a", "a"), ("größe", "größe"), ("Ω/名前", "Ω/名前"), ("🐍.py", "🐍.py"), (&*long, &*cut)]
    {
        for version in VERSIONS {
            let mut world = World::new(version);
            let texts = [world.text(text), world.text(text), world.text_of_subclass("of a subclass")];
            let code = world.code(texts, 1, &[0x80 | 10 << 3, 0, 1]);
            let top = world.frame(code, 0, 0);
            world.interpreter(0, &[(7, top)], 0);
            let (reader, thread) = seen(&world, 7);
            let frames = reader.stack(&thread, 10).expect("a stack");
            assert_eq!(lines(&frames), [(expected, expected, "of a subclass", 1)]);
        }
    }
}

#[test]
fn what_the_interpreter_puts_below_an_init_is_left_out() {
    for version in VERSIONS {
        let mut world = World::new(version);
        let texts = ["__init__"; 3].map(|name| world.text(name));
        // A place without a line.
        let internal = world.code(texts, 1, &[0x80 | 15 << 3 | 3]);
        let (outer, inner) = (world.function("a.py", "outer", 1), world.function("__init__", "__init__", 5));
        let outer = world.frame(outer, 0, 0);
        let below = world.frame(internal, 1, outer);
        let top = world.frame(inner, 0, below);
        world.interpreter(0, &[(7, top)], 0);
        let (reader, thread) = seen(&world, 7);
        let frames = reader.stack(&thread, 10).expect("a stack");
        // A file may have such a name, and then its functions have lines.
        assert_eq!(lines(&frames), [("__init__", "__init__", "made.__init__", 5), ("a.py", "outer", "made.outer", 1)]);
    }
}

#[test]
fn a_string_of_a_subclass_may_lie_over_two_pages() {
    for version in VERSIONS {
        for before in (8..80).step_by(8) {
            let mut world = World::new(version);
            let name = world.text_of_subclass_over(before, "of a subclass");
            let texts = [world.text("a.py"), world.text("f"), name];
            let code = world.code(texts, 1, &[0x80 | 10 << 3, 0, 1]);
            let top = world.frame(code, 0, 0);
            world.interpreter(0, &[(7, top)], 0);
            let (reader, thread) = seen(&world, 7);
            let frames = reader.stack(&thread, 10).expect("a stack");
            assert_eq!(lines(&frames), [("a.py", "f", "of a subclass", 1)], "{before} bytes in the first page");
        }
    }
}

#[test]
fn half_of_a_pair_is_shown_as_no_character() {
    let mut world = World::new(VERSIONS[1]);
    let [_, _, ascii] = world.offsets.text;
    let text = world.text("Ω?");
    world.write(text + ascii + 16 + 2, &0xdc80u16.to_ne_bytes());
    let code = world.code([text; 3], 1, &[]);
    let top = world.frame(code, 0, 0);
    world.interpreter(0, &[(7, top)], 0);
    let (reader, thread) = seen(&world, 7);
    // Its table of lines is empty, too.
    assert_eq!(lines(&reader.stack(&thread, 10).expect("a stack")), [("Ω\u{fffd}", "Ω\u{fffd}", "Ω\u{fffd}", 0)]);
}

#[test]
fn a_table_of_lines_without_end_tells_no_line() {
    let mut world = World::new(VERSIONS[1]);
    let code = world.function("a.py", "f", 5);
    let table = world.bytes(&[]);
    world.set(table + world.offsets.bytes[0], usize::MAX / 2);
    world.set(code + world.offsets.code[3], table);
    let top = world.frame(code, 1, 0);
    world.interpreter(0, &[(7, top)], 0);
    let (reader, thread) = seen(&world, 7);
    assert_eq!(lines(&reader.stack(&thread, 10).expect("a stack")), [("a.py", "f", "made.f", 0)]);
}

#[test]
fn deep_stacks_and_circles_end() {
    for version in VERSIONS {
        let mut world = World::new(version);
        let code = world.function("a.py", "f", 5);
        let top = world.frame(code, 1, 0);
        world.set(top + world.offsets.frame[0], top);
        let bare = world.bare_frame(0);
        world.set(bare + world.offsets.frame[0], bare);
        world.interpreter(0, &[(7, top), (8, bare)], 0);
        let (reader, thread) = seen(&world, 7);
        assert_eq!(reader.stack(&thread, 300).expect("a stack").len(), 300);
        assert_eq!(reader.stack(&thread, usize::MAX).expect("a stack").len(), 10_000);
        assert_eq!(reader.stack(&seen(&world, 8).1, 300), None);
    }
}

// ---- threads

#[test]
fn threads_the_holder_and_the_collector_are_seen() {
    for version in VERSIONS {
        let mut world = World::new(version);
        let (main, states) = world.interpreter(0, &[(3, 0), (0, 0), (7, 0)], 0);
        let (other, others) = world.interpreter(4, &[(9, 0), (3, 0)], main);
        world.hold(main, 0, states[2]);
        let process = reader(&world).process().expect("a process");
        let threads: Vec<_> = process.threads.iter().map(|thread| (thread.number, thread.interpreter)).collect();
        assert_eq!(threads, [(3, 0), (7, 0), (9, 4), (3, 4)], "the main interpreter's first; one is only being made");
        assert_eq!((process.gil_locked, process.gil_holder, process.collecting), (false, None, false));

        world.hold(main, 1, states[2]);
        world.collect(main, 1);
        world.hold(other, 1, others[0]);
        let process = reader(&world).process().expect("a process");
        assert_eq!((process.gil_locked, process.gil_holder, process.collecting), (true, Some(7), true));

        world.hold(main, 1, 0xdead_0000);
        world.collect(main, 0);
        world.collect(other, 1);
        let process = reader(&world).process().expect("a process");
        assert_eq!((process.gil_locked, process.gil_holder, process.collecting), (true, None, false));
        world.hold(main, -1, states[2]);
        assert!(!reader(&world).process().expect("a process").gil_locked, "it is not there yet");
    }
}

#[test]
fn a_list_of_threads_that_does_not_fit_together_is_refused() {
    for version in VERSIONS {
        let mut world = World::new(version);
        let (_, states) = world.interpreter(0, &[(3, 0), (7, 0)], 0);
        let [before, after, interpreter, _, number] = world.offsets.thread;
        for (at, word) in [
            (states[1] + before, states[1]),
            (states[1] + interpreter, 0x5000),
            (states[1] + number, 1 << 40),
            (states[1] + after, states[0]),
            (states[1] + after, states[1]),
            (states[1] + after, 0x5000),
        ] {
            let mut world = world.clone();
            world.set(at, word);
            assert_eq!(reader(&world).process(), None);
        }
    }
}

#[test]
fn without_a_main_interpreter_there_is_no_process() {
    let mut world = World::new(VERSIONS[1]);
    let (other, _) = world.interpreter(1, &[(3, 0)], 0);
    assert_eq!(reader(&world).process(), None);
    world.set(other + world.offsets.interpreter[1], other);
    assert_eq!(reader(&world).process(), None, "a circle");
}

#[test]
fn a_thread_that_has_ended_has_no_stack() {
    let mut gone = three(VERSIONS[2]);
    let (_, states) = gone.interpreter(0, &[(7, 0)], 0);
    let (reader, thread) = seen(&gone, 7);
    assert!(reader.stack(&thread, 10).is_some());
    gone.set(states[0] + gone.offsets.thread[4], 8);
    let other = Reader::new(Box::new(gone.clone()), gone.symbols()).expect("a known layout");
    assert_eq!(other.stack(&thread, 10), None, "its state is another thread's");
}

// ---- what moves

#[test]
fn a_stack_that_moves_is_read_again_and_given_up_after_five_tries() {
    for version in VERSIONS {
        let world = three(version);
        let thread = seen(&world, 7).1;
        let read = |place: usize, value: usize, is_other: fn(usize) -> bool| {
            let mut moved = world.clone();
            moved.set(place, value);
            let reads = Arc::new(AtomicUsize::new(0));
            let worlds = [world.clone(), moved];
            let moving = Moving { worlds, reads: Arc::clone(&reads), place, looks: AtomicUsize::new(0), is_other };
            let reader = Reader::new(Box::new(moving), world.symbols()).expect("a known layout");
            let found = reader.stack(&thread, 10).map(|frames| (frames.len(), frames[0].line));
            (found, reads.load(Ordering::Relaxed))
        };
        // It has been called by nobody. Each try looks twice at a frame.
        let caller = top_of(&world) + world.offsets.frame[0];
        let (found, once) = read(caller, 0, |_| false);
        assert_eq!(found, Some((3, 13)));
        assert_eq!(read(caller, 0, |look| look > 0).0, Some((1, 13)), "it has moved in the first try");
        assert_eq!(read(caller, 0, |look| look < 8 && look % 2 == 1).0, Some((3, 13)), "and in the first four");
        let (never, reads) = read(caller, 0, |look| look % 2 == 1);
        assert_eq!(never, None);
        assert!(reads <= 5 * once, "{reads} reads, and {once} if nothing moves");
        // It is one unit further on, which is one line.
        let instruction = top_of(&world) + world.offsets.frame[2];
        let next = word(&world, instruction) + 2;
        assert_eq!(read(instruction, next, |look| look % 2 == 1).0, Some((3, 13)), "it is in the same function");
        assert_eq!(read(instruction, next, |look| look % 2 == 0).0, Some((3, 14)));
    }
}

/// The word at an address.
fn word(world: &World, at: usize) -> usize {
    let mut bytes = [0; 8];
    assert!(everloop_stacks::Memory::read(world, at, &mut bytes));
    usize::from_ne_bytes(bytes)
}

/// The address of the innermost frame of the only thread.
fn top_of(world: &World) -> usize {
    let read = |at| word(world, at);
    let interpreter = read(world.runtime + world.offsets.newest);
    let frame = read(read(interpreter + world.offsets.interpreter[2]) + world.offsets.thread[3]);
    if world.version >> 16 == 0x030c { read(frame) } else { frame }
}

// ---- what is refused

fn refusal(world: &World) -> String {
    let made = Reader::new(Box::new(world.clone()), world.symbols());
    made.err().expect("it is refused")
}

#[test]
fn layouts_that_are_not_known_are_refused_with_the_reason() {
    for version in &VERSIONS[1..] {
        let world = World::new(*version);
        for (word, value, reason) in [
            (0, 0, "does not publish"),
            (1, 0x030d_05f0, "another version"),
            (2, 1, "free-threaded"),
            (5, 1 << 30, "runtime_state.interpreters_head is wrong"),
        ] {
            let mut world = world.clone();
            world.set(world.runtime + word * 8, value);
            assert!(refusal(&world).contains(reason), "{}", refusal(&world));
        }
        let mut nowhere = world.clone();
        nowhere.runtime = 0x1000;
        assert!(refusal(&nowhere).contains("cannot be read"));
    }
    for (version, reason) in [(0x030b_05f0, "CPython 3.11 is not known"), (0x0310_00a1, "CPython 3.16 is not known")] {
        assert_eq!(refusal(&World::new(version)), reason);
    }
    let old = World::new(VERSIONS[0]);
    let debug = everloop_stacks::Symbols { debug: true, ..old.symbols() };
    assert!(Reader::new(Box::new(old), debug).is_err());
}

proptest! {
    /// Whatever lies there, a look ends, without a panic and with few reads.
    #[test]
    fn no_memory_is_too_wild(
        which in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<Value>()), 1..40),
    ) {
        let mut world = three(VERSIONS[which]);
        world.interpreter(0, &[(7, top_of(&world)), (8, 0)], 0);
        let threads = reader(&world).process().expect("a process").threads;
        let words = world.words();
        for (index, value) in &changes {
            let value = match value {
                Value::Address(other) => *other.get(&words),
                Value::Number(number) => *number,
            };
            world.set(*index.get(&words), value);
        }
        let reads = Arc::new(AtomicUsize::new(0));
        let worlds = [world.clone(), world.clone()];
        let looks = AtomicUsize::new(0);
        let counted = Moving { worlds, reads: Arc::clone(&reads), place: 0, looks, is_other: |_| false };
        if let Ok(reader) = Reader::new(Box::new(counted), world.symbols()) {
            let _any = reader.process();
            for thread in &threads {
                let _any = reader.stack(thread, 20);
            }
        }
        prop_assert!(reads.load(Ordering::Relaxed) < 100_000);
    }
}

/// What a word is overwritten with.
#[derive(Clone, Debug)]
enum Value {
    Address(prop::sample::Index),
    Number(usize),
}

impl Arbitrary for Value {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        prop_oneof![
            any::<prop::sample::Index>().prop_map(Value::Address),
            (0usize..5000).prop_map(Value::Number),
            any::<usize>().prop_map(Value::Number),
        ]
        .boxed()
    }
}
