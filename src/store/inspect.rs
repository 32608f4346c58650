//! What a store says of itself: its server, its schema, its clock, and what could be lost on it as it
//! is set up.

use std::fmt;

use async_trait::async_trait;

use super::{Error, Store};
use crate::base::clock::Timestamp;

/// Tells what the store is and what it promises. Changes nothing.
#[async_trait]
pub trait Inspect: Store {
    /// What the store is. Takes some seconds where announcements have to be waited for.
    async fn survey(&self) -> Result<Survey, Error>;

    /// What could be lost; empty if nothing that is known of.
    async fn assurances(&self) -> Result<Vec<Finding>, Error>;
}

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The program and its version.
    pub server: String,
    /// The schema that is there.
    pub schema: u32,
    /// The newest schema that this version knows.
    pub known: u32,
    /// The server's time; `None` if it has no clock of its own.
    pub clock: Option<Timestamp>,
    /// Whether changes by others are heard of as they are made; `None` if they are looked for always.
    pub announced: Option<bool>,
    /// Whether it takes no writes, being the copy of another.
    pub is_replica: bool,
}

/// Something that could be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub concern: Concern,
    /// Whether connected users could be lost in ordinary operation.
    pub is_grave: bool,
    /// How the store is set up.
    pub what: String,
    /// What could be lost by that.
    pub why: &'static str,
    /// What to do.
    pub mend: &'static str,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Concern {
    /// What is lost when the server, or its machine, stops.
    Persistence,
    /// What was acknowledged in the last moments before the machine stops.
    Flush,
    /// What the server throws away when memory is short.
    Eviction,
    /// What is lost when a replica takes over.
    Replication,
    /// What could not be looked at.
    Unchecked,
}

// === impl Finding ===

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what, why, mend, ..
        } = self;
        write!(f, "{what}: {why}; {mend}")
    }
}

// === impl Concern ===

impl Concern {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Persistence,
        Self::Flush,
        Self::Eviction,
        Self::Replication,
        Self::Unchecked,
    ];

    /// One word, for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Persistence => "persistence",
            Self::Flush => "flush",
            Self::Eviction => "eviction",
            Self::Replication => "replication",
            Self::Unchecked => "unchecked",
        }
    }
}
