//! The line that tells of one request: the access log.
//!
//! 1. To the directives of the log it is an event like any other: level `info`, target
//!    `daypass::access`.
//! 2. Where people watch (a terminal), and where no log was [set up](super::log::init), it is such an
//!    event. Elsewhere it is written straight, byte for byte as the library writes that event; through
//!    the library a line costs half as much as passing its request on.
//! 3. What is written straight goes by a [`Sink`]: within a tenth of a second, and before the process
//!    ends; a reader that is too slow loses lines, never time.

use std::{
    cell::Cell,
    io::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use tracing::Level;

use super::{LogFormat, sink::Sink, trace};
use crate::base::clock::{Clock, SystemClock, Timestamp};

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What is told of a request. No header is, and of the query nothing.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// For whom, as the header had it.
    pub user: Option<&'a str>,
    /// Of which provider.
    pub provider: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path as the caller wrote it.
    pub path: Option<&'a str>,
    /// The answer's status.
    pub status: Option<u16>,
    /// Which token was sent, last.
    pub generation: Option<u64>,
    /// Whether it was sent once more.
    pub replayed: bool,
    /// The slug of the problem that it was answered with.
    pub problem: Option<&'static str>,
    /// The time spent waiting for tokens.
    pub wait_ms: u64,
    /// The time until the provider's head.
    pub upstream_ms: u64,
    /// The time until the end.
    pub total_ms: u64,
    /// Of the answer's body.
    pub bytes: u64,
    /// How it ended.
    pub outcome: &'static str,
}

/// Writes lines without the library.
struct Straight {
    sink: Sink,
    format: LogFormat,
}

/// What stands before a field's value, in each format.
struct Name {
    text: &'static str,
    json: &'static str,
}

/// A line in the making.
struct Writing<'a> {
    to: &'a mut Vec<u8>,
    format: LogFormat,
}

static STRAIGHT: OnceLock<Straight> = OnceLock::new();

/// From here on, lines are written straight to standard error, if that can be.
pub(super) fn write_straight(format: LogFormat) {
    if let Ok(sink) = Sink::start(io::stderr()) {
        // Set up twice, it stays as it is.
        let _twice = STRAIGHT.set(Straight { sink, format });
    }
}

/// Whether lines are written at all.
pub fn is_enabled() -> bool {
    // With its fields, which directives can name.
    tracing::enabled!(
        target: "daypass::access",
        Level::INFO,
        message, user, provider, method, path, status, generation, replayed, problem,
        wait_ms, upstream_ms, total_ms, bytes, outcome
    )
}

/// Writes `line`, if lines are written.
pub fn write(line: &Line<'_>) {
    match STRAIGHT.get() {
        None => event(line),
        Some(straight) if is_enabled() => {
            let now = SystemClock.since_epoch();
            let format = straight.format;
            straight
                .sink
                .put(|to| Writing { to, format }.line(now, line));
        }
        Some(_) => {}
    }
}

/// Has the last lines written; for the end of the process.
pub fn flush() {
    if let Some(straight) = STRAIGHT.get() {
        straight.sink.flush(LAST_LINES);
    }
}

/// How many lines were lost so far.
pub fn lost() -> u64 {
    STRAIGHT.get().map_or(0, |straight| straight.sink.lost())
}

fn event(line: &Line<'_>) {
    tracing::info!(
        target: "daypass::access",
        user = line.user,
        provider = line.provider,
        method = %line.method,
        path = line.path,
        status = line.status,
        generation = line.generation,
        replayed = line.replayed,
        problem = line.problem,
        wait_ms = line.wait_ms,
        upstream_ms = line.upstream_ms,
        total_ms = line.total_ms,
        bytes = line.bytes,
        outcome = line.outcome,
        "request"
    );
}

// === impl Name ===

impl Name {
    const USER: Self = Self::new(" user=", ",\"user\":");
    const PROVIDER: Self = Self::new(" provider=", ",\"provider\":");
    const METHOD: Self = Self::new(" method=", ",\"method\":");
    const PATH: Self = Self::new(" path=", ",\"path\":");
    const STATUS: Self = Self::new(" status=", ",\"status\":");
    const GENERATION: Self = Self::new(" generation=", ",\"generation\":");
    const REPLAYED: Self = Self::new(" replayed=", ",\"replayed\":");
    const PROBLEM: Self = Self::new(" problem=", ",\"problem\":");
    const WAIT: Self = Self::new(" wait_ms=", ",\"wait_ms\":");
    const UPSTREAM: Self = Self::new(" upstream_ms=", ",\"upstream_ms\":");
    const TOTAL: Self = Self::new(" total_ms=", ",\"total_ms\":");
    const BYTES: Self = Self::new(" bytes=", ",\"bytes\":");
    const OUTCOME: Self = Self::new(" outcome=", ",\"outcome\":");

