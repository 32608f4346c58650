//! A token in memory: prepared for the wire, with its deadlines on the clock that does not jump.
//!
//! There are as many as connections that memory knows, so it is one piece of memory, and a small one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{Bearer, Config, policy::Thresholds};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, Generation, GrantId},
        secret::Secret,
    },
    store::{Connection, SealedTokens},
};

/// What a caller needs of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// More than `min_validity` to live: a request is waiting.
    Usable,
    /// More than `buffer` to live: nobody is waiting.
    Fresh,
    /// Newer than this generation.
    NewerThan(Generation, Reason),
}

/// Why a newer token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The provider refused the one of that generation.
    Refused,
    /// Somebody asked, in so many words.
    Asked,
    /// Somebody asked for a renewal by force.
    AskedByForce,
    /// The grant must not die of idleness.
    KeepAlive,
}

// === impl Need ===

impl Need {
    /// Whether somebody waits who has asked for it, be it a request or an operator.
    pub(super) const fn is_asked(self) -> bool {
        !matches!(self, Self::Fresh | Self::NewerThan(_, Reason::KeepAlive))
    }
}

// === impl Bearer ===

impl Bearer {
    /// Prepares the opened `access` token of `tokens`, which are `named` so in the store. Fails if no header can carry the token.
    pub(super) fn new(
        config: &Config,
        (id, generation, grant): (ConnectionId, Generation, GrantId),
        tokens: &SealedTokens,
        access: &Secret<String>,
        now: Timestamp,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let lifetime = tokens.access_expires_at.saturating_since(tokens.renewed_at);
        let thresholds = Thresholds::of(config, lifetime);
        let left = tokens.access_expires_at.saturating_since(now);
        let before_end = |margin: Duration| left.saturating_sub(margin).min(FAR);
        let due = before_end(thresholds.buffer);
        Ok(Self {
            authorization: access.to_bearer_header()?,
            generation,
            expires_at: tokens.access_expires_at,
            id,
            grant: grant.hint(),
            due: Instant::now() + due,
            short_after: millis(before_end(thresholds.min_validity).saturating_sub(due)),
            dead_after: millis(before_end(Duration::ZERO).saturating_sub(due)),
            stale: AtomicBool::new(false),
        })
    }

    /// Which connection it is of.
    pub(super) const fn connection(&self) -> ConnectionId {
        self.id
    }

    /// Whether this is what the caller needs.
    pub(super) fn meets(&self, need: Need, now: Instant) -> bool {
        match need {
            Need::Usable => self.is_within(self.short_after, now),
            Need::Fresh => !self.is_due(now),
            // Memory never goes back within one connection, so a lower generation is the token of a
            // successor that was connected after the old one was removed.
            Need::NewerThan(generation, _) => self.generation() != generation,
        }
    }

    /// Whether it should be renewed in the background.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Whether the provider would still take it, as far as its times tell.
    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.is_within(self.dead_after, now)
    }

    /// Whether it is of the grant that `connection` has.
    pub(super) fn is_of(&self, connection: &Connection) -> bool {
        self.id == connection.id
            && self.generation() == connection.generation
            && self.grant == connection.grant.hint()
    }

    /// Whether tokens that the store has as `generation` of the connection `id`, named `grant`, are newer
    /// than these. If the store gives out a generation once more, it has lost the one of before.
    pub(super) fn is_older_than(
        &self,
        id: ConnectionId,
        generation: Generation,
        grant: GrantId,
    ) -> bool {
        let is_another = self.generation() == generation && self.grant != grant.hint();
        self.id != id || self.generation() < generation || is_another
    }

    /// Whether the store may hold something else.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    pub(super) fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::Release);
    }

    /// Whether it became due less than `millis` ago, or not yet.
    fn is_within(&self, millis: u32, now: Instant) -> bool {
        // What most requests find comes first.
        now < self.due || now < self.due + Duration::from_millis(millis.into())
    }
}

/// Seven weeks at most: nobody renews so long ahead.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Keeps sums of instants and durations representable; nothing is cached for longer.
const FAR: Duration = Duration::from_hours(24 * 365);
