//! The app: takes deliveries, and answers as it is told.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// An app on a port of its own. Clones are the same.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) url: String,
    status: Arc<Mutex<StatusCode>>,
}

// === impl App ===

impl App {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            status: Arc::new(Mutex::new(StatusCode::NO_CONTENT)),
        };
        let router = Router::new().fallback(take).with_state(app.clone());
        drop(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
        app
    }

    pub(crate) fn answers(&self, status: StatusCode) {
        *self.status.lock() = status;
    }
}

async fn take(State(app): State<App>) -> StatusCode {
    *app.status.lock()
}
