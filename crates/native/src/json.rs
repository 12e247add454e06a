//! JSON: as much as reports and pages that are written without the GIL need.

use std::fmt::{self, Display, Formatter, Write as _};

pub enum Json {
    Null,
    True,
    Whole(u64),
    /// A number; null if it is none.
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Json {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Display for Json {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(formatter, "{number}"),
            Self::Number(number) if number.is_finite() => write!(formatter, "{number}"),
            Self::Null | Self::Number(_) => formatter.write_str("null"),
            Self::True => formatter.write_str("true"),
            Self::Text(text) => write_text(text, formatter),
            Self::List(items) => {
                let mut begin = '[';
                for item in items {
                    write!(formatter, "{begin}{item}")?;
                    begin = ',';
                }
                formatter.write_str(if items.is_empty() { "[]" } else { "]" })
            }
            Self::Object(items) => {
                let mut begin = '{';
                for (name, item) in items {
                    formatter.write_char(begin)?;
                    write_text(name, formatter)?;
                    write!(formatter, ":{item}")?;
                    begin = ',';
                }
                formatter.write_str(if items.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

fn write_text(text: &str, formatter: &mut Formatter<'_>) -> fmt::Result {
    formatter.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(formatter, "\\{character}")?,
            control if u32::from(control) < 0x20 => write!(formatter, "\\u{:04x}", u32::from(control))?,
            other => formatter.write_char(other)?,
        }
    }
    formatter.write_char('"')
}
