//! The words that labels may have.

use http::StatusCode;

/// What became of a request of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider answered 1xx or 2xx.
    Success,
    /// The provider answered 3xx.
    Redirect,
    /// The provider answered 4xx.
    ClientError,
    /// The provider answered 5xx.
    ServerError,
    /// Refused here, for a fault of the caller.
    CallerFault,
    /// The user has to connect first, or again.
    NotConnected,
    /// There was no token to be had just now.
    NoToken,
    /// The provider could not be reached, or not in time.
    Unreachable,
    /// Refused here, because too many were under way.
    Overloaded,
    /// Refused here, as it is not on the operator's allow-list.
    NotAllowed,
    /// Refused here, as it was beyond one of the operator's limits.
    RateLimited,
    /// The caller left before the end.
    Aborted,
}

/// What became of the second attempt, after a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The new token was taken.
    Recovered,
    /// The new token was refused too.
    Refused,
    /// There was no new token.
    NoToken,
    /// The body was too long to be kept, so nothing could be sent again.
    BodyTooLong,
}

/// What of an operator's policy has something against a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The allow-list.
    Allow,
    /// The limit of each user.
    PerUser,
    /// The limit of all users together.
    PerProvider,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// The request was passed on all the same.
    Observed,
    /// The request was refused.
    Refused,
}

/// Where a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Memory, at once.
    Hit,
    /// The store, or a renewal, that had to be waited for.
    Wait,
    /// There is none: the user has to connect.
    NotConnected,
    /// It could not be had.
    Failed,
}

/// How tokens are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeem {
    /// With the refresh token.
    Standard,
    /// By force, with the client's secret.
    Force,
}

/// What became of a call to a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// New tokens.
    Renewed,
    /// The provider refused the grant.
    GrantRefused,
    /// The provider refused the client's credentials.
    ClientRefused,
    /// Too many token calls.
    RateLimited,
    /// Anything that may be better next time.
    Failed,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In use.
    Active,
    /// The user has to connect again.
    NeedsReauth,
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// Kept, and on its way to the app.
    Accepted,
    /// Taken before.
    Known,
    /// Kept as nobody's.
    Unrouted,
    /// Not proven genuine.
    Forged,
    /// Refused for its address, size or form.
    Invalid,
    /// The store did not take it.
    Failed,
}

/// What became of a try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The app has it.
    Delivered,
    /// To be tried again.
    Failed,
    /// Given up.
    Dead,
}

/// What could be lost by the way the store is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// When the server, or its machine, stops.
    Persistence,
    /// Of the last moments before the machine stops.
    Flush,
    /// When memory is short.
    Eviction,
    /// When a replica takes over.
    Replication,
    /// That is not known.
    Unchecked,
}

/// What became of a span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The collector has it.
    Exported,
    /// There was no room for it.
    Dropped,
    /// The collector did not take it.
    Failed,
}

/// A label's words.
pub(super) trait Label: Copy + 'static {
    /// All of them, in the order of declaration.
    const ALL: &'static [Self];

    /// The word.
    fn as_str(self) -> &'static str;

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;
}

// === impl Outcome ===

impl Outcome {
    /// What an answer of the provider counts as.
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            ..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

impl Label for Outcome {
    const ALL: &'static [Self] = &[
        Self::Success,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::CallerFault,
        Self::NotConnected,
        Self::NoToken,
        Self::Unreachable,
        Self::Overloaded,
        Self::NotAllowed,
        Self::RateLimited,
        Self::Aborted,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::CallerFault => "caller_fault",
            Self::NotConnected => "not_connected",
            Self::NoToken => "no_token",
            Self::Unreachable => "unreachable",
            Self::Overloaded => "overloaded",
            Self::NotAllowed => "not_allowed",
            Self::RateLimited => "rate_limited",
            Self::Aborted => "aborted",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Replay ===

impl Label for Replay {
    const ALL: &'static [Self] = &[
        Self::Recovered,
        Self::Refused,
        Self::NoToken,
        Self::BodyTooLong,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Refused => "refused",
            Self::NoToken => "no_token",
            Self::BodyTooLong => "body_too_long",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Check ===

impl Label for Check {
    const ALL: &'static [Self] = &[Self::Allow, Self::PerUser, Self::PerProvider];

    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::PerUser => "per_user",
            Self::PerProvider => "per_provider",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Objection ===

impl Label for Objection {
    const ALL: &'static [Self] = &[Self::Observed, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Refused => "refused",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Lookup ===

impl Label for Lookup {
    const ALL: &'static [Self] = &[Self::Hit, Self::Wait, Self::NotConnected, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Wait => "wait",
            Self::NotConnected => "not_connected",
            Self::Failed => "failed",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Redeem ===

impl Label for Redeem {
    const ALL: &'static [Self] = &[Self::Standard, Self::Force];

    fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Force => "force",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Renewal ===

impl Label for Renewal {
    const ALL: &'static [Self] = &[
        Self::Renewed,
        Self::GrantRefused,
        Self::ClientRefused,
        Self::RateLimited,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::GrantRefused => "grant_refused",
            Self::ClientRefused => "client_refused",
            Self::RateLimited => "rate_limited",
            Self::Failed => "failed",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Status ===

impl Label for Status {
    const ALL: &'static [Self] = &[Self::Active, Self::NeedsReauth];

    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsReauth => "needs_reauth",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Webhook ===

impl Label for Webhook {
    const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::Known,
        Self::Unrouted,
        Self::Forged,
        Self::Invalid,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Known => "known",
            Self::Unrouted => "unrouted",
            Self::Forged => "forged",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Delivery ===

impl Label for Delivery {
    const ALL: &'static [Self] = &[Self::Delivered, Self::Failed, Self::Dead];

    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Concern ===

impl Label for Concern {
    const ALL: &'static [Self] = &[
        Self::Persistence,
        Self::Flush,
        Self::Eviction,
        Self::Replication,
        Self::Unchecked,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Persistence => "persistence",
            Self::Flush => "flush",
            Self::Eviction => "eviction",
            Self::Replication => "replication",
            Self::Unchecked => "unchecked",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

// === impl Trace ===

impl Label for Trace {
    const ALL: &'static [Self] = &[Self::Exported, Self::Dropped, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
