//! The API for operators, under `/v1`: a file for each resource.
//!
//! 1. Every route is in the table of its resource ([`Route`]), from which the router is made and
//!    [`routes`] tells: what is not in it does not exist.
//! 2. What is read and answered are types of their own, so that a description can be made from them.
//! 3. What changes something runs in a task of its own and is finished, whoever leaves.

use std::{collections::BTreeSet, fmt, future::Future, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    middleware,
    routing::{self, MethodRouter},
};

use super::{
    Trouble,
    gate::{self, Gate},
};
use crate::{
    base::{clock::SharedClock, ids::ProviderName, lifecycle::Lifecycle},
    connect::Connect,
    meeting::{Archive, Sync},
    store::Everything,
    token::Tokens,
    webhook::{Replays, Subscriptions},
};

mod connect_links;
mod connections;
mod deliveries;
mod imports;
mod managed_users;
mod meetings;
mod view;

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
    /// Tells the time.
    pub clock: SharedClock,
    /// Finishes what was begun.
    pub lifecycle: Lifecycle,
}

/// The parts as handlers have them.
type Api = Arc<Parts>;

/// The largest body, in bytes. The longest tokens are a few kilobytes.
const MAX_BODY: usize = 64 * 1024;

/// One method at one address.
struct Route {
    method: &'static str,
    path: &'static str,
    handler: MethodRouter<Api>,
}

/// Every route, as method and path, in the order of the documentation.
pub fn routes() -> Vec<(&'static str, String)> {
    let all = table().into_iter();
    all.map(|route| (route.method, format!("/v1{}", route.path)))
        .collect()
}

/// The router of everything below `/v1`.
pub(super) fn router(parts: Arc<Parts>, gate: Gate) -> Router {
    let router = table().into_iter().fold(Router::new(), |router, route| {
        router.route(route.path, route.handler)
    });
    router
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
    ]
    .into_iter()
    .flatten()
    .collect()
}

// === impl Route ===

impl Route {
    fn get<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self {
            method: "GET",
            path,
            handler: routing::get(handler),
        }
    }

    fn put<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self {
            method: "PUT",
            path,
            handler: routing::put(handler),
        }
    }

    fn post<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self {
            method: "POST",
            path,
            handler: routing::post(handler),
        }
    }

    fn delete<H: Handler<T, Api>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self {
            method: "DELETE",
            path,
            handler: routing::delete(handler),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

// === impl Parts ===

impl Parts {
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
