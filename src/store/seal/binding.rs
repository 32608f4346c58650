//! What the seals of a store are bound to, in one place: each room binds what it seals by this, and so
//! whoever seals anew with another key binds it to the same.

use super::{Aad, Field};
use crate::{
    base::ids::{ConnectionKey, EventId, ProviderName},
    store::{Digest, Purpose},
};

/// What one sealed thing is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    provider: ProviderName,
    subject: String,
    field: Field,
}

// === impl Binding ===

impl Binding {
    /// Of a token of the connection `key`.
    pub fn token(key: &ConnectionKey, field: Field) -> Self {
        Self::new(&key.provider, key.user.as_str().to_owned(), field)
    }

    /// Of the state of a job of the connection `key`.
    pub fn job(key: &ConnectionKey) -> Self {
        Self::new(&key.provider, key.user.as_str().to_owned(), Field::Job)
    }

    /// Of what the event `id` carries, which came from `provider` or is about it.
    pub fn event(provider: &ProviderName, id: EventId) -> Self {
        Self::new(provider, id.to_string(), Field::Event)
    }

    /// Of the details of the meeting `id` of a connection. A user id has no space, so no two meetings
    /// share a subject.
    pub fn meeting(key: &ConnectionKey, id: &str) -> Self {
        let subject = format!("{} {id}", key.user);
        Self::new(&key.provider, subject, Field::Meeting)
    }

    /// Of the record that `digest` finds. Which provider it is of, the store does not say.
    pub fn record(provider: &ProviderName, purpose: Purpose, digest: &Digest) -> Self {
        let digest = hex::encode(digest.0);
        let subject = match purpose {
            Purpose::Route => digest,
            Purpose::Ticket | Purpose::Consent | Purpose::IssuedToken => {
                format!("{}:{digest}", purpose.as_str())
            }
        };
        Self::new(provider, subject, Field::Expiring)
    }

    fn new(provider: &ProviderName, subject: String, field: Field) -> Self {
        Self {
            provider: provider.clone(),
            subject,
            field,
        }
    }

    /// As sealing and opening ask for it.
    pub fn aad(&self) -> Aad<'_> {
        Aad {
            provider: self.provider.as_str(),
            subject: &self.subject,
            field: self.field,
        }
    }
}
