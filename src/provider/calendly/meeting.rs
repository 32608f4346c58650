//! Calendly's scheduled events and their invitees as meetings (Calendly, reads, `invitee.*` payload).
//!
//! 1. A list tells no invitees: they are asked for event by event.
//! 2. Lists know no "changed since": a window is always read whole.
//! 3. Of a list that is sorted by start a [`Cursor`] keeps the last start beside the page's token, so
//!    that a token which has gone stale costs a page at most.
//! 4. Links to other resources are taken apart for their ids; none is followed.

use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Calendly, pages::next_token};
use crate::{
    base::{clock::Timestamp, secret::Secret},
    provider::{
        Account, ApiError, Attendee, AttendeeStatus, Attendees, Consent, Cursor, Meeting,
        MeetingStatus, Meetings, Page, Unclear, Window,
        api::{self, Question},
        field,
    },
};

/// So many pages of invitees are read; a meeting with more is told in part.
const MAX_INVITEE_PAGES: usize = 20;

/// What a [`Cursor`] holds.
#[derive(Serialize, Deserialize)]
struct Place {
    /// Leads to the next page, while it lasts.
    token: String,
    /// The last start that was read.
    from: Timestamp,
}

#[async_trait]
impl Meetings for Calendly {
    async fn fetch(&self, token: &Secret<String>, id: &str) -> Result<Meeting, ApiError> {
        let uuid = self.uuid(id)?;
        let path = ["scheduled_events", uuid];
        let mut body = self.ask(token, Question::get(&path)).await?.body;
        let event = body.pointer_mut("/resource").map(Value::take);
        let mut event = event.unwrap_or_default();
        let path = ["scheduled_events", uuid, "invitees"];
        let mut invitees = Vec::new();
        let mut next = None;
        for _page in 0..MAX_INVITEE_PAGES {
            let page = self.page_of(token, &path, &[], next.as_deref());
            let page = page.await?.body;
            invitees.extend_from_slice(field::list(&page, "/collection"));
            next = next_token(&page);
            if next.is_none() {
                break;
            }
        }
        let guests = guests(&event);
        let people: Vec<_> = invitees.iter().map(attendee).chain(guests).collect();
        let attendees = if next.is_none() {
            Attendees::All(people)
        } else {
            Attendees::Some(people)
        };
        let meeting = read(&event, &invitees, attendees);
        let unreadable = || api::unclear(&self.config.name, Unclear::Unreadable);
        let mut meeting = meeting.ok_or_else(unreadable)?;
        if let Value::Object(fields) = &mut event {
            fields.insert("invitees".to_owned(), Value::Array(invitees));
        }
        meeting.raw = event;
        Ok(meeting)
    }

