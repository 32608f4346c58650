//! The API for operators, under `/v1`: a file for each resource.
//!
//! 1. Every route is in the table of its resource ([`Route`]), from which the router is made and the
//!    description ([`openapi`](super::openapi)): what is not in it does not exist.
//! 2. What is read and answered are types of their own, from which the description is made, too.
//! 3. What changes something runs in a task of its own and is finished, whoever leaves; it is audited.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware};

use super::{
    Trouble,
    audit::{Actor, Audit, Order},
    gate::{self, Gate},
    kinds,
    route::Operation,
};
use crate::{
    base::{clock::SharedClock, ids::ProviderName, lifecycle::Lifecycle},
    connect::Connect,
    meeting::{Archive, Sync},
    store::Everything,
    token::Tokens,
    webhook::{Replays, Subscriptions},
};

mod audit;
mod connect_links;
mod connections;
mod deliveries;
mod description;
mod imports;
mod managed_users;
mod meetings;
mod view;

pub use audit::AuditView;
pub use view::ConnectionView;
pub(super) use {
    connections::Selection,
    deliveries::number,
    view::{DeliveryView, WholeView},
};

/// What the API is answered from.
#[expect(missing_debug_implementations, reason = "handles of other rooms")]
pub struct Parts {
    /// The names of the configured providers.
    pub providers: BTreeSet<ProviderName>,
    /// Lists what is stored.
    pub store: Arc<dyn Everything>,
    /// Renews.
    pub tokens: Tokens,
    /// Lets users come and go.
    pub connect: Connect,
    /// Knows webhook subscriptions.
    pub subscriptions: Subscriptions,
    /// Knows how far meetings are read.
    pub sync: Sync,
    /// Shows meetings; `None` if none are kept.
    pub archive: Option<Archive>,
    /// Delivers again.
    pub replays: Replays,
    /// Writes down who does what.
    pub audit: Audit,
    /// Tells the time.
    pub clock: SharedClock,
    /// Finishes what was begun.
    pub lifecycle: Lifecycle,
}

/// The parts as handlers have them.
type Api = Arc<Parts>;

/// The largest body, in bytes. The longest tokens are a few kilobytes.
const MAX_BODY: usize = 64 * 1024;

/// A route of the API.
type Route = super::route::Route<Api>;

/// Every route, as method and path, in the order of the documentation.
pub fn routes() -> Vec<(&'static str, String)> {
    let all = operations().into_iter();
    all.map(|route| (route.method, format!("/v1{}", route.path)))
        .collect()
}

/// Every problem, as status and word.
pub fn problems() -> Vec<(u16, &'static str)> {
    let all = kinds::ALL.iter();
    all.map(|kind| (kind.status.as_u16(), kind.slug)).collect()
}

/// What is told of every route.
pub(super) fn operations() -> Vec<Operation> {
    let routes = table().into_iter();
    routes.map(|route| route.operation().clone()).collect()
}

/// The router of everything below `/v1`.
pub(super) fn router(parts: Arc<Parts>, gate: Gate) -> Router {
    let routes = table().into_iter().map(Route::into_strict);
    routes
        .fold(Router::new(), |router, (path, handler)| {
            router.route(path, handler)
        })
        .fallback(async || Trouble::NotFound)
        .method_not_allowed_fallback(async || Trouble::WrongMethod)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(gate, gate::pass))
        .with_state(parts)
}

fn table() -> Vec<Route> {
    [
        connections::routes(),
        imports::routes(),
        connect_links::routes(),
        managed_users::routes(),
        meetings::routes(),
        deliveries::routes(),
        audit::routes(),
        description::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

// === impl Parts ===

impl Parts {
    /// Does `work` by the order of `actor` to its end, whoever stops waiting for it, and leaves a record;
    /// `tell` says what came of it, if that is worth a word.
    pub(super) async fn audited<T: Send + 'static>(
        &self,
        actor: Actor,
        order: Order,
        work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
        tell: fn(&T) -> Option<String>,
    ) -> Result<T, Trouble> {
        let audit = self.audit.clone();
        self.finish(async move { audit.telling(&actor, order, work, tell).await })
            .await
    }

    /// Runs `work` to its end, whoever stops waiting for it.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
    ) -> Result<T, Trouble> {
        if self.lifecycle.is_draining() {
            return Err(Trouble::Stopping);
        }
        match self.lifecycle.spawn(work).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(Trouble::Stopping),
            // It has panicked, which is logged where panics are.
            Err(_panicked) => Err(Trouble::Broken),
        }
    }

    fn knows(&self, provider: &ProviderName) -> Result<(), Trouble> {
        if self.providers.contains(provider) {
            Ok(())
        } else {
            Err(Trouble::UnknownProvider(provider.clone()))
        }
    }
}
