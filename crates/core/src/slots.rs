//! Which job runs next on which thread of a pool: its slots, its queues and its idle threads.
//!
//! A *counted* job takes one of the slots until its thread is done with it; a *free* one is counted by somebody else
//! and goes first. A thread whose job waits for another job lends its slot meanwhile, and goes on at once when it has
//! waited: for that long, more jobs may run than there are slots.
//!
//! At most one thread is *coming*: it was woken or started, and has not looked for a job yet. It wakes the next one. A
//! second one would only wait for the global lock, behind the first.
//!
//! Numbers go down to 0 and stop there: in a forked child, a thread gives back what it took in the parent.

use std::collections::VecDeque;
use std::mem;

/// The thread that the next job needs.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted<Thread> {
    Nobody,
    /// This one, which is idle no more: wake it.
    Idle(Thread),
    /// A new one with this number: start it, and say so if that fails ([`Slots::thread_failed`]).
    Start(u32),
}

/// A pool's state. `Thread` is what wakes an idle thread.
pub struct Slots<Job, Thread> {
    counted: VecDeque<Job>,
    free: VecDeque<Job>,
    /// Threads without work by their numbers, the latest last.
    idle: Vec<(u32, Thread)>,
    /// Threads that live, or are being started.
    threads: usize,
    coming: usize,
    /// Slots that are taken.
    running: usize,
    /// Those of the taken slots that are lent.
    lent: usize,
    slots: usize,
    closed: bool,
    /// The number of the next thread.
    next_number: u32,
}

impl<Job, Thread> Slots<Job, Thread> {
    pub fn new(slots: usize) -> Self {
        Self {
            counted: VecDeque::new(),
            free: VecDeque::new(),
            idle: Vec::new(),
            threads: 0,
            coming: 0,
            running: 0,
            lent: 0,
            slots,
            closed: false,
            next_number: 0,
        }
    }

