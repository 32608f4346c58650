//! Who did what is written down, and can be asked for.

use std::collections::BTreeSet;

use daypass::{
    admin::{api, audit::Action},
    sandbox::{Killed, NewUser, Revoke},
};
use serde_json::{Value, json};

use crate::world::{Answer, World, grant, path};

/// What a test looks at of a record.
fn told(record: &Value) -> (String, String, String, String) {
    let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    (
        text("action"),
        text("user"),
        text("outcome"),
        text("reason"),
    )
}

/// All records, the oldest first.
async fn all(world: &World, query: &str) -> Vec<Value> {
    let (mut records, _) = world.all(&format!("/v1/audit?{query}"), 3).await;
    records.reverse();
    records
}

/// One call of each route that changes something.
async fn everything(world: &World) {
    let anna = NewUser::named("anna");
    let anna = world.sandbox.calendly().create_user(&anna).unwrap();
    let at = path("calendly", "anna");
    world.put(&at, &grant(&anna)).await.must_be(201);
    world.order(&format!("{at}/refresh")).await.must_be(200);
    world.order(&format!("{at}/sync")).await.must_be(202);
    let link = json!({ "provider": "calendly", "user": "anna" });
    world.post("/v1/connect-links", &link).await.must_be(201);
    let mia =
        json!({ "provider": "calcom", "user": "mia", "email": "mia@example.org", "name": "Mia" });
    world.post("/v1/managed-users", &mia).await.must_be(201);
    let one = "/v1/managed-users/calcom/mia";
    world.delete(one).await.must_be(200);
    let some = |seen: &Value| seen["items"].as_array().is_some_and(|all| !all.is_empty());
    let list = "/v1/deliveries?status=delivered";
    let seen = world.until(list, "a delivery", some).await;
    let replay = format!("/v1/deliveries/{}/replay", seen["items"][0]["id"]);
    world.order(&replay).await.must_be(202);
    let order = json!({ "status": "delivered", "user": "anna" });
    let sent = world.post("/v1/deliveries/replay", &order).await;
    assert!(sent.must_be(202).json()["replayed"].as_u64() >= Some(1));
    world.delete(&at).await.must_be(200);
}

#[tokio::test]
async fn every_call_that_changes_something_leaves_a_record() {
    let world = World::open().await;
    everything(&world).await;
    let records = all(&world, "").await;
    let actions: Vec<_> = records.iter().map(told).collect();
    let done = |action: &str, user: &str| {
        (
            action.to_owned(),
            user.to_owned(),
            "done".to_owned(),
            "-".to_owned(),
        )
    };
    let expected = [
        done("connection.import", "anna"),
        done("connection.refresh", "anna"),
        done("connection.sync", "anna"),
        done("connect-link.create", "anna"),
        done("managed-user.create", "mia"),
        done("managed-user.delete", "mia"),
        done("delivery.replay", "-"),
        done("deliveries.replay", "anna"),
        done("connection.disconnect", "anna"),
    ];
    assert_eq!(actions, expected);
    // As many as there are routes that change something, each by an action of its own.
    let changing = api::routes().into_iter();
    let changing = changing.filter(|(method, _)| *method != "GET").count();
    let distinct: BTreeSet<_> = actions.iter().map(|(action, ..)| action).collect();
    assert_eq!(distinct.len(), changing);
    for record in &records {
        assert_eq!(
            (&record["via"], &record["who"]),
            (&json!("api"), &json!("admin"))
        );
        assert!(record["at"].is_string() && record["id"].is_string());
    }
    assert_eq!(records[0]["detail"], "created");
    assert_eq!(records[0]["provider"], "calendly");
    assert_eq!(records[6]["provider"], Value::Null);
    let detail = records[7]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("delivered, ") && detail.ends_with(" replayed"),
        "{detail}"
    );
}

#[tokio::test]
async fn what_could_not_be_done_is_told_with_its_reason_and_what_was_not_understood_is_not() {
    let world = World::open().await;
    world.connected("dora").await;
    let dead = Revoke {
        user: "dora".to_owned(),
        what: Killed::Grant,
    };
    world.sandbox.calendly().revoke(&dead).unwrap();
    let at = path("calendly", "dora");
    let forced = format!("{at}/refresh?force=true");
    world
        .order(&forced)
        .await
        .must_be_problem(409, "needs-reauth");
    let nobody = path("calendly", "nobody");
    world
        .delete(&nobody)
        .await
        .must_be_problem(404, "not-connected");
    world
        .order(&format!("{nobody}/sync"))
        .await
        .must_be_problem(404, "not-connected");
    // Not let in, and not understood.
    Answer::read(world.bare("DELETE", &at))
        .await
        .must_be_problem(401, "unauthorized");
    world
        .order(&format!("{at}/refresh?force=perhaps"))
        .await
        .must_be_problem(400, "invalid-parameter");
    let db = rusqlite::Connection::open(world.home.path().join("daypass.db")).unwrap();
    db.execute_batch("ALTER TABLE expiring RENAME TO gone")
        .unwrap();
    let link = json!({ "provider": "calendly", "user": "dora" });
    world
        .post("/v1/connect-links", &link)
        .await
        .must_be_problem(503, "store-unavailable");
    let records = all(&world, "").await;
    let actions: Vec<_> = records.iter().skip(1).map(told).collect();
    let text = |words: [&str; 4]| {
        let [action, user, outcome, reason] = words.map(str::to_owned);
        (action, user, outcome, reason)
    };
    let expected = [
        ["connection.refresh", "dora", "refused", "needs-reauth"],
        [
            "connection.disconnect",
            "nobody",
            "refused",
            "not-connected",
        ],
        ["connection.sync", "nobody", "refused", "not-connected"],
        ["connect-link.create", "dora", "failed", "store-unavailable"],
    ];
    assert_eq!(actions, expected.map(text));
    assert_eq!(records[1]["detail"], "force");
}

