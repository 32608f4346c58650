//! A token in memory: prepared for the wire, with its deadlines on the clock that does not jump.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Bearer, Config, policy::Thresholds};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, Generation},
        secret::Secret,
    },
    store::SealedTokens,
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

/// The token of one generation of one connection.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: ConnectionId,
    pub(super) bearer: Arc<Bearer>,
    /// From here on it is due.
    due: Instant,
    /// From here on it is short.
    short: Instant,
    /// From here on it is dead.
    dead: Instant,
}

// === impl Held ===

impl Held {
    /// Prepares the opened `access` token of `tokens`. Fails if no header can carry the token.
    pub(super) fn new(
        config: &Config,
        id: ConnectionId,
        generation: Generation,
        tokens: &SealedTokens,
        access: &Secret<String>,
        now: Timestamp,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let bearer = Bearer {
            authorization: access.to_bearer_header()?,
            generation,
            expires_at: tokens.access_expires_at,
        };
        let lifetime = tokens.access_expires_at.saturating_since(tokens.renewed_at);
        let thresholds = Thresholds::of(config, lifetime);
        let left = tokens.access_expires_at.saturating_since(now);
        let at = Instant::now();
        let before_end = |margin: Duration| at + left.saturating_sub(margin).min(FAR);
        Ok(Self {
            id,
            bearer: Arc::new(bearer),
            due: before_end(thresholds.buffer),
            short: before_end(thresholds.min_validity),
            dead: before_end(Duration::ZERO),
        })
    }

    /// Whether this is what the caller needs.
    pub(super) fn meets(&self, need: Need, now: Instant) -> bool {
        match need {
            Need::Usable => now < self.short,
            Need::Fresh => now < self.due,
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
        now < self.dead
    }

    /// Which writing of tokens it came from.
    pub(super) fn generation(&self) -> Generation {
        self.bearer.generation()
    }

    /// Whether tokens of `generation` of the connection `id` are newer than these.
    pub(super) fn is_older_than(&self, id: ConnectionId, generation: Generation) -> bool {
        self.id != id || self.generation() < generation
    }
}

/// Keeps sums of instants and durations representable; nothing is cached for longer.
const FAR: Duration = Duration::from_hours(24 * 365);
