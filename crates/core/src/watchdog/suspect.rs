//! A step that lasts: is it blocked, and may it be put aside?
//!
//! A step that only waits for the global lock, or for a processor, must not be put aside: other steps would run in the
//! middle of its lines. It looks the same as a blocked one to whoever compares two looks. So a proof is wanted that the
//! step is inside a call:
//!
//! - *The kernel* says that the thread waits, and not for the global lock. This is proof at once.
//! - *A probe*: the thread runs, as the kernel says. It may compute without the global lock (a password hash), or run
//!   the program's own code and be found at the same instruction by chance. The probe notes the thread's next
//!   instruction. Proof is that it used [`PROBE`] of CPU time and none came: two turns of the global lock. How long that
//!   takes depends on the processors that there are; a thread that only waits for one uses none, and is left alone.
//!   Of a step that answers again and again less is asked: a loop over short calls computes as well as one long call.
//! - *CPU time*, where the kernel does not tell: the thread used none between looks, several times in a row, while no
//!   other thread wanted the global lock. A thread that waits for that lock wakes up every few milliseconds, and each
//!   time uses more than [`ASLEEP`].
//!
//! What was tried: CPU time alone. A step whose turn for the lock had come, and which had no processor yet, was taken
//! for a blocked one (once in 180 rescues), and a step at a lock beside a busy thread never was. That is why the kernel
//! is asked for the address of the lock. And the share of a processor that a probed thread had: in a container with
//! half a processor nothing that computes was ever rescued. What would change this: a kernel, or a global lock, that tells who waits for
//! the global lock.

use crate::sys::Activity;

/// A thread that uses the CPU is taken for blocked once it has run none of the program's code for so many nanoseconds.
const PROBE: u64 = 10_000_000;
/// The same where the step has answered [`OFTEN`] probes, and the watchdog had the global lock at once: it computes again
/// and again in calls too short for [`PROBE`]. This too is far more than a thread uses that only waits for that lock.
const PROBE_AGAIN: u64 = 2_000_000;
const OFTEN: u32 = 2;
/// Less CPU time than this, in nanoseconds, is no sign of life.
const ASLEEP: u64 = 4_000;
/// So many looks must find a step asleep before it is taken for blocked, where the kernel does not tell.
const ASLEEP_LOOKS: u32 = 3;

/// The doings of a thread, as far as the global lock is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It waits in a system call, and not for the global lock.
    Waits,
    /// It waits for the global lock.
    WaitsForGlobalLock,
    /// It runs, or would if it were given a processor.
    Runs,
    /// The kernel does not tell.
    Unknown,
}

impl Doing {
    /// Reads what the kernel says. `is_global` tells whether a word at this address belongs to the global lock; None:
    /// unknown.
    pub fn new(activity: Activity, is_global: impl FnOnce(usize) -> Option<bool>) -> Self {
        match activity {
            Activity::Runs => Self::Runs,
            Activity::Waits(_) => Self::Waits,
            Activity::WaitsForLock(address) => match is_global(address) {
                Some(true) => Self::WaitsForGlobalLock,
                Some(false) => Self::Waits,
                None => Self::Unknown,
            },
            Activity::Unknown => Self::Unknown,
        }
    }
}

/// The sight of a thread: where it stood when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight<Position> {
    /// Equal for two looks at a thread that has not moved. It may be equal by chance for one that has.
    pub position: Position,
    /// CPU time used so far, in nanoseconds; None: it cannot be told.
    pub cpu: Option<u64>,
}

impl<Position> Sight<Position> {
    /// True if the thread slept all the time since `earlier`.
    fn has_slept_since(&self, earlier: &Self) -> bool {
        self.cpu_since(earlier).is_none_or(|used| used < ASLEEP)
    }

    /// True if the thread has used so much CPU time since `earlier`, in nanoseconds.
    fn has_computed_since(&self, earlier: &Self, enough: u64) -> bool {
        self.cpu_since(earlier).is_some_and(|used| used >= enough)
    }

    fn cpu_since(&self, earlier: &Self) -> Option<u64> {
        Some(self.cpu?.saturating_sub(earlier.cpu?))
    }
}

