//! The reason why a sleep ended.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody called `unpark`.
    Unparked,
    /// The time was up.
    TimedOut,
    /// A signal arrived, or the platform cannot tell: the sleeper looks at its condition again.
    Interrupted,
}
