//! The status page over HTTP, as a browser without a script uses it.

use std::fmt::Write as _;

use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    visitor::{Visitor, links},
    world::{ADMIN_TOKEN, Answer, World, path, secrets},
};

const PAGES: [&str; 8] = [
    "/",
    "/connections",
    "/connection?provider=calendly&user=u_1",
    "/connection/disconnect?provider=calendly&user=u_1",
    "/deliveries",
    "/deliveries/replay-dead",
    "/delivery?id=1",
    "/syncs",
];

const ACTIONS: [&str; 7] = [
    "/connection/renew",
    "/connection/sync",
    "/connection/link",
    "/connection/disconnect",
    "/deliveries/replay",
    "/deliveries/replay-dead",
    "/logout",
];

const U_1: [(&str, &str); 2] = [("provider", "calendly"), ("user", "u_1")];

/// One whose app is told of nothing but arrivals.
async fn told() -> World {
    let settings = [
        ("admin.token", ADMIN_TOKEN),
        ("app.events", "connection.connected"),
    ];
    World::with(&settings).await
}

/// Connects users whose tokens are never used, which tells the app one event each.
async fn connect(world: &World, users: &[&str]) {
    for user in users {
        let body = json!({ "refresh_token": "never-used" });
        let at = format!("{}?replace=true", path("calendly", &encoded(user)));
        let answer = world.put(&at, &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "%{byte:02X}").unwrap();
        out
    })
}

/// Waits until so many deliveries stand so.
async fn until(world: &World, status: &str, count: usize) -> Vec<serde_json::Value> {
    let at = format!("/v1/deliveries?status={status}&limit=200");
    let look = |seen: &serde_json::Value| seen["items"].as_array().unwrap().len() == count;
    let seen = world.until(&at, status, look).await;
    seen["items"].as_array().unwrap().clone()
}

fn assert_redirect(answer: &Answer, to: &str) {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(answer.header("location"), to);
}

#[tokio::test]
async fn who_has_not_logged_in_is_sent_to_the_login_and_does_nothing() {
    let world = World::open().await;
    world.connected("u_1").await;
    let visitor = Visitor::of(&world);
    assert_redirect(&visitor.get("/").await, "/login");
    for page in PAGES.iter().chain(&["/delivery/payload?id=1"]).skip(1) {
        let answer = visitor.get(page).await;
        assert!(
            answer.header("location").starts_with("/login?next=%2F"),
            "{answer:?}"
        );
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (303, ""));
    }
    for action in ACTIONS {
        assert_redirect(&visitor.submit(action, &U_1).await, "/login");
    }
    for cookie in ["", "canary", ADMIN_TOKEN] {
        visitor.keep(Some(cookie.to_owned()));
        assert_redirect(&visitor.get("/").await, "/login");
    }
    let bearer = visitor.request(Method::GET, "/connections");
    let answer = Answer::read(bearer.bearer_auth("canary")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    world.get(&path("calendly", "u_1")).await.must_be(200);
}

#[tokio::test]
async fn a_login_gives_a_cookie_that_is_not_the_token_and_a_logout_ends_it() {
    let world = World::open().await;
    let visitor = Visitor::of(&world);
    let form = visitor.page("/login?next=/syncs").await;
    assert!(form.contains("value=\"/syncs\""), "{form}");
    let wrong = visitor.log_in("canary-admin-tokem", "/syncs").await;
    assert_eq!((wrong.status.as_u16(), visitor.cookie()), (403, None));
    assert!(wrong.body.contains("not the admin token"));
    assert!(!wrong.body.contains("tokem"), "what came is not repeated");

    let right = visitor.log_in(ADMIN_TOKEN, "/syncs").await;
    assert_redirect(&right, "/syncs");
    let cookie = right.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=28800"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(ADMIN_TOKEN) && !cookie.contains("Secure"));
    visitor.page("/syncs").await;
    assert_redirect(&visitor.get("/login").await, "/");
    let call = visitor.request(Method::GET, "/v1/connections");
    let answer = Answer::read(call).await;
    answer.must_be_problem(401, "unauthorized");

    let kept = visitor.cookie();
    let out = visitor.post("/logout", &[]).await;
    assert_redirect(&out, "/login");
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{out:?}");
    assert_eq!(visitor.cookie(), kept, "a thief has the cookie still");
    assert_redirect(&visitor.get("/").await, "/login");
}

