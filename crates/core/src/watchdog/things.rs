//! What a step waited for, and how long.

use crate::sys::{Kind, Thing};

/// So many things are told apart in a block.
const MOST: usize = 8;

/// A thing that the step waited for, how long, and how long with the global lock in its hands.
#[derive(Clone, Debug)]
struct Waiting {
    thing: Thing,
    free: u64,
    held: u64,
}

/// All that a step waited for in a block.
#[derive(Clone, Debug, Default)]
pub struct Things(Vec<Waiting>);

impl Things {
    /// The place of a thing, new or known.
    pub fn place(&mut self, thing: Thing) -> usize {
        if let Some(at) = self.0.iter().position(|known| known.thing == thing) {
            return at;
        }
        if self.0.len() < MOST {
            self.0.push(Waiting { thing, free: 0, held: 0 });
            return self.0.len() - 1;
        }
        // One of the same kind stands for it. Without one, the last place does.
        let at = self.0.iter().position(|known| known.thing.kind == thing.kind).unwrap_or(MOST - 1);
        self.0[at].thing = Thing::new(thing.kind, None);
        at
    }

    pub fn kind(&self, place: usize) -> Kind {
        self.0[place].thing.kind
    }

    /// The step waited for the thing at this place, and had the global lock or not.
    pub fn count(&mut self, place: usize, held: bool, time: u64) {
        let known = &mut self.0[place];
        *(if held { &mut known.held } else { &mut known.free }) += time;
    }

    /// How long the step waited with the global lock in its hands.
    pub fn held(&self) -> u64 {
        self.0.iter().map(|known| known.held).sum()
    }

    /// What the step waited for longest, of the kind that it waited for longest, and how long it waited for that kind;
    /// with the global lock in its hands (`held`), or without.
    pub fn most(&self, held: bool) -> Option<(&Thing, u64)> {
        let time = |known: &Waiting| if held { known.held } else { known.free };
        let of_kind = |kind| self.0.iter().filter(|known| known.thing.kind == kind).map(time).sum::<u64>();
        let most = self.0.iter().rev().max_by_key(|known| (of_kind(known.thing.kind), time(known)))?;
        Some((&most.thing, of_kind(most.thing.kind)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn file(name: &str) -> Thing {
        Thing::new(Kind::File, name.to_owned())
    }

    #[test]
    fn what_is_waited_for_is_added_up_by_kind_and_the_longest_of_it_is_named() {
        let mut things = Things::default();
        for (thing, held, time) in [
            (Thing::new(Kind::Sleep, None), false, 80),
            (file("/a"), false, 20),
            (file("/b"), false, 50),
            (file("/a"), false, 15),
            (file("/a"), true, 90),
        ] {
            let at = things.place(thing);
            things.count(at, held, time);
        }
        assert_eq!(things.most(false), Some((&file("/b"), 85)));
        assert_eq!(things.most(true), Some((&file("/a"), 90)));
        assert_eq!(things.held(), 90);
        assert_eq!(Things::default().most(false), None);
    }

    #[test]
    fn more_things_than_there_is_room_for_lose_their_names_and_keep_their_kind() {
        let mut things = Things::default();
        for at in 0..100 {
            let at = things.place(file(&format!("/{at}")));
            things.count(at, false, 1);
        }
        assert_eq!(things.0.len(), MOST);
        assert_eq!(things.most(false), Some((&Thing::new(Kind::File, None), 100)));
        let socket = things.place(Thing::new(Kind::Socket, None));
        assert_eq!(things.kind(socket), Kind::Socket);
    }
}
