//! The names of the fields of log lines, so that one search finds every line about one thing.
//!
//! 1. Dotted by entity; a unit at the end where there is one.
//! 2. Never a token, secret, code, header value or body. A user's id is the app's own opaque text;
//!    it is logged, but never becomes a label of a metric.
//!
//! Used as `info!({ field::PROVIDER } = %name, "…")`.

/// The provider's name in the configuration.
pub const PROVIDER: &str = "provider";
/// The app's id for the user of a connection.
pub const USER: &str = "connection.user";
/// Which writing of tokens is meant.
pub const GENERATION: &str = "connection.generation";
/// Which attempt this is, counted from 1.
pub const ATTEMPT: &str = "attempt";
/// What was the matter, with its causes.
pub const ERROR: &str = "error";
/// The id that a response and its log line share.
pub const REQUEST_ID: &str = "request.id";
/// How long it took, in milliseconds.
pub const DURATION_MS: &str = "duration_ms";
/// The key of a setting.
pub const CONFIG_KEY: &str = "config.key";
