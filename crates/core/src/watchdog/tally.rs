//! A count of times by what they went to, in little room.

/// The times of up to `MOST` keys. If there are more, the smallest go to the others.
#[derive(Clone, Debug)]
pub struct Tally<Key, const MOST: usize> {
    times: Vec<(Key, u64)>,
    others: u64,
}

impl<Key, const MOST: usize> Default for Tally<Key, MOST> {
    fn default() -> Self {
        Self { times: Vec::new(), others: 0 }
    }
}

impl<Key: Copy + Eq, const MOST: usize> Tally<Key, MOST> {
    pub fn add(&mut self, key: Key, time: u64) {
        if let Some((_, known)) = self.times.iter_mut().find(|(known, _)| *known == key) {
            *known += time;
        } else if self.times.len() < MOST {
            self.times.push((key, time));
        } else if let Some(smallest) = self.times.iter_mut().min_by_key(|(_, time)| *time) {
            // The newest gets a place, or one that comes late could never grow.
            self.others += smallest.1;
            *smallest = (key, time);
        }
    }

    /// All keys that have a place, most first.
    pub fn sorted(&self) -> Vec<(Key, u64)> {
        let mut times = self.times.clone();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        times
    }

    /// The time of those that have none.
    pub fn others(&self) -> u64 {
        self.others
    }

    pub fn total(&self) -> u64 {
        self.others + self.times.iter().map(|(_, time)| time).sum::<u64>()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_most_are_kept_and_nothing_is_lost() {
        let mut tally = Tally::<_, 2>::default();
        for (key, time) in [('a', 5), ('b', 2), ('a', 1), ('c', 4), ('d', 3), ('c', 9)] {
            tally.add(key, time);
        }
        assert_eq!(tally.sorted(), [('c', 9), ('a', 6)]);
        assert_eq!((tally.others(), tally.total()), (9, 24));
    }
}
