//! Who is not let in, and what cannot be asked.

use daypass::admin::api;
use serde_json::json;

use crate::world::{ADMIN_TOKEN, Answer, World};

/// The route's path with something in its places.
fn filled(path: &str) -> String {
    path.replace("{provider}", "calendly")
        .replace("{user}", "u_1")
        .replace("{id}", "1")
}

#[tokio::test]
async fn every_route_needs_the_admin_token() {
    let world = World::open().await;
    let routes = api::routes();
    assert!(routes.len() >= 15, "{routes:?}");
    for (method, path) in &routes {
        let path = filled(path);
        let none = Answer::read(world.bare(method, &path)).await;
        none.must_be_problem(401, "unauthorized");
        assert_eq!(none.header("www-authenticate"), "Bearer realm=\"daypass\"");
        for wrong in ["canary-admin-tokem", "canary", ""] {
            let call = world.bare(method, &path).bearer_auth(wrong);
            Answer::read(call)
                .await
                .must_be_problem(401, "unauthorized");
        }
        let basic = world
            .bare(method, &path)
            .basic_auth(ADMIN_TOKEN, None::<&str>);
        Answer::read(basic)
            .await
            .must_be_problem(401, "unauthorized");
        // With it, the call is judged by what it says.
        let answer = Answer::read(world.call(method, &path)).await;
        assert_ne!(answer.status, 401, "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn whoever_is_not_let_in_does_not_learn_which_routes_there_are() {
    let world = World::open().await;
    for path in ["/v1/nothing", "/v1/connections", "/v1/connections/a/b/c"] {
        for method in ["GET", "PATCH"] {
            let answer = Answer::read(world.bare(method, path)).await;
            answer.must_be_problem(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn probes_need_no_token() {
    let world = World::open().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(Answer::read(world.bare("GET", path)).await.status, 200);
    }
}

#[tokio::test]
async fn without_a_token_this_machine_may_call_and_no_page_of_a_browser() {
    let world = World::with(&[]).await;
    Answer::read(world.bare("GET", "/v1/connections"))
        .await
        .must_be(200);
    for (name, value) in [
        ("host", "evil.example"),
        ("origin", "http://localhost:3000"),
        ("origin", "null"),
    ] {
        let call = world.bare("GET", "/v1/connections").header(name, value);
        let answer = Answer::read(call).await;
        answer.must_be_problem(403, "origin-not-allowed");
    }
    // What a form can send is no JSON.
    let form = world
        .bare("POST", "/v1/connect-links")
        .header("content-type", "text/plain")
        .body(r#"{"provider":"calendly","user":"u_1"}"#);
    Answer::read(form).await.must_be_problem(415, "not-json");
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_there_are_problems() {
    let world = World::open().await;
    for path in ["/nothing", "/v1/nothing", "/v1", "/v2/connections"] {
        let answer = Answer::read(world.call("GET", path)).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(
            answer.body.contains("urn:daypass:problem:not-found"),
            "{answer:?}"
        );
    }
    for (method, path, allowed) in [
        ("DELETE", "/v1/connections", "GET"),
        ("PATCH", "/v1/connections/calendly/u_1", "PUT"),
        ("GET", "/v1/connect-links", "POST"),
        ("POST", "/readyz", "GET"),
    ] {
        let answer = Answer::read(world.call(method, path)).await;
        assert_eq!(answer.status, 405, "{answer:?}");
        assert!(
            answer
                .body
                .contains("urn:daypass:problem:method-not-allowed")
        );
        assert!(answer.header("allow").contains(allowed), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::open().await;
    let order = json!({ "provider": "calendly", "user": "u_1", "return_to": "x".repeat(70_000) });
    world
        .post("/v1/connect-links", &order)
        .await
        .must_be_problem(413, "body-too-large");
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused_and_not_left_aside() {
    let world = World::open().await;
    for (query, parameter) in [
        ("limit=0", Some("limit")),
        ("limit=201", Some("limit")),
        ("limit=-1", Some("limit")),
        ("limit=many", Some("limit")),
        ("status=fine", Some("status")),
        ("provider=Cal.com", Some("provider")),
        ("user_prefix=%20&provider=calendly", Some("user_prefix")),
        ("user_prefix=a", Some("user_prefix")),
        ("stauts=active", None),
    ] {
        let answer = world.get(&format!("/v1/connections?{query}")).await;
        answer.must_be_problem(400, "invalid-parameter");
        assert_eq!(answer.json()["parameter"].as_str(), parameter, "{answer:?}");
    }
    for query in [
        "",
        "user=",
        "user=a&user=b",
        "user=a&from=today",
        "user=a&until=1",
    ] {
        let answer = world.get(&format!("/v1/meetings?{query}")).await;
        answer.must_be_problem(400, "invalid-parameter");
    }
    for query in ["status=alive", "from=x", "user=%20", "provider=", "id=1"] {
        let answer = world.get(&format!("/v1/deliveries?{query}")).await;
        answer.must_be_problem(400, "invalid-parameter");
    }
    world
        .get("/v1/managed-users")
        .await
        .must_be_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn cursors_that_are_garbage_are_the_callers_fault() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

    let world = World::open().await;
    let forged = [
        r#"["connections",["calendly","a b"]]"#,
        r#"["connections",["Cal.com","a"]]"#,
        r#"["connections",["calendly"]]"#,
        r#"["deliveries",-1]"#,
        r#"["deliveries",18446744073709551615]"#,
        r#"["deliveries","1"]"#,
        r#"["meetings",["2026-01-01T00:00:00Z","calendly","a\u0000b"]]"#,
        r#"["meetings",["99999-01-01T00:00:00Z","calendly","a"]]"#,
        r#"["managed-users",-1]"#,
        r#"["managed-users",4294967296]"#,
        "[]",
        "{",
        "",
    ];
    let mut garbage: Vec<String> = forged.map(|text| BASE64.encode(text)).to_vec();
    garbage.extend(["%00", "null", "..", "%F0%9F%8E%9F", "a%20b"].map(str::to_owned));
    garbage.push("A".repeat(5000));
    for seed in 0..40_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        })
        .take(usize::try_from(seed).unwrap())
        .collect();
        garbage.push(BASE64.encode(bytes));
    }
    for list in [
        "/v1/connections?",
        "/v1/deliveries?",
        "/v1/meetings?user=u_1&",
        "/v1/managed-users?provider=calcom&",
    ] {
        for cursor in &garbage {
            let answer = world.get(&format!("{list}cursor={cursor}")).await;
            answer.must_be_problem(400, "invalid-cursor");
        }
    }
    // What a store can count to is a place, even if there is nothing.
    let end = BASE64.encode(r#"["deliveries",9223372036854775807]"#);
    world
        .get(&format!("/v1/deliveries?cursor={end}"))
        .await
        .must_be(200);
}
