//! Who is connected, how that stands, and what can be done about it.

use daypass::sandbox::{Filter, Killed, NewUser, Revoke, TokenFault, TokenMischief};
use serde_json::{Value, json};

use crate::world::{World, grant, path};

fn users(items: &[Value]) -> Vec<&str> {
    items
        .iter()
        .map(|item| item["user"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_list_is_read_to_its_end_in_pages_of_any_size() {
    let world = World::open().await;
    for user in ["a", "ab", "abc", "b", "c", "~"] {
        let line = json!({ "refresh_token": format!("r-{user}") });
        world.put(&path("calendly", user), &line).await.must_be(201);
    }
    let line = json!({ "managed_user_id": 7 });
    world.put(&path("calcom", "ab"), &line).await.must_be(201);
    for limit in [1, 2, 3, 6, 7, 8, 200] {
        let (items, pages) = world.all("/v1/connections", limit).await;
        assert_eq!(users(&items), ["ab", "a", "ab", "abc", "b", "c", "~"]);
        assert_eq!(items[0]["provider"], "calcom");
        assert_eq!(pages, 7_usize.div_ceil(limit));
    }
    let of = async |query: &str| {
        let (items, _) = world.all(&format!("/v1/connections?{query}"), 2).await;
        users(&items)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("provider=calcom").await, ["ab"]);
    assert_eq!(of("provider=calendly&user_prefix=ab").await, ["ab", "abc"]);
    assert_eq!(
        of("provider=calendly&user_prefix=a").await,
        ["a", "ab", "abc"]
    );
    assert_eq!(of("provider=calendly&user_prefix=~").await, ["~"]);
    assert_eq!(of("provider=calendly&user_prefix=x").await, [""; 0]);
    world
        .get("/v1/connections?provider=google")
        .await
        .must_be_problem(404, "unknown-provider");
}

#[tokio::test]
async fn the_status_selects() {
    let world = World::open().await;
    world.connected("anna").await;
    world.connected("ben").await;
    let dead = Revoke {
        user: "ben".to_owned(),
        what: Killed::Grant,
    };
    world.sandbox.calendly().revoke(&dead).unwrap();
    world
        .order(&format!("{}/refresh", path("calendly", "ben")))
        .await
        .must_be_problem(409, "needs-reauth");
    for (status, user) in [("active", "anna"), ("needs_reauth", "ben")] {
        let (items, _) = world
            .all(&format!("/v1/connections?status={status}"), 1)
            .await;
        assert_eq!(users(&items), [user]);
        assert_eq!(items[0]["status"], status);
    }
    let shown = world.get(&path("calendly", "ben")).await.json();
    assert_eq!(shown["reason"], "grant-refused");
    assert!(shown["since"].is_string());
}

#[tokio::test]
async fn a_connection_shows_its_subscription_and_how_far_its_meetings_are_read() {
    let world = World::open().await;
    let created = world.connected("anna").await;
    let shown = world
        .until(&path("calendly", "anna"), "both", |seen| {
            seen["subscription"]["status"] == "active" && seen["sync"]["stage"] == "done"
        })
        .await;
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["external_id"], created.external_id);
    assert_eq!(shown["subscription"]["reason"], Value::Null);
    assert!(shown["subscription"]["next_at"].is_string());
    assert!(shown["sync"]["finished_at"].is_string());
    let seen = world
        .outbound("anna", "/-/calendly/connection")
        .await
        .json();
    assert_eq!(seen["subscription"]["status"], "active", "{seen}");
    assert_eq!(seen["sync"]["stage"], "done");
}

#[tokio::test]
async fn a_plan_without_webhooks_is_the_subscriptions_state_with_what_to_do() {
    let world = World::open().await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.calendly.free_plan = true);
    world.connected("anna").await;
    let shown = world
        .until(&path("calendly", "anna"), "the refusal", |seen| {
            seen["subscription"]["status"] == "unavailable"
        })
        .await;
    let subscription = &shown["subscription"];
    assert_eq!(subscription["lacks"], "plan");
    assert!(subscription["reason"].as_str().unwrap().contains("plan"));
    assert_eq!(
        shown["status"], "active",
        "the user is connected all the same"
    );
}

#[tokio::test]
async fn whoever_is_not_connected_is_not_there() {
    let world = World::open().await;
    let (nobody, nowhere) = (path("calendly", "nobody"), path("google", "anna"));
    for (at, slug) in [(&nobody, "not-connected"), (&nowhere, "unknown-provider")] {
        world.get(at).await.must_be_problem(404, slug);
        world.delete(at).await.must_be_problem(404, slug);
        for call in ["refresh", "sync"] {
            let answer = world.order(&format!("{at}/{call}")).await;
            answer.must_be_problem(404, slug);
        }
    }
    let body = json!({ "refresh_token": "r" });
    world
        .put(&nowhere, &body)
        .await
        .must_be_problem(404, "unknown-provider");
    for bad in [
        "/v1/connections/calendly/a%20b",
        "/v1/connections/calendly/%FF",
    ] {
        world
            .get(bad)
            .await
            .must_be_problem(400, "invalid-parameter");
    }
}

#[tokio::test]
async fn a_user_id_with_any_letters_is_reached() {
    let world = World::open().await;
    let (user, at) = ("a/b?c#d%e&f+g", path("calendly", "a%2Fb%3Fc%23d%25e&f+g"));
    let body = json!({ "refresh_token": "r-1" });
    assert_eq!(
        world.put(&at, &body).await.json()["connection"]["user"],
        user
    );
    assert_eq!(world.get(&at).await.json()["user"], user);
    world.delete(&at).await.must_be(200);
    world.get(&at).await.must_be_problem(404, "not-connected");
}

#[tokio::test]
async fn a_refresh_renews_and_tells_how_the_connection_stands_then() {
    let world = World::open().await;
    world.connected("anna").await;
    let refresh = format!("{}/refresh", path("calendly", "anna"));
    let renewed = world.order(&refresh).await.must_be(200).json();
    assert_eq!(
        (&renewed["generation"], &renewed["status"]),
        (&json!(2), &json!("active"))
    );
    // Calendly has no force: the standard refresh is what there is.
    let forced = world.order(&format!("{refresh}?force=false")).await;
    assert_eq!(forced.must_be(200).json()["generation"], 3);
    world
        .order(&format!("{refresh}?force=perhaps"))
        .await
        .must_be_problem(400, "invalid-parameter");
    world.sandbox.calendly().fault_token(TokenFault {
        times: None,
        call: None,
        what: TokenMischief::DropBefore,
    });
    world
        .order(&refresh)
        .await
        .must_be_problem(503, "refresh-failed");
}

#[tokio::test]
async fn a_managed_user_is_refreshed_by_force() {
    let world = World::open().await;
    let order = NewUser::managed("mona");
    let created = world.sandbox.calcom().create_user(&order).unwrap();
    let at = path("calcom", "mona");
    world.put(&at, &grant(&created)).await.must_be(201);
    let renewed = world.order(&format!("{at}/refresh?force=true")).await;
    assert_eq!(renewed.must_be(200).json()["generation"], 2);
    let forced = world.sandbox.calcom().stats().token_calls;
    assert_eq!(forced.get("force_refresh:ok"), Some(&1), "{forced:?}");
}

#[tokio::test]
async fn what_is_removed_is_unsubscribed_revoked_and_forgotten_and_the_app_is_told() {
    let world = World::open().await;
    world.connected("anna").await;
    let at = path("calendly", "anna");
    world
        .until(&at, "the subscription", |seen| {
            seen["subscription"]["status"] == "active" && seen["sync"]["stage"] == "done"
        })
        .await;
    let gone = world.delete(&at).await.must_be(200).json();
    assert_eq!(gone, json!({ "revocation": "revoked" }));
    world.get(&at).await.must_be_problem(404, "not-connected");
    world
        .delete(&at)
        .await
        .must_be_problem(404, "not-connected");
    let entries = world.sandbox.calendly().entries(&Filter::default());
    let unsubscribed = entries.iter().filter(|entry| {
        entry.method == "DELETE" && entry.path.starts_with("/webhook_subscriptions/")
    });
    assert_eq!(unsubscribed.count(), 1);
    let told = world.app.wait_for("anna", 3).await;
    let last = told.last().unwrap();
    assert_eq!(last.header("daypass-event"), "connection.disconnected");
    assert_eq!(last.body["data"]["revocation"], "revoked");
}

#[tokio::test]
async fn a_sync_is_asked_for_and_seen_to_its_end() {
    let world = World::open().await;
    world.connected("anna").await;
    let at = path("calendly", "anna");
    let done = |seen: &Value| seen["sync"]["stage"] == "done";
    let first = world.until(&at, "the first sync", done).await;
    let asked = world.order(&format!("{at}/sync")).await.must_be(202).json();
    assert!(asked["sync"]["stage"].is_string(), "{asked}");
    let again = world
        .until(&at, "the second sync", |seen| {
            done(seen) && seen["sync"]["finished_at"] != first["sync"]["finished_at"]
        })
        .await;
    assert_eq!(again["sync"]["last_error"], Value::Null);
}

#[tokio::test]
async fn where_no_meetings_are_kept_none_are_read_or_shown() {
    let settings = [
        ("admin.token", crate::world::ADMIN_TOKEN),
        ("meetings.store", "false"),
    ];
    let world = World::with(&settings).await;
    world.connected("anna").await;
    world
        .order(&format!("{}/sync", path("calendly", "anna")))
        .await
        .must_be_problem(409, "no-meetings");
    world
        .get("/v1/meetings?user=anna")
        .await
        .must_be_problem(409, "no-meetings");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_to_is_told_of_and_reads_go_on() {
    let world = World::open().await;
    world.connected("anna").await;
    let thief = rusqlite::Connection::open(world.home.path().join("daypass.db")).unwrap();
    thief.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = json!({ "refresh_token": "r-2" });
    world
        .put(&path("calendly", "ben"), &body)
        .await
        .must_be_problem(503, "store-unavailable");
    world.get(&path("calendly", "anna")).await.must_be(200);
    thief.execute_batch("ROLLBACK").unwrap();
    world
        .put(&path("calendly", "ben"), &body)
        .await
        .must_be(201);
}
