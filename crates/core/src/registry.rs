//! The owners of file descriptors, with generations: a descriptor that was closed and given out again by the kernel
//! never wakes its old owner.
//!
//! Pure bookkeeping: each call answers with the [`Change`] that the poller must be told. Level-triggered, as asyncio's
//! `add_reader` promises: an owner is called as long as the condition lasts.

use std::os::fd::RawFd;

/// A side of a file, which can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// The sides of a descriptor that are watched at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

/// Names a descriptor and its generation towards the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// Belongs to no descriptor: a poller may use it for its own waker.
    pub const NONE: Self = Self(u64::MAX);

    fn new(fd: RawFd, generation: u32) -> Self {
        Self(u64::from(fd as u32) | u64::from(generation) << 32)
    }

    pub fn to_u64(self) -> u64 {
        self.0
    }

    pub fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    fn fd(self) -> RawFd {
        self.0 as u32 as RawFd
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The poller has to do this after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    Add(RawFd, Interest, Token),
    Modify(RawFd, Interest, Token),
    Delete(RawFd),
}

struct Slot<T> {
    /// Grows each time the descriptor stops being watched.
    generation: u32,
    reader: Option<T>,
    writer: Option<T>,
    /// The sides whose owners cannot be called at present.
    disarmed: Interest,
}

impl<T> Slot<T> {
    fn interest(&self) -> Interest {
        Interest { read: self.reader.is_some(), write: self.writer.is_some() }
    }

    /// The sides that the kernel is to report.
    fn armed(&self) -> Interest {
        let Interest { read, write } = self.interest();
        Interest { read: read && !self.disarmed.read, write: write && !self.disarmed.write }
    }

    fn side(&mut self, direction: Direction) -> &mut Option<T> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }

    fn set_disarmed(&mut self, direction: Direction, disarmed: bool) {
        match direction {
            Direction::Read => self.disarmed.read = disarmed,
            Direction::Write => self.disarmed.write = disarmed,
        }
    }

    /// The change that tells the kernel of the armed interest, which was `before`.
    fn change(&self, fd: RawFd, before: Interest) -> Change {
        let (after, token) = (self.armed(), Token::new(fd, self.generation));
        match Interest::default() {
            none if before == none && after == none => Change::Nothing,
            none if after == none => Change::Delete(fd),
            none if before == none => Change::Add(fd, after, token),
            // The kernel is told also if nothing has changed: see `set`.
            _ => Change::Modify(fd, after, token),
        }
    }
}

/// Owners by descriptor. Descriptors are small and dense, so a plain vector: O(largest descriptor) memory, fine below
/// the kernel's limit of a million.
pub struct Registry<T> {
    slots: Vec<Slot<T>>,
    /// Descriptors that have been disarmed since the last `rearm`.
    disarmed: Vec<RawFd>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), disarmed: Vec::new() }
    }
}

