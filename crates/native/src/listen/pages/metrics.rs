//! `/metrics`: the numbers, in the text format 0.0.4 of Prometheus.
//!
//! The names follow OpenTelemetry's `nodejs.eventloop.*`, where it has one: `utilization`, `time` by state, `delay`.

use crate::blocked_lines::{self, BlockedLine};
use crate::clock;
use crate::listen::http::Answer;
use crate::listen::runs::{self, Run};
use crate::statistics::{counts, histograms, summary, times};
use crate::{pool, watchdog};
use everloop_core::meter::Counts;
use everloop_core::sys;
use std::fmt::{Display, Write as _};
use std::iter;

const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counts of a loop that only grow, and those that come and go, with their names in `statistics()`.
const TOTALS: [(&str, &str); 8] = [
    ("steps", "Callbacks and steps of tasks that have begun"),
    ("turns", "Turns of the loop"),
    ("releases", "Steps that went aside because they asked for it"),
    ("rescues", "Steps that were put aside as they blocked"),
    ("learned", "Steps that went aside where one had blocked before"),
    ("divided", "Slices of steps that compute"),
    ("standstills", "Steps that went aside while no thread was free to go on"),
    ("baton_waits", "Steps that came back and had to wait for another one"),
];
const GAUGES: [(&str, &str); 2] = [
    ("aside", "Steps that are aside now"),
    ("relief_threads", "Threads that turn the loop while steps are aside, or wait to do so"),
];
/// The states of a loop's time: the label, and the name in `statistics()`.
const STATES: [(&str, &str); 3] =
    [("active", "busy_seconds"), ("idle", "idle_seconds"), ("gil_wait", "gil_wait_seconds")];

/// A page that is being written.
#[derive(Default)]
struct Page(String);

impl Page {
    /// The lines of one metric: each with its suffix, its labels, and its value.
    fn write<V: Display>(&mut self, name: &str, kind: &str, help: &str, lines: impl Iterator<Item = (String, V)>) {
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            let _ = writeln!(self.0, "# HELP everloop_{name} {help}.\n# TYPE everloop_{name} {kind}");
        }
        for (labels, value) in lines {
            let _ = writeln!(self.0, "everloop_{name}{labels} {value}");
        }
    }

    fn write_histogram(&mut self, name: &str, help: &str, of_loops: &[(String, Counts)]) {
        let bounds = |(of, counts): &(String, Counts)| {
            let mut lines: Vec<_> = counts
                .cumulative()
                .map(|(end, count)| (format!("_bucket{{loop={of},le=\"{}\"}}", clock::to_seconds(end)), count as f64))
                .collect();
            lines.pop(); // what is longer than can be told apart is counted there, too
            let count = counts.count() as f64;
            lines.push((format!("_bucket{{loop={of},le=\"+Inf\"}}"), count));
            lines.push((format!("_sum{{loop={of}}}"), clock::to_seconds(counts.total)));
            lines.push((format!("_count{{loop={of}}}"), count));
            lines
        };
        self.write(name, "histogram", help, of_loops.iter().flat_map(bounds));
    }
}

pub fn answer() -> Answer {
    let runs: Vec<_> = runs::all().into_iter().map(|run| (quoted(&run.name), run)).collect();
    let of_loop = |of: &str| format!("{{loop={of}}}");
    let mut page = Page::default();
    let info = [(format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1)];
    page.write("info", "gauge", "The version of everloop", info.into_iter());

    let named = |name: &'static str| {
        let value = move |run: &Run| {
            counts(&run.shared).into_iter().find_map(|(known, count)| (known == name).then_some(count))
        };
        runs.iter().filter_map(move |(of, run)| Some((of_loop(of), value(run)?)))
    };
    for (name, help) in TOTALS {
        page.write(&format!("{name}_total"), "counter", help, named(name));
    }
    for (name, help) in GAUGES {
        page.write(name, "gauge", help, named(name));
    }

    let share = |run: &Run, name: &str| {
        times(&run.shared).into_iter().find_map(|(known, share)| (known == name).then_some(share))
    };
    let states = runs.iter().flat_map(|(of, run)| {
        STATES.map(|(state, name)| (format!("{{loop={of},state=\"{state}\"}}"), share(run, name).unwrap_or(0.0)))
    });
    page.write("time_seconds_total", "counter", "What the time of the loop went into", states);
    let used = runs.iter().map(|(of, run)| (of_loop(of), share(run, "utilization").unwrap_or(0.0)));
    page.write("utilization", "gauge", "The share of its time in which the loop was not idle", used);
    let blocked =
        runs.iter().map(|(of, run)| (of_loop(of), run.stop().map_or(0.0, |stop| clock::to_seconds(stop.lasts))));
    page.write(
        "blocked_now_seconds",
        "gauge",
        "For how long the step that runs has kept the loop from going on",
        blocked,
    );

    let [turns, delays] = [0, 1].map(|which| -> Vec<_> {
        let counts = |run: &Run| histograms(&run.shared).into_iter().nth(which).map(|(_, counts)| counts);
        runs.iter().filter_map(|(of, run)| Some((of.clone(), counts(run)?))).collect()
    });
    page.write_histogram(
        "turn_seconds",
        "How long the loop was busy from one look at files and the clock to the next",
        &turns,
    );
    page.write_histogram("delay_seconds", "How late the loop came to what was due", &delays);
    for which in ["min", "mean", "p50", "p90", "p99", "max"] {
        let value = |counts: &Counts| {
            summary(counts).into_iter().find_map(|(name, seconds)| (name == which).then_some(seconds))
        };
        let lines = delays.iter().filter_map(|(of, counts)| Some((of_loop(of), value(counts)?)));
        page.write(&format!("delay_{which}_seconds"), "gauge", "The same since the loop was made", lines);
    }

    let lines = blocked_lines::all();
    let seconds = lines.iter().map(|line| (of_line(line), clock::to_seconds(line.nanoseconds)));
    page.write("blocked_seconds_total", "counter", "For how long steps have blocked at a line", seconds);
    page.write(
        "blocked_total",
        "counter",
        "How often steps have blocked at a line",
        lines.iter().map(|line| (of_line(line), line.count)),
    );

    let nothing = String::new;
    let starved = [(nothing(), clock::to_seconds(watchdog::starved()))];
    page.write(
        "starved_seconds_total",
        "counter",
        "For how long the host gave the process no processor",
        starved.into_iter(),
    );
    let pools = pool::totals();
    let counts = [
        ("threads", pools.threads, "Threads of executors"),
        ("idle", pools.idle, "Threads of executors that have nothing to do"),
        ("running", pools.running, "Calls that run and take a slot of an executor"),
        ("queued", pools.queued, "Calls that wait for a thread"),
    ];
    for (name, count, help) in counts {
        page.write(&format!("pool_{name}"), "gauge", help, iter::once((nothing(), count)));
    }
    let threads = sys::thread_numbers().map(|numbers| (nothing(), numbers.len()));
    page.write("threads", "gauge", "Threads of the process", threads.into_iter());
    Answer { status: 200, kind: KIND, body: page.0 }
}

fn of_line(line: &BlockedLine) -> String {
    let BlockedLine { file, line, function, cause, .. } = line;
    let [file, function, cause] = [file, function, cause].map(|text| quoted(text));
    format!("{{file={file},line=\"{line}\",function={function},cause={cause}}}")
}

/// The value of a label.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
