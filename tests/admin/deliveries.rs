//! What is on its way to the app, what was given up, and delivering it again.

use std::sync::Arc;

use daypass::{
    base::{
        clock::{Clock, SystemClock},
        ids::EventId,
        random::OsRandom,
    },
    store::{
        Deliveries, NewEvent,
        seal::{Aad, Field},
    },
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    app::Taken,
    world::{ADMIN_TOKEN, World, path},
};

/// Connects users whose tokens are never used, so that one event each is told.
async fn told(users: &[&str], settings: &[(&str, &str)]) -> World {
    let mut all = vec![
        ("admin.token", ADMIN_TOKEN),
        ("app.events", "connection.connected"),
    ];
    all.extend_from_slice(settings);
    let world = World::with(&all).await;
    for user in users {
        tell(&world, user).await;
    }
    world
}

/// One more event for `user`.
async fn tell(world: &World, user: &str) {
    let body = json!({ "refresh_token": "never-used" });
    let at = format!("{}?replace=true", path("calendly", user));
    let answer = world.put(&at, &body).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

/// Waits until `count` deliveries stand so.
async fn until(world: &World, status: &str, count: usize) -> Vec<Value> {
    let at = format!("/v1/deliveries?status={status}&limit=200");
    let seen = world
        .until(&at, status, |seen| {
            seen["items"].as_array().unwrap().len() == count
        })
        .await;
    seen["items"].as_array().unwrap().clone()
}

fn ids(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|one| one.header("webhook-id")).collect()
}

#[tokio::test]
async fn deliveries_are_listed_newest_first_and_selected() {
    let world = told(&["a", "b", "a", "b", "a"], &[]).await;
    until(&world, "delivered", 5).await;
    for limit in [1, 2, 5, 6] {
        let (items, pages) = world.all("/v1/deliveries", limit).await;
        assert_eq!((items.len(), pages), (5, 5_usize.div_ceil(limit)));
        let numbers: Vec<_> = items
            .iter()
            .map(|item| item["id"].as_u64().unwrap())
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one > next), "{numbers:?}");
    }
    let (items, _) = world.all("/v1/deliveries", 200).await;
    let at = |item: &Value| -> jiff::Timestamp {
        let text = item["accepted_at"].as_str().unwrap();
        text.parse().unwrap()
    };
    let middle = at(&items[2]);
    let newer = items.iter().filter(|item| at(item) >= middle).count();
    let count = async |query: &str| {
        world
            .all(&format!("/v1/deliveries?{query}"), 2)
            .await
            .0
            .len()
    };
    assert_eq!(count("user=a").await, 3);
    assert_eq!(count("user=b&status=delivered").await, 2);
    assert_eq!(count("status=dead").await, 0);
    assert_eq!(count("provider=calcom").await, 0);
    assert_eq!(count(&format!("from={middle}")).await, newer);
    assert_eq!(count(&format!("until={middle}")).await, 5 - newer);
    let one = world
        .get(&format!("/v1/deliveries/{}", items[0]["id"]))
        .await;
    assert_eq!(one.must_be(200).json(), items[0]);
    assert_eq!(items[0]["name"], "connection.connected");
}

#[tokio::test]
async fn one_is_delivered_again_with_the_id_it_had() {
    let world = told(&["a", "b"], &[]).await;
    let items = until(&world, "delivered", 2).await;
    let of_a = items.iter().find(|item| item["user"] == "a").unwrap();
    let sent = world
        .order(&format!("/v1/deliveries/{}/replay", of_a["id"]))
        .await;
    assert_eq!(sent.must_be(202).json(), json!({ "replayed": 1 }));
    let taken = world.app.wait_for("a", 2).await;
    assert_eq!(ids(&taken)[0], ids(&taken)[1]);
    assert_eq!(ids(&taken)[0], of_a["webhook_id"]);
    assert_eq!(taken[0].body, taken[1].body);
    until(&world, "delivered", 2).await;
    assert_eq!(world.app.wait_for("b", 1).await.len(), 1);
}

#[tokio::test]
async fn all_of_a_user_are_delivered_again_in_their_order() {
    let world = told(&["a", "b", "a", "a"], &[]).await;
    until(&world, "delivered", 4).await;
    let order = json!({ "status": "delivered", "user": "a" });
    let sent = world.post("/v1/deliveries/replay", &order).await;
    assert_eq!(sent.must_be(202).json(), json!({ "replayed": 3 }));
    let taken = world.app.wait_for("a", 6).await;
    assert_eq!(ids(&taken)[..3], ids(&taken)[3..]);
    until(&world, "delivered", 4).await;
    assert_eq!(world.app.taken().len(), 7);
}

