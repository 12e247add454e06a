//! Where records begin and end, seen from outside: whether OpenSSL has a whole one to decrypt.
//!
//! A read that finds only a part of a record raises an exception, and a peer behind a network sends parts nearly always.
//! This only counts. It may count more than there is, since OpenSSL reads some records for itself, and never less: so the
//! worst that can come of it is a read in vain. Bytes that do not look like TLS end the counting: OpenSSL then says what is
//! wrong with them.

/// A record's header: type, version, length (RFC 8446, 5.1).
const HEADER: usize = 5;
/// The longest record that any version allows.
const LONGEST: usize = 16 * 1024 + 2048;

/// The records that have arrived and are not read yet.
#[derive(Debug, Default)]
pub struct Framing {
    header: [u8; HEADER],
    /// How many bytes of the header are there.
    header_filled: usize,
    /// How many bytes of the record's body are missing.
    missing: usize,
    /// How long its body is.
    length: usize,
    /// Whole records, at the most.
    records: usize,
    /// How many bytes of text they have, at the most.
    bytes: usize,
    /// It is not known what has arrived.
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

    /// How many bytes of text there can be. None: not known.
    pub fn text(&self) -> Option<usize> {
        (!self.lost).then_some(self.bytes)
    }
}
