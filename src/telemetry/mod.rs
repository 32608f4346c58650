//! What operators see: the log, the metrics, and the names of their fields.
//!
//! * [`log`]: the subscriber: which lines are written, and how they look.
//! * [`field`]: the names of the fields of log lines; `fields`: how they are written.
//! * [`metrics`]: what is counted and measured.
//! * [`panics`]: bugs, as log lines.

use url::Url;

pub mod field;
mod fields;
pub mod log;
pub mod metrics;
pub mod panics;

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which lines are logged: a level, or `tracing` directives. Default `info`.
    pub log: String,
    /// How they look.
    pub log_format: LogFormat,
    /// Where traces go. Taken but not used yet.
    pub otlp_endpoint: Option<Url>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}