impl<T> Registry<T> {
    /// Makes `owner` the one to call; gives back the owner it replaces. `fd` must not be negative.
    pub fn set(&mut self, fd: RawFd, direction: Direction, owner: T) -> (Change, Option<T>) {
        let index = fd as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || Slot {
                generation: 0,
                reader: None,
                writer: None,
                disarmed: Interest::default(),
            });
        }
        let slot = &mut self.slots[index];
        let before = slot.armed();
        let old = slot.side(direction).replace(owner);
        slot.set_disarmed(direction, false);
        // A replaced owner may have closed its descriptor without a word, and the kernel forgotten it: tell it again.
        (slot.change(fd, before), old)
    }

    /// Forgets the owner of one direction and gives it back.
    pub fn clear(&mut self, fd: RawFd, direction: Direction) -> (Change, Option<T>) {
        let Some(slot) = self.slots.get_mut(fd as usize) else {
            return (Change::Nothing, None);
        };
        let before = slot.armed();
        let Some(old) = slot.side(direction).take() else {
            return (Change::Nothing, None);
        };
        slot.set_disarmed(direction, false);
        if slot.interest() == Interest::default() {
            slot.generation = slot.generation.wrapping_add(1);
        }
        (slot.change(fd, before), Some(old))
    }

    /// The owner of one direction cannot be called now: the kernel is not to report it until [`rearm`](Self::rearm).
    pub fn disarm(&mut self, fd: RawFd, direction: Direction) -> Change {
        let Some(slot) = self.slots.get_mut(fd as usize) else { return Change::Nothing };
        let before = slot.armed();
        slot.set_disarmed(direction, true);
        if slot.armed() == before {
            return Change::Nothing;
        }
        self.disarmed.push(fd);
        slot.change(fd, before)
    }

    /// All owners can be called again.
    pub fn rearm(&mut self) -> Vec<Change> {
        let disarmed = std::mem::take(&mut self.disarmed);
        let changes = disarmed.into_iter().filter_map(|fd| {
            let slot = self.slots.get_mut(fd as usize)?;
            let before = slot.armed();
            slot.disarmed = Interest::default();
            (slot.armed() != before).then(|| slot.change(fd, before))
        });
        changes.collect()
    }

    /// The owners that an event of this token concerns: none if the descriptor has changed hands since.
    pub fn owners(&self, token: Token) -> (Option<&T>, Option<&T>) {
        match self.slots.get(token.fd() as usize) {
            Some(slot) if slot.generation == token.generation() => (slot.reader.as_ref(), slot.writer.as_ref()),
            _ => (None, None),
        }
    }

    /// The descriptor that a token names.
    pub fn fd(token: Token) -> RawFd {
        token.fd()
    }

    /// The owner of one direction of a descriptor.
    pub fn owner(&self, fd: RawFd, direction: Direction) -> Option<&T> {
        let slot = self.slots.get(fd as usize)?;
        match direction {
            Direction::Read => slot.reader.as_ref(),
            Direction::Write => slot.writer.as_ref(),
        }
    }

    /// Every descriptor that is watched, and for what.
    pub fn watched(&self) -> impl Iterator<Item = (RawFd, Interest)> {
        self.slots
            .iter()
            .enumerate()
            .map(|(fd, slot)| (fd as RawFd, slot.interest()))
            .filter(|(_, i)| *i != Interest::default())
    }

    /// All owners.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flat_map(|slot| slot.reader.iter().chain(slot.writer.iter()))
    }

    /// Takes every owner out: at the end of a loop's life.
    pub fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.slots)
            .into_iter()
            .flat_map(|slot| slot.reader.into_iter().chain(slot.writer))
            .collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn a_reused_descriptor_never_wakes_its_old_owner() {
        let mut registry = Registry::default();
        let (Change::Add(_, _, old), None) = registry.set(7, Direction::Read, "old") else {
            panic!("first owner is added")
        };
        assert_eq!(registry.owners(old), (Some(&"old"), None));
        assert_eq!(registry.clear(7, Direction::Read), (Change::Delete(7), Some("old")));
        let (Change::Add(_, _, new), None) = registry.set(7, Direction::Read, "new") else {
            panic!("second owner is added")
        };
        assert_eq!(registry.owners(old), (None, None));
        assert_eq!(registry.owners(new), (Some(&"new"), None));
    }

    #[test]
    fn a_replaced_owner_is_given_back_and_the_poller_told_again() {
        let mut registry = Registry::default();
        let (Change::Add(_, interest, token), None) = registry.set(3, Direction::Write, 1) else {
            panic!("it is the first")
        };
        assert_eq!(registry.set(3, Direction::Write, 2), (Change::Modify(3, interest, token), Some(1)));
        assert_eq!(registry.clear(3, Direction::Read), (Change::Nothing, None));
        assert_eq!(registry.clear(99, Direction::Read), (Change::Nothing, None));
    }

    proptest! {
        /// The poller is always told exactly what is registered and not disarmed.
        #[test]
        fn the_poller_knows_exactly_what_is_registered(
            program in prop::collection::vec((0u8..4, 0i32..6, any::<bool>()), 1..100)
        ) {
            let mut registry = Registry::default();
            let mut model: HashMap<(RawFd, bool), usize> = HashMap::new();
            let mut disarmed: HashSet<(RawFd, bool)> = HashSet::new();
            let mut told: HashMap<RawFd, (Interest, Token)> = HashMap::new();
            for (n, (act, fd, read)) in program.into_iter().enumerate() {
                let direction = if read { Direction::Read } else { Direction::Write };
                let changes = match act {
                    0 | 1 => {
                        let (change, old) = if act == 0 { registry.set(fd, direction, n) } else { registry.clear(fd, direction) };
                        prop_assert_eq!(old, if act == 0 { model.insert((fd, read), n) } else { model.remove(&(fd, read)) });
                        disarmed.remove(&(fd, read));
                        vec![change]
                    }
                    2 => {
                        disarmed.extend(model.contains_key(&(fd, read)).then_some((fd, read)));
                        vec![registry.disarm(fd, direction)]
                    }
                    _ => {
                        disarmed.clear();
                        registry.rearm()
                    }
                };
                for change in changes {
                    match change {
                        Change::Nothing => {}
                        Change::Add(fd, interest, token) => prop_assert!(told.insert(fd, (interest, token)).is_none()),
                        Change::Modify(fd, interest, token) => {
                            let (_, before) = told.insert(fd, (interest, token)).expect("only what was added is modified");
                            prop_assert_eq!(before, token);
                        }
                        Change::Delete(fd) => prop_assert!(told.remove(&fd).is_some()),
                    }
                }
                for fd in 0..6 {
                    let armed = |side| model.contains_key(&side) && !disarmed.contains(&side);
                    let wanted = Interest { read: armed((fd, true)), write: armed((fd, false)) };
                    prop_assert_eq!(told.get(&fd).map_or(Interest::default(), |(interest, _)| *interest), wanted);
                    if let Some((_, token)) = told.get(&fd) {
                        let owners = registry.owners(*token);
                        prop_assert_eq!(owners, (model.get(&(fd, true)), model.get(&(fd, false))));
                    }
                }
                let watched: HashSet<_> = model.keys().map(|(fd, _)| *fd).collect();
                prop_assert_eq!(registry.watched().count(), watched.len());
            }
        }
    }
}
