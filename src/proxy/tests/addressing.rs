//! Whom a request reaches, and what reaches the provider.

use super::world::*;

#[tokio::test]
async fn a_path_prefix_leads_to_the_provider() {
    let world = World::new(|_| answer(200, "hello"));
    let got = world.get("/calendly/users/me?a=%2F&b", "").await;
    assert_eq!((status(&got), body(&got)), (200, "hello"));
    let seen = &world.seen()[0];
    assert_eq!(seen.uri, "/users/me?a=%2F&b");
    assert_eq!(seen.bearer(), format!("Bearer {OLD}"));
    assert_eq!(seen.headers["host"], world.upstream.to_string());
    assert_eq!(header(&got, "via"), Some("1.1 daypass"));
}

#[tokio::test]
async fn the_providers_own_host_leads_there_too() {
    let world = World::new(|_| answer(200, "hello"));
    let (host, me) = (
        world.upstream,
        "x-user-id: u_1\r\nconnection: close\r\n\r\n",
    );
    let by_host = format!("GET /users/me HTTP/1.1\r\nhost: {host}\r\n{me}");
    assert_eq!(status(&world.raw(by_host).await), 200);
    let absolute = format!("GET http://{host}/users/me HTTP/1.1\r\nhost: evil.com\r\n{me}");
    assert_eq!(status(&world.raw(absolute).await), 200);
    for seen in world.seen() {
        assert_eq!(seen.uri, "/users/me");
        assert_eq!(seen.headers["host"], host.to_string());
    }
}

#[tokio::test]
async fn a_provider_alone_is_its_root() {
    let world = World::new(|_| answer(200, ""));
    world.get("/calendly", "").await;
    world.get("/calendly?x=1", "").await;
    let targets: Vec<String> = world.seen().iter().map(|s| s.uri.to_string()).collect();
    assert_eq!(targets, ["/", "/?x=1"]);
}

#[tokio::test]
async fn nothing_but_the_token_of_the_user_passes() {
    let world = World::new(|_| answer(200, ""));
    let forbidden = "authorization: Bearer mine\r\ncookie: a=b\r\norigin: https://x\r\nreferer: y\r\n\
         proxy-authorization: Basic z\r\nproxy-connection: close\r\nproxy-anything: 1\r\nforwarded: for=1\r\n\
         x-forwarded-for: 1\r\nx-forwarded-proto: 1\r\nx-forwarded-anything: 1\r\nx-real-ip: 1\r\n\
         via: 1.1 other\r\nx-cal-client-id: 1\r\nx-cal-secret-key: 1\r\nte: trailers, deflate\r\n\
         upgrade: websocket\r\nkeep-alive: timeout=5\r\nexpect: 100-continue\r\n\
         connection: x-named\r\nx-named: 1\r\naccept-encoding: gzip\r\n\
         cal-api-version: 2024-08-13\r\nx-custom: 1\r\nuser-agent: app\r\n";
    let got = world
        .get("/calendly/x?access_token=mine&y=1", forbidden)
        .await;
    assert_eq!(status(&got), 200);
    let seen = &world.seen()[0];
    let mut names: Vec<&str> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authorization",
            "cal-api-version",
            "host",
            "te",
            "user-agent",
            "via",
            "x-custom"
        ]
    );
    assert_eq!(seen.headers["te"], "trailers");
    assert_eq!(seen.headers["via"], "1.1 daypass");
    assert_eq!(seen.bearer(), format!("Bearer {OLD}"));
    assert_eq!(seen.uri, "/x?y=1");
}

