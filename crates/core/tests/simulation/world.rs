//! A loop in virtual time: its state, its events, and what always holds.
//!
//! What decides is real: the baton, the turn, the heartbeat, the pulse and the standstill. What the native crate does
//! between them is repeated in the fewest words by the files beside this one, which have the names of what they
//! repeat: whoever changes it there changes it here. An event is what one thread does without letting go of the
//! global lock; between two events of a thread any number of others may come.

use crate::driver::{Doing, Item, Task, Thread};
use crate::program::{MICROSECOND, MILLISECOND, Program, Random, SECOND};
use everloop_core::baton::{Baton, Waiter};
use everloop_core::heartbeat::Heartbeat;
use everloop_core::turn::Turn;
use everloop_core::watchdog::{Pulse, Share, Standstill};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

pub const HOME: usize = 0;
/// A loop in which no task has come further for so long never will: all sleeps and all refusals are shorter.
const STUCK: u64 = 10 * SECOND;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A thread goes on, unless it was given another time since: then the number is an old one.
    Act { thread: usize, number: u64 },
    /// Another thread has been asked to start a relief thread.
    Start,
    /// A relief thread begins.
    Begin,
    /// A call elsewhere is over.
    Post { task: usize },
    /// The watchdog looks.
    Look,
}

/// What runs came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Lines of tasks that were done.
    pub lines: u64,
    /// Events, without the looks of the watchdog.
    pub events: u64,
    /// The time of the last one.
    pub time: u64,
    /// Relief threads that were started, and those of them that were past the bound.
    pub threads: u64,
    pub past_bound: u64,
    /// Standstills that the watchdog has found.
    pub standstills: u64,
    /// Threads that the system has refused.
    pub refused: u64,
    /// Steps that went aside: put there by the watchdog, at a learned site, in `block_on()`.
    pub rescues: u64,
    pub learned: u64,
    pub block_ons: u64,
    /// Steps that went aside because they computed, and those of them that the watchdog has hurried.
    pub divided: u64,
    pub hurried: u64,
    /// Batons that the sentinel has taken, and those that were taken from a thread in the poll.
    pub sentinels: u64,
    pub taken_from_sleepers: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.events += other.events;
        self.time += other.time;
        self.threads += other.threads;
        self.past_bound += other.past_bound;
        self.standstills += other.standstills;
        self.refused += other.refused;
        self.rescues += other.rescues;
        self.learned += other.learned;
        self.block_ons += other.block_ons;
        self.divided += other.divided;
        self.hurried += other.hurried;
        self.sentinels += other.sentinels;
        self.taken_from_sleepers += other.taken_from_sleepers;
    }
}

/// No task will ever come further. Says what each thread does.
#[derive(Debug)]
pub struct Stuck(pub String);

pub struct World<'a> {
    pub program: &'a Program,
    pub random: Random,
    /// False: no thread is ever started past the bound.
    pub obeys_standstill: bool,
    pub now: u64,
    /// With the time and the number of each: the first one is next.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,

    pub baton: Baton,
    pub heartbeat: Heartbeat,
    pub turn: Turn<Item>,
    pub inbox: Vec<Item>,
    pub poll_is_woken: bool,
    pub threads: Vec<Thread>,
    /// Threads that sleep until they are unparked.
    pub parked: BTreeSet<usize>,
    /// Threads that sleep in the poll.
    pub polling: BTreeSet<usize>,
    /// The thread that is in a step which is not aside.
    pub runs: Option<usize>,
    pub relief: u32,
    pub spawning: bool,

    pub pulse: Pulse,
    pub standstill: Standstill,
    pub share: Share,
    pub slice: u64,
    pub turns: u64,
    pub looked: u64,
    pub learned: Vec<bool>,

    pub tasks: Vec<Task>,
    pub left: usize,
    pub places: Vec<u32>,
    /// For each place: the threads that wait for it.
    pub waiting: Vec<Vec<usize>>,
    /// The time at which a task has last come to a line.
    pub came_further: u64,
    pub counts: Counts,
}

impl<'a> World<'a> {
    /// `obeys_standstill`: threads are started past the bound, as the product does.
    pub fn new(program: &'a Program, random: Random, obeys_standstill: bool) -> Self {
        let mut world = Self {
            program,
            random,
            obeys_standstill,
            now: 0,
            events: BinaryHeap::new(),
            number: 0,
            baton: Baton::default(),
            heartbeat: Heartbeat::default(),
            turn: Turn::default(),
            inbox: Vec::new(),
            poll_is_woken: false,
            threads: Vec::new(),
            parked: BTreeSet::new(),
            polling: BTreeSet::new(),
            runs: None,
            relief: 0,
            spawning: false,
            pulse: Pulse::default(),
            standstill: Standstill::default(),
            share: Share::default(),
            slice: 0,
            turns: 0,
            looked: 0,
            learned: program.learned.clone(),
            tasks: program.tasks.iter().map(|_| Task::default()).collect(),
            left: program.tasks.len(),
            places: program.places.clone(),
            waiting: program.places.iter().map(|_| Vec::new()).collect(),
            came_further: 0,
            counts: Counts::default(),
        };
        let home = world.add_thread();
        assert!(world.baton.enter(&world.threads[home].waiter));
        (0..program.tasks.len()).for_each(|task| world.turn.push(Item::Task(task)));
        world.act_soon(home, Doing::Turns);
        world.add_event(0, Event::Look);
        world
    }

