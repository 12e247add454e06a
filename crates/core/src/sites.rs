//! The learned sites of one function: the places in it where a step was found blocked, and how well each one does.
//!
//! A site that turns out not to block is forgotten, because a hand-off there costs more than the call. Times and the
//! order of uses come in as numbers.

use std::collections::HashMap;

/// The event at which a hand-off happens: something comes to this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Call,
    Instruction,
}

/// What a site is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call,
    /// A call whose arguments are unpacked: `f(*args)`.
    UnpackingCall,
    /// An operator, an attribute, the next item of a loop, a `with`.
    Instruction,
}

impl Kind {
    pub fn event(self) -> Event {
        match self {
            Self::Call | Self::UnpackingCall => Event::Call,
            Self::Instruction => Event::Instruction,
        }
    }
}

/// A call at a learned site that returns sooner did not block, in nanoseconds.
pub const SHORT_CALL: u64 = 100_000;
/// After so many short calls in a row a site is forgotten. One short call says little: the cache was warm, the lock
/// free.
pub const SHORT_CALLS: u32 = 16;

/// The record of one learned site.
struct Site {
    kind: Kind,
    /// Its run of short calls.
    short: u32,
    /// The time of its last use, counted in uses of any site.
    used: u64,
}

/// The learned sites of one function, by their offset in it.
#[derive(Default)]
pub struct Sites(HashMap<i32, Site>);

impl Sites {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if one of them is at an event of this kind.
    pub fn has(&self, event: Event) -> bool {
        self.0.values().any(|site| site.kind.event() == event)
    }

    /// Remembers a site, which is used `now`. True if it is new.
    pub fn learn(&mut self, offset: i32, kind: Kind, now: u64) -> bool {
        self.0.insert(offset, Site { kind, short: 0, used: now }).is_none()
    }

    /// Notes that an event has come `now`. Returns the kind of the learned site there, if its hand-off is at this event.
    #[inline]
    pub fn note_use(&mut self, offset: i32, event: Event, now: u64) -> Option<Kind> {
        let site = self.0.get_mut(&offset).filter(|site| site.kind.event() == event)?;
        site.used = now;
        Some(site.kind)
    }

    /// Notes how long a call took. A site whose calls are short, one after the other, is forgotten.
    #[inline]
    pub fn note_duration(&mut self, offset: i32, nanoseconds: u64) {
        let Some(site) = self.0.get_mut(&offset) else { return };
        site.short = if nanoseconds < SHORT_CALL { site.short + 1 } else { 0 };
        if site.short >= SHORT_CALLS {
            self.0.remove(&offset);
        }
    }

    /// The site that has not been used for longest: when that was, and its offset.
    pub fn oldest(&self) -> Option<(u64, i32)> {
        self.0.iter().map(|(&offset, site)| (site.used, offset)).min()
    }

    pub fn forget(&mut self, offset: i32) {
        self.0.remove(&offset);
    }

    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_CALL: u64 = SHORT_CALL;

    #[test]
    fn a_site_is_learned_once() {
        let mut sites = Sites::default();
        assert!(sites.note_use(8, Event::Call, 1).is_none());
        assert!(sites.learn(8, Kind::Call, 2));
        assert!(!sites.learn(8, Kind::Call, 3));
        assert!(sites.note_use(8, Event::Call, 4).is_some());
        assert_eq!(sites.len(), 1);
    }

    #[test]
    fn a_run_of_short_calls_ends_a_site() {
        let mut sites = Sites::default();
        sites.learn(8, Kind::Call, 1);
        (1..SHORT_CALLS).for_each(|_| sites.note_duration(8, SHORT_CALL - 1));
        assert!(sites.note_use(8, Event::Call, 2).is_some());
        sites.note_duration(8, 0);
        assert!(sites.note_use(8, Event::Call, 3).is_none());
        assert!(sites.is_empty());
    }

    #[test]
    fn one_long_call_begins_the_count_anew() {
        let mut sites = Sites::default();
        sites.learn(8, Kind::Call, 1);
        (1..SHORT_CALLS).for_each(|_| sites.note_duration(8, 0));
        sites.note_duration(8, LONG_CALL);
        (1..SHORT_CALLS).for_each(|_| sites.note_duration(8, 0));
        assert!(sites.note_use(8, Event::Call, 2).is_some());
    }

    #[test]
    fn learning_a_site_again_begins_the_count_anew() {
        let mut sites = Sites::default();
        sites.learn(8, Kind::Call, 1);
        (1..SHORT_CALLS).for_each(|_| sites.note_duration(8, 0));
        sites.learn(8, Kind::Call, 2);
        sites.note_duration(8, 0);
        assert!(sites.note_use(8, Event::Call, 3).is_some());
    }

    #[test]
    fn the_oldest_is_the_one_not_used_for_longest() {
        let mut sites = Sites::default();
        assert_eq!(sites.oldest(), None);
        sites.learn(8, Kind::Call, 1);
        sites.learn(24, Kind::Call, 2);
        assert_eq!(sites.oldest(), Some((1, 8)));
        sites.note_use(8, Event::Call, 3);
        assert_eq!(sites.oldest(), Some((2, 24)));
        sites.forget(24);
        assert_eq!(sites.oldest(), Some((3, 8)));
    }

    #[test]
    fn what_was_forgotten_is_unknown_to_all_calls() {
        let mut sites = Sites::default();
        sites.learn(8, Kind::Call, 1);
        sites.forget_all();
        sites.note_duration(8, 0);
        sites.forget(8);
        assert!(sites.note_use(8, Event::Call, 2).is_none());
    }

    #[test]
    fn a_site_is_one_at_its_own_event_only() {
        let mut sites = Sites::default();
        sites.learn(8, Kind::Instruction, 1);
        assert!(sites.has(Event::Instruction) && !sites.has(Event::Call));
        assert!(sites.note_use(8, Event::Instruction, 2).is_some());
        assert!(sites.note_use(8, Event::Call, 3).is_none());
        assert_eq!(sites.oldest(), Some((2, 8)));
        sites.learn(16, Kind::UnpackingCall, 4);
        assert!(sites.has(Event::Call));
        assert_eq!(sites.note_use(16, Event::Call, 5), Some(Kind::UnpackingCall));
    }
}
