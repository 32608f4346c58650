//! No answer of any route has a token or a secret in it.

use std::collections::BTreeSet;

use daypass::{
    admin::api,
    sandbox::{Created, Filter, NewUser, token_id},
};
use serde_json::{Value, json};

use crate::world::{Answer, World, grant, path, secrets};

const ONE: &str = "/v1/connections/{provider}/{user}";

/// Everything that was answered, and by which routes.
struct Seen<'a> {
    world: &'a World,
    answers: Vec<(String, Answer)>,
    routes: BTreeSet<(String, String)>,
}

impl Seen<'_> {
    async fn call(&mut self, method: &str, route: &str, path: &str, body: Option<&Value>) {
        self.routes.insert((method.to_owned(), route.to_owned()));
        let call = self.world.call(method, path);
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = Answer::read(call).await;
        self.answers.push((format!("{method} {path}"), answer));
    }
}

/// What can be asked about one user, with tokens where they belong and where they do not.
async fn about_users(seen: &mut Seen<'_>, anna: &Created) {
    let again = grant(anna);
    let mut misplaced = grant(anna);
    misplaced["user"] = json!(anna.refresh_token);
    for (user, provider) in [
        ("anna", "calendly"),
        ("mona", "calcom"),
        ("nobody", "calcom"),
    ] {
        let at = path(provider, user);
        seen.call("GET", ONE, &at, None).await;
        for force in ["", "?force=true"] {
            let route = format!("{ONE}/refresh");
            let to = format!("{at}/refresh{force}");
            seen.call("POST", &route, &to, None).await;
        }
        seen.call("POST", &format!("{ONE}/sync"), &format!("{at}/sync"), None)
            .await;
        for body in [&again, &misplaced, &json!(anna.access_token)] {
            seen.call("PUT", ONE, &at, Some(body)).await;
        }
    }
}

/// Everything else.
async fn all_the_rest(seen: &mut Seen<'_>, anna: &Created) {
    let mut misplaced = grant(anna);
    misplaced["provider"] = json!(anna.refresh_token);
    let mia = json!({
        "provider": "calcom", "user": "mia", "email": "mia@example.org", "name": "mia",
    });
    let link = json!({ "provider": "calendly", "user": "anna" });
    for (method, path, body) in [
        ("GET", "/v1/connections", None),
        ("POST", "/v1/connect-links", Some(&link)),
        ("POST", "/v1/connect-links", Some(&misplaced)),
        ("POST", "/v1/managed-users", Some(&mia)),
        ("POST", "/v1/managed-users", Some(&misplaced)),
        ("POST", "/v1/deliveries/replay", Some(&json!({}))),
        ("POST", "/v1/deliveries/replay", Some(&misplaced)),
        ("GET", "/v1/deliveries", None),
        ("GET", "/v1/openapi.json", None),
    ] {
        seen.call(method, path, path, body).await;
    }
    let in_query = format!("/v1/connections?cursor={}", anna.access_token);
    let in_path = format!("/v1/connections/calendly/{}", anna.access_token);
    for (method, route, path) in [
        ("GET", "/v1/connections", in_query.as_str()),
        ("GET", ONE, &in_path),
        (
            "GET",
            "/v1/managed-users",
            "/v1/managed-users?provider=calcom",
        ),
        ("GET", "/v1/meetings", "/v1/meetings?user=anna"),
        ("GET", "/v1/deliveries/{id}", "/v1/deliveries/1"),
        (
            "POST",
            "/v1/deliveries/{id}/replay",
            "/v1/deliveries/1/replay",
        ),
        (
            "DELETE",
            "/v1/managed-users/{provider}/{user}",
            "/v1/managed-users/calcom/mia",
        ),
        ("DELETE", ONE, "/v1/connections/calendly/anna"),
        ("GET", "/v1/audit", "/v1/audit?limit=200"),
    ] {
        seen.call(method, route, path, None).await;
    }
}

#[tokio::test]
async fn no_route_answers_with_a_token_or_a_secret() {
    let world = World::open().await;
    let anna = world.connected("anna").await;
    let order = NewUser::managed("mona");
    let mona = world.sandbox.calcom().create_user(&order).unwrap();
    world
        .put(&path("calcom", "mona"), &grant(&mona))
        .await
        .must_be(201);
    world
        .until(&path("calendly", "anna"), "the subscription", |seen| {
            seen["subscription"]["status"] == "active" && seen["sync"]["stage"] == "done"
        })
        .await;
    let mut seen = Seen {
        world: &world,
        answers: Vec::new(),
        routes: BTreeSet::new(),
    };
    about_users(&mut seen, &anna).await;
    all_the_rest(&mut seen, &anna).await;
    let all: BTreeSet<_> = api::routes()
        .into_iter()
        .map(|(method, path)| (method.to_owned(), path))
        .collect();
    assert_eq!(seen.routes, all, "every route was called");
    let tokens = [&anna.access_token, &anna.refresh_token];
    look_through(&world, &seen.answers, &tokens);
}

/// Looks for canaries, and for any token that the providers have ever minted.
fn look_through(world: &World, answers: &[(String, Answer)], tokens: &[&String]) {
    let mut canaries = secrets(world);
    canaries.extend(tokens.iter().map(|token| (*token).clone()));
    // Every access token of both emulators begins so.
    canaries.push("eyJ".to_owned());
    let (calcom, calendly) = (world.sandbox.calcom(), world.sandbox.calendly());
    let entries = calcom
        .entries(&Filter::default())
        .into_iter()
        .chain(calendly.entries(&Filter::default()));
    let minted: BTreeSet<String> = entries
        .filter_map(|entry| entry.token_call)
        .flat_map(|call| [call.new_access, call.new_refresh])
        .flatten()
        .collect();
    assert!(minted.len() >= 6, "{minted:?}");
    let well = answers
        .iter()
        .filter(|(_, answer)| answer.status.is_success());
    assert!(
        well.count() >= 12,
        "most calls do what they say: {answers:?}"
    );
    for (call, answer) in answers {
        let text = format!("{} {:?}", answer.body, answer.headers);
        for canary in &canaries {
            assert!(
                !text.contains(canary.as_str()),
                "{canary} in {call}: {text}"
            );
        }
        let of_no_token =
            |letter: char| !(letter.is_ascii_alphanumeric() || "._~-".contains(letter));
        let words = text.split(of_no_token).filter(|word| word.len() > 15);
        for word in words {
            assert!(!minted.contains(&token_id(word)), "{word} in {call}");
        }
    }
}
