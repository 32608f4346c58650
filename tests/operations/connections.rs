//! `connections list|show|import|refresh|revoke`, on every store.

use serde_json::{Value, json};

use crate::{
    binary::Answer,
    emulators::{Emulators, get_for, post},
    places::Place,
};

/// Carol is managed at Cal.com and known by id alone; Dave is at Calendly, with tokens.
struct Connected {
    emulators: Emulators,
    lines: String,
    secrets: Vec<String>,
}

fn connected(place: &Place) -> Connected {
    let emulators = place.emulate();
    let (carol, dave) = (emulators.managed("carol"), emulators.at_calendly("dave"));
    let rows = [
        json!({ "user": "u_c", "provider": "calcom", "managed_user_id": carol["managed_user_id"] }),
        json!({
            "user": "u_d",
            "provider": "calendly",
            "access_token": dave["access_token"],
            "refresh_token": dave["refresh_token"],
            "expires_in": 3600,
        }),
    ];
    let lines = rows.map(|row| row.to_string()).join("\n");
    let secrets = [&dave["access_token"], &dave["refresh_token"]];
    let secrets = secrets.map(|secret| secret.as_str().unwrap().to_owned());
    let connected = Connected {
        emulators,
        lines,
        secrets: secrets.into(),
    };
    let counts = imported(place, &connected.lines);
    assert_eq!((&counts["created"], &counts["bad"]), (&json!(2), &json!(0)));
    connected
}

fn imported(place: &Place, lines: &str) -> Value {
    let import = ["connections", "import", "--json"];
    place.home.run_with(&import, lines).fine().json()
}

impl Connected {
    /// Runs a command and expects that its answer holds no token.
    fn quiet(&self, place: &Place, arguments: &[&str]) -> Answer {
        let answer = place.home.run(arguments);
        for secret in self.secrets.iter().map(String::as_str).chain(["eyJ"]) {
            let told = format!("{answer:?}").contains(secret);
            assert!(!told, "{arguments:?} tells a token");
        }
        answer
    }
}

const SHOW: [&str; 5] = ["connections", "show", "calendly", "u_d", "--json"];
const REFRESH: [&str; 5] = ["connections", "refresh", "calendly", "u_d", "--json"];

pub(crate) fn are_listed_shown_and_renewed_without_their_tokens(place: &Place) {
    let it = connected(place);
    let table = it.quiet(place, &["connections", "list"]).fine().out;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    let expected = [
        ["PROVIDER", "USER", "STATUS"],
        ["calcom", "u_c", "active"],
        ["calendly", "u_d", "active"],
    ];
    assert_eq!(rows, expected);
    assert_eq!(it.quiet(place, &SHOW).fine().json()["generation"], 1);
    let renewed = it.quiet(place, &REFRESH).fine().json();
    assert_eq!(renewed["generation"], 2);
    let force = [
        "connections",
        "refresh",
        "calcom",
        "u_c",
        "--force",
        "--json",
    ];
    assert_eq!(it.quiet(place, &force).fine().json()["generation"], 1);

    // The grant dies: the renewal says what to do, and the list shows it.
    let url = format!("{}/_sandbox/revoke", it.emulators.calendly);
    post(&url, &json!({ "user": "dave", "what": "grant" }));
    let refused = it.quiet(place, &REFRESH).fails(1, &[]).error();
    assert!(refused["error"].as_str().unwrap().contains("calendly/u_d"));
    let dead = ["connections", "list", "--needs-reauth", "--json"];
    let dead = it.quiet(place, &dead).fine().json();
    assert_eq!(dead.as_array().unwrap().len(), 1);
    assert_eq!(dead[0]["user"], "u_d");
    assert_eq!(dead[0]["reason"], "grant-refused");
    let one = ["connections", "list", "--provider", "calcom", "--json"];
    let one = it.quiet(place, &one).fine().json();
    assert_eq!(one.as_array().unwrap().len(), 1);
}

pub(crate) fn imported_again_stay_as_they_are(place: &Place) {
    let it = connected(place);
    it.quiet(place, &REFRESH).fine();
    let again = imported(place, &it.lines);
    assert_eq!(again["unchanged"], 2);
    assert_eq!(it.quiet(place, &SHOW).fine().json()["generation"], 2);
    let replace = ["connections", "import", "--replace", "--json"];
    let replaced = place.home.run_with(&replace, &it.lines).fine().json();
    assert_eq!(replaced["replaced"], 2);
    assert_eq!(it.quiet(place, &SHOW).fine().json()["generation"], 3);
    // Many lines, of which one is bad, over several batches.
    let many: Vec<String> = (0..1200)
        .map(|n| json!({ "user": format!("m{n}"), "provider": "calcom", "refresh_token": "r" }))
        .map(|row| row.to_string())
        .chain(["{}".to_owned()])
        .collect();
    let import = ["connections", "import"];
    let answer = place.home.run_with(&import, &many.join("\n"));
    let answer = answer.fails(1, &["1 of the lines cannot be imported"]);
    assert!(answer.out.starts_with("1200 created"), "{}", answer.out);
    let list = ["connections", "list", "--json"];
    let listed = it.quiet(place, &list).fine().json();
    assert_eq!(listed.as_array().unwrap().len(), 1202);
}

pub(crate) fn that_are_revoked_are_forgotten_by_a_running_sidecar_too(place: &Place) {
    let it = connected(place);
    let (sidecar, outbound, _) = place.home.sidecar(&[]);
    let me = format!("{outbound}/calendly/users/me");
    assert_eq!(get_for(&me, "u_d").status, 200);
    let revoke = ["connections", "revoke", "calendly", "u_d"];
    let answer = it.quiet(place, &revoke).fine();
    let told = "calendly/u_d is forgotten; its tokens are revoked.\n";
    assert_eq!(answer.out, told);
    while get_for(&me, "u_d").status != 424 {
        std::thread::yield_now();
    }
    it.quiet(place, &revoke)
        .fails(1, &["calendly/u_d is not connected"]);
    it.quiet(place, &SHOW)
        .fails(1, &["calendly/u_d is not connected"]);
    it.quiet(place, &["connections", "revoke", "calcom", "u_c"])
        .fine();
    let none = it.quiet(place, &["connections", "list", "--json"]);
    assert_eq!(none.fine().json(), json!([]));
    assert_eq!(sidecar.stop(), Some(0));
}

pub(crate) fn that_are_imported_or_renewed_are_used_by_a_running_sidecar(place: &Place) {
    let it = connected(place);
    let (sidecar, outbound, _) = place.home.sidecar(&[]);
    let me = format!("{outbound}/calendly/users/me");
    assert_eq!(get_for(&me, "u_d").status, 200);
    // What was in memory is no longer used once the command has renewed it.
    it.quiet(place, &REFRESH).fine();
    let generation = || {
        let url = format!("{outbound}/-/calendly/connection");
        get_for(&url, "u_d").json()["generation"].clone()
    };
    while generation() != json!(2) {
        std::thread::yield_now();
    }
    assert_eq!(get_for(&me, "u_d").status, 200);
    // Somebody who was not connected is, as soon as the import says so.
    assert_eq!(get_for(&me, "u_e").status, 424);
    let erin = it.emulators.at_calendly("erin");
    let row = json!({
        "user": "u_e",
        "provider": "calendly",
        "access_token": erin["access_token"],
        "refresh_token": erin["refresh_token"],
        "expires_in": 3600,
    });
    imported(place, &row.to_string());
    while get_for(&me, "u_e").status != 200 {
        std::thread::yield_now();
    }
    assert_eq!(sidecar.stop(), Some(0));
}
