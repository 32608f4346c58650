//! Daypass: your app says who; Daypass brings the pass.
//!
//! A sidecar that adds a user's valid OAuth bearer token to calls to Cal.com and Calendly. This page
//! is the map. Imports point downwards only; `tests/rooms.rs` holds the table.
//!
//! | room | what lives there |
//! |---|---|
//! | [`base`] | clock, secrets, randomness, backoff, tasks, ids |
//! | [`telemetry`] | the log, the metrics |
//! | [`http`] | client, server, TLS, hop-by-hop rule, replayable body, problem+json, access log |
//! | [`provider`] | what a provider is: endpoints, token calls, how its answers are read; consent, webhooks, meetings |
//! | [`store`] | records, the contract of a store, sealing, the backends |
//! | [`token`] | the rules of renewing; the only writer of grants |
//! | [`proxy`] | the outbound stack: route, inject, recover, forward |
//! | [`connect`] | tickets, the consent page, the callback |
//! | [`webhook`] | intake and delivery |
//! | [`meeting`] | meetings in one shape, background sync |
//! | [`admin`] | probes and metrics, the API for operators, the status page |
//! | [`sandbox`] | the emulated Cal.com and Calendly |
//! | [`config`] | one field per room's own `Config`; every problem at once |
//! | [`app`] | the composition: which parts a process has |
//! | [`cli`] | the subcommands |

pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod connect;
pub mod http;
pub mod meeting;
pub mod provider;
pub mod proxy;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod webhook;
