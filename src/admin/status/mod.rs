//! The status page: what an operator sees and does in a browser, at `/` of the admin listener.
//!
//! | module | what it decides |
//! |---|---|
//! | [`door`], [`session`] | who may see it, and from where it may be used |
//! | [`fields`] | how addresses and forms are read |
//! | [`overview`], [`connections`], [`connection`], [`deliveries`], [`delivery`], [`syncs`] | a page each |
//! | [`templates`] | which data each template gets; the templates lie beside it |
//! | [`show`], [`moment`], [`chart`] | how pages, times and counts are written |
//! | [`counted`] | how often the store is made to count |
//! | [`assets`] | the style sheet, the script, the icon |
//!
//! 1. Every page is whole without a script: links lead, forms do. The one script there is fetches the page
//!    again from time to time and puts the new parts in place of the old.
//! 2. What changes something goes through the same functions as the API, and is a POST.
//! 3. Text is escaped by the templates, wherever it came from; no template writes text as markup.
//! 4. No token and no secret is on any page, but for a connect link that was just asked for. Payloads, which hold
//!    personal data, are for those who have logged in.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};

use super::{Config, History, Readiness, api};
use crate::{base::random::SharedRandom, http::Listen, webhook::Payloads};

mod assets;
mod chart;
mod connection;
mod connections;
mod counted;
mod deliveries;
mod delivery;
mod door;
mod fields;
mod moment;
mod overview;
mod session;
mod show;
mod syncs;
mod templates;

use counted::Counted;
use session::Sessions;

/// What the status page has beside the API.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// What happened in this process.
    pub history: History,
    /// Opens payloads.
    pub payloads: Payloads,
    /// Makes sessions.
    pub random: SharedRandom,
}

/// What the pages are made from.
struct Room {
    api: Arc<api::Parts>,
    readiness: Readiness,
    history: History,
    payloads: Payloads,
    counted: Counted,
    sessions: Sessions,
    listen: Listen,
}

/// The router of the page.
pub(super) fn router(
    config: &Config,
    readiness: Readiness,
    api: Arc<api::Parts>,
    parts: Parts,
) -> Router {
    let sessions = Sessions::new(config.token.clone(), Arc::clone(&api.clock), parts.random);
    let room = Arc::new(Room {
        api,
        readiness,
        history: parts.history,
        payloads: parts.payloads,
        counted: Counted::default(),
        sessions,
        listen: config.listen.clone(),
    });
    let open = Router::new()
        .route("/login", get(door::login_page).post(door::login))
        .route("/assets/{name}", get(assets::serve))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&room),
            door::open,
        ));
    Router::new()
        .route("/", get(overview::page))
        .route("/connections", get(connections::page))
        .route("/connection", get(connection::page))
        .route("/connection/renew", post(connection::renew))
        .route("/connection/sync", post(connection::sync))
        .route("/connection/link", post(connection::link))
        .route(
            "/connection/disconnect",
            get(connection::confirm).post(connection::disconnect),
        )
        .route("/deliveries", get(deliveries::page))
        .route("/deliveries/replay", post(deliveries::replay))
        .route(
            "/deliveries/replay-dead",
            get(deliveries::confirm).post(deliveries::replay_dead),
        )
        .route("/delivery", get(delivery::page))
        .route("/delivery/payload", get(delivery::payload))
        .route("/syncs", get(syncs::page))
        .route("/logout", post(door::logout))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&room),
            door::pass,
        ))
        .merge(open)
        .with_state(room)
}
