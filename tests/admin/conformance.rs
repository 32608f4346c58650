//! The running server does what its description says, and nothing else: every route is called, every
//! status that is named is had at least once, and every answer is held against its schema.

use std::collections::BTreeMap;

use daypass::{
    admin,
    sandbox::{Killed, NewUser, Revoke},
};
use serde_json::{Value, json};

use crate::{
    specification::{Operation, Specification},
    world::{ADMIN_TOKEN, Answer, World, grant, path},
};

/// A sidecar, and who judges it.
pub(crate) struct Trial<'s> {
    pub(crate) world: World,
    judge: &'s Specification,
    operations: BTreeMap<String, Operation>,
}

impl<'s> Trial<'s> {
    pub(crate) fn new(world: World, judge: &'s Specification) -> Self {
        let operations = judge.operations();
        Self {
            world,
            judge,
            operations,
        }
    }

    pub(crate) async fn is(&self, id: &str, status: u16, call: reqwest::RequestBuilder) -> Answer {
        let answer = Answer::read(call).await;
        self.judge.judge(id, &answer);
        assert_eq!(answer.status, status, "{id}: {answer:?}");
        answer
    }

    /// Calls `id` at `at`, which fills its address.
    async fn call(&self, id: &str, at: &str, body: Option<&Value>, status: u16) -> Answer {
        let operation = &self.operations[id];
        assert_fits(&operation.path, at);
        let call = self.world.call(&operation.method, at);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        self.is(id, status, call).await
    }

    /// Everything below `/v1`, each with an address that could be right.
    pub(crate) fn guarded(&self) -> impl Iterator<Item = (&String, &Operation, String)> {
        let guarded = self.operations.iter();
        guarded
            .filter(|(_, operation)| operation.path.starts_with("/v1/"))
            .map(|(id, operation)| (id, operation, filled(&operation.path)))
    }
}

/// An address with something in its places.
pub(crate) fn filled(path: &str) -> String {
    path.replace("{provider}", "calendly")
        .replace("{user}", "anna")
        .replace("{id}", "1")
}

fn assert_fits(path: &str, at: &str) {
    let at = at.split('?').next().unwrap();
    let parts = path.split('/').zip(at.split('/'));
    let fit = path.split('/').count() == at.split('/').count()
        && parts
            .into_iter()
            .all(|(part, at)| part.starts_with('{') || part == at);
    assert!(fit, "{at} is no {path}");
}

pub(crate) fn document() -> Value {
    serde_json::from_str(admin::description()).unwrap()
}

/// Does `sql` to the database behind the sidecar's back, constraints aside.
fn tamper(world: &World, sql: &str) {
    let db = rusqlite::Connection::open(world.home.path().join("daypass.db")).unwrap();
    db.pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn every_status_that_is_described_is_had_and_no_other() {
    let judge = Specification::of(document());
    let settings = [("admin.token", ADMIN_TOKEN), ("webhooks.retry_for", "1s")];
    let trial = Trial::new(World::with(&settings).await, &judge);
    strangers(&trial).await;
    callers_faults(&trial).await;
    let anna = trial.world.connected("anna").await;
    as_it_should(&trial, &grant(&anna)).await;
    conflicts(&trial).await;
    the_providers_trouble(&trial).await;
    contradictions(&trial).await;
    no_store(&trial).await;
    the_end(&trial).await;
    Trial::new(World::with(&[]).await, &judge).web_pages().await;
    assert_eq!(judge.unseen(), [], "these were never answered");
}

/// Who does not show the token.
async fn strangers(trial: &Trial<'_>) {
    for (id, operation, at) in trial.guarded() {
        trial
            .is(id, 401, trial.world.bare(&operation.method, &at))
            .await;
    }
}

impl Trial<'_> {
    /// Without a token, a page of another origin.
    async fn web_pages(&self) {
        for (id, operation, at) in self.guarded() {
            let call = self.world.bare(&operation.method, &at);
            self.is(id, 403, call.header("origin", "https://evil.example"))
                .await;
        }
    }
}

