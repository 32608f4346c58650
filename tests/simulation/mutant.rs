//! Protections, each taken out in turn by the wire between the engine and the store, or its spool.

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Commits are stored whatever generation they started from.
    UnfencedCommits,
    /// Marks are set whatever generation they were made for.
    UnfencedMarks,
    /// An intent is taken whatever generation and whoever holds the lease.
    UnfencedIntents,
    /// Everybody gets the lease at once.
    LeasesForAll,
    /// Anybody's lease is given back.
    ReleasedByAnyone,
    /// A lease is never prolonged.
    LeasesRunOut,
    /// Nobody is told that something was begun.
    ForgottenIntents,
    /// The spool keeps nothing over a crash.
    ForgetfulSpool,
    /// A lease comes with the connection as it was one write before.
    StaleReads,
    /// A commit that the store refuses is taken for stored.
    DroppedCommits,
    /// A cooldown is never recorded.
    NoCooldowns,
    /// Nobody ever hears of changes. Not a protection: polling makes up for it.
    NoNotifications,
    /// Nothing is, on the schedules on which something else was.
    Nothing,
    /// Fences name no grant, so that a generation that is given out twice is taken for the other. That takes
    /// more than most schedules have, so it has some of its own.
    UnnamedGrants,
    /// Nothing is, on those.
    NothingOnTheWayBack,
}

impl Mutant {
    /// Whether its schedules have a store that goes back over and over.
    pub(crate) const fn goes_back(self) -> bool {
        matches!(self, Self::UnnamedGrants | Self::NothingOnTheWayBack)
    }
}

/// Those that must be caught.
pub(crate) const PROTECTIONS: [Mutant; 11] = [
    Mutant::UnfencedCommits,
    Mutant::UnfencedMarks,
    Mutant::UnfencedIntents,
    Mutant::LeasesForAll,
    Mutant::ReleasedByAnyone,
    Mutant::LeasesRunOut,
    Mutant::ForgottenIntents,
    Mutant::ForgetfulSpool,
    Mutant::StaleReads,
    Mutant::DroppedCommits,
    Mutant::NoCooldowns,
];