    const fn new(text: &'static str, json: &'static str) -> Self {
        Self { text, json }
    }
}

// === impl Writing ===

impl Writing<'_> {
    fn line(mut self, now: Duration, line: &Line<'_>) {
        // More than most lines have.
        self.to.reserve(512);
        self.head(now);
        if let Some(user) = line.user {
            self.string(&Name::USER, user);
        }
        if let Some(provider) = line.provider {
            self.string(&Name::PROVIDER, provider);
        }
        self.word(&Name::METHOD, line.method);
        if let Some(path) = line.path {
            self.string(&Name::PATH, path);
        }
        if let Some(status) = line.status {
            self.number(&Name::STATUS, status.into());
        }
        if let Some(generation) = line.generation {
            self.number(&Name::GENERATION, generation);
        }
        self.name(&Name::REPLAYED);
        self.raw(if line.replayed { "true" } else { "false" });
        if let Some(problem) = line.problem {
            self.string(&Name::PROBLEM, problem);
        }
        self.number(&Name::WAIT, line.wait_ms);
        self.number(&Name::UPSTREAM, line.upstream_ms);
        self.number(&Name::TOTAL, line.total_ms);
        self.number(&Name::BYTES, line.bytes);
        self.string(&Name::OUTCOME, line.outcome);
        self.tail();
    }

    fn head(&mut self, now: Duration) {
        let (before, after) = match self.format {
            LogFormat::Text => ("", "  INFO daypass::access: request"),
            LogFormat::Json => (
                "{\"timestamp\":\"",
                "\",\"level\":\"INFO\",\"message\":\"request\"",
            ),
        };
        self.raw(before);
        stamp(self.to, now);
        self.raw(after);
    }

    fn tail(&mut self) {
        if self.format == LogFormat::Json {
            self.raw(",\"target\":\"daypass::access\"");
            if let Some(at) = trace::current_context() {
                let (trace_id, span_id) = (at.trace_id(), at.span_id());
                self.raw(",\"trace_id\":\"");
                self.raw(&trace_id);
                self.raw("\",\"span_id\":\"");
                self.raw(&span_id);
                self.raw("\"");
            }
            self.raw("}");
        }
        self.raw("\n");
    }

    /// A value that is quoted only in JSON.
    fn word(&mut self, name: &Name, value: &str) {
        match self.format {
            LogFormat::Json => self.string(name, value),
            LogFormat::Text => {
                self.name(name);
                self.raw(value);
            }
        }
    }

    fn string(&mut self, name: &Name, value: &str) {
        self.name(name);
        let harmless = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if value.bytes().all(harmless) {
            self.to.push(b'"');
            self.raw(value);
            self.to.push(b'"');
            return;
        }
        // Writing to memory does not fail.
        let _never = match self.format {
            LogFormat::Text => write!(self.to, "{value:?}"),
            LogFormat::Json => serde_json::to_writer(&mut *self.to, value).map_err(Into::into),
        };
    }

    fn number(&mut self, name: &Name, value: u64) {
        self.name(name);
        number(self.to, value);
    }

    fn name(&mut self, name: &Name) {
        self.raw(match self.format {
            LogFormat::Text => name.text,
            LogFormat::Json => name.json,
        });
    }

    fn raw(&mut self, text: &str) {
        self.to.extend_from_slice(text.as_bytes());
    }
}

thread_local! {
    /// The second that this thread wrote last, and how it is written, with the dot after it.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
}

/// Writes a time as RFC 3339 in microseconds. Its date is worked out once a second.
fn stamp(to: &mut Vec<u8>, now: Duration) {
    let (mut second, mut text) = SECOND.get();
    if second != now.as_secs() {
        second = now.as_secs();
        let whole = Timestamp::from_secs(second.cast_signed()).to_string();
        let Ok(whole) = <[u8; 20]>::try_from(whole.as_bytes()) else {
            // No clock of our days.
            to.extend_from_slice(whole.as_bytes());
            return;
        };
        text = whole;
        if let Some(zone) = text.last_mut() {
            *zone = b'.';
        }
        SECOND.set((second, text));
    }
    to.extend_from_slice(&text);
    to.extend_from_slice(&digits::<6>(now.subsec_micros().into()).0);
    to.push(b'Z');
}

