//! The app: takes deliveries, answers as it is told, and remembers everything.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    time::timeout,
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// An app on a port of its own. Clones are the same app.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    taken: Mutex<Vec<Taken>>,
    answers: Mutex<VecDeque<Answer>>,
    always: Mutex<Answer>,
    came: Notify,
    /// Answers held back.
    gate: Semaphore,
}

/// A delivery as it came.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// With `Retry-After`.
    Later(u16, &'static str),
    /// To another address.
    Redirect(String),
    /// When [`App::let_go`] is called.
    Held,
}

// === impl App ===

impl App {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            taken: Mutex::default(),
            answers: Mutex::default(),
            always: Mutex::new(Answer::Status(204)),
            came: Notify::new(),
            gate: Semaphore::new(0),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        drop(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
        Self { url, inner }
    }

    /// The next answers, in this order; then the usual one.
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.inner.answers.lock().extend(answers);
    }

    pub(crate) fn always(&self, answer: Answer) {
        *self.inner.always.lock() = answer;
    }

    /// Lets `count` held answers go, as 204.
    pub(crate) fn let_go(&self, count: usize) {
        self.inner.gate.add_permits(count);
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.inner.taken.lock().clone()
    }

    /// Everything that has come, once there are `count`.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Taken> {
        let waiting = async {
            loop {
                let came = self.inner.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let taken = self.taken();
                if taken.len() >= count {
                    return taken;
                }
                came.await;
            }
        };
        let came = timeout(PATIENCE, waiting).await;
        came.unwrap_or_else(|_late| {
            let taken = self.taken();
            panic!("only {} of {count} came: {taken:?}", taken.len())
        })
    }
}

async fn take(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = inner.answers.lock().pop_front();
    let answer = answer.unwrap_or_else(|| inner.always.lock().clone());
    inner.taken.lock().push(Taken {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body,
    });
    inner.came.notify_waiters();
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::Later(code, wait) => {
            let wait = HeaderValue::from_static(wait);
            (status(code), [(header::RETRY_AFTER, wait)]).into_response()
        }
        Answer::Redirect(to) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Answer::Held => {
            inner.gate.acquire().await.unwrap().forget();
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

// === impl Taken ===

impl Taken {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
