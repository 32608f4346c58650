//! The subscriber: which log lines are written, how they look, and where they go (standard error).
//!
//! 1. The configured directives decide; libraries that speak of every packet are held to warnings
//!    unless a directive names them.
//! 2. Text is for people, coloured on a terminal only. JSON is one flat object a line, which says to
//!    which trace it belongs.
//! 3. The lines of requests look the same, and take a [shorter way](super::access).

use std::{
    fmt,
    io::{self, IsTerminal},
};

use thiserror::Error;
use tracing::{
    Dispatch, Event, Subscriber,
    dispatcher::{SetGlobalDefaultError, set_global_default},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
};

use super::{Config, LogFormat, access, fields::PlainFields, panics, trace};

/// Libraries whose `debug` drowns everybody else's.
const NOISY: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "tokio_util",
    "tower",
    "want",
];

/// Writes what `F` writes, a JSON object, and in it the trace that the line belongs to.
#[derive(Debug)]
struct Traced<F>(F);

/// Why there is no log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The directives cannot be read. The operator's fault.
    #[error("the log directives cannot be read")]
    Directives(#[source] ParseError),
    /// There is a subscriber already: this was called twice.
    #[error("the log is set up already")]
    Twice(#[source] SetGlobalDefaultError),
}

/// Sends the log of this process to standard error, panics included.
pub fn init(config: &Config) -> Result<(), Error> {
    let is_terminal = io::stderr().is_terminal();
    let dispatch = dispatch(config, io::stderr, is_terminal)?;
    set_global_default(dispatch).map_err(Error::Twice)?;
    if !is_terminal {
        access::write_straight(config.log_format);
    }
    panics::log_them();
    Ok(())
}

/// A subscriber that writes to `writer`.
pub(super) fn dispatch<W>(config: &Config, writer: W, terminal: bool) -> Result<Dispatch, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(&config.log)?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(most(&filter))
        // A line that nobody reads any more (`daypass run 2>&1 | head`) would be answered with
        // `eprintln!`, which panics on a closed pipe.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match config.log_format {
        LogFormat::Json => Dispatch::new(
            builder
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .map_event_format(Traced)
                .finish()
                .with(filter),
        ),
        // Left alone on a terminal, the library respects `NO_COLOR`.
        LogFormat::Text if terminal => Dispatch::new(builder.finish().with(filter)),
        LogFormat::Text => {
            let builder = builder.with_ansi(false).fmt_fields(PlainFields);
            Dispatch::new(builder.finish().with(filter))
        }
    })
}

// === impl Traced ===

impl<F, S, N> FormatEvent<S, N> for Traced<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(at) = trace::current_context() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let Some(open) = line.trim_end().strip_suffix('}') else {
            return writer.write_str(&line);
        };
        let (trace_id, span_id) = (at.trace_id(), at.span_id());
        writeln!(
            writer,
            "{open},\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"}}"
        )
    }
}

/// Reads directives: a level, or targets with their levels, separated by commas. Nothing is written of what
/// none of them names; without any, errors are.
///
/// The library has more to say, such as the fields of spans, with a machine for regular expressions to
/// read it, which takes more room than all the rest of the log.
pub fn directives(text: &str) -> Result<Targets, ParseError> {
    let mut all = text
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .peekable();
    if all.peek().is_none() {
        return Ok(Targets::new().with_default(LevelFilter::ERROR));
    }
    all.collect::<Vec<_>>().join(",").parse()
}

/// The most that is written of anything.
fn most(filter: &Targets) -> LevelFilter {
    Layer::<Registry>::max_level_hint(filter).unwrap_or(LevelFilter::TRACE)
}

