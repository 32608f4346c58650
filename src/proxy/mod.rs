//! The outbound proxy: what an app container calls instead of the provider.
//!
//! Read [`mod@stack`] first: it names every layer, in order, with its reason.
//!
//! * `route`, `host`, `target`: whom a request is for and where it goes; everything else is refused.
//! * `policy`: what may be called, and how often.
//! * `local`: the calls under `/-/`, which this process answers itself.
//! * `strip`, `links`: what does not pass, and what must be rewritten to stay usable.
//! * `recover`, `inject`, `deadline`: one attempt with a token, and at most one more; `kept`: of what.
//! * `admit`: how many requests at once.
//! * `errors`: which error becomes which answer; `connect_url`: where its user can connect.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;

use crate::{base::ids::ProviderName, http::Listen};

mod admit;
mod connect_url;
mod deadline;
mod errors;
mod host;
mod inject;
mod kept;
mod links;
mod local;
mod policy;
mod recover;
mod route;
mod stack;
mod strip;
mod target;
#[cfg(test)]
mod tests;

pub use local::{ConnectLink, ConnectionView, Force, LinkError, LocalCalls};
pub use policy::{InvalidRule, Limits, Mode, Policy, Rate, Rule};
pub use stack::{Wiring, stack};

/// `[outbound]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the app calls. Default `127.0.0.1:7420`.
    pub listen: Listen,
    /// Which header says who. Default `x-user-id`.
    pub user_header: HeaderName,
    /// Whether a non-loopback `listen` is meant: whoever reaches it can act as any user. Default no.
    pub allow_remote: bool,
    /// Whether the app may read tokens. Default no.
    pub token_reads: bool,
    /// How much of a request body is kept for the one replay, in bytes. Default 1 MiB.
    pub replay_body_bytes: usize,
    /// How long a provider may take until the head of its answer. Default 30 s.
    pub response_timeout: Duration,
    /// Requests under way at once; more are answered 503 `overloaded`. Default 1024.
    pub max_in_flight: usize,
    /// Whether providers are sent the app's `traceparent`, `tracestate` and `baggage`. Default no.
    pub propagate_trace_context: bool,
    /// What may be called at each provider, and how often; one that is not here is not restricted.
    pub policies: BTreeMap<ProviderName, Policy>,
}