/// What is wrong with a call, whatever it is about.
async fn callers_faults(trial: &Trial<'_>) {
    for (id, operation, at) in trial.guarded() {
        let unknown = format!("{at}?not-known-here=1");
        let call = trial.world.call(&operation.method, &unknown);
        let body = &operation.told["requestBody"];
        if body.is_null() {
            let answer = trial.is(id, 400, call).await;
            answer.must_be_problem(400, "invalid-parameter");
            continue;
        }
        let answer = trial.is(id, 400, call.json(&json!({}))).await;
        answer.must_be_problem(400, "invalid-parameter");
        let call = || trial.world.call(&operation.method, &at);
        let text = call().header("content-type", "text/plain").body("{}");
        trial.is(id, 415, text).await;
        let large = call().json(&json!({ "user": "x".repeat(70_000) }));
        trial.is(id, 413, large).await;
    }
}

/// What to call, where, with which body (or none), and what is answered.
type Step<'a> = (&'a str, &'a str, Value, u16);

impl Trial<'_> {
    async fn steps(&self, steps: &[Step<'_>]) {
        for (id, at, body, status) in steps {
            let body = (!body.is_null()).then_some(body);
            self.call(id, at, body, *status).await;
        }
    }
}

const NONE: Value = Value::Null;

const USERS: &str = "/v1/managed-users";

fn managed(provider: &str, user: &str, email: &str) -> Value {
    json!({ "provider": provider, "user": user, "email": email, "name": "x" })
}

fn is_not_empty(seen: &Value) -> bool {
    seen["items"].as_array().is_some_and(|all| !all.is_empty())
}

/// All goes well.
async fn as_it_should(trial: &Trial<'_>, anna: &Value) {
    let (at, ben) = (path("calendly", "anna"), path("calendly", "ben"));
    let body = json!({ "refresh_token": "never-used" });
    trial
        .steps(&[
            ("live", "/livez", NONE, 200),
            ("ready", "/readyz", NONE, 200),
            ("metrics", "/metrics", NONE, 200),
            ("describe", "/v1/openapi.json", NONE, 200),
            ("importConnection", &at, anna.clone(), 200),
            ("importConnection", &ben, body, 201),
            ("listConnections", "/v1/connections?limit=1", NONE, 200),
        ])
        .await;
    let settled = |seen: &Value| {
        seen["subscription"]["status"] == "active" && seen["sync"]["stage"] == "done"
    };
    trial.world.until(&at, "all of it", settled).await;
    let booking = daypass::sandbox::BookingOrder::create("anna");
    trial.world.sandbox.calendly().book(&booking).unwrap();
    let (refresh, sync) = (format!("{at}/refresh"), format!("{at}/sync"));
    let link = json!({ "provider": "calendly", "user": "anna" });
    let mia = managed("calcom", "mia", "mia@example.org");
    trial
        .steps(&[
            ("showConnection", &at, NONE, 200),
            ("refresh", &refresh, NONE, 200),
            ("sync", &sync, NONE, 202),
            ("createConnectLink", "/v1/connect-links", link, 201),
            ("createManagedUser", USERS, mia.clone(), 201),
            ("createManagedUser", USERS, mia, 200),
            (
                "listManagedUsers",
                "/v1/managed-users?provider=calcom",
                NONE,
                200,
            ),
            (
                "deleteManagedUser",
                "/v1/managed-users/calcom/mia",
                NONE,
                200,
            ),
        ])
        .await;
    meetings_and_deliveries(trial).await;
    trial
        .steps(&[
            ("disconnect", &ben, NONE, 200),
            ("listAudit", "/v1/audit", NONE, 200),
        ])
        .await;
}

async fn meetings_and_deliveries(trial: &Trial<'_>) {
    let meetings = "/v1/meetings?user=anna";
    trial.world.until(meetings, "a meeting", is_not_empty).await;
    let list = "/v1/deliveries?status=delivered";
    let seen = trial.world.until(list, "a delivery", is_not_empty).await;
    let one = format!("/v1/deliveries/{}", seen["items"][0]["id"]);
    let replay = format!("{one}/replay");
    trial
        .steps(&[
            ("listMeetings", meetings, NONE, 200),
            ("listDeliveries", list, NONE, 200),
            ("showDelivery", &one, NONE, 200),
            ("replayDelivery", &replay, NONE, 202),
            ("replayDeliveries", "/v1/deliveries/replay", json!({}), 202),
        ])
        .await;
}