/// A decision about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: look again.
    Wait,
    /// It has moved, or must not be put aside: a probe that is out is called back.
    EndProbe,
    /// Its next instruction is to be noted.
    BeginProbe,
    /// It is blocked, and its time is up. Then call [`Suspect::forget`], if that has succeeded.
    Rescue,
}

/// The circumstances of a look, beside where the thread stands.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// True if the step is in a call that must not be put aside.
    pub forbidden: bool,
    /// True if a probe is out, and no instruction was noted yet.
    pub probing: bool,
    /// True if the watchdog had to wait for the global lock: so may the step.
    pub contended: bool,
    /// True if the step has lasted long enough to be rescued.
    pub due: bool,
    pub now: u64,
}

/// A step that lasts, from look to look.
#[derive(Clone, Copy, Debug)]
pub struct Suspect<Position> {
    /// The sight of the step when it was first found unmoved, and the time of that.
    first: Option<(Sight<Position>, u64)>,
    /// The number of looks in a row that found it asleep while no other thread wanted the global lock.
    asleep_count: u32,
    /// The number of probes that were begun. Each but the last was answered.
    probes: u32,
}

impl<Position> Default for Suspect<Position> {
    fn default() -> Self {
        Self { first: None, asleep_count: 0, probes: 0 }
    }
}

impl<Position: PartialEq + Copy> Suspect<Position> {
    /// Forgets the step, which has ended or is aside: what comes next is another one.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// True if a probe is out (`probing`) that may still be answered in good time: to look is to take the global lock,
    /// and would keep the step from getting it.
    pub fn awaits_answer(&self, probing: bool, now: u64) -> bool {
        self.first.is_some_and(|(_, at)| probing && now.saturating_sub(at) < self.enough(false))
    }

    /// The nanoseconds after which to look again, where that is soon: a probe is out (`probing`), and the calls in which the
    /// step computes may be over by the next usual look.
    pub fn next_look(&self, probing: bool) -> Option<u64> {
        (probing && self.probes > OFTEN).then_some(PROBE_AGAIN + PROBE_AGAIN / 8)
    }

    /// The CPU time, in nanoseconds, in which one instruction of the program would be seen.
    fn enough(&self, contended: bool) -> u64 {
        if self.probes > OFTEN && !contended { PROBE_AGAIN } else { PROBE }
    }

