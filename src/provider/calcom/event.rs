//! What Cal.com's webhooks say (Cal.com, who is it about).
//!
//! 1. `MEETING_*` bodies are flat; all others have a `payload`.
//! 2. A number decides before an address: an organizer's address may be a secondary one.
//! 3. There is no delivery id and no attempt: the same bytes are the same event.
//! 4. The test of Cal.com's own page has an organizer who does not exist, and a meeting that must not
//!    be believed.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::booking;
use crate::provider::{About, Event, EventKey, Names, NotJson, field};

/// The organizer of the test.
const TESTER: &str = "no-reply@cal.com";

/// Where the number of the user stands whom an event is about.
const IDS: [&str; 3] = [
    "/payload/organizer/id",
    "/payload/oooEntry/user/id",
    "/userId",
];

/// The same for one event only, for elsewhere `user` may be anybody.
const DELEGATE: (&str, &str) = ("DELEGATION_CREDENTIAL_ERROR", "/payload/user/id");

/// Where an address of the user stands.
const ADDRESSES: [&str; 3] = [
    "/payload/organizer/email",
    "/user/email",
    "/userPrimaryEmail",
];

/// Where the uid of the booking stands.
const BOOKINGS: [&str; 3] = ["/payload/uid", "/payload/bookingUid", "/uid"];

pub(super) fn read(body: &[u8]) -> Result<Event, NotJson> {
    let envelope: Value = serde_json::from_slice(body).map_err(|_syntax| NotJson)?;
    let name = field::text(&envelope, "/triggerEvent").unwrap_or_default();
    let test = is_test(&envelope);
    let meeting_id = if test {
        None
    } else {
        BOOKINGS
            .iter()
            .find_map(|pointer| field::text(&envelope, pointer))
            .map(ToOwned::to_owned)
    };
    let about = if test {
        About::Nobody
    } else {
        about(&envelope, name, meeting_id.is_some())
    };
    let meeting = if test {
        None
    } else {
        booking::told(&envelope, name)
    };
    Ok(Event {
        name: name.to_owned(),
        occurred_at: field::time(&envelope, "/createdAt"),
        key: EventKey(Sha256::digest(body).into()),
        names: Names {
            subscriber: None,
            about,
        },
        meeting_id,
        meeting,
    })
}

fn about(envelope: &Value, name: &str, has_booking: bool) -> About {
    let delegate = (name == DELEGATE.0).then_some(DELEGATE.1);
    let mut ids = IDS.iter().copied().chain(delegate);
    if let Some(id) = ids.find_map(|pointer| field::id(envelope, pointer)) {
        return About::Accounts(vec![id]);
    }
    let mut addresses = ADDRESSES.iter();
    match addresses.find_map(|pointer| field::text(envelope, pointer)) {
        Some(address) => About::Address(address.to_lowercase()),
        None if has_booking => About::Hosts,
        None => About::Nobody,
    }
}

fn is_test(envelope: &Value) -> bool {
    field::text(envelope, "/payload/organizer/email") == Some(TESTER)
        && field::id(envelope, "/payload/organizer/id").is_none()
}