/// What is not there, and what cannot be done as things stand.
async fn conflicts(trial: &Trial<'_>) {
    let nobody = path("calendly", "nobody");
    let (refresh, sync) = (format!("{nobody}/refresh"), format!("{nobody}/sync"));
    let (google, body) = (path("google", "anna"), json!({ "refresh_token": "r" }));
    let link = json!({ "provider": "google", "user": "anna" });
    trial
        .steps(&[
            ("showConnection", &nobody, NONE, 404),
            ("disconnect", &nobody, NONE, 404),
            ("refresh", &refresh, NONE, 404),
            ("sync", &sync, NONE, 404),
            ("importConnection", &google, body, 404),
            (
                "listConnections",
                "/v1/connections?provider=google",
                NONE,
                404,
            ),
            ("createConnectLink", "/v1/connect-links", link, 404),
            ("showDelivery", "/v1/deliveries/999999", NONE, 404),
            ("replayDelivery", "/v1/deliveries/999999/replay", NONE, 404),
        ])
        .await;
    managed_users(trial).await;
    let unrouted = "INSERT INTO deliveries (id, event, user, status, place, at, provider, accepted_at) \
                    SELECT 5000, event, NULL, 'unrouted', 0, at, provider, accepted_at \
                    FROM deliveries LIMIT 1";
    tamper(&trial.world, unrouted);
    let replay = "/v1/deliveries/5000/replay";
    trial.call("replayDelivery", replay, None, 409).await;
    tamper(&trial.world, "DELETE FROM deliveries WHERE id = 5000");
    dead_grant(trial).await;
    no_meetings(trial).await;
}

async fn managed_users(trial: &Trial<'_>) {
    let email = "max@example.org";
    let max = managed("calcom", "max", email);
    trial
        .steps(&[
            ("createManagedUser", USERS, max, 201),
            (
                "createManagedUser",
                USERS,
                managed("calcom", "moritz", email),
                409,
            ),
            (
                "createManagedUser",
                USERS,
                managed("google", "max", email),
                404,
            ),
            (
                "createManagedUser",
                USERS,
                managed("calcom", "eve", "no address"),
                422,
            ),
            (
                "listManagedUsers",
                "/v1/managed-users?provider=google",
                NONE,
                404,
            ),
            (
                "listManagedUsers",
                "/v1/managed-users?provider=calendly",
                NONE,
                409,
            ),
            (
                "deleteManagedUser",
                "/v1/managed-users/calcom/nobody",
                NONE,
                404,
            ),
            (
                "deleteManagedUser",
                "/v1/managed-users/calendly/anna",
                NONE,
                409,
            ),
        ])
        .await;
    let max = trial.world.get(&path("calcom", "max")).await.json();
    let stolen = json!({ "managed_user_id": max["managed_user_id"] });
    let eve = path("calcom", "eve");
    trial
        .call("importConnection", &eve, Some(&stolen), 409)
        .await;
}

async fn dead_grant(trial: &Trial<'_>) {
    let world = &trial.world;
    world.connected("dora").await;
    let dead = Revoke {
        user: "dora".to_owned(),
        what: Killed::Grant,
    };
    world.sandbox.calendly().revoke(&dead).unwrap();
    let at = format!("{}/refresh", path("calendly", "dora"));
    trial.call("refresh", &at, None, 409).await;
}

/// Where none are kept.
async fn no_meetings(trial: &Trial<'_>) {
    let settings = [("admin.token", ADMIN_TOKEN), ("meetings.store", "false")];
    let without = Trial::new(World::with(&settings).await, trial.judge);
    without.world.connected("anna").await;
    let at = format!("{}/sync", path("calendly", "anna"));
    without.call("sync", &at, None, 409).await;
    without
        .call("listMeetings", "/v1/meetings?user=anna", None, 409)
        .await;
}

/// A provider that is not there.
async fn the_providers_trouble(trial: &Trial<'_>) {
    let settings = [
        ("admin.token", ADMIN_TOKEN),
        ("providers.calcom.api_base", "http://127.0.0.1:9"),
    ];
    let without = Trial::new(World::with(&settings).await, trial.judge);
    let (max, id) = (path("calcom", "max"), json!({ "managed_user_id": 7 }));
    let eva = managed("calcom", "eva", "eva@example.org");
    without
        .steps(&[
            ("importConnection", &max, id, 201),
            (
                "listManagedUsers",
                "/v1/managed-users?provider=calcom",
                NONE,
                502,
            ),
            ("createManagedUser", USERS, eva, 502),
            (
                "deleteManagedUser",
                "/v1/managed-users/calcom/max",
                NONE,
                502,
            ),
        ])
        .await;
}