    /// True if no more jobs are taken.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The number of counted jobs that may run at once, beside those that wait.
    pub fn slots(&self) -> usize {
        self.slots
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn lent(&self) -> usize {
        self.lent
    }

    /// The jobs that wait for a thread.
    pub fn queued(&self) -> impl Iterator<Item = &Job> {
        self.free.iter().chain(&self.counted)
    }

    // ---- jobs

    pub fn push(&mut self, job: Job, counted: bool) {
        if counted { &mut self.counted } else { &mut self.free }.push_back(job);
    }

    fn has_free_slot(&self) -> bool {
        self.running < self.slots + self.lent
    }

    /// The thread that is to come for what is queued, if one is needed. `prefer` is the number of the best one.
    pub fn wake_next(&mut self, prefer: Option<u32>) -> Wanted<Thread> {
        let has_work = !self.free.is_empty() || (!self.counted.is_empty() && self.has_free_slot());
        if self.coming > 0 || !has_work {
            return Wanted::Nobody;
        }
        self.coming += 1;
        let preferred = prefer.and_then(|number| self.idle.iter().rposition(|(of, _)| *of == number));
        let thread = preferred.map(|at| self.idle.remove(at)).or_else(|| self.idle.pop());
        if let Some((_, thread)) = thread {
            return Wanted::Idle(thread);
        }
        self.threads += 1;
        self.next_number += 1;
        Wanted::Start(self.next_number - 1)
    }

    /// The next job for a thread, which has `come` if somebody had woken or started it. A counted job takes a slot.
    pub fn take(&mut self, come: bool) -> Option<Job> {
        self.coming = self.coming.saturating_sub(usize::from(come));
        if let Some(job) = self.free.pop_front() {
            return Some(job);
        }
        if !self.has_free_slot() {
            return None;
        }
        let job = self.counted.pop_front()?;
        self.running += 1;
        Some(job)
    }

    /// A counted job is done.
    pub fn release(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A thread that runs a counted job waits for another one.
    pub fn lend(&mut self) {
        self.lent += 1;
    }

    /// The thread that has lent its slot has waited, and goes on.
    pub fn reclaim(&mut self) {
        self.lent = self.lent.saturating_sub(1);
    }

    // ---- threads

    /// The thread that was wanted could not be started.
    pub fn thread_failed(&mut self) {
        self.threads = self.threads.saturating_sub(1);
        self.coming = self.coming.saturating_sub(1);
    }

    pub fn thread_ended(&mut self) {
        self.threads = self.threads.saturating_sub(1);
    }

    /// A thread has nothing to do. False: it is not needed any more.
    pub fn begin_idle(&mut self, number: u32, thread: Thread) -> bool {
        if !self.closed {
            self.idle.push((number, thread));
        }
        !self.closed
    }

    /// A thread waits no more. True if somebody has woken it: then it is to look for a job, and counts as coming unless
    /// the pool is closed. False: its time was up.
    pub fn end_idle(&mut self, number: u32) -> bool {
        match self.idle.iter().position(|(of, _)| *of == number) {
            Some(at) => {
                self.idle.remove(at);
                false
            }
            None => true,
        }
    }

    // ---- ends

    /// Takes no more jobs. Gives back the idle threads, to be woken, and with `drop_queued` what is queued.
    pub fn close(&mut self, drop_queued: bool) -> (Vec<Thread>, Vec<Job>) {
        self.closed = true;
        let idle = mem::take(&mut self.idle).into_iter().map(|(_, thread)| thread);
        (idle.collect(), if drop_queued { self.take_queued() } else { Vec::new() })
    }

    pub fn take_queued(&mut self) -> Vec<Job> {
        self.free.drain(..).chain(self.counted.drain(..)).collect()
    }

    /// In a forked child: none of the threads lives there, and none of their jobs is run. Gives back the parent's
    /// state.
    pub fn after_fork(&mut self) -> Self {
        let (closed, next_number) = (self.closed, self.next_number);
        mem::replace(self, Self { closed, next_number, ..Self::new(self.slots) })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pool = Slots<u32, &'static str>;

    /// A pool with an idle thread for each name, numbered from 0.
    fn pool(slots: usize, idle: &[&'static str]) -> Pool {
        let mut pool = Pool::new(slots);
        pool.threads = idle.len();
        pool.next_number = idle.len() as u32;
        for (number, name) in idle.iter().enumerate() {
            assert!(pool.begin_idle(number as u32, name));
        }
        pool
    }

    #[test]
    fn one_thread_at_a_time_comes_and_wakes_the_next() {
        let mut pool = pool(5, &["a", "b"]);
        (1..=3).for_each(|job| pool.push(job, true));
        assert_eq!(pool.wake_next(None), Wanted::Idle("b"), "the latest, which is warm");
        assert_eq!(pool.wake_next(None), Wanted::Nobody, "one is coming");
        assert_eq!(pool.take(true), Some(1));
        assert_eq!(pool.wake_next(None), Wanted::Idle("a"));
        assert_eq!(pool.take(true), Some(2));
        assert_eq!(pool.wake_next(None), Wanted::Start(2));
        assert_eq!(pool.threads(), 3);
        pool.thread_failed();
        assert_eq!(pool.threads(), 2);
        assert_eq!(pool.wake_next(None), Wanted::Start(3), "the next try is another thread");
    }

    #[test]
    fn the_thread_that_is_preferred_comes_if_it_is_idle() {
        let mut pool = pool(5, &["a", "b", "c"]);
        pool.push(1, true);
        assert_eq!(pool.wake_next(Some(1)), Wanted::Idle("b"));
        assert_eq!(pool.take(true), Some(1));
        pool.push(2, true);
        assert_eq!(pool.wake_next(Some(1)), Wanted::Idle("c"));
    }

    #[test]
    fn counted_jobs_wait_for_a_slot_and_free_ones_do_not() {
        let mut pool = pool(1, &["a", "b"]);
        (1..=2).for_each(|job| pool.push(job, true));
        assert_eq!(pool.take(false), Some(1));
        assert_eq!(pool.take(false), None);
        assert_eq!(pool.wake_next(None), Wanted::Nobody, "nobody could do it");
        pool.push(9, false);
        assert_eq!(pool.wake_next(None), Wanted::Idle("b"));
        assert_eq!(pool.take(true), Some(9));
        pool.release();
        assert_eq!(pool.take(false), Some(2));
    }

    #[test]
    fn a_lent_slot_lets_one_more_run_and_is_reclaimed_at_once() {
        let mut pool = pool(1, &["a"]);
        (1..=3).for_each(|job| pool.push(job, true));
        assert_eq!(pool.take(false), Some(1));
        pool.lend();
        assert_eq!(pool.wake_next(None), Wanted::Idle("a"));
        assert_eq!(pool.take(true), Some(2));
        pool.reclaim();
        assert_eq!((pool.running(), pool.lent()), (2, 0));
        pool.release();
        assert_eq!(pool.take(false), None, "the one that waited has the slot");
    }

    #[test]
    fn a_thread_that_was_woken_when_its_time_was_up_looks_for_a_job() {
        let mut pool = pool(1, &["a", "b"]);
        assert!(!pool.end_idle(0), "nobody wanted it");
        pool.push(1, true);
        assert_eq!(pool.wake_next(None), Wanted::Idle("b"));
        assert!(pool.end_idle(1), "somebody counts on it");
        assert_eq!(pool.idle(), 0);
    }

    #[test]
    fn a_closed_pool_wakes_all_and_keeps_nobody() {
        for drops in [false, true] {
            let mut pool = pool(1, &["a", "b"]);
            pool.push(1, true);
            pool.push(2, false);
            assert_eq!(pool.close(drops), (vec!["a", "b"], if drops { vec![2, 1] } else { vec![] }));
            assert!(pool.is_closed() && !pool.begin_idle(0, "a"));
            assert_eq!(pool.take(false), (!drops).then_some(2), "what is left is done");
        }
    }

    #[test]
    fn a_forked_child_begins_anew_and_takes_what_is_given_back() {
        let mut pool = pool(2, &["a"]);
        pool.push(1, true);
        assert_eq!(pool.take(false), Some(1));
        pool.push(2, true);
        let parents = pool.after_fork();
        assert_eq!((parents.running(), parents.idle(), parents.queued().count()), (1, 1, 1));
        pool.release();
        pool.reclaim();
        pool.thread_ended();
        assert_eq!((pool.slots(), pool.running(), pool.lent(), pool.threads(), pool.idle()), (2, 0, 0, 0, 0));
        pool.push(3, true);
        assert_eq!(pool.wake_next(None), Wanted::Start(1), "numbers are not used twice");
    }

    proptest! {
        /// Whatever comes: no more counted jobs run than slots and lent ones, at most one thread is on its way, no job
        /// is lost or done twice, and while a job could run some thread is coming or at work.
        #[test]
        fn every_job_is_done_once_within_the_slots(
            slots in 1usize..4, program in prop::collection::vec((0u8..6, any::<bool>()), 1..120)
        ) {
            let mut pool: Slots<u32, u32> = Slots::new(slots);
            // Threads that were woken or started; those at work, with whether their jobs count.
            let (mut coming, mut at_work): (Vec<u32>, Vec<(u32, bool)>) = (Vec::new(), Vec::new());
            let (mut pushed, mut done, mut counted) = (0, Vec::new(), Vec::new());
            fn call(wanted: Wanted<u32>, coming: &mut Vec<u32>) {
                if let Wanted::Idle(number) | Wanted::Start(number) = wanted {
                    coming.push(number);
                }
            }
            for (act, flag) in program.into_iter().chain(std::iter::repeat_n((4, true), 400)) {
                match act {
                    0 | 1 => {
                        pool.push(pushed, flag);
                        counted.push(flag);
                        pushed += 1;
                        let wanted = pool.wake_next(None);
                        call(wanted, &mut coming);
                    }
                    2 if pool.lent() < pool.running() => {
                        pool.lend();
                        let wanted = pool.wake_next(None);
                        call(wanted, &mut coming);
                    }
                    3 => pool.reclaim(),
                    _ => {
                        // A thread arrives, or one ends its job and looks for the next.
                        let (number, come) = match (coming.pop(), at_work.pop()) {
                            (Some(number), working) => {
                                at_work.extend(working);
                                (number, true)
                            }
                            (None, Some((number, counts))) => {
                                if counts {
                                    pool.release();
                                }
                                (number, false)
                            }
                            (None, None) => continue,
                        };
                        match pool.take(come) {
                            Some(job) => {
                                prop_assert!(!counted[job as usize] || pool.running() <= slots + pool.lent());
                                done.push(job);
                                at_work.insert(0, (number, counted[job as usize]));
                                let wanted = pool.wake_next(None);
                                call(wanted, &mut coming);
                            }
                            None => prop_assert!(pool.begin_idle(number, number)),
                        }
                    }
                }
                prop_assert!(coming.len() <= 1);
                prop_assert!(pool.queued().count() == 0 || !coming.is_empty() || !at_work.is_empty());
            }
            done.sort_unstable();
            prop_assert_eq!(done, (0..pushed).collect::<Vec<_>>());
        }
    }
}
