//! Where an instruction stands in the source: the table of a code object (Objects/locations.md of CPython).
//!
//! The table is a list of entries, each for up to eight code units. The first byte of an entry has its highest bit set,
//! and tells the kind and the number of units; those that follow have it clear.

/// The place of an instruction in its file. Lines count from 1, columns from 0, in bytes of UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub line: u32,
    pub end_line: u32,
    pub column: u32,
    pub end_column: u32,
}

impl Span {
    fn has_width(self) -> bool {
        (self.line, self.column) != (self.end_line, self.end_column)
    }
}

/// The line of a code unit, 0 where it has none, and the place where the table tells it. None: the table ends before.
///
/// A function that has just been called stands before its body, at an instruction that has the line of `def` and no
/// width: then the place is that of the body's first instruction.
pub fn locate(table: &[u8], first_line: i32, unit: usize) -> Option<(u32, Option<Span>)> {
    let mut bytes = table.iter().copied().peekable();
    let (mut line, mut units, mut unit) = (first_line, 0usize, unit);
    loop {
        let head = bytes.next()?;
        units += usize::from(head & 7) + 1;
        let kind = head >> 3 & 15;
        let mut rest = std::iter::from_fn(|| bytes.next_if(|byte| byte & 128 == 0));
        // The end of the entry's lines, counted from the first one, and its columns.
        let place = match kind {
            0..=9 => rest.next().map(|byte| {
                let start = u32::from(kind) << 3 | u32::from(byte >> 4 & 7);
                (0, start, start + u32::from(byte & 15))
            }),
            10..=12 => {
                line = line.wrapping_add(i32::from(kind) - 10);
                rest.next().zip(rest.next()).map(|(start, end)| (0, u32::from(start), u32::from(end)))
            }
            13 => {
                line = line.wrapping_add(signed(&mut rest));
                None
            }
            14 => {
                line = line.wrapping_add(signed(&mut rest));
                let (lines, start, end) = (number(&mut rest), number(&mut rest), number(&mut rest));
                // Columns are told as one more than they are, and 0 for none.
                start.checked_sub(1).zip(end.checked_sub(1)).map(|(start, end)| (lines, start, end))
            }
            _ => None,
        };
        rest.for_each(drop);
        if unit < units {
            let line = u32::try_from(line).unwrap_or(0);
            let span = |(lines, column, end_column)| {
                Some(Span { line, end_line: line.checked_add(lines)?, column, end_column })
            };
            let found = if kind == 15 { (0, None) } else { (line, place.and_then(span)) };
            if found.1.is_none_or(Span::has_width) || bytes.peek().is_none() {
                return Some(found);
            }
            unit = units;
        }
    }
}

/// A number, six bits a byte, the lowest ones first; the seventh bit says that there is more.
fn number(bytes: &mut impl Iterator<Item = u8>) -> u32 {
    let (mut value, mut shift) = (0u32, 0);
    for byte in bytes {
        value |= u32::from(byte & 63).checked_shl(shift).unwrap_or(0);
        shift += 6;
        if byte & 64 == 0 {
            break;
        }
    }
    value
}

/// A number with a sign, which is its lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> i32 {
    let value = number(bytes);
    let size = (value >> 1).cast_signed();
    if value & 1 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(line: u32, end_line: u32, column: u32, end_column: u32) -> (u32, Option<Span>) {
        (line, Some(Span { line, end_line, column, end_column }))
    }

    #[test]
    fn who_has_just_been_called_stands_at_the_first_instruction_of_the_body() {
        let resume = [0x80, 0x00]; // one unit on the first line, without width
        let body = [0x80 | 12 << 3 | 1, 4, 9]; // two units, two lines on
        let table = [resume.as_slice(), &body].concat();
        let found: Vec<_> = (0..4).map(|unit| locate(&table, 7, unit)).collect();
        assert_eq!(found, [Some(span(9, 9, 4, 9)), Some(span(9, 9, 4, 9)), Some(span(9, 9, 4, 9)), None]);
        assert_eq!(locate(&resume, 7, 0), Some(span(7, 7, 0, 0)), "there is none");
    }

    #[test]
    fn each_kind_of_entry_is_read() {
        let table = [
            0x80,
            0x53, // one unit on the first line, columns 5 to 8
            0x80 | 9 << 3 | 1,
            0x7f, // two units, columns 79 to 94
            0x80 | 10 << 3,
            100,
            120, // the same line, columns of a byte each
            0x80 | 12 << 3,
            4,
            9, // two lines on
            0x80 | 13 << 3,
            0x03,           // one line back, without columns
            0x80 | 15 << 3, // no place at all
            0x80 | 14 << 3 | 2,
            0x40 | 8,
            0x03,
            0x02,
            0x05,
            0x40 | 1,
            0x02, // 100 lines on; over two more
            0x80 | 14 << 3,
            0x00,
            0x00,
            0x00,
            0x00, // columns that nobody knows
        ]; // fmt: skip
        let expected = [
            span(7, 7, 5, 8),
            span(7, 7, 79, 94),
            span(7, 7, 79, 94),
            span(7, 7, 100, 120),
            span(9, 9, 4, 9),
            (8, None),
            (0, None),
            span(108, 110, 4, 128),
            span(108, 110, 4, 128),
            span(108, 110, 4, 128),
            (108, None),
        ];
        for (unit, place) in expected.into_iter().enumerate() {
            assert_eq!(locate(&table, 7, unit), Some(place), "unit {unit}");
        }
        assert_eq!(locate(&table, 7, expected.len()), None);
    }

    #[test]
    fn what_a_table_cannot_mean_is_no_place() {
        assert_eq!(locate(&[], 1, 0), None);
        // Cut off.
        assert_eq!(locate(&[0x80], 1, 0), Some((1, None)));
        // Before the first line of the file.
        assert_eq!(locate(&[0x80 | 13 << 3, 0x0b], 3, 0), Some((0, None)));
    }

    proptest! {
        #[test]
        fn no_table_is_too_wild(table: Vec<u8>, first in any::<i32>(), unit in 0usize..100) {
            let _any = locate(&table, first, unit);
        }
    }
}
