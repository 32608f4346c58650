//! The running server does what its description says, and nothing else: every route is called, every
//! status that is named is had at least once, and every answer is held against its schema.

use std::collections::{BTreeMap, BTreeSet};

use daypass::{
    admin,
    sandbox::{Killed, NewUser, Revoke},
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    specification::{Operation, Specification},
    world::{ADMIN_TOKEN, Answer, World, grant, path},
};

/// A sidecar, and who judges it.
struct Trial<'s> {
    world: World,
    judge: &'s Specification,
    operations: BTreeMap<String, Operation>,
}

impl<'s> Trial<'s> {
    fn new(world: World, judge: &'s Specification) -> Self {
        let operations = judge.operations();
        Self {
            world,
            judge,
            operations,
        }
    }

    async fn is(&self, id: &str, status: u16, call: reqwest::RequestBuilder) -> Answer {
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
    fn guarded(&self) -> impl Iterator<Item = (&String, &Operation, String)> {
        let guarded = self.operations.iter();
        guarded
            .filter(|(_, operation)| operation.path.starts_with("/v1/"))
            .map(|(id, operation)| (id, operation, filled(&operation.path)))
    }
}

/// An address with something in its places.
fn filled(path: &str) -> String {
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

fn document() -> Value {
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

/// All goes well.
async fn as_it_should(trial: &Trial<'_>, anna: &Value) {
    let at = path("calendly", "anna");
    trial.call("live", "/livez", None, 200).await;
    trial.call("ready", "/readyz", None, 200).await;
    trial.call("metrics", "/metrics", None, 200).await;
    trial.call("describe", "/v1/openapi.json", None, 200).await;
    trial.call("importConnection", &at, Some(anna), 200).await;
    let ben = path("calendly", "ben");
    let body = json!({ "refresh_token": "never-used" });
    trial.call("importConnection", &ben, Some(&body), 201).await;
    trial
        .call("listConnections", "/v1/connections?limit=1", None, 200)
        .await;
    let settled = |seen: &Value| {
        seen["subscription"]["status"] == "active" && seen["sync"]["stage"] == "done"
    };
    trial.world.until(&at, "all of it", settled).await;
    trial.call("showConnection", &at, None, 200).await;
    trial
        .call("refresh", &format!("{at}/refresh"), None, 200)
        .await;
    trial.call("sync", &format!("{at}/sync"), None, 202).await;
    let link = json!({ "provider": "calendly", "user": "anna" });
    trial
        .call("createConnectLink", "/v1/connect-links", Some(&link), 201)
        .await;
    managed_users(trial).await;
    let booking = daypass::sandbox::BookingOrder::create("anna");
    trial.world.sandbox.calendly().book(&booking).unwrap();
    trial.call("sync", &format!("{at}/sync"), None, 202).await;
    let some = |seen: &Value| seen["items"].as_array().is_some_and(|all| !all.is_empty());
    let meetings = "/v1/meetings?user=anna";
    trial.world.until(meetings, "a meeting", some).await;
    trial.call("listMeetings", meetings, None, 200).await;
    deliveries(trial).await;
    trial.call("disconnect", &ben, None, 200).await;
    trial.call("listAudit", "/v1/audit", None, 200).await;
}

async fn managed_users(trial: &Trial<'_>) {
    let users = "/v1/managed-users";
    let mia =
        json!({ "provider": "calcom", "user": "mia", "email": "mia@example.org", "name": "Mia" });
    trial
        .call("createManagedUser", users, Some(&mia), 201)
        .await;
    trial
        .call("createManagedUser", users, Some(&mia), 200)
        .await;
    let list = format!("{users}?provider=calcom");
    trial.call("listManagedUsers", &list, None, 200).await;
    let one = format!("{users}/calcom/mia");
    trial.call("deleteManagedUser", &one, None, 200).await;
}

async fn deliveries(trial: &Trial<'_>) {
    let world = &trial.world;
    let list = "/v1/deliveries?status=delivered";
    let some = |seen: &Value| seen["items"].as_array().is_some_and(|all| !all.is_empty());
    let seen = world.until(list, "a delivery", some).await;
    trial.call("listDeliveries", list, None, 200).await;
    let one = format!("/v1/deliveries/{}", seen["items"][0]["id"]);
    trial.call("showDelivery", &one, None, 200).await;
    let replay = format!("{one}/replay");
    trial.call("replayDelivery", &replay, None, 202).await;
    trial
        .call(
            "replayDeliveries",
            "/v1/deliveries/replay",
            Some(&json!({})),
            202,
        )
        .await;
}

/// What is not there, and what cannot be done as things stand.
async fn conflicts(trial: &Trial<'_>) {
    let world = &trial.world;
    let nobody = path("calendly", "nobody");
    for (id, rest) in [
        ("showConnection", ""),
        ("disconnect", ""),
        ("refresh", "/refresh"),
        ("sync", "/sync"),
    ] {
        trial.call(id, &format!("{nobody}{rest}"), None, 404).await;
    }
    let body = json!({ "refresh_token": "r" });
    trial
        .call(
            "importConnection",
            &path("google", "anna"),
            Some(&body),
            404,
        )
        .await;
    let list = "/v1/connections?provider=google";
    trial.call("listConnections", list, None, 404).await;
    let link = json!({ "provider": "google", "user": "anna" });
    trial
        .call("createConnectLink", "/v1/connect-links", Some(&link), 404)
        .await;
    let users = "/v1/managed-users";
    let of = |provider: &str, user: &str, email: &str| json!({ "provider": provider, "user": user, "email": email, "name": "x" });
    let max = of("calcom", "max", "max@example.org");
    trial
        .call("createManagedUser", users, Some(&max), 201)
        .await;
    let taken = of("calcom", "moritz", "max@example.org");
    trial
        .call("createManagedUser", users, Some(&taken), 409)
        .await;
    let google = of("google", "max", "max@example.org");
    trial
        .call("createManagedUser", users, Some(&google), 404)
        .await;
    let faulty = of("calcom", "eve", "no address");
    trial
        .call("createManagedUser", users, Some(&faulty), 422)
        .await;
    for (provider, status) in [("google", 404), ("calendly", 409)] {
        let list = format!("{users}?provider={provider}");
        trial.call("listManagedUsers", &list, None, status).await;
    }
    let max = world.get(&path("calcom", "max")).await.json();
    let stolen = json!({ "managed_user_id": max["managed_user_id"] });
    trial
        .call(
            "importConnection",
            &path("calcom", "eve"),
            Some(&stolen),
            409,
        )
        .await;
    for (of, status) in [("calcom/nobody", 404), ("calendly/anna", 409)] {
        let one = format!("{users}/{of}");
        trial.call("deleteManagedUser", &one, None, status).await;
    }
    for (id, rest) in [("showDelivery", ""), ("replayDelivery", "/replay")] {
        let one = format!("/v1/deliveries/999999{rest}");
        trial.call(id, &one, None, 404).await;
    }
    let unrouted = "INSERT INTO deliveries (id, event, user, status, place, at, provider, accepted_at) \
                    SELECT 5000, event, NULL, 'unrouted', 0, at, provider, accepted_at \
                    FROM deliveries LIMIT 1";
    tamper(world, unrouted);
    trial
        .call("replayDelivery", "/v1/deliveries/5000/replay", None, 409)
        .await;
    tamper(world, "DELETE FROM deliveries WHERE id = 5000");
    dead_grant(trial).await;
    no_meetings(trial).await;
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
    let managed = json!({ "managed_user_id": 7 });
    without
        .call(
            "importConnection",
            &path("calcom", "max"),
            Some(&managed),
            201,
        )
        .await;
    let users = "/v1/managed-users";
    let list = format!("{users}?provider=calcom");
    without.call("listManagedUsers", &list, None, 502).await;
    let eva =
        json!({ "provider": "calcom", "user": "eva", "email": "eva@example.org", "name": "Eva" });
    without
        .call("createManagedUser", users, Some(&eva), 502)
        .await;
    let max = format!("{users}/calcom/max");
    without.call("deleteManagedUser", &max, None, 502).await;
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
    let at = path("calendly", "odd");
    for (id, rest) in [
        ("showConnection", ""),
        ("disconnect", ""),
        ("refresh", "/refresh"),
        ("sync", "/sync"),
    ] {
        trial.call(id, &format!("{at}{rest}"), None, 500).await;
    }
    trial
        .call("importConnection", &at, Some(&grant(&odd)), 500)
        .await;
    trial
        .call("listConnections", "/v1/connections", None, 500)
        .await;
    let users = "/v1/managed-users";
    let order =
        json!({ "provider": "calcom", "user": "odd", "email": "odd@example.org", "name": "x" });
    trial
        .call("createManagedUser", users, Some(&order), 500)
        .await;
    let one = format!("{users}/calcom/odd");
    trial.call("deleteManagedUser", &one, None, 500).await;
    // The one that a managed user belongs to.
    tamper(
        world,
        "UPDATE connections SET generation = -1 WHERE user = 'max'",
    );
    let list = format!("{users}?provider=calcom");
    trial.call("listManagedUsers", &list, None, 500).await;
    tamper(world, "UPDATE audit SET provider = 'NO NAME'");
    trial.call("listAudit", "/v1/audit", None, 500).await;
    tamper(world, "UPDATE meetings SET details = x'00'");
    trial
        .call("listMeetings", "/v1/meetings?user=anna", None, 500)
        .await;
    tamper(
        world,
        "UPDATE deliveries SET provider = 'NO NAME', status = 'dead'; \
                   UPDATE events SET provider = 'NO NAME'",
    );
    trial
        .call("listDeliveries", "/v1/deliveries", None, 500)
        .await;
    trial
        .call(
            "replayDeliveries",
            "/v1/deliveries/replay",
            Some(&json!({})),
            500,
        )
        .await;
    let db = rusqlite::Connection::open(world.home.path().join("daypass.db")).unwrap();
    let id: i64 = db
        .query_row("SELECT max(id) FROM deliveries", [], |row| row.get(0))
        .unwrap();
    let one = format!("/v1/deliveries/{id}");
    trial.call("showDelivery", &one, None, 500).await;
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
fn example(judge: &Specification, operation: &Operation) -> Option<Value> {
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

#[test]
fn the_description_is_one_of_openapi() {
    let document = document();
    let schema = include_str!("openapi-3.1.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let mut broken = document.clone();
    broken["paths"]["/livez"]["get"]["responses"] = json!([]);
    assert!(!validator.is_valid(&broken), "it judges");
}

#[test]
fn the_description_tells_everything_and_its_examples_fit() {
    let judge = Specification::of(document());
    let text = admin::description();
    assert!(
        !text.contains("[`"),
        "what only the code's reader can follow"
    );
    let schemas = judge.document["components"]["schemas"].as_object();
    let mut examples = 0;
    for (name, schema) in schemas.unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for example in schema["examples"].as_array().into_iter().flatten() {
            let whole = json!({ "$ref": format!("#/components/schemas/{name}") });
            judge.must_fit(&whole, example, name);
            examples += 1;
        }
        for (field, told) in schema["properties"].as_object().into_iter().flatten() {
            let is_told = told["description"].is_string() || name == "Problem";
            assert!(is_told, "{name}.{field} is not described");
        }
    }
    assert!(examples >= 10, "{examples}");
    for (id, operation) in judge.operations() {
        let told = &operation.told;
        assert!(told["summary"].as_str().unwrap().ends_with('.'), "{id}");
        for parameter in told["parameters"].as_array().into_iter().flatten() {
            assert!(
                !parameter["description"].as_str().unwrap_or("").is_empty(),
                "{id} {parameter}"
            );
        }
        let body = &told["requestBody"];
        assert!(
            body.is_null() || example(&judge, &operation).is_some(),
            "{id} has no example"
        );
        let is_open = told["security"].as_array().unwrap().is_empty();
        assert_eq!(is_open, !operation.path.starts_with("/v1/"), "{id}");
    }
}

#[tokio::test]
async fn other_methods_than_those_described_are_refused_with_those_that_are() {
    let judge = Specification::of(document());
    let world = World::open().await;
    let paths = judge.document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let mut allowed: BTreeSet<String> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|method| method.to_ascii_uppercase())
            .collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD".to_owned());
        }
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"] {
            if allowed.contains(method) {
                continue;
            }
            let answer = Answer::read(world.call(method, &filled(path))).await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(
                answer.json()["type"],
                "urn:daypass:problem:method-not-allowed"
            );
            let told = answer.header("allow").split(',').map(str::trim);
            let told: BTreeSet<String> = told.map(str::to_owned).collect();
            assert_eq!(told, allowed, "{method} {path}");
        }
    }
}

/// Values that the schema of a parameter, or of a field, does not allow.
fn unfit(judge: &Specification, schema: &Value) -> Vec<Value> {
    let told = judge.schema(schema);
    let mut unfit = Vec::new();
    if let Some(least) = told["minimum"].as_i64() {
        unfit.push(json!(least - 1));
    }
    if let Some(most) = told["maximum"].as_i64() {
        unfit.push(json!(most + 1));
    }
    if let Some(most) = told["maxLength"].as_u64() {
        unfit.push(json!("a".repeat(usize::try_from(most).unwrap() + 1)));
    }
    if told["minLength"] == 1 {
        unfit.push(json!(""));
    }
    if told["pattern"].is_string() {
        unfit.push(json!("\u{1f39f}"));
    }
    if told["format"] == "date-time" || told["oneOf"].is_array() || told["enum"].is_array() {
        unfit.push(json!("nothing of the sort"));
    }
    unfit
}

#[tokio::test]
async fn the_limits_of_parameters_are_what_is_described() {
    let judge = Specification::of(document());
    let trial = Trial::new(World::open().await, &judge);
    let mut tried = 0;
    for (id, operation, at) in trial.guarded() {
        let parameters = operation.told["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            for value in unfit(&judge, &parameter["schema"]) {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let in_path = parameter["in"] == "path";
                if in_path && text.is_empty() {
                    continue;
                }
                let at = if in_path {
                    operation
                        .path
                        .replace(&format!("{{{name}}}"), &text)
                        .replace("{provider}", "calendly")
                        .replace("{user}", "anna")
                } else {
                    let needed = match id.as_str() {
                        "listMeetings" if name != "user" => "user=anna&",
                        "listManagedUsers" if name != "provider" => "provider=calcom&",
                        "listConnections" if name == "user_prefix" => "provider=calendly&",
                        _ => "",
                    };
                    format!("{at}?{needed}{name}={text}")
                };
                let mut call = trial.world.call(&operation.method, &at);
                if let Some(body) = example(&judge, operation) {
                    call = call.json(&body);
                }
                let answer = trial.is(id, 400, call).await;
                assert_eq!(answer.json()["parameter"], name, "{at}: {answer:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test]
async fn the_fields_of_bodies_are_what_is_described_and_a_bad_one_is_pointed_at() {
    let judge = Specification::of(document());
    let trial = Trial::new(World::open().await, &judge);
    let mut tried = 0;
    for (id, operation, at) in trial.guarded() {
        let Some(good) = example(&judge, operation) else {
            continue;
        };
        let schema = &operation.told["requestBody"]["content"]["application/json"]["schema"];
        let schema = judge.schema(schema);
        let call = async |body: &Value| {
            let call = trial.world.call(&operation.method, &at).json(body);
            trial.is(id, 400, call).await
        };
        for (name, told) in schema["properties"].as_object().unwrap() {
            let of = match told["anyOf"].get(0) {
                Some(first) => first,
                None => told,
            };
            let mut bad = unfit(&judge, of);
            bad.push(json!({ "not": "this" }));
            for value in bad {
                let mut body = good.clone();
                body[name] = value;
                let answer = call(&body).await;
                answer.must_be_problem(400, "invalid-body");
                assert_eq!(
                    answer.json()["pointer"],
                    format!("/{name}"),
                    "{id} {body}: {answer:?}"
                );
                tried += 1;
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name.as_str().unwrap());
            let answer = call(&body).await;
            assert_eq!(
                answer.json()["pointer"],
                format!("/{}", name.as_str().unwrap())
            );
        }
        let mut body = good.clone();
        body["not-known-here"] = json!(1);
        call(&body).await.must_be_problem(400, "invalid-body");
    }
    assert!(tried > 20, "{tried}");
}