#[tokio::test]
async fn a_login_leads_nowhere_else_and_is_secure_where_the_front_is() {
    let world = World::open().await;
    let visitor = Visitor::of(&world);
    for next in ["https://evil.example", "//evil.example", "/\\evil.example"] {
        assert_redirect(&visitor.log_in(ADMIN_TOKEN, next).await, "/");
    }
    let behind = visitor
        .request(Method::POST, "/login")
        .header("x-forwarded-proto", "https")
        .form(&[("token", ADMIN_TOKEN)]);
    let answer = Answer::read(behind).await;
    assert!(answer.header("set-cookie").ends_with("; Secure"));
}

#[tokio::test]
async fn after_ten_wrong_tokens_no_more_are_compared_for_a_while() {
    let world = World::open().await;
    let visitor = Visitor::of(&world);
    for _ in 0..10 {
        assert_eq!(visitor.log_in("wrong", "").await.status, 403);
    }
    for token in ["wrong", ADMIN_TOKEN] {
        let answer = visitor.log_in(token, "").await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    world.get("/v1/connections").await.must_be(200);
}

#[tokio::test]
async fn a_form_that_is_not_ours_does_nothing() {
    let world = World::open().await;
    world.connected("u_1").await;
    let (visitor, other) = (
        Visitor::logged_in(&world).await,
        Visitor::logged_in(&world).await,
    );
    let (own, foreign) = (visitor.form_token().await, other.form_token().await);
    assert_ne!(own, foreign);
    for action in ACTIONS {
        for token in ["", "x", foreign.as_str()] {
            let mut fields = vec![("form_token", token)];
            fields.extend(U_1);
            let answer = visitor.submit(action, &fields).await;
            assert_eq!(answer.status, 403, "{action}: {answer:?}");
        }
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let mut fields = vec![("form_token", own.as_str())];
            fields.extend(U_1);
            let call = visitor.request(Method::POST, action).header(name, value);
            let answer = Answer::read(call.form(&fields)).await;
            assert_eq!(answer.status, 403, "{action} {value}: {answer:?}");
        }
        let json = visitor.request(Method::POST, action);
        let answer = Answer::read(json.json(&json!({ "form_token": own }))).await;
        assert_eq!(answer.status, 400, "{action}: {answer:?}");
        let get = visitor.get(action).await;
        assert_ne!(get.status, 303, "{action} is no link");
    }
    world.get(&path("calendly", "u_1")).await.must_be(200);
    // As a browser sends it: no referrer is told, so the origin is `null`.
    let call = visitor
        .request(Method::POST, "/connection/renew")
        .header("origin", "null")
        .header("sec-fetch-site", "same-origin");
    let mut fields = vec![("form_token", own.as_str())];
    fields.extend(U_1);
    assert_eq!(Answer::read(call.form(&fields)).await.status, 303);
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need_and_writes_nothing_inline() {
    let world = told().await;
    let created = world.connected("u_1").await;
    until(&world, "delivered", 1).await;
    let mut hidden = secrets(&world);
    hidden.extend([created.access_token.clone(), created.refresh_token.clone()]);
    let visitor = Visitor::logged_in(&world).await;
    let stranger = Visitor::of(&world);
    let mut answers = vec![stranger.get("/login").await];
    for page in PAGES.iter().chain(&["/delivery/payload?id=1"]) {
        answers.push(visitor.get(page).await);
    }
    answers.push(visitor.post("/connection/link", &U_1).await);
    answers.push(visitor.get("/delivery?id=99").await);
    for answer in answers {
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{answer:?}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        let html = &answer.body;
        assert!(html.starts_with("<!doctype html>"), "{html}");
        for inline in [
            " style=",
            "<style",
            "<script>",
            "javascript:",
            " onclick=",
            " onload=",
        ] {
            assert!(!html.contains(inline), "{inline} in {html}");
        }
        for secret in &hidden {
            assert!(!html.contains(secret), "{secret} in {html}");
        }
    }
}

#[tokio::test]
async fn the_style_sheet_and_the_script_are_open_and_kept_for_good() {
    let world = World::open().await;
    let visitor = Visitor::of(&world);
    let page = visitor.page("/login").await;
    let assets: Vec<String> = links(&page)
        .into_iter()
        .filter(|link| link.starts_with("/assets/"))
        .collect();
    assert_eq!(assets.len(), 2, "{assets:?}");
    for asset in assets {
        let answer = visitor.get(&asset).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.header("cache-control").contains("immutable"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let missing = visitor.get("/assets/page.css").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_user_id_that_is_markup_or_a_path_is_text_and_can_be_dealt_with() {
    let world = told().await;
    let hostile = [
        "\"><script>alert(1)</script>",
        "'><img/src=x/onerror=alert(1)>",
        "{{7*7}}${7*7}",
        "../../..?a=b&c=d#e%2F",
    ];
    connect(&world, &hostile).await;
    until(&world, "delivered", hostile.len()).await;
    let visitor = Visitor::logged_in(&world).await;
    let (list, deliveries) = (
        visitor.page("/connections").await,
        visitor.page("/deliveries").await,
    );
    for html in [&list, &deliveries] {
        for markup in ["<script>", "<img/src", "\"><script"] {
            assert!(!html.contains(markup), "{html}");
        }
        assert!(html.contains("{{7*7}}${7*7}"), "no text is a template");
    }
    let places: Vec<String> = links(&list)
        .into_iter()
        .filter(|link| link.starts_with("/connection?"))
        .collect();
    assert_eq!(places.len(), hostile.len());
    for place in places {
        let page = visitor.page(&place).await;
        let ask = links(&page)
            .into_iter()
            .find(|link| link.starts_with("/connection/disconnect?"));
        let confirm = visitor.page(&ask.unwrap()).await;
        assert!(confirm.contains("Disconnect?"));
    }
    for user in hostile {
        let search = format!("/connections?user={}", encoded(user));
        let found = visitor.page(&search).await;
        let rows = found.matches("<tr>\n<th scope=\"row\">").count();
        assert!(rows >= 1, "{user}: {found}");
        let fields = [("provider", "calendly"), ("user", user)];
        let gone = visitor.done("/connection/disconnect", &fields).await;
        assert!(gone.contains("Disconnected"), "{gone}");
    }
    let list = visitor.page("/connections").await;
    assert!(list.contains("No connection is like that."), "{list}");
}

#[tokio::test]
async fn connections_are_found_by_the_beginning_of_a_user_at_every_provider() {
    let world = World::open().await;
    let users: Vec<String> = (0..60).map(|n| format!("team-{n:02}")).collect();
    let all: Vec<&str> = users.iter().map(String::as_str).collect();
    connect(&world, &all).await;
    connect(&world, &["other"]).await;
    let managed = json!({ "managed_user_id": 7, "refresh_token": "never-used" });
    let answer = world.put(&path("calcom", "team-x"), &managed).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let visitor = Visitor::logged_in(&world).await;
    let found = async |query: &str| {
        let (mut found, mut next, mut pages) = (Vec::new(), format!("/connections?{query}"), 0);
        loop {
            let page = visitor.page(&next).await;
            pages += 1;
            let all = links(&page);
            let users = all.iter().filter_map(|link| link.split_once("&user="));
            found.extend(
                users
                    .filter(|(before, _)| before.starts_with("/connection?"))
                    .map(|(_, user)| user.to_owned()),
            );
            let cursor = all.into_iter().find(|link| link.contains("cursor="));
            match cursor {
                Some(cursor) => next = cursor,
                None => return (found, pages),
            }
        }
    };
    let (every, pages) = found("").await;
    assert_eq!((every.len(), pages), (62, 2));
    let (team, pages) = found("user=team-").await;
    assert_eq!((team.len(), pages), (61, 2));
    assert_eq!(team[0], "team-x", "those at calcom come first");
    assert_eq!(found("user=team-&provider=calendly").await.0, users);
    assert_eq!(found("user=team-1").await.0.len(), 10);
    assert_eq!(found("user=%20other%20").await.0, ["other"]);
    assert_eq!(found("provider=calcom").await.0, ["team-x"]);
    assert_eq!(found("user=nobody").await.0.len(), 0);
    let odd = visitor.page("/connections?user=a+b").await;
    assert!(odd.contains("Nobody has such an id"), "{odd}");
    for bad in ["status=fine", "provider=Cal.com", "cursor=x"] {
        let answer = visitor.get(&format!("/connections?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
}

#[tokio::test]
async fn a_connection_is_renewed_synced_linked_and_disconnected_by_its_forms() {
    let world = World::open().await;
    world.connected("u_1").await;
    let visitor = Visitor::logged_in(&world).await;
    let page = visitor.page(PAGES[2]).await;
    assert!(page.contains("None by this process since it began."));
    let renewed = visitor.done("/connection/renew", &U_1).await;
    assert!(renewed.contains("The new token is in use"), "{renewed}");
    assert!(
        renewed.contains("<dt>Generation</dt><dd>2</dd>"),
        "{renewed}"
    );
    assert!(renewed.contains("with the refresh token"), "{renewed}");
    let overview = visitor.page("/").await;
    assert!(overview.contains("1 in 30 min"), "{overview}");
    let synced = visitor.done("/connection/sync", &U_1).await;
    assert!(synced.contains("All meetings will be read"), "{synced}");
    let done = |seen: &serde_json::Value| seen["sync"]["stage"] == "done";
    world.until(&path("calendly", "u_1"), "a sync", done).await;
    let syncs = visitor.page("/syncs").await;
    assert!(
        syncs.contains("complete") && syncs.contains("<progress"),
        "{syncs}"
    );
    let link = visitor.post("/connection/link", &U_1).await;
    assert_eq!(link.status, StatusCode::CREATED);
    assert!(link.body.contains("value=\"http://127.0.0.1:9/connect/"));
    let gone = visitor.done("/connection/disconnect", &U_1).await;
    assert!(gone.contains("Disconnected"), "{gone}");
    let again = visitor.post("/connection/disconnect", &U_1).await;
    assert_eq!(again.status, 404);
    let at = world.get(&path("calendly", "u_1")).await;
    at.must_be_problem(404, "not-connected");

    let records = world.get("/v1/audit?user=u_1").await.must_be(200).json();
    let records = records["items"].as_array().unwrap();
    let of_page = records.iter().filter(|record| record["via"] == "page");
    let told: Vec<_> = of_page
        .map(|record| {
            let who = record["who"].as_str().unwrap();
            assert!(who.starts_with("session ") && who.len() == 16, "{who}");
            (record["action"].clone(), record["outcome"].clone())
        })
        .collect();
    let expected = [
        ("connection.disconnect", "refused"),
        ("connection.disconnect", "done"),
        ("connect-link.create", "done"),
        ("connection.sync", "done"),
        ("connection.refresh", "done"),
    ];
    assert_eq!(
        told,
        expected.map(|(action, outcome)| (json!(action), json!(outcome)))
    );
}

#[tokio::test]
async fn a_connection_that_is_broken_is_found_and_says_why() {
    let world = World::open().await;
    world.connected("u_1").await;
    connect(&world, &["u_2"]).await;
    let visitor = Visitor::logged_in(&world).await;
    let fields = [("provider", "calendly"), ("user", "u_2")];
    let refused = visitor.post("/connection/renew", &fields).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let page = &refused.body;
    for told in [
        "The renewal failed",
        "needs its user",
        "the provider refused the grant",
        "grant refused",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
    assert!(
        !page.contains("data-live"),
        "it has no address to look at again"
    );
    assert!(!page.contains("never-used"));
    for query in ["status=needs_reauth", "status=needs_reauth&user=u_"] {
        let broken = visitor.page(&format!("/connections?{query}")).await;
        assert!(
            broken.contains("u_2") && !broken.contains("u_1"),
            "{broken}"
        );
    }
    let others = visitor.page("/connections?status=active&user=u_").await;
    assert!(
        others.contains("u_1") && !others.contains("u_2"),
        "{others}"
    );
    let overview = visitor.page("/").await;
    assert!(overview.contains("Connections that need their user"));
    assert!(overview.contains("1 connections need their user, 0 dead"));
}

#[tokio::test]
async fn dead_letters_are_listed_chosen_and_delivered_again() {
    let settings = [
        ("admin.token", ADMIN_TOKEN),
        ("app.events", "connection.connected"),
        ("webhooks.retry_for", "1s"),
    ];
    let world = World::with(&settings).await;
    world.app.answers(StatusCode::INTERNAL_SERVER_ERROR);
    connect(&world, &["a", "b", "c", "d"]).await;
    let dead = until(&world, "dead", 4).await;
    world.app.answers(StatusCode::NO_CONTENT);
    let visitor = Visitor::logged_in(&world).await;
    let list = visitor.page("/deliveries?status=dead").await;
    assert_eq!(list.matches("form=\"replay\"").count(), 4, "{list}");
    assert!(list.contains("500") && list.contains("/deliveries/replay-dead"));
    let of_a = visitor.page("/deliveries?status=dead&user=a").await;
    assert_eq!(of_a.matches("form=\"replay\"").count(), 1);
    let none = visitor.post("/deliveries/replay", &[]).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);

    let ids: Vec<String> = dead.iter().map(|one| one["id"].to_string()).collect();
    let one = [("id", ids[0].as_str()), ("back", "delivery")];
    let told = visitor.done("/deliveries/replay", &one).await;
    assert!(told.contains("One delivery is on its way again"), "{told}");
    let two = [("id", ids[1].as_str()), ("id", ids[2].as_str())];
    let told = visitor.done("/deliveries/replay", &two).await;
    assert!(
        told.contains("2 deliveries are on their way again"),
        "{told}"
    );
    until(&world, "delivered", 3).await;
    let confirm = visitor.page("/deliveries/replay-dead").await;
    assert!(confirm.contains("All dead letters"), "{confirm}");
    let told = visitor.done("/deliveries/replay-dead", &[]).await;
    assert!(told.contains("One delivery is on its way again"), "{told}");
    until(&world, "delivered", 4).await;
    let unknown = visitor.post("/deliveries/replay", &[("id", "999")]).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let bad = visitor.post("/deliveries/replay", &[("id", "-1")]).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_payload_is_shown_to_who_has_logged_in_and_to_nobody_else() {
    let world = told().await;
    connect(&world, &["a"]).await;
    let id = until(&world, "delivered", 1).await[0]["id"].to_string();
    let visitor = Visitor::logged_in(&world).await;
    let at = format!("/delivery/payload?id={id}");
    let page = visitor.page(&format!("/delivery?id={id}")).await;
    assert!(links(&page).contains(&at), "{page}");
    let payload = visitor.page(&at).await;
    let told = "&#34;type&#34;: &#34;connection.connected&#34;";
    assert!(
        payload.contains(told) && payload.contains("Personal data"),
        "{payload}"
    );
    assert!(!page.contains("connection.connected&#34;"));
    let records = world.get("/v1/audit?action=delivery.show-payload").await;
    let records = records.must_be(200).json();
    assert_eq!(records["items"].as_array().unwrap().len(), 1, "{records}");

    let open = World::with(&[("app.events", "connection.connected")]).await;
    let call = open
        .bare("PUT", &path("calendly", "a"))
        .json(&json!({ "refresh_token": "never-used" }));
    assert!(Answer::read(call).await.status.is_success());
    let visitor = Visitor::of(&open);
    let page = visitor.page("/delivery?id=1").await;
    assert!(
        page.contains("personal data") && !page.contains("payload?"),
        "{page}"
    );
    let answer = visitor.get("/delivery/payload?id=1").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
}

#[tokio::test]
async fn without_a_token_the_page_is_open_to_this_machine_and_to_no_other_page() {
    let world = World::with(&[]).await;
    let call = world
        .bare("PUT", &path("calendly", "u_1"))
        .json(&json!({ "refresh_token": "never-used" }));
    assert!(Answer::read(call).await.status.is_success());
    let visitor = Visitor::of(&world);
    let page = visitor.page("/").await;
    assert!(!page.contains("Log out"));
    for host in ["evil.example", "10.0.0.1:7422", "127.0.0.1.evil.example"] {
        let call = visitor.request(Method::GET, "/").header("host", host);
        assert_eq!(Answer::read(call).await.status, 403, "{host}");
    }
    let token = visitor.form_token().await;
    for (name, value) in [
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
    ] {
        let mut fields = vec![("form_token", token.as_str())];
        fields.extend(U_1);
        let call = visitor.request(Method::POST, "/connection/disconnect");
        let answer = Answer::read(call.header(name, value).form(&fields)).await;
        assert_eq!(answer.status, 403, "{value}");
    }
    let unsigned = visitor.submit("/connection/disconnect", &U_1).await;
    assert_eq!(unsigned.status, 403);
    let gone = visitor.done("/connection/disconnect", &U_1).await;
    assert!(gone.contains("Disconnected"));
}
