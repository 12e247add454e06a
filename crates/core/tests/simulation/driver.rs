//! The lives of the threads that turn the loop, one turn, and one step: as the native crate's `driver/`.

use crate::handoff::Reason;
use crate::program::{Line, Op, SECOND};
use crate::world::{Event, HOME, World};
use everloop_core::baton::{After, Pending, SENTINEL_LOOK, SentinelWatch, Spare, SpareAction, ThreadId, Waiter};
use everloop_core::turn::Wait;
use std::sync::Arc;
use std::time::Duration;

/// The time that a relief thread waits for work before it ends.
const LINGER: u64 = 10 * SECOND;

/// What a thread does.
#[derive(Clone, Copy, Debug)]
pub enum Doing {
    // With the baton:
    /// It begins a turn.
    Turns,
    /// It is between two steps.
    Between,
    // In its step:
    /// It comes to the next line.
    Runs,
    /// It is in a call that blocks, and tries to end it.
    Calls,
    /// It is in a call that is not over.
    Blocks,
    /// A sleep is over.
    Wakes,
    /// It is in `block_on()`.
    BlocksOn,
    /// It wants the baton back.
    Resumes,
    // Without a step:
    /// It sleeps in the poll, with the baton in name or without.
    Polls,
    /// Home waits for the baton.
    AwaitsBaton,
    Spare,
    StandsBy(SentinelWatch),
    Gone,
}

pub struct Thread {
    pub waiter: Arc<Waiter>,
    pub doing: Doing,
    /// The task whose step began on this thread, and has not ended.
    pub step: Option<usize>,
    /// Why that is aside.
    pub aside: Option<Reason>,
    /// The number of its next event.
    pub number: u64,
}

#[derive(Default)]
pub struct Task {
    pub line: usize,
    pub done: bool,
    /// Tasks that await it, and threads in `block_on()` of it.
    pub awaited_by: Vec<Item>,
}

/// What waits for its step.
#[derive(Clone, Copy)]
pub enum Item {
    Task(usize),
    /// The done-callback of a `block_on()`.
    Wake(usize),
}

