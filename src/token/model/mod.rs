//! A model of the refresh protocol, small enough to look at every state that it can be in.
//!
//! [`flight`] has the steps of [`renewal`](super::renewal), one for each thing that the store or the
//! provider does, by the same names; [`trouble`] has all that may go wrong between them, and what users do; [`laws`] has
//! the invariants. [`explore`] looks at everything that follows from the beginning, within a [`Scope`],
//! and shows the shortest way to whatever breaks a law. `docs/refresh-protocol.md` says what is modelled
//! and what is not. Nothing here is part of the program: `tests/simulation` runs it.
//!
//! 1. There is no clock. A lease runs out when it may; an answer is late when it may.
//! 2. A step is what is atomic in the store or at the provider, with what its caller does of its own
//!    before it.
//! 3. Each [`Protection`] can be left out. Then a law must be broken, or it protects from nothing.

mod explore;
mod flight;
mod laws;
mod state;
mod store;
mod trouble;
mod written;

pub(crate) use explore::explore;
pub(crate) use laws::LAWS;

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    /// How many pairs the provider issues, the first and those of connects included. After that it asks
    /// for fewer calls.
    pub(crate) pairs: u8,
    /// How many things go wrong.
    pub(crate) faults: u8,
    /// How often the user connects again.
    pub(crate) connects: u8,
    /// How often the user disconnects.
    pub(crate) disconnects: u8,
    /// Whether what the sidecars have in memory is followed, and the news that keeps it right.
    pub(crate) memory: bool,
    /// How many flights there are at most; 0 for any number.
    pub(crate) flights: u8,
}

/// What can be left out of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// A commit names the generation that it was minted from.
    FencedCommit,
    /// A mark names the generation that was refused.
    FencedMark,
    /// An intent names the generation that was read, and needs the lease.
    FencedIntent,
    /// A lease is had by one.
    Lease,
    /// A lease is given back by its owner only.
    LeaseOwner,
    /// No call once the lease has run out by the flight's own clock.
    OwnClock,
    /// An attempt is recorded before the call.
    Intent,
    /// The connection is read again under the lease.
    ReadUnderLease,
    /// Tokens that the store refuses are kept.
    Spool,
    /// What waits in the spool is stored before anything else is redeemed.
    SpoolFirst,
    /// The store is looked at again before a refusal is believed.
    SecondLook,
    /// A commit needs no lease.
    CommitWithoutLease,
    /// A commit overrules a mark.
    CommitOverMark,
    /// Tokens of a connection that is gone are revoked.
    Revoke,
    /// Whether others have tried is taken from that second look.
    LateIntents,
    /// What news has overtaken is not kept in memory.
    News,
}

/// All of them.
pub(crate) const PROTECTIONS: [Protection; 16] = [
    Protection::FencedCommit,
    Protection::FencedMark,
    Protection::FencedIntent,
    Protection::Lease,
    Protection::LeaseOwner,
    Protection::OwnClock,
    Protection::Intent,
    Protection::ReadUnderLease,
    Protection::Spool,
    Protection::SpoolFirst,
    Protection::SecondLook,
    Protection::CommitWithoutLease,
    Protection::CommitOverMark,
    Protection::Revoke,
    Protection::LateIntents,
    Protection::News,
];

/// What is to be seen somewhere, lest the model holds because nothing happens in it.
pub(crate) mod seen {
    pub(crate) const RENEWED: u32 = 1;
    pub(crate) const ADOPTED: u32 = 1 << 1;
    pub(crate) const LOST: u32 = 1 << 2;
    pub(crate) const REFUSED: u32 = 1 << 3;
    pub(crate) const UNSPOOLED: u32 = 1 << 4;
    pub(crate) const RESTARTED: u32 = 1 << 5;
    pub(crate) const OVERRULED: u32 = 1 << 6;
    pub(crate) const LATE_COMMIT: u32 = 1 << 7;
    pub(crate) const SUPERSEDED: u32 = 1 << 8;
    pub(crate) const ORPHANED: u32 = 1 << 9;
    pub(crate) const TAKEN_BACK: u32 = 1 << 10;
    pub(crate) const SECOND_LOOK: u32 = 1 << 11;
    pub(crate) const AGAIN: u32 = 1 << 12;

    /// Each, in words.
    pub(crate) const ALL: [(u32, &str); 13] = [
        (RENEWED, "a renewal"),
        (ADOPTED, "a sibling's renewal adopted"),
        (LOST, "a lost rotation named"),
        (REFUSED, "a refused grant marked"),
        (UNSPOOLED, "the spool taken by the store"),
        (RESTARTED, "a restart with something in the spool"),
        (OVERRULED, "a mark overruled by a commit"),
        (LATE_COMMIT, "a commit without the lease"),
        (SUPERSEDED, "new tokens superseded"),
        (ORPHANED, "new tokens of a removed connection"),
        (TAKEN_BACK, "an attempt taken back"),
        (SECOND_LOOK, "a refusal that was a sibling's rotation"),
        (AGAIN, "a token sent again after no clear answer"),
    ];
}
