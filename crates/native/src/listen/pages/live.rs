//! `/live`: is every loop able to go on?

use crate::clock;
use crate::listen::http::{Answer, Request};
use crate::listen::runs;

/// 200 as long as no loop has stood still for longer than `limit` nanoseconds, or than the request says in seconds; 503
/// with what is known of it from then on.
pub fn answer(request: &Request, limit: u64) -> Answer {
    let limit = match request.value("limit").map(str::parse::<f64>) {
        None => limit,
        Some(Ok(seconds)) if seconds >= 0.0 => clock::from_seconds(seconds),
        Some(_) => return Answer::text(400, "limit is a number of seconds: /live?limit=10"),
    };
    let stops = runs::all().into_iter().filter_map(|run| Some((run.stop()?, run.name)));
    let blocked: Vec<_> = stops
        .filter(|(stop, _)| stop.lasts > limit)
        .map(|(stop, name)| {
            format!("the loop of {name} has been blocked for {:.1} s: {}", clock::to_seconds(stop.lasts), stop.why)
        })
        .collect();
    if blocked.is_empty() { Answer::text(200, "ok") } else { Answer::text(503, blocked.join("\n")) }
}
