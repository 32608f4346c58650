//! Probes and metrics.
//!
//! 1. `/livez` says that the process answers, and nothing more: a broken provider is no reason to
//!    restart it.
//! 2. `/readyz` says whether to send it requests, with the state of each component. Degraded is
//!    ready: tokens in memory still work. Draining is not.
//! 3. `/metrics` is `OpenMetrics` text.
//! 4. These three are open, for probes and scrapers show no token.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use super::{
    Readiness, Report, Trouble,
    route::{Operation, Route},
};
use crate::telemetry::metrics::{self, Metrics};

/// What these are answered from.
#[derive(Clone)]
struct Parts {
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// The routes of probes and scrapers.
pub(super) fn routes(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    let routes = table().into_iter().map(Route::into_lenient);
    routes
        .fold(Router::new(), |router, (path, handler)| {
            router.route(path, handler)
        })
        .with_state(Parts { readiness, metrics })
}

/// What is told of them.
pub(super) fn operations() -> Vec<Operation> {
    let routes = table().into_iter();
    routes.map(|route| route.operation().clone()).collect()
}

fn table() -> Vec<Route<Parts>> {
    vec![
        Route::get("/livez", "live", live)
            .does("Says that the process answers.")
            .answers_text(200, "It does.", "text/plain"),
        Route::get("/readyz", "ready", ready)
            .does("Says whether the process should be sent requests, with the state of each component.")
            .answers::<Report>(200, "`ready`, or `degraded`: requests are served all the same.")
            .answers::<Report>(503, "`not_ready` or `draining`."),
        Route::get("/metrics", "metrics", scrape)
            .does("Shows the metrics as OpenMetrics text.")
            .answers_text(200, "The metrics.", "application/openmetrics-text"),
    ]
}

async fn live() -> Response {
    ([(CACHE_CONTROL, "no-store")], "alive\n").into_response()
}

async fn ready(State(parts): State<Parts>) -> Response {
    let report = parts.readiness.report();
    let status = if report.status.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

async fn scrape(State(parts): State<Parts>) -> Response {
    match parts.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => Trouble::Metrics.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, Response},
    };
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::base::{clock::SystemClock, lifecycle::Lifecycle};

    struct Admin {
        lifecycle: Lifecycle,
        readiness: Readiness,
        router: Router,
    }

    fn admin() -> Admin {
        let lifecycle = Lifecycle::new();
        let readiness = Readiness::new(lifecycle.clone());
        let metrics = Arc::new(Metrics::new(&SystemClock));
        Admin {
            lifecycle,
            router: routes(readiness.clone(), metrics),
            readiness,
        }
    }

    impl Admin {
        async fn call(&self, method: &str, path: &str) -> (Response<()>, String) {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            (Response::from_parts(head, ()), text)
        }

        async fn ready(&self) -> (u16, Value) {
            let (head, body) = self.call("GET", "/readyz").await;
            (head.status().as_u16(), serde_json::from_str(&body).unwrap())
        }
    }

    #[tokio::test]
    async fn a_process_without_checks_is_ready() {
        let (status, report) = admin().ready().await;
        assert_eq!((status, &report["status"]), (200, &json!("ready")));
    }

    #[tokio::test]
    async fn readiness_waits_for_every_check_and_says_which() {
        let admin = admin();
        let store = admin.readiness.check("store");
        let listeners = admin.readiness.check("listeners");
        listeners.ready();
        let (status, report) = admin.ready().await;
        assert_eq!((status, &report["status"]), (503, &json!("not_ready")));
        assert_eq!(report["components"]["store"]["status"], "not_ready");
        assert_eq!(report["components"]["store"]["reason"], "not checked yet");
        store.ready();
        assert_eq!(admin.ready().await.0, 200);
        store.not_ready("the disk is full");
        let (status, report) = admin.ready().await;
        assert_eq!(status, 503);
        assert_eq!(report["components"]["store"]["reason"], "the disk is full");
        assert_eq!(
            report["components"]["listeners"],
            json!({ "status": "ready" })
        );
    }

    #[tokio::test]
    async fn degraded_is_still_ready_and_says_why() {
        let admin = admin();
        let store = admin.readiness.check("store");
        store.degraded("2 files wait in the spool");
        let (status, report) = admin.ready().await;
        assert_eq!((status, &report["status"]), (200, &json!("degraded")));
        assert_eq!(
            report["components"]["store"]["reason"],
            "2 files wait in the spool"
        );
    }

    #[tokio::test]
    async fn a_draining_process_is_alive_but_not_ready() {
        let admin = admin();
        admin.lifecycle.begin_drain();
        let (status, report) = admin.ready().await;
        assert_eq!((status, &report["status"]), (503, &json!("draining")));
        assert_eq!(admin.call("GET", "/livez").await.0.status(), 200);
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let (head, body) = admin().call("GET", "/metrics").await;
        let content_type = head.headers().get(CONTENT_TYPE).unwrap();
        assert_eq!(
            content_type,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(body.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn probes_may_use_head() {
        let (head, body) = admin().call("HEAD", "/readyz").await;
        assert_eq!((head.status().as_u16(), body.as_str()), (200, ""));
    }
}