    async fn page(
        &self,
        token: &Secret<String>,
        account: &Account,
        window: &Window,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ApiError> {
        let user = if let Some(user) = &account.external_id {
            user.clone()
        } else {
            let account = self.identify(token).await?.account;
            let user = account.external_id;
            user.ok_or_else(|| self.impossible("the user's URI"))?
        };
        let place = cursor.and_then(|cursor| serde_json::from_str::<Place>(&cursor.0).ok());
        let Some(place) = place else {
            return self.window(token, &user, window, None).await;
        };
        match self.window(token, &user, window, Some(&place.token)).await {
            Err(ApiError::Rejected { status, .. }) if status == StatusCode::BAD_REQUEST => {
                let rest = Window {
                    from: place.from.max(window.from),
                    ..*window
                };
                self.window(token, &user, &rest, None).await
            }
            page => page,
        }
    }

    fn pages_are_complete(&self) -> bool {
        false
    }
}

// === impl Calendly ===

impl Calendly {
    async fn window(
        &self,
        token: &Secret<String>,
        user: &str,
        window: &Window,
        page_token: Option<&str>,
    ) -> Result<Page, ApiError> {
        let (from, to) = (window.from.to_string(), window.to.to_string());
        let query = [
            ("user", user),
            ("min_start_time", from.as_str()),
            ("max_start_time", to.as_str()),
            ("sort", "start_time:asc"),
        ];
        let reply = self.page_of(token, &["scheduled_events"], &query, page_token);
        let reply = reply.await?;
        let events = field::list(&reply.body, "/collection");
        let meetings: Vec<_> = events
            .iter()
            .filter_map(|event| {
                let guests: Vec<_> = guests(event).collect();
                let attendees = if guests.is_empty() {
                    Attendees::Unknown
                } else {
                    Attendees::Some(guests)
                };
                let meeting = read(event, &[], attendees)?;
                let theirs =
                    meeting.hosts.is_empty() || meeting.hosts.iter().any(|one| one == user);
                theirs.then(|| Meeting {
                    raw: event.clone(),
                    ..meeting
                })
            })
            .collect();
        let starts = events
            .iter()
            .filter_map(|it| field::time(it, "/start_time"));
        let place = next_token(&reply.body).map(|token| Place {
            token,
            from: starts.max().unwrap_or(window.from),
        });
        Ok(Page {
            meetings,
            next: place.as_ref().map(Place::cursor),
            headroom: reply.headroom,
        })
    }
}

// === impl Place ===

impl Place {
    fn cursor(&self) -> Cursor {
        Cursor(serde_json::to_string(self).unwrap_or_default())
    }
}

/// The meeting as far as a webhook tells it.
pub(super) fn told(envelope: &Value) -> Option<Meeting> {
    let payload = envelope.pointer("/payload")?;
    let event = payload.get("scheduled_event")?;
    let invitee = attendee(payload);
    let people = std::iter::once(invitee).chain(guests(event)).collect();
    let attendees = if is_for_one(event) {
        Attendees::All(people)
    } else {
        Attendees::Some(people)
    };
    let meeting = read(event, std::slice::from_ref(payload), attendees)?;
    Some(Meeting {
        raw: payload.clone(),
        ..meeting
    })
}

/// The URIs of the users who host an event.
pub(super) fn hosts(event: &Value) -> Vec<String> {
    let memberships = field::list(event, "/event_memberships").iter();
    let users = memberships.filter_map(|one| field::text(one, "/user"));
    users.map(ToOwned::to_owned).collect()
}

fn read(event: &Value, invitees: &[Value], attendees: Attendees) -> Option<Meeting> {
    let start = field::time(event, "/start_time")?;
    // One of several invitees moves without the meeting.
    let invitee = invitees.first().filter(|_| is_for_one(event));
    let link = |name: &str| {
        let (other, _) = field::text(invitee?, name)?.split_once("/invitees/")?;
        Some(other.to_owned())
    };
    let everything = std::iter::once(event).chain(invitees);
    let changed = everything.filter_map(|it| field::time(it, "/updated_at"));
    let words = field::text(event, "/location/location");
    let joined = field::text(event, "/location/join_url").and_then(field::link);
    Some(Meeting {
        id: field::text(event, "/uri")?.to_owned(),
        title: field::text(event, "/name").unwrap_or_default().to_owned(),
        status: status(event),
        start,
        end: field::time(event, "/end_time").unwrap_or(start),
        join_url: joined.or_else(|| words.and_then(field::link)),
        location: words
            .filter(|words| field::link(words).is_none())
            .map(ToOwned::to_owned),
        hosts: hosts(event),
        attendees,
        rescheduled_from: link("/old_invitee"),
        rescheduled_to: link("/new_invitee"),
        updated_at: changed
            .max()
            .or_else(|| field::time(event, "/created_at"))?,
        raw: Value::Null,
    })
}

/// Whether no more than one invitee can take part.
fn is_for_one(event: &Value) -> bool {
    let count = |name: &str| event.pointer(name).and_then(Value::as_u64);
    let most = count("/invitees_counter/limit").or_else(|| count("/invitees_counter/total"));
    most.is_some_and(|most| most <= 1)
}

/// `active` or `canceled`; a word that is new takes place unless there is a cancellation.
fn status(event: &Value) -> MeetingStatus {
    let canceled = field::text(event, "/status") == Some("canceled")
        || event.get("cancellation").is_some_and(Value::is_object);
    if canceled {
        MeetingStatus::Canceled
    } else {
        MeetingStatus::Confirmed
    }
}

fn attendee(invitee: &Value) -> Attendee {
    let canceled = field::text(invitee, "/status") == Some("canceled");
    let missed = invitee.get("no_show").is_some_and(|it| !it.is_null());
    Attendee {
        name: field::text(invitee, "/name").unwrap_or_default().to_owned(),
        email: field::text(invitee, "/email").map(ToOwned::to_owned),
        status: match (canceled, missed) {
            (true, _) => AttendeeStatus::Canceled,
            (false, true) => AttendeeStatus::NoShow,
            (false, false) => AttendeeStatus::Confirmed,
        },
    }
}

/// Whom an invitee brings along; Calendly knows no more than an address.
fn guests(event: &Value) -> impl Iterator<Item = Attendee> {
    field::list(event, "/event_guests")
        .iter()
        .map(|guest| Attendee {
            name: String::new(),
            email: field::text(guest, "/email").map(ToOwned::to_owned),
            status: AttendeeStatus::Confirmed,
        })
}
