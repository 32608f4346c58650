//! Everything sealed that a store keeps, whatever it is for: to see which keys it is sealed with, and to
//! put the same thing there sealed with another.
//!
//! 1. A seal is replaced only while it is what was read ([`Seals::reseal`]). No two seals are the same,
//!    so a write that came in between always stands, and needs to know nothing of this.
//! 2. Nothing else of a row changes: no generation, no time, no place in a line. Nobody is told.
//! 3. Whoever goes through a drawer meets each row that is there throughout at least once. Where rows move
//!    while that is done, one may be met twice.

use async_trait::async_trait;

use super::{Digest, Error, JobKind, Purpose, seal::Sealed};
use crate::base::ids::{ConnectionKey, EventId, ProviderName, UserId};

/// What kind of thing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Drawer {
    /// Tokens of connections.
    Connections,
    /// What is found by showing a secret once, routes of webhooks among it.
    Records,
    /// States of jobs, secrets of subscriptions among them.
    Jobs,
    /// What events carry.
    Events,
    /// Details of meetings.
    Meetings,
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Row {
    /// Of a connection, whose seals are the access token and, if there is one, the refresh token.
    Connection(ConnectionKey),
    /// Of a record.
    Record(Purpose, Digest),
    /// Of a job.
    Job(JobKind, ConnectionKey),
    /// Of an event.
    Event {
        /// From which provider, or about which.
        provider: ProviderName,
        /// Which.
        id: EventId,
        /// What finds it: see [`NewEvent::dedupe`](super::NewEvent::dedupe).
        dedupe: [u8; 32],
    },
    /// Of a meeting, by its connection and its id at the provider.
    Meeting(ConnectionKey, String),
}

/// A row and what is sealed in it: one seal, or the two of a connection.
#[derive(Clone, Debug)]
pub struct SealedRow {
    /// Which.
    pub row: Row,
    /// Each whole, or only its head ([`HEAD_LEN`](super::seal::HEAD_LEN)).
    pub seals: Vec<Sealed>,
}

/// Some rows of a drawer.
#[derive(Clone, Debug, Default)]
pub struct SealedPage {
    /// Those that keep something sealed.
    pub rows: Vec<SealedRow>,
    /// Names of those that cannot be read.
    pub unreadable: Vec<String>,
    /// Where to go on; `None` at the end. A page may be empty although there is more.
    pub next: Option<Bookmark>,
}

/// A place between two rows of a drawer; meaningful to the backend that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark(Vec<String>);

/// New seals for a row.
#[derive(Clone, Debug)]
pub struct Swap {
    /// Which.
    pub row: Row,
    /// What must still be there, whole.
    pub from: Vec<Sealed>,
    /// What to put in its place; as many.
    pub to: Vec<Sealed>,
}

/// Goes through what is sealed; see the [module docs](self).
#[async_trait]
pub trait Seals: Send + Sync + 'static {
    /// About `limit` rows of `drawer` from `from` on, or from the beginning. Of rows that have seals of the
    /// key `spare` only, heads; without a `spare`, of all rows.
    async fn sealed(
        &self,
        drawer: Drawer,
        from: Option<&Bookmark>,
        limit: usize,
        spare: Option<&str>,
    ) -> Result<SealedPage, Error>;

    /// Replaces seals, each row as one step; of each, in their order, whether it was done: not if the row
    /// is gone, or has other seals by now. All rows are of one drawer, and none is there twice.
    async fn reseal(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, Error>;
}

// === impl Drawer ===

impl Drawer {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Connections,
        Self::Records,
        Self::Jobs,
        Self::Events,
        Self::Meetings,
    ];

    /// One word, for people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Records => "records",
            Self::Jobs => "jobs",
            Self::Events => "events",
            Self::Meetings => "meetings",
        }
    }
}

// === impl Row ===

impl Row {
    /// Where it is kept.
    pub const fn drawer(&self) -> Drawer {
        match self {
            Self::Connection(_) => Drawer::Connections,
            Self::Record(..) => Drawer::Records,
            Self::Job(..) => Drawer::Jobs,
            Self::Event { .. } => Drawer::Events,
            Self::Meeting(..) => Drawer::Meetings,
        }
    }
}

// === impl Bookmark ===

impl Bookmark {
    pub(super) fn of<const N: usize>(parts: [String; N]) -> Self {
        Self(parts.into())
    }

    /// Its parts, if there are `N` of them; empty ones before the first row.
    pub(super) fn parts<const N: usize>(bookmark: Option<&Self>) -> [&str; N] {
        let mut parts = [""; N];
        if let Some(bookmark) = bookmark {
            for (part, found) in parts.iter_mut().zip(&bookmark.0) {
                *part = found;
            }
        }
        parts
    }
}

// === impl Row ===

impl Row {
    /// The row that SQL tables name by these columns: purpose and digest of a record, kind, provider and
    /// user of a job, provider of an event (the second) with its id and digest, user, provider and id of a
    /// meeting. `None` if nothing can be called so.
    pub(super) fn named(drawer: Drawer, [one, two, three]: [&str; 3]) -> Option<Self> {
        let key = |provider: &str, user: &str| {
            Some(ConnectionKey {
                provider: ProviderName::parse(provider).ok()?,
                user: UserId::parse(user).ok()?,
            })
        };
        Some(match drawer {
            Drawer::Connections => Self::Connection(key(one, two)?),
            Drawer::Records => Self::Record(Purpose::parse(one)?, Digest(unhex(two)?)),
            Drawer::Jobs => Self::Job(JobKind::parse(one)?, key(two, three)?),
            Drawer::Events => {
                let (id, dedupe) = three.split_at_checked(32)?;
                let id: [u8; 16] = unhex(id)?;
                Self::Event {
                    provider: ProviderName::parse(two).ok()?,
                    id: EventId::from_slice(&id).ok()?,
                    dedupe: unhex(dedupe)?,
                }
            }
            Drawer::Meetings => Self::Meeting(key(two, one)?, three.to_owned()),
        })
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode(text).ok()?.try_into().ok()
}
