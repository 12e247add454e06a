//! Flow control: when a source is to pause, since too much of what it sent waits, and when it may go on.

/// The water marks of one direction, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaterMarks {
    pub high: usize,
    pub low: usize,
}

impl WaterMarks {
    pub const fn with_high(high: usize) -> Self {
        Self { high, low: high / 4 }
    }

    /// The marks that somebody asks for. Of two that are None the high one is `default`; the low one is a quarter of
    /// the high.
    ///
    /// # Errors
    /// Both marks, unless `high >= low >= 0`.
    pub fn new(high: Option<i64>, low: Option<i64>, default: usize) -> Result<Self, (i64, i64)> {
        let high = high.unwrap_or_else(|| low.map_or(default as i64, |low| low.saturating_mul(4)));
        let low = low.unwrap_or_else(|| high.div_euclid(4));
        match (usize::try_from(high), usize::try_from(low)) {
            (Ok(high), Ok(low)) if high >= low => Ok(Self { high, low }),
            _ => Err((high, low)),
        }
    }
}

/// The point at which a source pauses: asyncio's sockets and its TLS differ in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// It pauses when more waits than the high mark.
    AboveHigh,
    /// It pauses when as much waits as the high mark.
    AtHigh,
}

/// The flow of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub marks: WaterMarks,
    /// True while the source has been told to pause.
    pub is_paused: bool,
    pauses: Pauses,
}

impl Flow {
    pub const fn new(high: usize, pauses: Pauses) -> Self {
        Self { marks: WaterMarks::with_high(high), is_paused: false, pauses }
    }

    /// True if the source is to be told to pause now, when so much waits.
    pub fn must_pause(&mut self, size: usize) -> bool {
        let is_full = match self.pauses {
            Pauses::AboveHigh => size > self.marks.high,
            Pauses::AtHigh => size >= self.marks.high,
        };
        is_full && !std::mem::replace(&mut self.is_paused, true)
    }

    /// True if the source is to be told to go on now, when so much waits.
    pub fn may_resume(&mut self, size: usize) -> bool {
        self.is_paused && size <= self.marks.low && {
            self.is_paused = false;
            true
        }
    }

    /// The order for the source, when so much waits: to pause (true), to go on (false), or none.
    pub fn change(&mut self, size: usize) -> Option<bool> {
        if self.is_paused { self.may_resume(size).then_some(false) } else { self.must_pause(size).then_some(true) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_that_are_left_out_follow_from_the_other_one() {
        for (high, low, marks) in [
            (None, None, Ok((1000, 250))),
            (Some(100), None, Ok((100, 25))),
            (None, Some(100), Ok((400, 100))),
            (Some(100), Some(100), Ok((100, 100))),
            (Some(0), None, Ok((0, 0))),
            (None, Some(i64::MAX), Ok((i64::MAX as usize, i64::MAX as usize))),
            (Some(1), Some(2), Err((1, 2))),
            (Some(-1), None, Err((-1, -1))),
            (None, Some(-2), Err((-8, -2))),
        ] {
            let marks = marks.map(|(high, low)| WaterMarks { high, low });
            assert_eq!(WaterMarks::new(high, low, 1000), marks, "{high:?} {low:?}");
        }
    }

    #[test]
    fn a_socket_pauses_above_the_high_mark_and_tls_at_it() {
        let (mut socket, mut tls) = (Flow::new(100, Pauses::AboveHigh), Flow::new(100, Pauses::AtHigh));
        assert_eq!((socket.change(100), tls.change(99)), (None, None));
        assert_eq!((socket.change(101), tls.change(100)), (Some(true), Some(true)));
        assert_eq!((socket.change(1000), tls.change(1000)), (None, None), "each is told once");
        assert_eq!((socket.change(26), tls.change(26)), (None, None));
        assert_eq!((socket.change(25), tls.change(25)), (Some(false), Some(false)));
    }

    proptest! {
        /// A source is told to pause and to go on in turns, and is paused whenever more waits than the high mark.
        #[test]
        fn a_source_is_told_in_turns(
            high in 0usize..50, at_mark in any::<bool>(), sizes in prop::collection::vec(0usize..60, 1..100)
        ) {
            let mut flow = Flow::new(high, if at_mark { Pauses::AtHigh } else { Pauses::AboveHigh });
            let mut told = false;
            for size in sizes {
                if let Some(pause) = flow.change(size) {
                    prop_assert_ne!(pause, told);
                    told = pause;
                }
                prop_assert_eq!(flow.is_paused, told);
                prop_assert!(told || size <= high);
                prop_assert!(!told || size > flow.marks.low || high == flow.marks.low);
            }
        }
    }
}
