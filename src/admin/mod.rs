//! The admin listener: probes and metrics, the API for operators, and their page.
//!
//! | module | what it decides |
//! |---|---|
//! | [`probes`] | what `/livez`, `/readyz` and `/metrics` say; these are open |
//! | [`gate`] | who may use the rest |
//! | [`audit`] | what is written down of whoever changes something |
//! | [`api`] | `/v1`: a file for each resource |
//! | [`openapi`] | what is told of all that: the description, made from the routes |
//! | [`extract`] | how a request is read, and what is told of a bad one |
//! | [`page`] | how long lists are read in pages |
//! | [`status`] | the status page, `/`: what operators see and do in a browser |
//! | [`history`] | what of the last half hour is remembered for it |
//! | [`trouble`] | which error becomes which answer |
//!
//! 1. No route answers with a token or a secret, and no problem repeats what came with a request.
//! 2. This room decides nothing about connections, webhooks or meetings: it asks the rooms that do.
//! 3. What an operator has begun is finished, whether or not they wait for it.

use std::{sync::Arc, time::Duration};

use axum::Router;

use crate::{base::secret::ReloadableSecret, http::Listen, telemetry::metrics::Metrics};

pub mod api;
pub mod audit;
mod extract;
mod gate;
mod history;
mod kinds;
mod openapi;
mod page;
mod probes;
mod readiness;
mod route;
pub mod status;
mod trouble;

pub use history::History;
pub use openapi::text as description;
pub use readiness::{Check, Component, Health, Readiness, Report};

use gate::Gate;
use trouble::Trouble;

/// `[admin]`.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds a secret")]
pub struct Config {
    /// Where operators, probes and Prometheus call. Default `127.0.0.1:7422`.
    pub listen: Listen,
    /// What operators must show; required when `listen` is not a loopback address.
    pub token: Option<ReloadableSecret>,
    /// How long records of the [`audit`] are kept. Default 90 days.
    pub audit_retention: Duration,
}

/// The routes of the admin listener.
pub fn router(
    config: &Config,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    parts: api::Parts,
    page: status::Parts,
) -> Router {
    let (gate, parts) = (Gate::new(config), Arc::new(parts));
    let page = status::router(config, readiness.clone(), Arc::clone(&parts), page);
    probes::routes(readiness, metrics)
        .nest("/v1", api::router(parts, gate))
        .merge(page)
        .fallback(async || Trouble::NotFound)
        .method_not_allowed_fallback(async || Trouble::WrongMethod)
}
