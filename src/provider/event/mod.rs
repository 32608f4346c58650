//! What a webhook says, and for whom it is.
//!
//! 1. Everything here comes from the signed body, never from a header.
//! 2. An event that is new, or of another shape than documented, is still an event: what cannot be
//!    read is left open.
//! 3. An account that an event names decides, and nothing weaker is asked then: an address would match
//!    people that the id excludes.
//! 4. A subscription of one user's brings that user's events only. Its secret can be seen by its user
//!    (Cal.com shows it), who could sign what they like; so an event there that names somebody else
//!    is for nobody.
//! 5. In a subscription of a whole organization, whoever made it is not the host: hosts decide
//!    (Calendly, envelope and host identity).

use std::fmt;

use thiserror::Error;

use super::{Account, Coverage, Meeting};
use crate::base::clock::Timestamp;

/// A webhook's content, as far as it could be read.
#[derive(Clone)]
pub struct Event {
    /// The provider's name for it, such as `invitee.created` or `BOOKING_CREATED`; empty if it has none.
    pub name: String,
    /// When it happened, by the provider's clock.
    pub occurred_at: Option<Timestamp>,
    /// The same for the same event, however often and by however many subscriptions it is delivered.
    /// Drop duplicates per recipient: one event may be for several users.
    pub key: EventKey,
    /// Whom its body names.
    pub names: Names,
    /// The meeting it is about, to be fetched with [`Meetings::fetch`](super::Meetings::fetch).
    pub meeting_id: Option<String>,
    /// The meeting as far as the body tells; `None` if it tells no time.
    pub meeting: Option<Meeting>,
}

/// Identifies an event among all of its provider.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(pub [u8; 32]);

/// Whom the body of an event names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The account whose subscription this is, where the body says so.
    pub subscriber: Option<String>,
    /// Whom it is about.
    pub about: About,
}

/// Whom an event is about.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum About {
    /// These accounts, by their ids: all hosts of a meeting, perhaps none.
    Accounts(Vec<String>),
    /// The account with this address, in lower case; its id is not told. Weak: addresses change, and
    /// may be another one than the account's.
    Address(String),
    /// Whoever hosts the meeting, which the body does not say: [`Event::meeting_id`] leads there.
    Hosts,
    /// Nobody in particular.
    #[default]
    Nobody,
}

/// Whom to deliver an event to.
#[derive(Clone, PartialEq, Eq)]
pub enum Addressees {
    /// All users who are connected with one of these accounts, see [`Account::key`]. That there is none
    /// is normal.
    Accounts(Vec<String>),
    /// All users who are connected with the account of this address, in lower case.
    Address(String),
    /// All users who are connected with the account of the connection that the subscription belongs to;
    /// nobody if it belongs to none.
    Subscriber,
    /// Whoever hosts the meeting of this id: look it up among those stored, or fetch it with the token
    /// of the subscription's connection, and see [`Meeting::hosts`].
    HostsOf(String),
    /// Nobody: keep it as unrouted.
    Nobody,
}

/// A body that is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the body is no JSON")]
pub struct NotJson;

// === impl Event ===

impl Event {
    /// Whom this event is for, if it came by a subscription of `coverage`.
    ///
    /// `subscriber` is the account of the connection that the subscription belongs to, if the address
    /// it came on has told; `None` on the shared address.
    pub fn addressees(&self, coverage: Coverage, subscriber: Option<&Account>) -> Addressees {
        match coverage {
            Coverage::User => self.of_one_user(subscriber),
            Coverage::Organization | Coverage::Group | Coverage::Client => self.of_many(),
        }
    }

    fn of_one_user(&self, subscriber: Option<&Account>) -> Addressees {
        let named = match (&self.names.subscriber, &self.names.about) {
            (Some(id), _) => std::slice::from_ref(id),
            (None, About::Accounts(ids)) => ids.as_slice(),
            (None, _) => &[],
        };
        let Some(subscriber) = subscriber else {
            return match named {
                [] => self.of_many(),
                ids => Addressees::Accounts(ids.to_vec()),
            };
        };
        match (named, subscriber.key()) {
            ([], _) | (_, None) => Addressees::Subscriber,
            (ids, Some(known)) if ids.contains(&known) => Addressees::Accounts(vec![known]),
            (_, Some(_)) => Addressees::Nobody,
        }
    }

    fn of_many(&self) -> Addressees {
        match &self.names.about {
            About::Accounts(ids) => Addressees::Accounts(ids.clone()),
            About::Address(address) => Addressees::Address(address.clone()),
            About::Hosts => match &self.meeting_id {
                Some(id) => Addressees::HostsOf(id.clone()),
                None => Addressees::Nobody,
            },
            About::Nobody => Addressees::Subscriber,
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name)
            .field("occurred_at", &self.occurred_at)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

// === impl Names, About, Addressees ===

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("subscriber", &self.subscriber)
            .field("about", &self.about)
            .finish()
    }
}

impl fmt::Debug for About {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts(ids) => f.debug_tuple("Accounts").field(ids).finish(),
            Self::Address(_) => f.write_str("Address"),
            Self::Hosts => f.write_str("Hosts"),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}

impl fmt::Debug for Addressees {
    /// Without personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accounts(ids) => f.debug_tuple("Accounts").field(ids).finish(),
            Self::Address(_) => f.write_str("Address"),
            Self::Subscriber => f.write_str("Subscriber"),
            Self::HostsOf(id) => f.debug_tuple("HostsOf").field(id).finish(),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}

// === impl EventKey ===

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
