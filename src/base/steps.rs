//! The steps of intake and delivery by name, so that a test can hold a process between any two of them,
//! and kill it there.
//!
//! 1. Only a process that was told of a file at its start can be held ([`hold_as_told_in`]), and only in
//!    a build with debug assertions: a release never looks.
//! 2. A task that reaches a step waits there for as long as the file names that step. Everything else in
//!    the process goes on.
//! 3. It says so in the log first: then is the time to strike.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use tokio::time::sleep;

/// What is said of a task that waits.
pub const HELD: &str = "held at a step";

/// How often a task that waits looks whether it still has to.
const LOOK: Duration = Duration::from_millis(2);

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// A step that was just done, or is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Intake: the route leads somewhere.
    Found,
    /// Intake: the body is whole.
    Read,
    /// Intake: it is genuine.
    Proven,
    /// Intake: it is known whose it is.
    Routed,
    /// Intake: it is kept, and nobody knows.
    Stored,
    /// Intake: whoever delivers was told; the sender is answered next.
    Judged,
    /// Delivery: lines that are due are claimed next.
    Looking,
    /// Delivery: a line is claimed.
    Claimed,
    /// Delivery: it is posted to the app next.
    Posting,
    /// Delivery: the app has answered, and nobody knows.
    Answered,
    /// Delivery: the answer is kept.
    Settled,
    /// Enrichment: a meeting is read next.
    Enriching,
    /// Enrichment: it was read.
    Fetched,
    /// Enrichment: it is kept.
    Enriched,
}

/// Waits at `step` for as long as a test wants it to.
pub async fn reached(step: Step) {
    if !cfg!(debug_assertions) || !is_named(step) {
        return;
    }
    tracing::info!(step = step.as_str(), "{HELD}");
    while is_named(step) {
        sleep(LOOK).await;
    }
}

/// From now on this process waits at the step that `file` names, if it is there and names one.
pub fn hold_as_told_in(file: &Path) {
    // Told once, at the start.
    let _already = FILE.set(file.to_owned());
}

fn is_named(step: Step) -> bool {
    let named = FILE.get().and_then(|file| fs::read_to_string(file).ok());
    named.is_some_and(|named| named.trim() == step.as_str())
}

// === impl Step ===

impl Step {
    /// All there are, in the order in which an event reaches them; the last three beside delivery.
    pub const ALL: [Self; 14] = [
        Self::Found,
        Self::Read,
        Self::Proven,
        Self::Routed,
        Self::Stored,
        Self::Judged,
        Self::Looking,
        Self::Claimed,
        Self::Posting,
        Self::Answered,
        Self::Settled,
        Self::Enriching,
        Self::Fetched,
        Self::Enriched,
    ];

    /// As in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Read => "read",
            Self::Proven => "proven",
            Self::Routed => "routed",
            Self::Stored => "stored",
            Self::Judged => "judged",
            Self::Looking => "looking",
            Self::Claimed => "claimed",
            Self::Posting => "posting",
            Self::Answered => "answered",
            Self::Settled => "settled",
            Self::Enriching => "enriching",
            Self::Fetched => "fetched",
            Self::Enriched => "enriched",
        }
    }
}
