//! The demo's app: takes what is delivered, and tells in the log what an app would have got.
//!
//! It stands for the reader's own, where none is named. Checking signatures is what the examples show.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
};
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tower::ServiceExt;

use crate::{
    base::lifecycle::Lifecycle,
    cli::Error,
    http::{
        Listen,
        server::{self, Bound},
        service::{Erased, Ready},
    },
};

/// An app that believes everything. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    url: String,
    /// The name of each event, and whose it was.
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

// === impl Inbox ===

impl Inbox {
    /// Listens on a free port.
    pub(super) fn open(lifecycle: &Lifecycle) -> Result<Self, Error> {
        let bound = Bound::bind(&Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into()));
        let bound = bound.map_err(|source| Error::Io {
            what: "the demo's app cannot listen".to_owned(),
            source,
        })?;
        let inbox = Self {
            url: format!("http://{}/webhooks/daypass", bound.local_addr()),
            taken: Arc::default(),
        };
        let router = Router::new().fallback(take).with_state(inbox.clone());
        let service = router.map_request(|request: http::Request<Incoming>| request.map(Body::new));
        server::serve(bound, lifecycle, Erased::new(Ready(service)));
        Ok(inbox)
    }

    /// Where to deliver to.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether `event` of `user` has come.
    pub(super) fn has(&self, event: &str, user: &str) -> bool {
        let taken = self.taken.lock();
        taken.iter().any(|(name, who)| name == event && who == user)
    }
}

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (event, user) = (text("daypass-event"), text("x-user-id"));
    tracing::info!(
        user,
        event,
        provider = text("daypass-provider"),
        bytes = body.len(),
        "your app would get a webhook",
    );
    inbox.taken.lock().push((event, user));
    StatusCode::NO_CONTENT
}
