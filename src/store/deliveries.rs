//! Events on their way to the app.
//!
//! 1. An event is kept once, by what was signed ([`NewEvent::dedupe`]). Each user it is for gets one
//!    delivery, however often the event comes and by whatever route.
//! 2. Accepting an event is one step: when it returns, event and deliveries survive a crash; when two
//!    race, each delivery is made once.
//! 3. The deliveries of one user (of all providers) form a line and are handed out in the order in
//!    which they were accepted: only the first one that is neither delivered nor dead, and only when
//!    it is due. Lines do not wait for each other.
//! 4. A line is claimed by one worker for a while. If the worker dies, the claim runs out and another
//!    takes the line over. From then on the first one has lost it, and settles nothing; until then it
//!    may be late.
//! 5. An event that is nobody's is kept under the accounts that it names, and becomes the delivery of
//!    whoever connects one of them ([`Deliveries::adopt`]).
//! 6. What is delivered, dead or nobody's is forgotten by [`Deliveries::prune`] only. The memory of
//!    what was accepted, and of who got it, lasts as long as the event, and that as long as any of its
//!    deliveries.
//!
//! Payloads are sealed: a store sees names, times and ids.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, seal::Sealed};
use crate::base::{
    clock::Timestamp,
    ids::{ConnectionKey, EventId, OwnerId, ProviderName, UserId},
};

/// An event to accept.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The id that it gets if it is new.
    pub id: EventId,
    /// From which provider, or about which.
    pub provider: ProviderName,
    /// As the app knows it, such as `invitee.created`.
    pub name: String,
    /// Digest of the signed content: what has the same is the same event.
    pub dedupe: [u8; 32],
    /// Body and headers, sealed; the same for all its deliveries.
    pub payload: Sealed,
    /// Whom it is for.
    pub recipients: Vec<ConnectionKey>,
    /// If it is for nobody: the accounts that it names, or that its route belonged to. Whoever
    /// connects one of them gets it.
    pub accounts: Vec<String>,
    /// Now, by the clock of who took it.
    pub at: Timestamp,
}

/// What accepting an event came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It was not known.
    New {
        /// The id it has from now on.
        id: EventId,
    },
    /// It was known.
    Known {
        /// The id it had already.
        id: EventId,
        /// How many recipients were new.
        added: usize,
    },
}

/// A delivery's number: which one it is, for the API. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// One event on its way to the app for one user, or waiting for somebody whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: DeliveryId,
    /// What is delivered.
    pub event: EventId,
    /// The event's name.
    pub name: String,
    /// The event's provider.
    pub provider: ProviderName,
    /// For whom; `None` if [`DeliveryStatus::Unrouted`].
    pub user: Option<UserId>,
    /// How far it is.
    pub status: DeliveryStatus,
    /// How often it was tried, since it was accepted or last replayed.
    pub attempts: u32,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// When it was first tried, since it was accepted or last replayed.
    pub first_tried_at: Option<Timestamp>,
    /// When it is tried next, or was delivered or given up.
    pub at: Timestamp,
    /// What the last try came to, for people; `None` if it was not tried, or delivered.
    pub last_error: Option<String>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryStatus {
    /// On its way.
    Pending,
    /// The app has said 2xx.
    Delivered,
    /// Given up: a dead letter.
    Dead,
    /// Genuine, but nobody's so far.
    Unrouted,
}

/// A delivery that is due, with what to deliver; its line is claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Which.
    pub delivery: Delivery,
    /// Sealed body and headers.
    pub payload: Sealed,
}

/// What a try came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Delivered.
    Delivered,
    /// Not yet: try again.
    Failed {
        /// Why, for people; never a body.
        what: String,
        /// After this long.
        next_in: Duration,
    },
    /// It was not tried, and does not count as an attempt.
    Postponed {
        /// Look again after this long.
        next_in: Duration,
    },
    /// Given up.
    Dead {
        /// Why, for people; never a body.
        what: String,
    },
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only these.
    pub status: Option<DeliveryStatus>,
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only this provider's.
    pub provider: Option<ProviderName>,
    /// Only of events accepted at or after this.
    pub since: Option<Timestamp>,
    /// Only of events accepted before this.
    pub until: Option<Timestamp>,
}

/// How many deliveries there are of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The status.
    pub status: DeliveryStatus,
    /// So many.
    pub count: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
}

/// Keeps events and deliveries; see the [module docs](self). Times of claims and tries go by the
/// store's clock.
#[async_trait]
pub trait Deliveries: Send + Sync + 'static {
    /// Keeps an event and makes the deliveries that it lacks. A recipient that is named twice gets one.
    /// An event that waited as nobody's, and comes again with recipients, waits no longer; if it comes
    /// again as nobody's, it waits for the accounts that it names now, too.
    async fn accept(&self, event: NewEvent) -> Result<Accepted, Error>;

    /// Claims up to `limit` lines whose first delivery is due, those due longest first, for `ttl`. What
    /// is claimed is not handed out again before the claim has run out, whatever else joins the line.
    async fn claim_lines(
        &self,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Claimed>, Error>;

    /// Keeps the claim on a line for `ttl` from now; `false` if it was lost, or has ended.
    async fn hold_line(&self, user: &UserId, owner: OwnerId, ttl: Duration) -> Result<bool, Error>;

    /// Writes what the try of a claimed line's first delivery came to, and ends the claim; `false`,
    /// and no change, if the claim was lost or the delivery is not the first. What follows one that was
    /// delivered or given up is due at once.
    async fn settle(
        &self,
        delivery: DeliveryId,
        owner: OwnerId,
        settled: Settled,
    ) -> Result<bool, Error>;

    /// Up to `limit` deliveries, the newest first, those before `before` only.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error>;

    /// The delivery and its payload.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<Claimed>, Error>;

    /// Puts a delivery that was delivered or given up at the end of its line again, due at once, as if
    /// it had never been tried; one that is on its way keeps its place and its attempts, and becomes
    /// due at once, unless it is being tried. `false` if there is none, or it is nobody's.
    async fn replay(&self, id: DeliveryId) -> Result<bool, Error>;

    /// Gives what waits for `account` at the provider of `key` to `key`, in the order in which it was
    /// accepted, at the end of the line; how many events.
    async fn adopt(&self, account: &str, key: &ConnectionKey) -> Result<u64, Error>;

    /// How many there are of each status; statuses without any may be left out.
    async fn tally(&self) -> Result<Vec<Tally>, Error>;

    /// Forgets up to `limit` deliveries that were delivered before `delivered`, or that were given up
    /// or are nobody's and were accepted before `others`, with events that have no delivery left;
    /// how many deliveries. What is on its way is never forgotten.
    async fn prune(
        &self,
        delivered: Timestamp,
        others: Timestamp,
        limit: usize,
    ) -> Result<u64, Error>;
}

// === impl DeliveryStatus ===

impl DeliveryStatus {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Dead, Self::Unrouted];

    /// As in the store and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Unrouted => "unrouted",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}
