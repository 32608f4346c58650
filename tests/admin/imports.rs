//! Tokens that are brought from elsewhere.

use daypass::sandbox::NewUser;
use serde_json::{Value, json};

use crate::world::{Answer, World, grant, path};

#[tokio::test]
async fn imported_tokens_are_used_and_the_app_is_told() {
    let world = World::open().await;
    let order = NewUser::named("anna");
    let created = world.sandbox.calendly().create_user(&order).unwrap();
    let at = path("calendly", "anna");
    let imported = world.put(&at, &grant(&created)).await.must_be(201).json();
    assert_eq!(imported["outcome"], "created");
    let connection = &imported["connection"];
    assert_eq!(connection["external_id"], created.external_id);
    assert_eq!(connection["organization"], json!(created.organization));
    assert_eq!(connection["scope"], json!(created.scope));
    let me = world.outbound("anna", "/calendly/users/me").await;
    assert_eq!(me.json()["resource"]["uri"], created.external_id);
    let told = world.app.wait_for("anna", 1).await;
    assert_eq!(told[0].header("daypass-event"), "connection.connected");
    assert_eq!(told[0].body["data"]["arrival"], "first");
}

#[tokio::test]
async fn the_same_tokens_change_nothing_even_after_they_were_renewed() {
    let world = World::open().await;
    let created = world.connected("anna").await;
    let at = path("calendly", "anna");
    world.order(&format!("{at}/refresh")).await.must_be(200);
    let again = world.put(&at, &grant(&created)).await.must_be(200).json();
    assert_eq!(again["outcome"], "unchanged");
    assert_eq!(again["connection"]["generation"], 2);
    let replaced = world
        .put(&format!("{at}?replace=true"), &grant(&created))
        .await;
    assert_eq!(replaced.must_be(200).json()["outcome"], "replaced");
    assert_eq!(replaced.json()["connection"]["generation"], 3);
}

#[tokio::test]
async fn new_tokens_replace_and_another_account_is_noticed() {
    let world = World::open().await;
    world.connected("anna").await;
    let at = path("calendly", "anna");
    world
        .until(&at, "the subscription", |seen| {
            seen["subscription"]["status"] == "active"
        })
        .await;
    let order = NewUser::named("other");
    let other = world.sandbox.calendly().create_user(&order).unwrap();
    let replaced = world.put(&at, &grant(&other)).await.must_be(200).json();
    assert_eq!(replaced["outcome"], "replaced");
    assert_eq!(replaced["connection"]["external_id"], other.external_id);
    let arrivals = async {
        for count in 2.. {
            let told = world.app.wait_for("anna", count).await;
            let told = told
                .iter()
                .filter(|one| one.header("daypass-event") == "connection.connected");
            let arrivals: Vec<_> = told
                .map(|one| one.body["data"]["arrival"].clone())
                .collect();
            if arrivals.len() == 2 {
                return arrivals;
            }
        }
        Vec::new()
    };
    assert_eq!(arrivals.await, ["first", "other_account"]);
}

#[tokio::test]
async fn a_managed_user_is_imported_by_its_number_and_belongs_to_one_user() {
    let world = World::open().await;
    let order = NewUser::managed("mona");
    let created = world.sandbox.calcom().create_user(&order).unwrap();
    let body = json!({ "managed_user_id": created.managed_user_id });
    let at = path("calcom", "mona");
    let imported = world.put(&at, &body).await.must_be(201).json();
    assert_eq!(imported["connection"]["generation"], 0);
    assert_eq!(imported["connection"]["renewable"], true);
    let me = world.outbound("mona", "/calcom/v2/me").await;
    assert_eq!(me.status, 200, "{me:?}");
    let taken = world.put(&path("calcom", "ben"), &body).await;
    taken.must_be_problem(409, "managed-user-taken");
    assert_eq!(taken.json()["user"], "mona");
    world
        .put(&path("calendly", "mona"), &body)
        .await
        .must_be_problem(409, "no-managed-users");
}

#[tokio::test]
async fn each_field_is_checked_and_named_and_never_repeated() {
    let world = World::open().await;
    let at = path("calendly", "anna");
    let canary = "canary-in-a-bad-body";
    for (field, bad) in [
        ("access_token", json!(format!("{canary} with a blank"))),
        ("access_token", json!("")),
        ("access_token", json!([canary])),
        ("refresh_token", json!(format!("{canary}\n"))),
        ("refresh_token", json!(7)),
        ("expires_at", json!(canary)),
        ("expires_at", json!(true)),
        ("expires_in", json!(canary)),
        ("expires_in", json!(-1)),
        ("expires_in", json!(1e15)),
        ("expires_in", json!(9_999_999_999_u64)),
        ("managed_user_id", json!(canary)),
        ("managed_user_id", json!(0)),
        ("external_id", json!(format!("{canary}\0"))),
        ("external_id", json!("")),
        ("organization", json!({ canary: 1 })),
        ("scope", json!(" ")),
        ("scope", json!("x".repeat(2000))),
    ] {
        let mut body = json!({ "refresh_token": "fine" });
        body[field] = bad;
        let answer = world.put(&at, &body).await;
        answer.must_name(field);
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
    let both = json!({ "refresh_token": "r", "expires_at": 1, "expires_in": 1 });
    world.put(&at, &both).await.must_name("expires_in");
    for body in [
        json!({}),
        json!({ "scope": "a" }),
        json!([]),
        json!(canary),
        json!({ "refresh_token": "r", canary: 1 }),
    ] {
        let answer = world.put(&at, &body).await;
        answer.must_be_problem(400, "invalid-body");
        assert!(answer.json()["field"].is_null(), "{answer:?}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
    world.get(&at).await.must_be_problem(404, "not-connected");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let world = World::open().await;
    let at = path("calendly", "anna");
    for body in ["", "{", "{} {}", "refresh_token=r", "\u{feff}{}"] {
        let call = world
            .call("PUT", &at)
            .header("content-type", "application/json")
            .body(body);
        Answer::read(call)
            .await
            .must_be_problem(400, "invalid-body");
    }
    let form = world.call("PUT", &at).form(&[("refresh_token", "r")]);
    Answer::read(form).await.must_be_problem(415, "not-json");
    let typed = world
        .call("PUT", &at)
        .header("content-type", "Application/JSON; charset=utf-8")
        .body(r#"{"refresh_token":"r"}"#);
    Answer::read(typed).await.must_be(201);
}

#[tokio::test]
async fn the_end_of_a_token_is_told_in_any_way() {
    let world = World::open().await;
    for (user, name, value) in [
        ("a", "expires_at", json!("2035-01-02T03:04:05Z")),
        ("b", "expires_at", json!(2_051_319_845_i64)),
        ("c", "expires_at", json!(2_051_319_845_000_i64)),
    ] {
        let mut body = json!({ "access_token": "t", "refresh_token": format!("r-{user}") });
        body[name] = value;
        let imported = world.put(&path("calendly", user), &body).await.json();
        assert_eq!(imported["connection"]["expires_at"], "2035-01-02T03:04:05Z");
    }
    let body = json!({ "access_token": "t", "expires_in": 3600 });
    let imported = world.put(&path("calendly", "d"), &body).await.json();
    let connection = &imported["connection"];
    assert_eq!(connection["renewable"], Value::Bool(false));
    assert!(connection["expires_at"].as_str().unwrap() > "2020");
}