#[tokio::test]
async fn all_of_a_time_span_are_delivered_again() {
    let world = told(&["a", "b"], &[]).await;
    until(&world, "delivered", 2).await;
    let from = SystemClock.now();
    tell(&world, "a").await;
    tell(&world, "b").await;
    until(&world, "delivered", 4).await;
    let order = json!({ "status": "delivered", "from": from });
    let sent = world.post("/v1/deliveries/replay", &order).await;
    assert_eq!(sent.must_be(202).json(), json!({ "replayed": 2 }));
    for user in ["a", "b"] {
        let taken = world.app.wait_for(user, 3).await;
        let ids = ids(&taken);
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[1], ids[2]);
    }
    let order = json!({ "status": "delivered", "user": "a", "until": from });
    let sent = world.post("/v1/deliveries/replay", &order).await;
    assert_eq!(sent.json(), json!({ "replayed": 1 }));
    let taken = world.app.wait_for("a", 4).await;
    assert_eq!(ids(&taken)[3], ids(&taken)[0]);
}

#[tokio::test]
async fn dead_letters_are_what_is_meant_unless_otherwise_said() {
    let world = told(&[], &[("webhooks.retry_for", "1s")]).await;
    world.app.answers(StatusCode::INTERNAL_SERVER_ERROR);
    tell(&world, "a").await;
    let dead = until(&world, "dead", 1).await;
    let error = dead[0]["last_error"].as_str().unwrap();
    assert!(error.contains("500"), "{error}");
    world.app.answers(StatusCode::NO_CONTENT);
    tell(&world, "b").await;
    until(&world, "delivered", 1).await;
    let sent = world.post("/v1/deliveries/replay", &json!({})).await;
    assert_eq!(sent.must_be(202).json(), json!({ "replayed": 1 }));
    until(&world, "delivered", 2).await;
    let sent = world.post("/v1/deliveries/replay", &json!({})).await;
    assert_eq!(sent.must_be(202).json(), json!({ "replayed": 0 }));
}

#[tokio::test]
async fn what_is_nobodys_or_not_there_is_not_delivered() {
    let world = told(&[], &[]).await;
    let core = world.sidecar.core();
    let (id, provider) = (EventId::random(&OsRandom), "calendly".parse().unwrap());
    let text = id.to_string();
    let aad = Aad::of_record(&provider, &text, Field::Event);
    let payload = core.keys.seal_bytes(&OsRandom, &aad, b"\0\0\0\x02[]{}");
    let event = NewEvent {
        id,
        name: "invitee.created".to_owned(),
        dedupe: [7; 32],
        payload,
        recipients: Vec::new(),
        accounts: vec!["somebody".to_owned()],
        at: core.clock.now(),
        provider,
    };
    let store: Arc<dyn Deliveries> = Arc::clone(&core.everything) as _;
    store.accept(event).await.unwrap();
    let unrouted = until(&world, "unrouted", 1).await;
    assert_eq!(unrouted[0]["user"], Value::Null);
    let number = &unrouted[0]["id"];
    world
        .order(&format!("/v1/deliveries/{number}/replay"))
        .await
        .must_be_problem(409, "unrouted-delivery");
    for (missing, status, slug) in [
        ("999", 404, "unknown-delivery"),
        ("9223372036854775807", 404, "unknown-delivery"),
        ("9223372036854775808", 400, "invalid-parameter"),
        ("99999999999999999999", 400, "invalid-parameter"),
        ("-1", 400, "invalid-parameter"),
        ("+1", 400, "invalid-parameter"),
        ("x", 400, "invalid-parameter"),
    ] {
        let at = format!("/v1/deliveries/{missing}");
        world.get(&at).await.must_be_problem(status, slug);
        let replay = world.order(&format!("{at}/replay")).await;
        replay.must_be_problem(status, slug);
    }
}

#[tokio::test]
async fn each_field_of_a_replay_is_checked() {
    let world = told(&[], &[]).await;
    for (body, field) in [
        (json!({ "status": "alive" }), "status"),
        (json!({ "status": "unrouted" }), "status"),
        (json!({ "status": "delivered" }), "status"),
        (
            json!({ "status": "delivered", "provider": "calendly" }),
            "status",
        ),
        (json!({ "user": "a b" }), "user"),
        (json!({ "provider": "Cal.com" }), "provider"),
        (json!({ "from": "yesterday" }), "from"),
        (json!({ "until": 7 }), "until"),
    ] {
        world
            .post("/v1/deliveries/replay", &body)
            .await
            .must_name(field);
    }
    for body in [json!({ "since": 1 }), json!([]), json!(null)] {
        let answer = world.post("/v1/deliveries/replay", &body).await;
        answer.must_be_problem(400, "invalid-body");
    }
}
