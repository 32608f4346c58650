//! The archive: meetings as they are kept, and as they are shown.
//!
//! 1. Whose, when and how it stands are kept in plain, so that a store can list; title, people and
//!    places are sealed, bound to the user and the meeting.
//! 2. A webhook, or a page of a list, may tell less than the API does of one meeting. What it leaves
//!    open stays as it was known ([`Attendees`]), and whether a meeting was ever read whole is kept with
//!    it ([`Told`]).
//! 3. Of two versions the later by the provider's time stands; what is over stays over
//!    ([`store::Meetings`]). A whole reading that has to stand back for what was told of the same
//!    moment, or a later one, still fills in what that left open.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
        random::SharedRandom,
    },
    provider::{self, Attendee, Attendees},
    store::{
        self, MeetingCursor, MeetingFilter, Meetings, StoredMeeting, Upserted,
        seal::{Binding, KeyRing},
    },
};

/// Keeps and shows meetings. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Archive {
    store: Arc<dyn Meetings>,
    keys: Arc<KeyRing>,
    random: SharedRandom,
}

/// A meeting as the API shows it.
#[derive(Clone, Serialize, JsonSchema)]
#[expect(missing_debug_implementations, reason = "holds personal data")]
pub struct Meeting {
    /// Where.
    pub provider: ProviderName,
    /// Whose.
    pub user: UserId,
    /// The provider's id or URI.
    pub external_id: String,
    /// `pending`, `confirmed`, `canceled` or `rejected`.
    #[schemars(with = "provider::MeetingStatus")]
    pub status: String,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// The rest.
    #[serde(flatten)]
    pub details: Details,
}

/// What is sealed of a meeting.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[expect(missing_debug_implementations, reason = "holds personal data")]
pub struct Details {
    /// What it is called.
    pub title: String,
    /// Where to join it online.
    pub join_url: Option<String>,
    /// Where it takes place.
    pub location: Option<String>,
    /// Who takes part, hosts apart; may be incomplete.
    pub attendees: Vec<Attendee>,
    /// The meeting that this one replaces.
    pub rescheduled_from: Option<String>,
    /// The meeting that replaces this one.
    pub rescheduled_to: Option<String>,
    /// In the provider's own words.
    pub raw: Value,
}

/// How much was told of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By a webhook or a list, which may leave things open.
    Partly,
    /// All there is.
    Whole,
}

/// What keeping a meeting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was written.
    pub upserted: Upserted,
    /// Whether what is kept now was read whole.
    pub is_whole: bool,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    details: Details,
    /// Versions before this one did not note it.
    #[serde(default)]
    is_whole: bool,
}

/// By how much a whole reading outranks what was told of the same moment. Providers tell no two changes
/// so near to each other.
const FILLED: Duration = Duration::from_millis(1);

// === impl Archive ===

impl Archive {
    /// Keeps meetings in `store`, sealed with `keys`.
    pub const fn new(store: Arc<dyn Meetings>, keys: Arc<KeyRing>, random: SharedRandom) -> Self {
        Self {
            store,
            keys,
            random,
        }
    }

    /// Keeps `meetings` as those of `key`, and answers in their order what came of each.
    pub async fn keep(
        &self,
        key: &ConnectionKey,
        meetings: &[provider::Meeting],
        told: Told,
    ) -> Result<Vec<Kept>, store::Error> {
        let (mut batch, mut whole) = (Vec::new(), Vec::new());
        for meeting in meetings {
            let stored = self.store.meeting(key, &meeting.id).await?;
            let (row, is_whole) = self.row(key, meeting, told, stored);
            batch.push(row);
            whole.push(is_whole);
        }
        let upserted = self.store.upsert_meetings(batch).await?;
        let kept = upserted.into_iter().zip(whole);
        Ok(kept
            .map(|(upserted, is_whole)| Kept { upserted, is_whole })
            .collect())
    }

    /// What to write of `meeting` where `stored` is there, and whether what stands then is whole.
    fn row(
        &self,
        key: &ConnectionKey,
        meeting: &provider::Meeting,
        told: Told,
        stored: Option<StoredMeeting>,
    ) -> (StoredMeeting, bool) {
        // What does not open is written over: the provider knows it better.
        let known = stored.and_then(|stored| Some((self.open(&stored).ok()?, stored)));
        let is_whole = told == Told::Whole;
        let known = match known {
            Some((known, stored)) if stands(&stored, meeting) => {
                if known.is_whole || !is_whole {
                    return (stored, known.is_whole);
                }
                let filled = Known {
                    details: filled(known.details, meeting),
                    is_whole,
                };
                let row = StoredMeeting {
                    version: stored.version.saturating_add(FILLED),
                    details: self.seal(key, &meeting.id, &filled),
                    ..stored
                };
                return (row, is_whole);
            }
            Some((known, _)) => Some(known.details),
            None => None,
        };
        let new = Known {
            details: merged(meeting, known),
            is_whole,
        };
        let row = StoredMeeting {
            key: key.clone(),
            external_id: meeting.id.clone(),
            status: meeting.status.as_str().to_owned(),
            is_over: meeting.status.is_terminal(),
            starts_at: meeting.start,
            ends_at: meeting.end,
            version: meeting.updated_at,
            details: self.seal(key, &meeting.id, &new),
        };
        (row, is_whole)
    }