    /// Runs the program to its end, and all threads to theirs.
    pub fn run(mut self) -> Result<Counts, Stuck> {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if matches!(event, Event::Act { thread, number } if self.threads[thread].number != number) {
                continue;
            }
            self.now = time;
            self.counts.time = time;
            match event {
                Event::Act { thread, .. } => self.act(thread),
                Event::Start if self.is_refused() => self.spawning = false,
                Event::Start => self.add_event_soon(Event::Begin),
                Event::Begin => self.begin(),
                Event::Post { task } => self.post(Item::Task(task)),
                Event::Look if !self.baton.is_open() => continue,
                Event::Look => self.look(),
            }
            self.counts.events += u64::from(event != Event::Look);
            self.check();
            if self.baton.is_open() && self.now - self.came_further > STUCK {
                return Err(Stuck(self.describe()));
            }
        }
        assert_eq!(self.left, 0, "the loop has stopped before its tasks have ended");
        assert!(self.threads.iter().all(|thread| matches!(thread.doing, Doing::Gone)), "a thread is left");
        Ok(self.counts)
    }

    /// What always holds: a step that is aside gets the baton only once it asked for it, in its own thread; and while a
    /// step runs nobody else has it.
    fn check(&self) {
        let Some(holder) = self.baton.holder() else { return };
        let thread = &self.threads[holder.get() as usize - 1];
        assert!(!matches!(thread.doing, Doing::Gone), "the baton has come to a thread that is gone");
        if thread.aside.is_some() {
            assert!(matches!(thread.doing, Doing::Resumes), "the baton has come to a step that did not come back");
        }
        if let Some(runs) = self.runs {
            assert_eq!(holder.get() as usize - 1, runs, "a step runs, and another thread has the baton");
        }
    }

    fn describe(&self) -> String {
        let mut text =
            format!("at {} ms, baton: {:?} {}\n", self.now / MILLISECOND, self.baton.holder(), self.baton.is_free());
        for (number, thread) in self.threads.iter().enumerate() {
            let Thread { doing, step, aside, .. } = thread;
            let line = step.and_then(|task| self.program.tasks[task].get(self.tasks[task].line));
            text += &format!("thread {number}: {doing:?} of {step:?}, aside {aside:?}, at {line:?}\n");
        }
        text
    }

    // ---- events

    pub fn add_event(&mut self, after: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((self.now + after, self.number, event)));
    }

    pub fn add_event_soon(&mut self, event: Event) {
        let after = self.random.within(MICROSECOND, self.program.latency);
        self.add_event(after, event);
    }

    /// The thread does this after a time.
    pub fn act_after(&mut self, after: u64, thread: usize, doing: Doing) {
        self.number += 1;
        let number = self.number;
        let this = &mut self.threads[thread];
        (this.doing, this.number) = (doing, number);
        self.parked.remove(&thread);
        self.polling.remove(&thread);
        self.events.push(Reverse((self.now + after, number, Event::Act { thread, number })));
    }

    pub fn act_soon(&mut self, thread: usize, doing: Doing) {
        let after = self.random.within(MICROSECOND, 20 * MICROSECOND);
        self.act_after(after, thread, doing);
    }

    /// It takes a while to get up.
    pub fn wake(&mut self, thread: usize) {
        let after = self.random.within(MICROSECOND, self.program.latency);
        self.act_after(after, thread, self.threads[thread].doing);
    }

    /// The thread does this until another one gives it something to do.
    pub fn rest(&mut self, thread: usize, doing: Doing) {
        (self.threads[thread].doing, self.threads[thread].number) = (doing, 0);
    }

    /// The thread sleeps until it is unparked.
    pub fn park(&mut self, thread: usize, doing: Doing) {
        self.rest(thread, doing);
        self.parked.insert(thread);
        self.wake_unparked();
    }

    /// Something was done to the baton: perhaps it has unparked somebody.
    pub fn wake_unparked(&mut self) {
        let unparked = |thread: &&usize| self.threads[**thread].waiter.parker().is_unparked();
        for thread in self.parked.iter().filter(unparked).copied().collect::<Vec<_>>() {
            self.wake(thread);
        }
    }

    pub fn wake_poll(&mut self) {
        self.poll_is_woken = true;
        std::mem::take(&mut self.polling).into_iter().for_each(|thread| self.wake(thread));
    }

    pub fn waiter(&self, thread: usize) -> Arc<Waiter> {
        Arc::clone(&self.threads[thread].waiter)
    }
}
