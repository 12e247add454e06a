//! `/stacks`: where each thread of the process is.

use crate::listen::http::Answer;

pub fn answer() -> Answer {
    Answer::text(503, "stacks cannot be read here yet")
}