    /// Up to `limit` meetings in the order of their beginning, those after `after` only.
    pub async fn list(
        &self,
        filter: &MeetingFilter,
        after: Option<&MeetingCursor>,
        limit: usize,
    ) -> Result<Vec<Meeting>, store::Error> {
        let stored = self.store.meetings(filter, after, limit).await?;
        stored
            .into_iter()
            .map(|stored| {
                let details = self.open(&stored)?.details;
                Ok(Meeting {
                    provider: stored.key.provider,
                    user: stored.key.user,
                    external_id: stored.external_id,
                    status: stored.status,
                    start: stored.starts_at,
                    end: stored.ends_at,
                    details,
                })
            })
            .collect()
    }

    /// Forgets all meetings of a connection; how many.
    pub async fn forget(&self, key: &ConnectionKey) -> Result<u64, store::Error> {
        self.store.forget_meetings(key).await
    }

    /// Forgets up to `limit` meetings that ended before `ended`; how many.
    pub(super) async fn prune(&self, ended: Timestamp, limit: usize) -> Result<u64, store::Error> {
        self.store.prune_meetings(ended, limit).await
    }

    fn seal(&self, key: &ConnectionKey, id: &str, known: &Known) -> store::seal::Sealed {
        let text = Zeroizing::new(serde_json::to_vec(known).unwrap_or_default());
        let binding = Binding::meeting(key, id);
        self.keys.seal_bytes(&*self.random, &binding.aad(), &text)
    }

    fn open(&self, stored: &StoredMeeting) -> Result<Known, store::Error> {
        let inconsistent = |what: String| store::Error::Inconsistent {
            row: format!("a meeting of {}", stored.key),
            what,
        };
        let binding = Binding::meeting(&stored.key, &stored.external_id);
        let text = self
            .keys
            .open_bytes(&binding.aad(), &stored.details)
            .map_err(|error| inconsistent(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| inconsistent(error.to_string()))
    }
}

/// Whether `stored` stays as it is when `new` is written ([`store::Meetings`]).
fn stands(stored: &StoredMeeting, new: &provider::Meeting) -> bool {
    if stored.is_over == new.status.is_terminal() {
        new.updated_at <= stored.version
    } else {
        stored.is_over
    }
}

/// What is `known` of a meeting, with what `whole` tells beyond that.
fn filled(known: Details, whole: &provider::Meeting) -> Details {
    let attendees = match &whole.attendees {
        Attendees::Unknown => known.attendees,
        Attendees::Some(all) | Attendees::All(all) => {
            // Who is known already is known from the later word.
            with_those(all.clone(), &known.attendees)
        }
    };
    let title = if known.title.is_empty() {
        whole.title.clone()
    } else {
        known.title
    };
    Details {
        title,
        join_url: known.join_url.or_else(|| whole.join_url.clone()),
        location: known.location.or_else(|| whole.location.clone()),
        attendees,
        rescheduled_from: known
            .rescheduled_from
            .or_else(|| whole.rescheduled_from.clone()),
        rescheduled_to: known
            .rescheduled_to
            .or_else(|| whole.rescheduled_to.clone()),
        raw: whole.raw.clone(),
    }
}

/// What is known of a meeting when `new` comes to what was `known`.
fn merged(new: &provider::Meeting, known: Option<Details>) -> Details {
    let known = known.unwrap_or_default();
    let attendees = match &new.attendees {
        Attendees::Unknown => known.attendees,
        Attendees::Some(some) => with_those(known.attendees, some),
        Attendees::All(all) => all.clone(),
    };
    let title = if new.title.is_empty() {
        known.title
    } else {
        new.title.clone()
    };
    Details {
        title,
        join_url: new.join_url.clone().or(known.join_url),
        location: new.location.clone().or(known.location),
        attendees,
        rescheduled_from: new.rescheduled_from.clone().or(known.rescheduled_from),
        rescheduled_to: new.rescheduled_to.clone().or(known.rescheduled_to),
        raw: new.raw.clone(),
    }
}

/// The known attendees, with what is new of `some` of them; told apart by address, or by name.
fn with_those(mut known: Vec<Attendee>, some: &[Attendee]) -> Vec<Attendee> {
    let is_one = |one: &Attendee, other: &Attendee| match (&one.email, &other.email) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => one.name == other.name,
    };
    for attendee in some {
        match known.iter_mut().find(|other| is_one(other, attendee)) {
            Some(other) => *other = attendee.clone(),
            None => known.push(attendee.clone()),
        }
    }
    known
}