impl World<'_> {
    // ---- a thread

    pub fn add_thread(&mut self) -> usize {
        let id = ThreadId::new(self.threads.len() as u32 + 1).expect("it is not zero");
        let waiter = Waiter::new(id);
        self.threads.push(Thread { waiter, doing: Doing::Gone, step: None, aside: None, number: 0 });
        self.threads.len() - 1
    }

    pub fn act(&mut self, thread: usize) {
        let waiter = self.waiter(thread);
        match self.threads[thread].doing {
            Doing::Turns => self.begin_turn(thread),
            Doing::Between => self.go_between(thread),
            Doing::Runs => self.run_line(thread),
            Doing::Calls => self.try_call(thread),
            Doing::Wakes => self.end_line(thread),
            Doing::Resumes | Doing::AwaitsBaton => {
                waiter.parker().park(Some(Duration::ZERO));
                match self.threads[thread].doing {
                    doing if !self.baton.is_granted(&waiter) => self.park(thread, doing),
                    Doing::Resumes => self.go_on(thread),
                    _ => self.act_soon(thread, Doing::Turns),
                }
            }
            Doing::Polls => self.end_poll(thread),
            Doing::Spare => {
                let wake = waiter.parker().park(Some(Duration::ZERO));
                let action = self.baton.get_up(&waiter, wake);
                self.spare(thread, action);
            }
            Doing::StandsBy(watch) => {
                let action = self.baton.stand_by(&waiter, watch);
                self.counts.sentinels += u64::from(matches!(action, SpareAction::End(Spare::Holds)));
                self.spare(thread, action);
            }
            Doing::Blocks | Doing::BlocksOn | Doing::Gone => unreachable!("it waits for another one"),
        }
    }

    /// A relief thread begins.
    pub fn begin(&mut self) {
        self.counts.threads += 1;
        self.counts.past_bound += u64::from(self.relief >= self.program.max_relief);
        self.relief += 1;
        self.spawning = false;
        let thread = self.add_thread();
        self.sit_down(thread);
    }

    pub fn sit_down(&mut self, thread: usize) {
        let action = self.baton.sit_down(&self.threads[thread].waiter);
        self.spare(thread, action);
    }

    pub fn spare(&mut self, thread: usize, action: SpareAction) {
        match action {
            SpareAction::End(Spare::Holds) => self.act_soon(thread, Doing::Turns),
            SpareAction::End(Spare::TimedOut) if self.baton.is_free() => self.sit_down(thread),
            SpareAction::End(_) => {
                self.threads[thread].doing = Doing::Gone;
                self.relief -= 1;
            }
            SpareAction::Sleep => {
                self.act_after(LINGER, thread, Doing::Spare);
                self.parked.insert(thread);
                self.wake_unparked();
            }
            SpareAction::StandBy(watch) => {
                let pause = SENTINEL_LOOK.as_nanos() as u64;
                let late = self.random.within(0, pause);
                self.act_after(pause + late, thread, Doing::StandsBy(watch));
            }
        }
    }

    // ---- a turn

    pub fn pending(&self) -> Pending {
        let ready = self.turn.wait() == Wait::No || !self.inbox.is_empty() || self.left == 0;
        Pending { ready, deadline: self.turn.timers.first() }
    }

    /// Lets those go first who want the baton. True: the thread still has it.
    pub fn give_way(&mut self, thread: usize) -> bool {
        if !self.baton.is_wanted() {
            return true;
        }
        let pending = self.pending();
        let Some(after) = self.baton.give_way(&self.threads[thread].waiter, pending) else { return true };
        if after == After::WakePoll {
            self.wake_poll();
        }
        self.without_baton(thread);
        self.wake_unparked();
        false
    }

    /// The thread has no step, and no baton.
    pub fn without_baton(&mut self, thread: usize) {
        if thread != HOME {
            self.sit_down(thread);
        } else if self.baton.queue_home(&self.waiter(HOME)) {
            self.act_soon(HOME, Doing::Turns);
        } else {
            self.park(HOME, Doing::AwaitsBaton);
        }
    }

    pub fn begin_turn(&mut self, thread: usize) {
        self.check_holds(thread);
        self.turns += 1;
        if !self.give_way(thread) {
            return;
        }
        self.inbox.drain(..).for_each(|item| self.turn.push(item));
        if self.left == 0 && thread == HOME {
            self.baton.leave(&self.threads[HOME].waiter);
            self.threads[HOME].doing = Doing::Gone;
            self.wake_poll(); // whoever is still in the poll has no business there
            return self.wake_unparked();
        }
        self.turn.collect(self.now as f64);
        let deadline = match self.turn.wait() {
            Wait::No => {
                self.turn.begin();
                return self.act_soon(thread, Doing::Between);
            }
            Wait::Until(time) => Some(time),
            Wait::Forever => None,
        };
        if !self.baton.begin_poll(&self.waiter(thread), deadline) {
            return self.act_soon(thread, Doing::Turns);
        }
        self.heartbeat.lie_down(self.now);
        match deadline {
            _ if self.poll_is_woken || self.left == 0 => self.act_soon(thread, Doing::Polls),
            Some(time) => self.act_after(time as u64 - self.now, thread, Doing::Polls),
            None => self.rest(thread, Doing::Polls),
        }
        if !self.poll_is_woken {
            self.polling.insert(thread);
            self.baton.pass_to_patient();
            self.wake_unparked();
        }
    }

    pub fn end_poll(&mut self, thread: usize) {
        if self.baton.end_poll(&self.waiter(thread)) {
            self.poll_is_woken = false;
            self.act_soon(thread, Doing::Turns);
        } else {
            self.counts.taken_from_sleepers += 1;
            self.without_baton(thread);
        }
    }

    /// Between two steps of a generation.
    pub fn go_between(&mut self, thread: usize) {
        self.check_holds(thread);
        if !self.give_way(thread) {
            return;
        }
        match self.turn.next() {
            None => self.act_soon(thread, Doing::Turns),
            Some(Item::Wake(other)) => {
                self.heartbeat.begin_step();
                self.threads[other].doing = Doing::Resumes;
                assert!(!self.baton.queue_resume(&self.waiter(other)), "the step that calls this has the baton");
                self.park(other, Doing::Resumes);
                self.heartbeat.end_step();
                self.act_soon(thread, Doing::Between);
            }
            Some(Item::Task(task)) => {
                self.threads[thread].step = Some(task);
                self.begin_step(thread);
            }
        }
    }

    /// Another thread has something for the loop to do.
    pub fn post(&mut self, item: Item) {
        self.inbox.push(item);
        if self.baton.is_polling() {
            self.wake_poll();
        }
    }

    pub fn check_holds(&self, thread: usize) {
        assert!(self.baton.is_held_by(self.threads[thread].waiter.id()), "the thread has no baton");
        assert!(self.runs.is_none_or(|other| other == thread), "two steps run");
    }

    // ---- a step

    pub fn begin_step(&mut self, thread: usize) {
        self.check_holds(thread);
        self.heartbeat.begin_step();
        self.runs = Some(thread);
        self.act_soon(thread, Doing::Runs);
    }

    pub fn end_step(&mut self, thread: usize) {
        self.check_holds(thread);
        self.heartbeat.end_step();
        self.threads[thread].step = None;
        self.runs = None;
        self.act_soon(thread, Doing::Between);
    }

    /// The task whose step began on this thread.
    pub fn task(&self, thread: usize) -> usize {
        self.threads[thread].step.expect("a step runs")
    }

    /// The line that it is at; None: it comes to its end.
    pub fn line(&self, thread: usize) -> Option<Line> {
        let task = self.task(thread);
        self.program.tasks[task].get(self.tasks[task].line).copied()
    }

    pub fn run_line(&mut self, thread: usize) {
        let Some(line) = self.line(thread) else { return self.end_task(thread) };
        let number = self.task(thread);
        self.came_further = self.now;
        let is_aside = self.threads[thread].aside.is_some();
        if !is_aside {
            self.check_holds(thread);
            if self.program.divides && self.random.percent(10) {
                return self.divide(thread);
            }
        }
        match line.op {
            Op::Sleep(time) => {
                self.step_on(thread);
                match time {
                    0 => self.turn.push(Item::Task(number)),
                    _ => self.turn.timers.insert((self.now + time) as f64, Item::Task(number)),
                }
                self.end_step(thread);
            }
            Op::CallElsewhere(time) => {
                self.step_on(thread);
                self.add_event(time, Event::Post { task: number });
                self.end_step(thread);
            }
            Op::Await(other) | Op::BlockOn(other) if self.tasks[other].done => self.end_line(thread),
            Op::Await(other) => {
                self.tasks[other].awaited_by.push(Item::Task(number));
                self.step_on(thread);
                self.end_step(thread);
            }
            Op::BlockOn(other) => {
                self.rest(thread, Doing::BlocksOn);
                // Where no thread is to be had it raises, and the step goes on.
                if self.put_aside(thread, Reason::BlockOn) {
                    self.counts.block_ons += 1;
                    self.tasks[other].awaited_by.push(Item::Wake(thread));
                } else {
                    self.end_line(thread);
                }
            }
            Op::GiveBack(place) => {
                self.places[place] += 1;
                let waiting = &mut self.waiting[place];
                if !waiting.is_empty() {
                    let first = waiting.swap_remove(self.random.within(0, waiting.len() as u64) as usize);
                    self.threads[first].doing = Doing::Calls;
                    self.wake(first);
                }
                self.end_line(thread);
            }
            Op::Nap(_) | Op::Acquire(_) => {
                self.threads[thread].doing = Doing::Calls;
                if !is_aside && line.blocking {
                    self.put_aside(thread, Reason::Blocking);
                } else if !is_aside && self.program.rescue_after.is_some() && self.learned[line.site] {
                    self.counts.learned += u64::from(self.put_aside(thread, Reason::Learned));
                }
                self.act_soon(thread, Doing::Calls);
            }
        }
    }

    /// A call blocks until it can end. Whoever comes first gets a place, not whoever has waited for it.
    pub fn try_call(&mut self, thread: usize) {
        match self.line(thread).expect("it is in a call").op {
            Op::Nap(time) => self.act_after(time, thread, Doing::Wakes),
            Op::Acquire(place) if self.places[place] > 0 => {
                self.places[place] -= 1;
                self.end_line(thread);
            }
            Op::Acquire(place) => {
                self.waiting[place].push(thread);
                self.rest(thread, Doing::Blocks);
            }
            _ => unreachable!("the others do not block"),
        }
    }

    /// A line is done; if its step is aside, and the next line is not to run there, it takes the baton back first.
    pub fn end_line(&mut self, thread: usize) {
        let line = self.line(thread).expect("it was at this line");
        self.step_on(thread);
        match self.threads[thread].aside {
            Some(Reason::Blocking) if line.goes_on => self.act_soon(thread, Doing::Runs),
            None => self.act_soon(thread, Doing::Runs),
            Some(_) => self.resume(thread),
        }
    }

    pub fn step_on(&mut self, thread: usize) {
        let task = self.task(thread);
        self.tasks[task].line += 1;
        self.counts.lines += 1;
    }

    pub fn end_task(&mut self, thread: usize) {
        let task = self.task(thread);
        self.tasks[task].done = true;
        std::mem::take(&mut self.tasks[task].awaited_by).into_iter().for_each(|item| self.turn.push(item));
        self.left -= 1;
        self.end_step(thread);
    }
}
