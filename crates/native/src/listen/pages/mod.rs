//! The pages that are served, and which of them answers a request.

mod live;

use super::http::{Answer, Request};

const INDEX: &str = "there is /live, /stacks, /metrics, /state, and / for a browser";

/// Answers a request. `limit`: nanoseconds that a loop may be blocked for; `open`: other machines can ask.
pub fn answer(request: &Request, limit: u64, open: bool) -> Answer {
    match request.path.as_str() {
        "/live" => live::answer(request, limit),
        "/state" | "/stacks" | "/" if open => Answer::text(403, "other machines are told /live and /metrics only"),
        _ => Answer::text(404, INDEX),
    }
}
