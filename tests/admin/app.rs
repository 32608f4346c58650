//! The app: takes deliveries, answers as it is told, and remembers them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, time::timeout};

/// An app on a port of its own.
pub(crate) struct App {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    taken: Mutex<Vec<Taken>>,
    status: Mutex<StatusCode>,
    came: Notify,
}

/// A delivery as it came.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    headers: HeaderMap,
    pub(crate) body: Value,
}

// === impl App ===

impl App {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            taken: Mutex::default(),
            status: Mutex::new(StatusCode::NO_CONTENT),
            came: Notify::new(),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        drop(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
        Self { url, inner }
    }

    pub(crate) fn answers(&self, status: StatusCode) {
        *self.inner.status.lock() = status;
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.inner.taken.lock().clone()
    }

    /// What has come for `user`, once there are `count`.
    pub(crate) async fn wait_for(&self, user: &str, count: usize) -> Vec<Taken> {
        let waiting = async {
            loop {
                let came = self.inner.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let mut taken = self.taken();
                taken.retain(|one| one.header("x-user-id") == user);
                if taken.len() >= count {
                    return taken;
                }
                came.await;
            }
        };
        let came = timeout(Duration::from_mins(1), waiting).await;
        came.unwrap_or_else(|_late| panic!("no {count} for {user}: {:?}", self.taken()))
    }
}

async fn take(State(inner): State<Arc<Inner>>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    inner.taken.lock().push(Taken {
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap(),
    });
    inner.came.notify_waiters();
    *inner.status.lock()
}

// === impl Taken ===

impl Taken {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}
