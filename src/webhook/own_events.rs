//! What Daypass itself tells the app: that a user connected, that a grant died, that meetings were
//! read. So that an app can revalidate what it shows.
//!
//! 1. They go the way of every event: kept, in the user's line, signed.
//! 2. The body is `{"type","created_at","provider","user","data"}`; never a token.
//! 3. Which are sent is configuration. Without a destination none are.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::{
    Config,
    envelope::{Envelope, Envelopes},
};
use crate::{
    base::{
        clock::SharedClock,
        ids::{ConnectionKey, EventId},
        random::SharedRandom,
    },
    store::{self, Deliveries, NewEvent, seal::KeyRing},
};

/// An event of Daypass's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEvent {
    /// A user has connected, for the first time or again.
    Connected,
    /// A user's tokens were renewed.
    Refreshed,
    /// Only the user can mend the connection, by connecting again.
    NeedsReauth,
    /// A connection was removed.
    Disconnected,
    /// All meetings of a connection were read.
    MeetingsSynced,
}

/// Tells the app.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Teller {
    told: Arc<[OwnEvent]>,
    deliveries: Arc<dyn Deliveries>,
    envelopes: Envelopes,
    accepted: Arc<Notify>,
    clock: SharedClock,
    random: SharedRandom,
}

// === impl OwnEvent ===

impl OwnEvent {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Connected,
        Self::Refreshed,
        Self::NeedsReauth,
        Self::Disconnected,
        Self::MeetingsSynced,
    ];

    /// As the app knows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connection.connected",
            Self::Refreshed => "connection.refreshed",
            Self::NeedsReauth => "connection.needs_reauth",
            Self::Disconnected => "connection.disconnected",
            Self::MeetingsSynced => "meetings.synced",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }
}

// === impl Teller ===

impl Teller {
    /// Tells what `config` says, through `deliveries`; `accepted` is rung when there is something to
    /// deliver.
    pub fn new(
        config: &Config,
        deliveries: Arc<dyn Deliveries>,
        keys: Arc<KeyRing>,
        accepted: Arc<Notify>,
        clock: SharedClock,
        random: SharedRandom,
    ) -> Self {
        let told = match config.destination {
            Some(_) => config.own_events.as_slice().into(),
            None => Arc::default(),
        };
        Self {
            told,
            deliveries,
            envelopes: Envelopes::new(keys, Arc::clone(&random)),
            accepted,
            clock,
            random,
        }
    }

    /// Puts `event` about `key` into its user's line, if the app wants to hear of it. When this
    /// returns `Ok` the event survives a crash.
    pub async fn tell(
        &self,
        event: OwnEvent,
        key: &ConnectionKey,
        data: Value,
    ) -> Result<(), store::Error> {
        if !self.told.contains(&event) {
            return Ok(());
        }
        let at = self.clock.now();
        let id = EventId::random(&*self.random);
        let body = json!({
            "type": event.as_str(),
            "created_at": at.to_string(),
            "provider": key.provider,
            "user": key.user,
            "data": data,
        });
        let json = HeaderValue::from_static("application/json");
        let envelope = Envelope {
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
            body: Zeroizing::new(body.to_string().into_bytes()),
        };
        let accepted = self.deliveries.accept(NewEvent {
            id,
            provider: key.provider.clone(),
            name: event.as_str().to_owned(),
            // Each is an event of its own: nobody sends it twice.
            dedupe: Sha256::digest(id.as_bytes()).into(),
            payload: self.envelopes.seal(&key.provider, id, &envelope),
            recipients: vec![key.clone()],
            accounts: Vec::new(),
            at,
        });
        accepted.await?;
        self.accepted.notify_one();
        Ok(())
    }
}