#[tokio::test]
async fn records_are_read_in_pages_and_selected() {
    let world = World::open().await;
    everything(&world).await;
    for limit in [1, 2, 9, 10] {
        let (records, pages) = world.all("/v1/audit", limit).await;
        assert_eq!((records.len(), pages), (9, 9_usize.div_ceil(limit)));
        let times: Vec<jiff::Timestamp> = records
            .iter()
            .map(|one| one["at"].as_str().unwrap().parse().unwrap())
            .collect();
        assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
    }
    let records = all(&world, "").await;
    let count = async |query: &str| all(&world, query).await.len();
    assert_eq!(count("user=anna").await, 6);
    assert_eq!(count("user=mia&action=managed-user.delete").await, 1);
    assert_eq!(count("user=anna&action=managed-user.delete").await, 0);
    assert_eq!(count("provider=calcom").await, 2);
    let middle = records[4]["at"].as_str().unwrap();
    let since = count(&format!("since={middle}")).await;
    let until = count(&format!("until={middle}")).await;
    assert!(
        since + until == 9 && (1..=5).contains(&since),
        "{since} {until}"
    );
    for bad in [
        "action=everything",
        "since=today",
        "user=%20",
        "cursor=x",
        "who=admin",
    ] {
        let answer = world.get(&format!("/v1/audit?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_is_done_all_the_same_and_counted() {
    let world = World::open().await;
    let db = rusqlite::Connection::open(world.home.path().join("daypass.db")).unwrap();
    db.execute_batch("ALTER TABLE audit RENAME TO gone")
        .unwrap();
    world.connected("anna").await;
    let at = path("calendly", "anna");
    world.get(&at).await.must_be(200);
    world.delete(&at).await.must_be(200);
    let metrics = Answer::read(world.bare("GET", "/metrics")).await;
    assert!(
        metrics.body.contains("daypass_audit_failures_total 2\n"),
        "{}",
        metrics.body
    );
}

#[tokio::test]
async fn what_the_app_asks_for_is_the_apps() {
    let world = World::open().await;
    world.connected("anna").await;
    for (user, call, status) in [
        ("anna", "refresh", 200),
        ("anna", "connect-link", 200),
        ("nobody", "refresh", 424),
    ] {
        let answer = world.app_orders(user, &format!("/-/calendly/{call}")).await;
        assert_eq!(answer.status, status, "{call}: {answer:?}");
    }
    let records = all(&world, "").await;
    let apps: Vec<_> = records.iter().skip(1).map(told).collect();
    let done = |action: &str| {
        (
            action.to_owned(),
            "anna".to_owned(),
            "done".to_owned(),
            "-".to_owned(),
        )
    };
    // What it was refused is in the log only.
    assert_eq!(
        apps,
        [done("connection.refresh"), done("connect-link.create")]
    );
    for record in &records[1..] {
        assert_eq!(
            (&record["via"], &record["who"]),
            (&json!("outbound"), &json!("app"))
        );
    }
}

#[tokio::test]
async fn whoever_consents_is_written_down_and_whoever_does_not() {
    let world = World::open().await;
    let bob = NewUser::named("bob");
    world.sandbox.calendly().create_user(&bob).unwrap();
    for (denied, connection) in [(true, "denied"), (false, "connected")] {
        world.sandbox.calendly().set(|switches| {
            switches.consent_as = Some("bob".to_owned());
            switches.consent_denied = denied;
        });
        let order = json!({
            "provider": "calendly", "user": "u_bob", "return_to": "https://app.example.org/",
        });
        let link = world.post("/v1/connect-links", &order).await;
        let link = link.must_be(201).json()["url"].as_str().unwrap().to_owned();
        let back = world.consent(&link).await;
        assert!(back.contains(&format!("connection={connection}")), "{back}");
    }
    let records = all(&world, "user=u_bob&action=connection.connect").await;
    let found: Vec<_> = records.iter().map(told).collect();
    let text = |outcome: &str, reason: &str| {
        (
            "connection.connect".to_owned(),
            "u_bob".to_owned(),
            outcome.to_owned(),
            reason.to_owned(),
        )
    };
    assert_eq!(found, [text("refused", "access-denied"), text("done", "-")]);
    assert_eq!(
        (&records[0]["via"], &records[0]["who"]),
        (&json!("ingress"), &json!("user"))
    );
}

#[test]
fn every_action_is_documented_and_no_other() {
    let page = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md"),
    )
    .unwrap();
    let (_, section) = page.split_once("\n## Audit\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<&str> = rows
        .filter_map(|row| row.split('`').next())
        .filter(|word| word.contains('.'))
        .collect();
    let all: BTreeSet<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
    assert_eq!(told, all);
}