    /// Decides what to do about a step that is found like this. `look` and `doing` are asked only if they count.
    pub fn judge(
        &mut self,
        seen: Circumstances,
        look: impl FnOnce() -> Sight<Position>,
        doing: impl FnOnce() -> Doing,
    ) -> Action {
        let now = seen.now;
        if seen.forbidden {
            self.forget();
            return Action::EndProbe;
        }
        let sight = look();
        let Some((earlier, _)) = self.first else {
            self.first = Some((sight, now));
            return Action::Wait;
        };
        if sight.position != earlier.position {
            (self.first, self.asleep_count) = (Some((sight, now)), 0);
            return Action::EndProbe;
        }

        let asleep = !seen.contended && sight.has_slept_since(&earlier);
        self.asleep_count = if asleep { self.asleep_count + 1 } else { 0 };
        let blocked = match doing() {
            Doing::Waits => true,
            // The lock may have been free when we asked for it: whoever waits for it was told, and had no processor
            // yet.
            Doing::WaitsForGlobalLock => false,
            Doing::Runs if !seen.probing => {
                (self.first, self.probes) = (Some((sight, now)), self.probes.saturating_add(1));
                return Action::BeginProbe;
            }
            Doing::Runs => sight.has_computed_since(&earlier, self.enough(seen.contended)),
            Doing::Unknown => self.asleep_count >= ASLEEP_LOOKS,
        };
        if blocked && seen.due { Action::Rescue } else { Action::Wait }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::SystemCall;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn due(now: u64) -> Circumstances {
        Circumstances { forbidden: false, probing: false, contended: false, due: true, now }
    }

    fn at(position: u32, cpu: u64) -> impl FnOnce() -> Sight<u32> {
        move || Sight { position, cpu: Some(cpu) }
    }

    /// A step that was found at position 1, with no CPU time used, at the time 0.
    fn suspect() -> Suspect<u32> {
        let mut suspect = Suspect::default();
        assert_eq!(suspect.judge(due(0), at(1, 0), || unreachable!("nothing to compare with")), Action::Wait);
        suspect
    }

    #[test]
    fn who_waits_in_a_system_call_is_rescued_once_its_time_is_up() {
        let mut suspect = suspect();
        let early = Circumstances { due: false, ..due(MS) };
        assert_eq!(suspect.judge(early, at(1, 0), || Doing::Waits), Action::Wait);
        assert_eq!(suspect.judge(due(2 * MS), at(1, 0), || Doing::Waits), Action::Rescue);
    }

    #[test]
    fn who_waits_for_the_global_lock_is_never_rescued() {
        let mut suspect = suspect();
        for look in 1..100 {
            assert_eq!(suspect.judge(due(look * MS), at(1, 0), || Doing::WaitsForGlobalLock), Action::Wait);
        }
    }

    #[test]
    fn who_has_moved_is_looked_at_from_there() {
        let mut suspect = suspect();
        assert_eq!(suspect.judge(due(MS), at(2, 0), || unreachable!("it has moved")), Action::EndProbe);
        assert_eq!(suspect.judge(due(2 * MS), at(2, 0), || Doing::Waits), Action::Rescue);
    }

    #[test]
    fn a_call_that_must_not_be_put_aside_is_not() {
        let mut suspect = suspect();
        let forbidden = Circumstances { forbidden: true, ..due(MS) };
        let action = suspect.judge(forbidden, || unreachable!("nobody looks at it"), || Doing::Waits);
        assert_eq!(action, Action::EndProbe);
        assert_eq!(
            suspect.judge(due(2 * MS), at(1, 0), || Doing::Waits),
            Action::Wait,
            "all that was known is forgotten"
        );
    }

    #[test]
    fn who_runs_is_probed_and_rescued_if_it_computed_and_ran_no_code_of_the_program_however_long_that_takes() {
        let probed = |now| Circumstances { probing: true, ..due(now) };
        let mut suspect = suspect();
        assert!(!suspect.awaits_answer(true, 0) || PROBE > 0);
        assert_eq!(suspect.judge(due(5 * MS), at(1, 5 * MS), || Doing::Runs), Action::BeginProbe);
        assert!(suspect.awaits_answer(true, 15 * MS - 1));
        assert!(!suspect.awaits_answer(true, 15 * MS), "time is up");
        assert!(!suspect.awaits_answer(false, 6 * MS), "it was answered");
        assert_eq!(suspect.next_look(true), None, "there is time");
        for (now, cpu, action) in [
            (15 * MS, 15 * MS - 1, Action::Wait),  // too soon
            (500 * MS, 5 * MS, Action::Wait),      // it waits for a processor
            (501 * MS, 15 * MS - 1, Action::Wait), // it has one now and then
            (502 * MS, 15 * MS, Action::Rescue),
        ] {
            assert_eq!(suspect.judge(probed(now), at(1, cpu), || Doing::Runs), action, "{now} {cpu}");
        }
    }

    #[test]
    fn a_probe_that_was_answered_begins_anew() {
        let mut suspect = suspect();
        assert_eq!(suspect.judge(due(5 * MS), at(1, 5 * MS), || Doing::Runs), Action::BeginProbe);
        assert_eq!(suspect.judge(due(30 * MS), at(1, 30 * MS), || Doing::Runs), Action::BeginProbe);
        assert!(suspect.awaits_answer(true, 31 * MS));
    }

    #[test]
    fn who_computes_again_and_again_in_short_calls_is_rescued_in_one_of_them() {
        let mut suspect = suspect();
        let probed = |now| Circumstances { probing: true, ..due(now) };
        for round in 1..=u64::from(OFTEN) {
            let now = round * 20 * MS;
            assert_eq!(suspect.judge(due(now), at(1, now), || Doing::Runs), Action::BeginProbe);
            assert_eq!(suspect.judge(probed(now + 9 * MS), at(1, now + 9 * MS), || Doing::Runs), Action::Wait);
        }
        assert_eq!(suspect.judge(due(90 * MS), at(1, 90 * MS), || Doing::Runs), Action::BeginProbe);
        assert!(!suspect.awaits_answer(true, 92 * MS));
        assert!(suspect.next_look(true).is_some_and(|time| time > PROBE_AGAIN && time < 4 * MS));
        assert_eq!(suspect.next_look(false), None, "it was answered");
        assert_eq!(suspect.judge(probed(91 * MS), at(1, 91 * MS), || Doing::Runs), Action::Wait);
        let contended = Circumstances { contended: true, ..probed(92 * MS) };
        assert_eq!(suspect.judge(contended, at(1, 92 * MS), || Doing::Runs), Action::Wait, "its turn may have come");
        assert_eq!(suspect.judge(probed(92 * MS), at(1, 92 * MS), || Doing::Runs), Action::Rescue);
    }

    #[test]
    fn where_the_kernel_does_not_tell_three_looks_must_find_it_asleep() {
        let mut suspect = suspect();
        let busy = Circumstances { contended: true, ..due(3 * MS) };
        for (seen, cpu, action) in [
            (due(MS), 0, Action::Wait),
            (due(2 * MS), ASLEEP - 1, Action::Wait),
            (busy, 0, Action::Wait), // the lock was wanted: the count begins anew
            (due(4 * MS), 0, Action::Wait),
            (due(5 * MS), 0, Action::Wait),
            (due(6 * MS), 0, Action::Rescue),
            (due(7 * MS), ASLEEP, Action::Wait), // it has run
        ] {
            assert_eq!(suspect.judge(seen, at(1, cpu), || Doing::Unknown), action, "{seen:?}");
        }
    }

    #[test]
    fn what_the_kernel_says_of_locks_is_told_apart_by_their_address() {
        let call = SystemCall { number: 0, arguments: [0; 6] };
        for (activity, is_global, doing) in [
            (Activity::Runs, None, Doing::Runs),
            (Activity::Waits(call), None, Doing::Waits),
            (Activity::WaitsForLock(7), Some(true), Doing::WaitsForGlobalLock),
            (Activity::WaitsForLock(7), Some(false), Doing::Waits),
            (Activity::WaitsForLock(7), None, Doing::Unknown),
            (Activity::Unknown, Some(true), Doing::Unknown),
        ] {
            assert_eq!(Doing::new(activity, |_| is_global), doing);
        }
    }

    proptest! {
        /// However the looks fall: nobody is rescued before its time, from where it may not be, while it waits for the
        /// global lock, or if it was not at the same position at the look before.
        #[test]
        fn no_rescue_without_proof(
            looks in prop::collection::vec(
                (0u32..2, 0u64..20, 0u64..20, 0u8..4, any::<bool>(), any::<bool>(), any::<bool>(), 0u8..8), 1..80)
        ) {
            let mut suspect = Suspect::default();
            let (mut now, mut cpu, mut before) = (0, 0, None);
            for (position, wait, work, kernel, probing, contended, due, forbidden) in looks {
                (now, cpu) = (now + wait * MS, cpu + work.min(wait) * MS);
                let doing = [Doing::Waits, Doing::WaitsForGlobalLock, Doing::Runs, Doing::Unknown][usize::from(kernel)];
                let seen = Circumstances { forbidden: forbidden == 0, probing, contended, due, now };
                let action = suspect.judge(seen, at(position, cpu), || doing);
                if action == Action::Rescue {
                    prop_assert!(due && !seen.forbidden && doing != Doing::WaitsForGlobalLock);
                    prop_assert_eq!(before, Some(position));
                    prop_assert!(doing != Doing::Runs || probing);
                    prop_assert!(doing != Doing::Unknown || !contended);
                    suspect.forget();
                    before = None;
                } else {
                    before = (!seen.forbidden).then_some(position);
                }
                prop_assert!(action != Action::BeginProbe || doing == Doing::Runs && !probing);
            }
        }
    }
}
