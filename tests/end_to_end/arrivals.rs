//! What came to the app, judged by what was promised. Each delivery, whatever it is:
//!
//! 1. came to the handler of a user whose it is, and of nobody else;
//! 2. is signed by Daypass, and still has its provider's signature;
//! 3. has a `webhook-id` that no other event and no other user has; its copies have the same one, and
//!    the same bytes.
//!
//! And each booking came at least once to each user whose it is, the first time in the order in which
//! the user's bookings were made.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::app::Taken;

/// `whsec_` and 24 bytes: what the sidecars sign with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Where handlers are, by provider and user.
pub(crate) const HANDLERS: &str = "/hooks/{provider}/{user}";

/// Something that happened at a provider, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) provider: &'static str,
    /// The provider's name for it, such as `invitee.created`.
    pub(crate) event: &'static str,
    /// The provider's id of the booking.
    pub(crate) booking: String,
    /// The users of the app.
    pub(crate) users: Vec<&'static str>,
}

/// A provider's event at a user's handler.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    pub(crate) user: String,
    pub(crate) event: String,
    pub(crate) booking: String,
}

/// The providers' events that came so far, in the order in which they came.
pub(crate) fn arrivals(taken: &[Taken]) -> Vec<Arrival> {
    taken.iter().filter_map(arrival).collect()
}

/// Those of `happened` that have not come to all whose they are.
pub(crate) fn missing(taken: &[Taken], happened: &[Happened]) -> Vec<Arrival> {
    let came: BTreeSet<Arrival> = arrivals(taken).into_iter().collect();
    let due = happened.iter().flat_map(Happened::due);
    due.filter(|due| !came.contains(due)).collect()
}

/// How often `happened` came to `user`.
pub(crate) fn copies(taken: &[Taken], happened: &Happened, user: &str) -> usize {
    let due = happened.due().find(|due| due.user == user).unwrap();
    arrivals(taken).iter().filter(|came| **came == due).count()
}

/// Fails unless everything that was promised holds for `taken`, and all of `happened` has come.
pub(crate) fn judge(taken: &[Taken], happened: &[Happened]) {
    judge_so_far(taken, happened);
    let missing = missing(taken, happened);
    assert!(missing.is_empty(), "lost: {missing:?}");
    is_in_order(taken, happened);
}

/// The same, while something may still be on its way.
pub(crate) fn judge_so_far(taken: &[Taken], happened: &[Happened]) {
    let mut by_id: BTreeMap<&str, (&Taken, String)> = BTreeMap::new();
    let mut ids: BTreeMap<Arrival, &str> = BTreeMap::new();
    for one in taken {
        let user = handler(one);
        is_signed(one);
        is_for(one, user, happened);
        let id = one.header("webhook-id");
        assert!(!id.is_empty(), "no webhook-id: {one:?}");
        let (first, its_user) = by_id.entry(id).or_insert_with(|| (one, user.to_owned()));
        assert_eq!(
            its_user.as_str(),
            user,
            "one webhook-id for two users: {id}"
        );
        assert_eq!(
            first.body, one.body,
            "one webhook-id for two contents: {id}"
        );
        if let Some(arrival) = arrival(one) {
            let first = *ids.entry(arrival.clone()).or_insert(id);
            assert_eq!(first, id, "a copy has another webhook-id: {arrival:?}");
        }
    }
}

/// The user whose handler took it; the header must say the same.
fn handler(taken: &Taken) -> &str {
    let mut parts = taken.path.split('/').skip(2);
    let (provider, user) = (parts.next().unwrap(), parts.next().unwrap());
    assert_eq!(taken.header("x-user-id"), user, "{taken:?}");
    assert_eq!(taken.header("daypass-provider"), provider, "{taken:?}");
    user
}

fn is_for(taken: &Taken, user: &str, happened: &[Happened]) {
    let Some(arrival) = arrival(taken) else {
        let body = json(taken);
        assert_eq!(body["user"], user, "another user's: {taken:?}");
        assert_eq!(body["type"], taken.header("daypass-event"), "{taken:?}");
        return;
    };
    let due = happened.iter().flat_map(Happened::due);
    assert!(
        due.into_iter().any(|due| due == arrival),
        "at a handler of somebody whose it is not: {arrival:?}, {happened:?}"
    );
}

fn is_signed(taken: &Taken) {
    let key = BASE64_STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    for part in [
        taken.header("webhook-id").as_bytes(),
        b".",
        taken.header("webhook-timestamp").as_bytes(),
        b".",
        &taken.body,
    ] {
        mac.update(part);
    }
    let digest = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(taken.header("webhook-signature"), format!("v1,{digest}"));
    if arrival(taken).is_some() {
        let theirs = ["calendly-webhook-signature", "x-cal-signature-256"];
        assert!(
            theirs.iter().any(|name| !taken.header(name).is_empty()),
            "the provider's signature is gone: {taken:?}"
        );
    }
}

fn is_in_order(taken: &[Taken], happened: &[Happened]) {
    let came = arrivals(taken);
    let users: BTreeSet<_> = happened.iter().flat_map(|one| &one.users).collect();
    for user in users {
        let mut first = Vec::new();
        for arrival in came.iter().filter(|came| came.user == **user) {
            if !first.contains(arrival) {
                first.push(arrival.clone());
            }
        }
        let due = happened.iter().flat_map(Happened::due);
        let due: Vec<_> = due.filter(|due| due.user == **user).collect();
        assert_eq!(first, due, "not in the order of {user}");
    }
}

/// Whose provider's event it is; `None` for one of Daypass's own.
fn arrival(taken: &Taken) -> Option<Arrival> {
    let body = json(taken);
    let calendly = body["payload"]["scheduled_event"]["uri"].as_str();
    let calcom = body["payload"]["uid"]
        .as_str()
        .or_else(|| body["uid"].as_str());
    let booking = calendly.and_then(|uri| uri.rsplit('/').next()).or(calcom)?;
    Some(Arrival {
        user: taken.path.rsplit('/').next().unwrap().to_owned(),
        event: taken.header("daypass-event").to_owned(),
        booking: booking.to_owned(),
    })
}

fn json(taken: &Taken) -> Value {
    serde_json::from_slice(&taken.body).unwrap()
}

// === impl Happened ===

impl Happened {
    fn due(&self) -> impl Iterator<Item = Arrival> {
        self.users.iter().map(|user| Arrival {
            user: (*user).to_owned(),
            event: self.event.to_owned(),
            booking: self.booking.clone(),
        })
    }
}
