//! Counts TLS's records from outside, to tell whether OpenSSL has a whole one to decrypt.
//!
//! A read that finds only a part of a record raises an exception, and a peer behind a network sends parts nearly
//! always. The count may be higher than what is there, since OpenSSL reads some records for itself, and is never lower:
//! so the worst that can come of it is a read in vain. Bytes that do not look like TLS end the counting: OpenSSL then
//! says what is wrong with them.

/// A record's header: type, version, length (RFC 8446, 5.1).
const HEADER: usize = 5;
/// The longest record that any version allows.
const LONGEST: usize = 16 * 1024 + 2048;

/// The records that have arrived and are not read yet.
#[derive(Debug, Default)]
pub struct Framing {
    header: [u8; HEADER],
    /// The number of bytes of the header that are there.
    header_filled: usize,
    /// The number of bytes of the record's body that are missing.
    missing: usize,
    /// The length of its body.
    length: usize,
    /// Whole records, at the most.
    records: usize,
    /// The number of bytes of text in them, at the most.
    bytes: usize,
    /// True if it is not known what has arrived.
    lost: bool,
}

impl Framing {
    /// Takes note of bytes that OpenSSL is given.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.missing > 0 {
                let taken = self.missing.min(bytes.len());
                self.missing -= taken;
                bytes = &bytes[taken..];
            } else {
                let taken = (HEADER - self.header_filled).min(bytes.len());
                self.header[self.header_filled..][..taken].copy_from_slice(&bytes[..taken]);
                self.header_filled += taken;
                bytes = &bytes[taken..];
                if self.header_filled < HEADER {
                    return;
                }
                self.begin_record();
            }
            if self.missing == 0 && self.header_filled == HEADER {
                self.end_record();
            }
        }
    }

    fn begin_record(&mut self) {
        let [kind, major, _, high, low] = self.header;
        self.length = usize::from(high) << 8 | usize::from(low);
        self.missing = self.length;
        self.lost = !(20..=24).contains(&kind) || major != 3 || self.length > LONGEST;
    }

    fn end_record(&mut self) {
        self.header_filled = 0;
        self.records += 1;
        self.bytes += self.length;
    }

    /// Gives up: somebody else gives OpenSSL bytes too.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// A record was read to its end: it had so much text.
    pub fn read(&mut self, text: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = if self.records == 0 { 0 } else { self.bytes.saturating_sub(text) };
    }

    /// OpenSSL says that there is nothing to read.
    pub fn read_all(&mut self) {
        self.records = 0;
        self.bytes = 0;
    }

    /// The number of bytes of text that there can be. None: it is not known.
    pub fn text(&self) -> Option<usize> {
        (!self.lost).then_some(self.bytes)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record of application data with a body of so many bytes.
    fn record(length: usize) -> Vec<u8> {
        let mut record = vec![23, 3, 3, (length >> 8) as u8, length as u8];
        record.resize(HEADER + length, 0xAA);
        record
    }

    fn fed(bytes: &[u8]) -> Framing {
        let mut framing = Framing::default();
        framing.feed(bytes);
        framing
    }

    #[test]
    fn a_part_of_a_record_holds_no_text() {
        let record = record(10);
        for end in 0..record.len() {
            assert_eq!(fed(&record[..end]).text(), Some(0), "{end} bytes");
        }
        assert_eq!(fed(&record).text(), Some(10));
    }

    #[test]
    fn what_is_read_counts_no_more() {
        let mut framing = fed(&[record(10), record(20)].concat());
        assert_eq!(framing.text(), Some(30));
        framing.read(8);
        assert_eq!(framing.text(), Some(22), "at the most: the padding of the first one counts still");
        framing.read(18);
        assert_eq!(framing.text(), Some(0), "with the last record all is read");
        framing.feed(&record(5));
        framing.read_all();
        assert_eq!(framing.text(), Some(0));
    }

    #[test]
    fn bytes_that_do_not_look_like_tls_end_the_counting() {
        let too_long = [&[23, 3, 3][..], &((LONGEST + 1) as u16).to_be_bytes()].concat();
        for bytes in [b"GET /".to_vec(), vec![23, 2, 0, 0, 1], vec![19, 3, 3, 0, 1], vec![25, 3, 3, 0, 1], too_long] {
            let mut framing = fed(&[record(10), bytes].concat());
            assert_eq!(framing.text(), None);
            framing.feed(&record(10));
            assert_eq!(framing.text(), None);
        }
        let mut framing = Framing::default();
        framing.lose();
        assert_eq!(framing.text(), None);
    }

    proptest! {
        /// However the bytes are cut, all whole records count, and nothing else.
        #[test]
        fn whole_records_count_however_they_arrive(
            lengths in prop::collection::vec(0usize..60, 1..20), cut in 1usize..50, missing in 0usize..100
        ) {
            let records: Vec<_> = lengths.iter().map(|length| record(*length)).collect();
            let all = records.concat();
            let arrived = &all[..all.len().saturating_sub(missing)];
            let mut framing = Framing::default();
            arrived.chunks(cut).for_each(|bytes| framing.feed(bytes));
            let (mut end, mut text) = (0, 0);
            for length in lengths {
                end += HEADER + length;
                text += if end <= arrived.len() { length } else { 0 };
            }
            prop_assert_eq!(framing.text(), Some(text));
        }

        /// Any bytes at all are counted without a panic, the same in one piece and one by one.
        #[test]
        fn one_byte_at_a_time_is_as_good_as_all_at_once(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framing = Framing::default();
            bytes.chunks(1).for_each(|byte| framing.feed(byte));
            prop_assert_eq!(framing.text(), fed(&bytes).text());
        }
    }
}
