//! What holds for every request at the ingress listener.

use axum::{Router, body::Bytes, routing::post};
use daypass::http::access_log::Path;
use http::Method;

use crate::{
    browser::{Browser, client},
    world::World,
};

/// A route of another room.
pub(crate) fn echo() -> Router {
    Router::new().route("/echo/{secret}", post(async |body: Bytes| body))
}

async fn send(world: &World, method: Method, path: &str, body: &str) -> crate::browser::Seen {
    let url = format!("{}{path}", world.ingress);
    let request = client().request(method, url).body(body.to_owned());
    Browser::program().send(request).await
}

#[tokio::test]
async fn every_answer_is_private_whoever_made_it() {
    let world = World::open().await;
    let echo = send(&world, Method::POST, "/echo/s3cret", "hello").await;
    assert_eq!((echo.status.as_u16(), echo.body.as_str()), (200, "hello"));
    for (name, value) in [
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
    ] {
        assert_eq!(echo.header(name), value);
    }
    assert_eq!(echo.header("cross-origin-opener-policy"), "");
    let logged = world.logged.0.lock().clone();
    let path = logged[0].path.as_ref().map(Path::as_str);
    assert_eq!(path, Some("/echo/{secret}"));
}

#[tokio::test]
async fn bodies_are_bounded_for_every_room() {
    let world = World::open().await;
    let fits = send(&world, Method::POST, "/echo/x", &"x".repeat(1024)).await;
    assert_eq!(fits.status, 200);
    let large = send(&world, Method::POST, "/echo/x", &"x".repeat(1025)).await;
    assert_eq!(large.status, 413);
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people_and_a_problem_for_programs() {
    let world = World::open().await;
    let nothing = format!("{}/nothing/<script>", world.ingress);
    assert_eq!(
        Browser::new().get(&nothing).await.page(404),
        "There is nothing here"
    );
    assert_eq!(
        Browser::program().get(&nothing).await.problem(404),
        "not-found"
    );
    let wrong = send(&world, Method::POST, "/connect/x", "").await;
    assert_eq!(wrong.problem(405), "method-not-allowed");
    assert!(wrong.header("allow").contains("GET"), "{wrong:?}");
}

#[tokio::test]
async fn a_link_may_be_looked_at_without_its_body() {
    let world = World::open().await;
    let link = world.link("calendly", "u_1").await;
    let path = link.strip_prefix(&world.ingress).unwrap().to_owned();
    let head = send(&world, Method::HEAD, &path, "").await;
    assert_eq!((head.status.as_u16(), head.body.as_str()), (302, ""));
}
