//! Meetings of both providers in one shape, and the background sync that keeps them true.
//!
//! So far this room holds its configuration only: no meeting is read yet.

use std::time::Duration;

/// `[meetings]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether meetings are kept at all; they hold personal data. Default yes.
    pub store: bool,
    /// How far back a sync reads. Default 30 days.
    pub sync_past: Duration,
    /// How far ahead a sync reads. Default 365 days.
    pub sync_future: Duration,
}
