//! What operators see: the log, the metrics, and the names of their fields.
//!
//! * [`log`]: the subscriber: which lines are written, and how they look.
//! * [`access`]: the line that tells of one request; `sink`: how it gets out without waiting.
//! * [`field`]: the names of the fields of log lines; `fields`: how they are written.
//! * [`metrics`]: what is counted and measured.
//! * [`trace`]: where the time of a request went, for a collector.
//! * [`panics`]: bugs, as log lines.

pub mod access;
pub mod field;
mod fields;
pub mod log;
pub mod metrics;
pub mod panics;
mod sink;
pub mod trace;

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which lines are logged: a level, or `tracing` directives. Default `info`.
    pub log: String,
    /// How they look.
    pub log_format: LogFormat,
    /// Where traces go, and what is in them.
    pub traces: trace::Config,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}
