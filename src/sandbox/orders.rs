//! What the sandbox can be told to do, and what it answers: the same types in Rust and as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::clock::Timestamp;

/// A user to be made. The JSON of `POST /_sandbox/users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewUser {
    /// What the sandbox calls the user; the local part of the address. Made again, the same user
    /// gets one more grant.
    pub name: String,
    /// Which family of tokens; only Cal.com has `managed`.
    pub family: Family,
    /// Space-separated scope of the grant; absent means all.
    pub scope: Option<String>,
    /// Calendly: no paid plan, hence no webhooks and 50 calls a minute.
    pub free_plan: bool,
    /// Calendly: the user (by name) whose organization this one joins; absent means an own one.
    pub colleague_of: Option<String>,
    /// Calendly: the group of the organization that the user belongs to, by any name.
    pub group: Option<String>,
}

/// Which family of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A user who gave consent.
    #[default]
    Oauth2,
    /// Cal.com only: a user made by a platform client.
    Managed,
}

/// A user that was made, with a grant. Nothing here is secret: it opens only the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// What the sandbox calls the user.
    pub name: String,
    /// Cal.com: the numeric id; Calendly: the user URI.
    pub external_id: String,
    /// Cal.com, managed only: the numeric id.
    pub managed_user_id: Option<i64>,
    /// Calendly: the organization URI.
    pub organization: Option<String>,
    /// The address, as the provider shows it.
    pub email: String,
    /// The client that holds the grant.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// When the access token ends, by the provider's clock.
    pub access_expires_at: Timestamp,
    /// When the refresh token ends, if it ages.
    pub refresh_expires_at: Option<Timestamp>,
    /// The granted scope.
    pub scope: Option<String>,
}

/// Something to be killed. The JSON of `POST /_sandbox/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Whose, by the sandbox's name.
    pub user: String,
    /// How much.
    pub what: Killed,
}

/// How much is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killed {
    /// Access tokens only; the refresh tokens still work.
    Access,
    /// Access tokens expire now; the refresh tokens still work.
    Expire,
    /// Access and refresh tokens.
    Grant,
    /// The user.
    User,
}

/// What happens to a booking. The JSON of `POST /_sandbox/bookings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BookingOrder {
    /// What happens.
    pub action: Action,
    /// The host, by the sandbox's name; for `create`.
    pub user: String,
    /// Calendly: more hosts, by name, as in a collective event.
    pub co_hosts: Vec<String>,
    /// Which booking; for everything but `create`. Calendly: the id of the event.
    pub id: String,
    /// When it begins; absent means tomorrow, or a day later.
    pub start: Option<Timestamp>,
    /// How long it takes, in minutes; absent means 30.
    pub minutes: Option<u32>,
    /// Calendly: how many invitees it has room for; absent means one.
    pub seats: Option<u32>,
    /// Who booked; absent means an invented guest. At Calendly, for everything but `create`: which of
    /// the invitees; absent means all of them.
    pub attendee_email: Option<String>,
    /// Why; for `cancel` and `reschedule`.
    pub reason: Option<String>,
}

/// What happens to a booking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    #[default]
    Create,
    /// It is called off.
    Cancel,
    /// It moves to another time.
    Reschedule,
    /// Calendly: somebody else takes one of its seats.
    Join,
    /// Somebody did not come.
    Miss,
    /// They did after all.
    Attend,
    /// Cal.com: somebody asks for it; a host has to confirm it.
    Request,
    /// Cal.com: what was asked for is confirmed.
    Confirm,
    /// Cal.com: what was asked for is turned down.
    Reject,
    /// Cal.com: it has begun (`MEETING_STARTED`, flat).
    Start,
    /// Cal.com: it is over (`MEETING_ENDED`, flat).
    End,
}

/// What became of a booking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booked {
    /// Cal.com: the uid; Calendly: the id of the event. A rescheduled booking has a new one.
    pub id: String,
    /// Calendly: the URI of the event.
    pub uri: Option<String>,
    /// Calendly: the URI of the invitee.
    pub invitee: Option<String>,
    /// How many webhook deliveries it set off.
    pub deliveries: usize,
}

/// An event to be told as it stands, such as one that no booking sets off. The JSON of
/// `POST /_sandbox/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Announcement {
    /// What it is called; whoever has subscribed to that, and to the user's events, is told.
    pub event: String,
    /// Whose event it is, by the sandbox's name.
    pub user: String,
    /// Calendly: whose it is too.
    pub co_hosts: Vec<String>,
    /// What it says.
    pub payload: Value,
    /// Cal.com: without an envelope, as `MEETING_*`.
    pub flat: bool,
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// How many webhook deliveries it set off.
    pub deliveries: usize,
}

/// A callback address whose subscriptions are switched off, as after a day of failures. The JSON of
/// `POST /_sandbox/disable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// As it was subscribed.
    pub url: String,
}

// === impl BookingOrder ===

impl BookingOrder {
    /// A new booking of half an hour with `user`, tomorrow.
    pub fn create(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..Self::default()
        }
    }

    /// Something that happens to the booking `id`.
    pub fn to(action: Action, id: &str) -> Self {
        Self {
            action,
            id: id.to_owned(),
            ..Self::default()
        }
    }
}

// === impl NewUser ===

impl NewUser {
    /// A user with a full grant of the usual family.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A user of Cal.com's platform client.
    pub fn managed(name: &str) -> Self {
        Self {
            family: Family::Managed,
            ..Self::named(name)
        }
    }
}
