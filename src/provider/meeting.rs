//! Meetings of all providers in one shape, and how they are read.
//!
//! 1. What a provider does not tell stays open; nothing is made up. A webhook often tells less than the
//!    API: see [`Attendees`].
//! 2. `updated_at` orders what is known of one meeting, whichever way it came. A terminal status stays,
//!    whatever a late message says.
//! 3. A rescheduled meeting is a new meeting at both providers: the old one is canceled and names the
//!    new one, and the other way round.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Account, ApiError, Headroom};
use crate::base::{clock::Timestamp, secret::Secret};

/// What reading meetings needs of a provider.
#[async_trait]
pub trait Meetings: Send + Sync {
    /// Reads one meeting with everything that belongs to it.
    ///
    /// # Errors
    ///
    /// [`ApiError::NotFound`] for an id that the account does not know, or that is none.
    async fn fetch(&self, token: &Secret<String>, id: &str) -> Result<Meeting, ApiError>;

    /// Reads the next page of the account's own meetings in `window`, from `cursor` on, or from the
    /// beginning. The same meeting may come more than once, so upsert; none that stays in the window
    /// is missed, though others change meanwhile.
    async fn page(
        &self,
        token: &Secret<String>,
        account: &Account,
        window: &Window,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ApiError>;

    /// Whether pages tell all attendees, or [`Meetings::fetch`] must be asked for them.
    fn pages_are_complete(&self) -> bool;
}

/// Which meetings to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Those that start then or later.
    pub from: Timestamp,
    /// Those that start before.
    pub to: Timestamp,
    /// Those that changed then or later, where the provider can tell; others are read in full.
    pub changed_since: Option<Timestamp>,
}

/// Where a sync has got to: opaque, without personal data, and good for as long as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub(super) String);

/// A page of meetings.
#[derive(Clone, Debug)]
pub struct Page {
    /// May be empty although more follow.
    pub meetings: Vec<Meeting>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// How many calls the provider still takes.
    pub headroom: Headroom,
}

/// One meeting.
#[derive(Clone, PartialEq, Eq)]
pub struct Meeting {
    /// The provider's id: a scheduled event's URI at Calendly, a booking's uid at Cal.com.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// How it stands.
    pub status: MeetingStatus,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Where to join it online, if it is a link.
    pub join_url: Option<String>,
    /// Where it takes place, in words, if it does not only take place online.
    pub location: Option<String>,
    /// The ids of the accounts that host it, as far as they are told.
    pub hosts: Vec<String>,
    /// Who else takes part.
    pub attendees: Attendees,
    /// The id of the meeting that this one replaces.
    pub rescheduled_from: Option<String>,
    /// The id of the meeting that replaces this one.
    pub rescheduled_to: Option<String>,
    /// When the provider last changed it, or the moment of the webhook if only that is told.
    pub updated_at: Timestamp,
    /// All that the provider tells, in its own words.
    pub raw: Value,
}

/// How a meeting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeetingStatus {
    /// Asked for; a host, or a payment, has to confirm it.
    Pending,
    /// It takes place.
    Confirmed,
    /// It does not take place. Terminal.
    Canceled,
    /// A host turned it down. Terminal.
    Rejected,
}

/// Those who take part in a meeting, hosts apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attendees {
    /// Not told.
    Unknown,
    /// At least these: keep the others that are known.
    Some(Vec<Attendee>),
    /// These and nobody else.
    All(Vec<Attendee>),
}

/// Somebody who takes part in a meeting.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attendee {
    /// As given; may be empty.
    pub name: String,
    /// As given.
    pub email: Option<String>,
    /// Whether they come.
    pub status: AttendeeStatus,
}

/// Whether somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttendeeStatus {
    /// Yes.
    Confirmed,
    /// Not any more.
    Canceled,
    /// They did not.
    NoShow,
}

// === impl MeetingStatus ===

impl MeetingStatus {
    /// As it is stored and told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Confirmed,
            Self::Canceled,
            Self::Rejected,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }

    /// Whether no later message can change it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Canceled | Self::Rejected)
    }
}

// === impl Attendees ===

impl Attendees {
    /// Those that are known.
    pub fn known(&self) -> &[Attendee] {
        match self {
            Self::Unknown => &[],
            Self::Some(attendees) | Self::All(attendees) => attendees,
        }
    }
}

// === impl Meeting ===

impl fmt::Debug for Meeting {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meeting")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("start", &self.start)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

// === impl Attendee ===

impl fmt::Debug for Attendee {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendee")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

// === impl Window ===

impl Window {
    /// From `past` before `now` until `future` after it.
    pub fn around(now: Timestamp, past: Duration, future: Duration) -> Self {
        Self {
            from: now.saturating_sub(past),
            to: now.saturating_add(future),
            changed_since: None,
        }
    }
}
