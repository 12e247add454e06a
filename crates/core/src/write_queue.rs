//! Bytes that a transport could not send at once: pieces in order, the first of them perhaps sent in part.
//!
//! Pure bookkeeping: the transport shows [`slices`](WriteQueue::slices) to the kernel and says with
//! [`advance`](WriteQueue::advance) how much it took. Pieces that are done are given back, because dropping one may run
//! foreign code.

use std::collections::VecDeque;
use std::io::IoSlice;

/// The number of pieces that one system call may take: the kernel's limit (UIO_MAXIOV, `man 2 writev`).
const MOST_SLICES: usize = 1024;

/// Pieces of bytes in the order in which they are to be sent.
pub struct WriteQueue<T> {
    pieces: VecDeque<T>,
    /// The number of bytes of the first piece that are sent.
    sent: usize,
    /// Bytes that are not sent.
    len: usize,
}

impl<T> Default for WriteQueue<T> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), sent: 0, len: 0 }
    }
}

impl<T: AsRef<[u8]>> WriteQueue<T> {
    /// The number of bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece at the end; an empty one is given back at once.
    pub fn push(&mut self, piece: T) -> Option<T> {
        let len = piece.as_ref().len();
        if len == 0 {
            return Some(piece);
        }
        self.len += len;
        self.pieces.push_back(piece);
        None
    }

    /// The bytes that wait, as far as one system call can take it.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.sent;
        self.pieces
            .iter()
            .take(MOST_SLICES)
            .map(|piece| IoSlice::new(&piece.as_ref()[std::mem::take(&mut skip)..]))
            .collect()
    }

    /// `count` more bytes are sent: gives back the pieces that are done. Never more than was shown.
    pub fn advance(&mut self, count: usize) -> Vec<T> {
        assert!(count <= self.len, "the kernel takes no more than it was shown");
        self.len -= count;
        self.sent += count;
        let mut done = Vec::new();
        while let Some(first) = self.pieces.front().map(|piece| piece.as_ref().len())
            && first <= self.sent
        {
            self.sent -= first;
            done.extend(self.pieces.pop_front());
        }
        done
    }

    /// Gives up on what waits.
    pub fn take_all(&mut self) -> VecDeque<T> {
        (self.sent, self.len) = (0, 0);
        std::mem::take(&mut self.pieces)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_piece_sent_in_part_goes_on_where_it_stopped() {
        let mut queue = WriteQueue::default();
        queue.push("hello ");
        queue.push("world");
        assert_eq!(queue.advance(8), ["hello "]);
        assert_eq!(queue.len(), 3);
        assert_eq!(&*queue.slices()[0], b"rld");
        assert_eq!(queue.advance(3), ["world"]);
        assert!(queue.is_empty());
        assert!(queue.slices().is_empty());
    }

    #[test]
    fn an_empty_piece_does_not_wait() {
        let mut queue = WriteQueue::default();
        assert_eq!(queue.push(""), Some(""));
        assert!(queue.is_empty());
    }

    #[test]
    fn one_call_takes_no_more_pieces_than_the_kernel_allows() {
        let mut queue = WriteQueue::default();
        (0..MOST_SLICES + 5).for_each(|_| assert!(queue.push([1u8]).is_none()));
        assert_eq!(queue.slices().len(), MOST_SLICES);
        assert_eq!(queue.advance(MOST_SLICES).len(), MOST_SLICES);
        assert_eq!(queue.slices().len(), 5);
    }

    proptest! {
        /// Whatever the kernel takes at a time, the bytes arrive in order, once each, and every piece is given back
        /// once.
        #[test]
        fn bytes_arrive_in_order_whatever_the_kernel_takes(
            program in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0usize..80, 0u8..20), 1..60)
        ) {
            let mut queue: WriteQueue<Vec<u8>> = WriteQueue::default();
            let (mut written, mut arrived, mut given_back, mut pushed) = (Vec::new(), Vec::new(), 0, 0);
            for (piece, most, dice) in program {
                written.extend_from_slice(&piece);
                pushed += 1;
                given_back += usize::from(queue.push(piece).is_some());
                let shown: Vec<u8> = queue.slices().iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert_eq!(shown.len(), queue.len());
                let taken = most.min(shown.len());
                arrived.extend_from_slice(&shown[..taken]);
                given_back += queue.advance(taken).len();
                prop_assert_eq!(&arrived[..], &written[..arrived.len()]);
                prop_assert_eq!(queue.len(), written.len() - arrived.len());
                if dice == 0 {
                    given_back += queue.take_all().len();
                    prop_assert!(queue.is_empty() && queue.slices().is_empty());
                    arrived.clone_from(&written);
                }
            }
            given_back += queue.take_all().len();
            prop_assert_eq!(given_back, pushed);
        }
    }
}