fn number(to: &mut Vec<u8>, value: u64) {
    let (all, from) = digits::<20>(value);
    to.extend_from_slice(all.get(from..).unwrap_or(b"0"));
}

/// The last digits of `value`, and where the first is that is not a leading zero.
fn digits<const N: usize>(mut value: u64) -> ([u8; N], usize) {
    let mut all = [b'0'; N];
    let mut from = N.saturating_sub(1);
    for (at, digit) in all.iter_mut().enumerate().rev() {
        if value == 0 {
            break;
        }
        *digit += u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        from = at;
    }
    (all, from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use proptest::prelude::*;
    use tracing::dispatcher::with_default;

    use super::*;
    use crate::telemetry::{Config, log};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LINE: Line<'_> = Line {
        user: Some("u 1"),
        provider: Some("calcom"),
        method: "GET",
        path: Some("/calcom/v2/me"),
        status: Some(200),
        generation: Some(7),
        replayed: false,
        problem: None,
        wait_ms: 0,
        upstream_ms: 12,
        total_ms: 1_000,
        bytes: 18_446_744_073_709_551_615,
        outcome: "done",
    };

    /// What the library writes, and what is written straight.
    fn both(format: LogFormat, line: &Line<'_>) -> (String, String) {
        let memory = Memory::default();
        let writer = memory.clone();
        let config = Config {
            log: "info".to_owned(),
            log_format: format,
            traces: trace::Config::default(),
        };
        let dispatch = log::dispatch(&config, move || writer.clone(), false).unwrap();
        with_default(&dispatch, || event(line));
        let theirs = String::from_utf8(memory.0.lock().clone()).unwrap();
        let mut ours = Vec::new();
        let to = &mut ours;
        Writing { to, format }.line(Duration::from_millis(1_790_000_000_123), line);
        (theirs, String::from_utf8(ours).unwrap())
    }

    fn without_time(line: &str) -> String {
        let at = line.find("20").unwrap();
        let stamp = line.get(at..at + 27).unwrap();
        assert!(stamp.ends_with('Z') && stamp.contains('T'), "{stamp}");
        line.replace(stamp, "")
    }

    fn assert_same(format: LogFormat, line: &Line<'_>) {
        let (theirs, ours) = both(format, line);
        assert_eq!(without_time(&ours), without_time(&theirs));
    }

    #[test]
    fn a_line_is_what_the_library_would_write() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_same(format, &LINE);
            assert_same(
                format,
                &Line {
                    user: None,
                    provider: None,
                    path: None,
                    status: None,
                    generation: None,
                    replayed: true,
                    problem: Some("not-connected"),
                    ..LINE
                },
            );
        }
    }

    #[test]
    fn a_json_line_says_to_which_trace_it_belongs() {
        let trace = trace::Tracer::for_tests().background(None).unwrap();
        let _entered = trace::enter(&trace);
        assert_same(LogFormat::Json, &LINE);
        let (_, ours) = both(LogFormat::Json, &LINE);
        assert!(ours.contains("\"trace_id\":\""), "{ours}");
    }

    #[test]
    fn a_time_is_written_to_the_microsecond_whichever_second_came_before() {
        let written = |secs, micros: u32| {
            let mut to = Vec::new();
            stamp(&mut to, Duration::new(secs, micros * 1_000 + 999));
            String::from_utf8(to).unwrap()
        };
        assert_eq!(written(1_790_000_000, 7), "2026-09-21T14:13:20.000007Z");
        assert_eq!(
            written(1_790_000_000, 999_999),
            "2026-09-21T14:13:20.999999Z"
        );
        assert_eq!(written(1_790_000_001, 0), "2026-09-21T14:13:21.000000Z");
        assert_eq!(written(1_789_999_999, 10), "2026-09-21T14:13:19.000010Z");
        assert_eq!(written(0, 1), "1970-01-01T00:00:00.000001Z");
    }

    proptest! {
        #[test]
        fn whatever_it_tells_it_is_what_the_library_would_write(
            user in "\\PC{0,9}|[\\x00-\\x7f\u{80}-\u{ff}\"\\\\]{0,9}",
            path in "[ -~]{0,20}",
            count in any::<u64>(),
            status in any::<u16>(),
        ) {
            let line = Line {
                user: Some(&user),
                path: Some(&path),
                status: Some(status),
                bytes: count,
                wait_ms: count % 1000,
                ..LINE
            };
            assert_same(LogFormat::Text, &line);
            assert_same(LogFormat::Json, &line);
        }
    }
}