#[tokio::test]
async fn answers_lose_cookies_and_hop_by_hop_fields() {
    let world = World::new(|_| {
        let mut response = answer(200, "x");
        let headers = response.headers_mut();
        for (name, value) in [
            ("set-cookie", "a=b"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "x"),
            ("connection", "x-named"),
            ("x-named", "1"),
            ("x-custom", "1"),
            ("alt-svc", "h3=\":443\""),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        response
    });
    let got = world.get("/calendly/x", "").await;
    for gone in [
        "set-cookie",
        "keep-alive",
        "proxy-authenticate",
        "x-named",
        "alt-svc",
    ] {
        assert_eq!(header(&got, gone), None, "{gone}");
    }
    assert_eq!(header(&got, "x-custom"), Some("1"));
}

async fn refusal(world: &World, request: String) -> (u16, String, String) {
    let got = world.raw(request).await;
    assert_eq!(
        header(&got, "content-type"),
        Some("application/problem+json"),
        "{got}"
    );
    assert!(
        header(&got, "proxy-status")
            .unwrap()
            .starts_with("daypass; error=")
    );
    let json: serde_json::Value = serde_json::from_str(body(&got)).unwrap();
    assert_eq!(json["status"], status(&got));
    let slug = json["type"]
        .as_str()
        .unwrap()
        .replace("urn:daypass:problem:", "");
    (status(&got), slug, body(&got).to_owned())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of every refusal")]
async fn callers_faults_are_told_apart() {
    let world = World::new(|_| panic!("nothing may reach the provider"));
    let me = format!("host: {}\r\nx-user-id: u_1\r\n", world.address);
    let host = format!("host: {}\r\n", world.address);
    for (line, headers, code, slug) in [
        ("GET /calendly/x", host.clone(), 400, "missing-user"),
        (
            "GET /calendly/x",
            format!("{me}x-user-id: u_2\r\n"),
            400,
            "invalid-user",
        ),
        (
            "GET /calendly/x",
            format!("{host}x-user-id: a b\r\n"),
            400,
            "invalid-user",
        ),
        (
            "GET /calendly/x",
            format!("{host}x-user-id: \u{e9}\r\n"),
            400,
            "invalid-user",
        ),
        (
            "GET /calendly/x",
            format!("{host}x-user-id: {}\r\n", "u".repeat(257)),
            400,
            "invalid-user",
        ),
        (
            "GET /calendly/x",
            format!("{host}x-user-id:\r\n"),
            400,
            "missing-user",
        ),
        ("GET /unknown/x", me.clone(), 404, "unknown-provider"),
        ("GET /", me.clone(), 404, "unknown-provider"),
        (
            "GET /calendly@evil.com/x",
            me.clone(),
            404,
            "unknown-provider",
        ),
        ("GET /Calendly/x", me.clone(), 404, "unknown-provider"),
        (
            "CONNECT api.calendly.com:443",
            me.clone(),
            405,
            "connect-not-supported",
        ),
        (
            "GET /calendly/x",
            "host: evil.com\r\nx-user-id: u\r\n".into(),
            421,
            "host-not-allowed",
        ),
        (
            "GET http://evil.com/calendly/x",
            me.clone(),
            421,
            "host-not-allowed",
        ),
        ("OPTIONS *", me.clone(), 400, "invalid-target"),
        ("GET //evil.com/x", me.clone(), 400, "invalid-target"),
        ("GET /../calendly/x", me.clone(), 400, "invalid-target"),
        ("GET /%2e%2e/calendly/x", me.clone(), 400, "invalid-target"),
        ("GET /calendly//evil.com", me.clone(), 400, "invalid-target"),
        (
            "GET /calendly/%2fevil.com",
            me.clone(),
            400,
            "invalid-target",
        ),
        ("GET /calendly/a/../../b", me.clone(), 400, "invalid-target"),
        ("GET /calendly/%2e%2e/b", me.clone(), 400, "invalid-target"),
        (
            "GET ftp://127.0.0.1/calendly/x",
            me.clone(),
            400,
            "invalid-target",
        ),
        (
            "GET http://u@127.0.0.1/calendly/x",
            me.clone(),
            400,
            "invalid-target",
        ),
        ("GET /-/calendly/nonsense", me.clone(), 404, "unknown-call"),
        (
            "POST /-/calendly/connection",
            me.clone(),
            405,
            "method-not-allowed",
        ),
        (
            "GET /-/calendly/token",
            me.clone(),
            403,
            "token-reads-disabled",
        ),
        (
            "GET /-/calendly/connection",
            me.clone(),
            424,
            "not-connected",
        ),
        (
            "GET /-/nobody/connection",
            me.clone(),
            404,
            "unknown-provider",
        ),
    ] {
        let request = format!("{line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let (got_code, got_slug, text) = refusal(&world, request.clone()).await;
        assert_eq!(
            (got_code, got_slug.as_str()),
            (code, slug),
            "{request} {text}"
        );
        assert!(world.seen().is_empty());
    }
}

#[tokio::test]
async fn a_redirect_is_the_callers_to_follow() {
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/steal", elsewhere.local_addr().unwrap());
    let location = target.clone();
    let world = World::new(move |_| {
        let mut redirect = answer(302, "");
        redirect
            .headers_mut()
            .insert("location", location.parse().unwrap());
        redirect
    });
    let got = world.get("/calendly/users/me", "").await;
    assert_eq!(
        (status(&got), header(&got, "location")),
        (302, Some(target.as_str()))
    );
    assert_eq!(world.seen().len(), 1);
    let nobody_came = std::future::poll_fn(|cx| match elsewhere.poll_accept(cx) {
        std::task::Poll::Pending => std::task::Poll::Ready(true),
        std::task::Poll::Ready(_) => std::task::Poll::Ready(false),
    });
    assert!(nobody_came.await, "the token followed a redirect");
}
