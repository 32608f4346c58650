//! What Calendly's webhooks say (Calendly, deliveries).
//!
//! 1. `created_by` is whoever made the subscription, never a host.
//! 2. There is no delivery id. The same event is told by its name, the URI it is about and its time:
//!    for a meeting with several invitees that URI is the invitee's, so each of them counts.
//! 3. The shapes of 2020 are read too: without `created_by`, without `scheduled_event`.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::meeting;
use crate::provider::{About, Event, EventKey, Names, NotJson, field};

pub(super) fn read(body: &[u8]) -> Result<Event, NotJson> {
    let envelope: Value = serde_json::from_slice(body).map_err(|_syntax| NotJson)?;
    let name = field::text(&envelope, "/event").unwrap_or_default();
    let subscriber = field::text(&envelope, "/created_by").map(ToOwned::to_owned);
    let meeting_id = meeting_id(&envelope).map(ToOwned::to_owned);
    let about = about(&envelope, name, subscriber.as_deref(), meeting_id.is_some());
    Ok(Event {
        name: name.to_owned(),
        occurred_at: field::time(&envelope, "/created_at"),
        key: key(&envelope, name, body),
        meeting: meeting::told(&envelope),
        names: Names { subscriber, about },
        meeting_id,
    })
}

fn meeting_id(envelope: &Value) -> Option<&str> {
    field::text(envelope, "/payload/scheduled_event/uri")
        .or_else(|| field::text(envelope, "/payload/event"))
        .filter(|uri| uri.contains("/scheduled_events/"))
}

fn about(envelope: &Value, name: &str, subscriber: Option<&str>, has_meeting: bool) -> About {
    let accounts = |id: &str| About::Accounts(vec![id.to_owned()]);
    let (family, _) = name.split_once('.').unwrap_or((name, ""));
    match family {
        // Can be subscribed to by users for themselves only.
        "meeting_recap" => subscriber.map_or(About::Nobody, accounts),
        // The profile may be a team's, or missing.
        "event_type" => match field::text(envelope, "/payload/profile/owner") {
            Some(owner) if owner.contains("/users/") => accounts(owner),
            _ => About::Nobody,
        },
        _ if envelope
            .pointer("/payload/scheduled_event/event_memberships")
            .is_some() =>
        {
            let event = envelope.pointer("/payload/scheduled_event");
            About::Accounts(event.map(meeting::hosts).unwrap_or_default())
        }
        _ if has_meeting => About::Hosts,
        _ => About::Nobody,
    }
}

fn key(envelope: &Value, name: &str, body: &[u8]) -> EventKey {
    let told = field::text(envelope, "/payload/uri").zip(field::text(envelope, "/created_at"));
    let Some((uri, at)) = told.filter(|_| !name.is_empty()) else {
        return EventKey(Sha256::digest(body).into());
    };
    let mut digest = Sha256::new();
    for part in [name, uri, at] {
        // The length first, so that no two lists of parts run together the same way.
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    EventKey(digest.finalize().into())
}
