//! How far a sync is: what its job keeps, sealed, and what others may see of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{clock::Timestamp, ids::ConnectionId},
    provider::{Cursor, Window},
    store::Job,
};

/// What is kept of a sync.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// The connection that is read: another one of the same key is read from the beginning.
    pub(super) connection: ConnectionId,
    /// The account that is read.
    pub(super) account: Option<String>,
    pub(super) run: Option<Run>,
    /// When the last complete run began.
    pub(super) complete_since: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    /// Meetings read by the last complete run.
    pub(super) read: u64,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
}

/// A sync under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) began_at: Timestamp,
    from: Timestamp,
    to: Timestamp,
    changed_since: Option<Timestamp>,
    /// Where the next page begins.
    pub(super) cursor: Option<Cursor>,
    pub(super) pages: u64,
    pub(super) read: u64,
    pub(super) changed: u64,
    /// Whether a cursor was refused already: once is enough.
    pub(super) restarted: bool,
}

/// How far a sync is, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Sync")]
pub struct Progress {
    /// In one word.
    pub stage: Stage,
    /// Pages read by the run under way.
    pub pages: u64,
    /// Meetings read by the run under way, or by the last one.
    pub meetings: u64,
    /// When the run under way began.
    pub began_at: Option<Timestamp>,
    /// When a run was last complete.
    pub finished_at: Option<Timestamp>,
    /// When the next begins, or this one goes on.
    pub next_at: Option<Timestamp>,
    /// Why the last attempt failed, for people.
    pub last_error: Option<String>,
}

/// How far a sync is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SyncStage")]
pub enum Stage {
    /// Asked for.
    Waiting,
    /// Being read.
    Running,
    /// Complete.
    Done,
    /// Failed; tried again.
    Failed,
}

// === impl State ===

impl State {
    /// Before anything was read.
    pub(super) const fn new(connection: ConnectionId, account: Option<String>) -> Self {
        Self {
            connection,
            account,
            run: None,
            complete_since: None,
            finished_at: None,
            read: 0,
            failures: 0,
            last_error: None,
        }
    }
}

// === impl Run ===

impl Run {
    pub(super) const fn new(window: Window, now: Timestamp) -> Self {
        Self {
            began_at: now,
            from: window.from,
            to: window.to,
            changed_since: window.changed_since,
            cursor: None,
            pages: 0,
            read: 0,
            changed: 0,
            restarted: false,
        }
    }

    pub(super) const fn window(&self) -> Window {
        Window {
            from: self.from,
            to: self.to,
            changed_since: self.changed_since,
        }
    }
}

// === impl Progress ===

impl Progress {
    pub(super) fn of(job: &Job, state: Option<&State>) -> Self {
        let run = state.and_then(|state| state.run.as_ref());
        let last_error = state.and_then(|state| state.last_error.clone());
        let finished_at = state.and_then(|state| state.finished_at);
        let reached = match (run, &last_error, finished_at) {
            (_, Some(_), _) => Stage::Failed,
            (Some(_), ..) => Stage::Running,
            (None, None, Some(_)) => Stage::Done,
            (None, None, None) => Stage::Waiting,
        };
        Self {
            stage: reached,
            pages: run.map_or(0, |run| run.pages),
            meetings: run.map_or_else(|| state.map_or(0, |state| state.read), |run| run.read),
            began_at: run.map(|run| run.began_at),
            finished_at,
            next_at: job.due_at.filter(|_| job.owner.is_none()),
            last_error,
        }
    }
}