/// Rows that contradict themselves.
async fn contradictions(trial: &Trial<'_>) {
    let world = &trial.world;
    let odd = NewUser::named("odd");
    let odd = world.sandbox.calendly().create_user(&odd).unwrap();
    for (provider, user) in [("calendly", "odd"), ("calcom", "odd")] {
        let sql = format!(
            "CREATE TEMP TABLE odd AS SELECT * FROM connections WHERE user = 'anna'; \
             UPDATE odd SET provider = '{provider}', user = '{user}', id = randomblob(16), \
                generation = -1, managed_user_id = 999; \
             INSERT INTO connections SELECT * FROM odd",
        );
        tamper(world, &sql);
    }
    // And the one that a managed user belongs to.
    let max = "UPDATE connections SET generation = -1 WHERE user = 'max'";
    tamper(
        world,
        &format!(
            "{max}; UPDATE audit SET provider = 'NO NAME'; UPDATE meetings SET details = x'00'; \
             UPDATE deliveries SET provider = 'NO NAME', status = 'dead'; \
             UPDATE events SET provider = 'NO NAME'",
        ),
    );
    let db = rusqlite::Connection::open(world.home.path().join("daypass.db")).unwrap();
    let id: i64 = db
        .query_row("SELECT max(id) FROM deliveries", [], |row| row.get(0))
        .unwrap();
    let (at, one) = (path("calendly", "odd"), format!("/v1/deliveries/{id}"));
    let (refresh, sync) = (format!("{at}/refresh"), format!("{at}/sync"));
    let order = managed("calcom", "odd", "odd@example.org");
    trial
        .steps(&[
            ("showConnection", &at, NONE, 500),
            ("disconnect", &at, NONE, 500),
            ("refresh", &refresh, NONE, 500),
            ("sync", &sync, NONE, 500),
            ("importConnection", &at, grant(&odd), 500),
            ("listConnections", "/v1/connections", NONE, 500),
            ("createManagedUser", USERS, order, 500),
            (
                "deleteManagedUser",
                "/v1/managed-users/calcom/odd",
                NONE,
                500,
            ),
            (
                "listManagedUsers",
                "/v1/managed-users?provider=calcom",
                NONE,
                500,
            ),
            ("listAudit", "/v1/audit", NONE, 500),
            ("listMeetings", "/v1/meetings?user=anna", NONE, 500),
            ("listDeliveries", "/v1/deliveries", NONE, 500),
            ("replayDeliveries", "/v1/deliveries/replay", json!({}), 500),
            ("showDelivery", &one, NONE, 500),
        ])
        .await;
}

/// No table is left.
async fn no_store(trial: &Trial<'_>) {
    tamper(
        &trial.world,
        "ALTER TABLE connections RENAME TO a; ALTER TABLE deliveries RENAME TO b; \
         ALTER TABLE meetings RENAME TO c; ALTER TABLE expiring RENAME TO d; \
         ALTER TABLE jobs RENAME TO e; ALTER TABLE events RENAME TO f; \
         ALTER TABLE audit RENAME TO g",
    );
    for (id, operation, at) in trial.guarded() {
        if operation.told["responses"]["503"].is_null() {
            continue;
        }
        let at = match id.as_str() {
            "listManagedUsers" => format!("{at}?provider=calcom"),
            "listMeetings" => format!("{at}?user=anna"),
            _ => at,
        };
        // A managed user is the provider's before it is anybody's: whatever is asked for it comes first.
        let at = at.replace("managed-users/calendly", "managed-users/calcom");
        let body = example(trial.judge, operation);
        trial.call(id, &at, body.as_ref(), 503).await;
    }
}

/// A body that is as described: the example.
pub(crate) fn example(judge: &Specification, operation: &Operation) -> Option<Value> {
    let schema = &operation.told["requestBody"]["content"]["application/json"]["schema"];
    let schema = judge.schema(schema);
    schema["examples"].get(0).cloned()
}

/// A process that goes down.
async fn the_end(trial: &Trial<'_>) {
    trial.world.sidecar.lifecycle().begin_drain();
    trial.call("ready", "/readyz", None, 503).await;
    let at = path("calendly", "anna");
    let answer = trial.call("disconnect", &at, None, 503).await;
    answer.must_be_problem(503, "overloaded");
}
