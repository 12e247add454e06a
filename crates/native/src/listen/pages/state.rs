//! `/state`: what the page and `everloop top` show, as JSON.

use crate::blocked_lines::{self, BlockedLine};
use crate::clock;
use crate::json::Json;
use crate::listen::http::Answer;
use crate::listen::runs::{self, Run};
use crate::statistics::{counts, histograms, summary, times};
use crate::{pool, watchdog};
use everloop_core::meter::Counts;
use everloop_core::sys;

pub fn answer() -> Answer {
    let state = Json::Object(vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned().into()),
        ("pid", u64::from(std::process::id()).into()),
        ("time", clock::to_seconds(clock::now()).into()),
        ("threads", sys::thread_numbers().map(|numbers| numbers.len() as u64).into()),
        ("starved_seconds", clock::to_seconds(watchdog::starved()).into()),
        ("pool", of_pools()),
        ("loops", Json::List(runs::all().iter().map(of_loop).collect())),
        ("blocked_lines", Json::List(blocked_lines::all().into_iter().map(of_line).collect())),
    ]);
    Answer { status: 200, kind: "application/json", body: format!("{state}\n") }
}

fn of_pools() -> Json {
    let pools = pool::totals();
    let counts =
        [("threads", pools.threads), ("idle", pools.idle), ("running", pools.running), ("queued", pools.queued)];
    Json::Object(counts.into_iter().map(|(name, count)| (name, (count as u64).into())).collect())
}

fn of_loop(run: &Run) -> Json {
    let shared = &*run.shared;
    let stop = run.stop();
    let mut told: Vec<(&'static str, Json)> = vec![
        ("name", run.name.clone().into()),
        ("asleep", u64::from(shared.baton.is_polling()).into()),
        ("blocked_seconds", stop.as_ref().map(|stop| clock::to_seconds(stop.lasts)).into()),
        ("blocked_by", stop.map(|stop| stop.why).into()),
    ];
    told.extend(counts(shared).map(|(name, count)| (name, count.into())));
    told.extend(times(shared).map(|(name, number)| (name, number.into())));
    told.extend(histograms(shared).map(|(name, counts)| (name, of_histogram(&counts))));
    Json::Object(told)
}

fn of_histogram(counts: &Counts) -> Json {
    let mut told: Vec<(&'static str, Json)> = vec![("count", counts.count().into())];
    told.extend(summary(counts).map(|(name, seconds)| (name, seconds.into())));
    // The bounds in seconds, each with the number of durations below it: two of these tell of the time between.
    let buckets = counts.cumulative().map(|(end, count)| Json::List(vec![clock::to_seconds(end).into(), count.into()]));
    told.push(("buckets", Json::List(buckets.collect())));
    Json::Object(told)
}

fn of_line(line: BlockedLine) -> Json {
    Json::Object(vec![
        ("file", line.file.into()),
        ("line", u64::from(line.line).into()),
        ("function", line.function.into()),
        ("cause", line.cause.into()),
        ("count", line.count.into()),
        ("seconds", clock::to_seconds(line.nanoseconds).into()),
    ])
}
