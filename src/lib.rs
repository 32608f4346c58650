//! Daypass: your app says who; Daypass brings the pass.
//!
//! A sidecar that adds a user's valid OAuth bearer token to calls to Cal.com and Calendly. This page
//! is the map. Imports point downwards only; `tests/rooms.rs` holds the table.
//!
//! | room | what lives there |
//! |---|---|
//! | [`base`] | clock, secrets, randomness, backoff, tasks, ids |
//! | [`http`] | client, server, TLS, hop-by-hop rule, replayable body, problem+json, access log |
//! | [`provider`] | what a provider is: endpoints, token calls, how its answers are read |
//! | [`store`] | records, the contract of a store, sealing, the backends |
//! | [`token`] | the rules of renewing; the only writer of grants |

pub mod base;
pub mod http;
pub mod provider;
pub mod store;
pub mod token;