fn filter(text: &str) -> Result<Targets, Error> {
    let configured = directives(text).map_err(Error::Directives)?;
    if most(&configured) <= LevelFilter::WARN {
        return Ok(configured);
    }
    // Later directives for the same target win, so the configured ones come last.
    let mut all: Vec<String> = NOISY
        .iter()
        .map(|library| format!("{library}=warn"))
        .collect();
    all.push(text.to_owned());
    directives(&all.join(",")).map_err(Error::Directives)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Error, Write},
        sync::Arc,
    };

    use parking_lot::Mutex;
    use tracing::{debug, dispatcher::with_default, info, warn};

    use super::*;
    use crate::telemetry::field;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &str, log_format: LogFormat, speak: impl FnOnce()) -> String {
        let memory = Memory::default();
        let config = Config {
            log: log.to_owned(),
            log_format,
            traces: trace::Config::default(),
        };
        let writer = memory.clone();
        let dispatch = dispatch(&config, move || writer.clone(), false).unwrap();
        with_default(&dispatch, speak);
        let bytes = memory.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_flat_objects_with_our_field_names() {
        let text = logged("info", LogFormat::Json, || {
            info!(
                { field::PROVIDER } = "calcom",
                { field::GENERATION } = 7,
                "renewed"
            );
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "renewed");
        assert_eq!(line["provider"], "calcom");
        assert_eq!(line["connection.generation"], 7);
    }

    #[test]
    fn text_that_is_not_for_a_terminal_has_no_colours() {
        let text = logged("info", LogFormat::Text, || info!("hello"));
        assert!(text.contains("hello") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn plain_fields_are_written_as_the_library_writes_them() {
        let speak = || {
            let broken = Error::other("it\u{1b}[31m broke");
            info!(
                user = "u 1",
                quoted = "a\"b\\c\n\u{1b}[31m\u{9b}\u{e9}",
                none = None::<&str>,
                status = 200_u64,
                below = -1_i64,
                part = 0.5_f64,
                replayed = false,
                method = %"GET",
                debugged = ?"x",
                error = &broken as &dyn std::error::Error,
                "a \u{1b}[31m message"
            );
            info!(message = "text", only = 1_u64);
        };
        let memory = Memory::default();
        let writer = memory.clone();
        let theirs = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        with_default(&Dispatch::new(theirs), speak);
        let theirs = String::from_utf8(memory.0.lock().clone()).unwrap();
        let without_time = |text: &str| -> Vec<String> {
            let line = |line: &str| line.split_once(' ').unwrap().1.to_owned();
            text.lines().map(line).collect()
        };
        let ours = logged("info", LogFormat::Text, speak);
        assert_eq!(without_time(&ours), without_time(&theirs));
    }

    #[test]
    fn libraries_are_held_to_warnings_unless_they_are_named() {
        let speak = || {
            debug!(target: "hyper_util::client", "chatter");
            warn!(target: "hyper_util::client", "trouble");
            debug!("ours");
        };
        let text = logged("debug", LogFormat::Text, speak);
        assert!(!text.contains("chatter") && text.contains("trouble") && text.contains("ours"));
        let text = logged("debug,hyper_util=debug", LogFormat::Text, speak);
        assert!(text.contains("chatter"));
    }

    #[test]
    fn targets_have_levels_of_their_own() {
        let speak = || {
            debug!(target: "daypass::token", "renewing");
            debug!(target: "daypass::proxy", "relaying");
            info!(target: "daypass::proxy", "relayed");
            info!(target: "daypass::access", "a request");
        };
        let log = "info, daypass::token=debug,,daypass::access=off";
        let text = logged(log, LogFormat::Text, speak);
        assert!(
            text.contains("renewing") && text.contains("relayed") && text.lines().count() == 2,
            "{text}"
        );
    }

    #[test]
    fn a_quiet_log_is_quiet_about_libraries_too() {
        let text = logged(
            "error",
            LogFormat::Text,
            || warn!(target: "hyper", "trouble"),
        );
        assert_eq!(text, "");
    }

    #[test]
    fn panics_are_logged_without_what_they_may_have_held() {
        let text = logged("info", LogFormat::Text, || {
            let usual = std::panic::take_hook();
            panics::log_them();
            let caught = [
                std::panic::catch_unwind(|| panic!("the sky fell")),
                std::panic::catch_unwind(|| panic!("the token is {}", String::from("s3cret"))),
            ];
            std::panic::set_hook(usual);
            assert!(caught.iter().all(Result::is_err));
        });
        assert!(
            text.contains("the sky fell") && text.contains("log.rs"),
            "{text}"
        );
        assert!(
            text.matches("panicked").count() == 2 && !text.contains("s3cret"),
            "{text}"
        );
    }
}
