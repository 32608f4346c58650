//! `connections list|show|refresh|revoke`, beside a running sidecar and emulated providers.

use serde_json::{Value, json};

use crate::{
    binary::{Answer, Home},
    emulators::{Emulators, get_for, post},
};

/// Carol is managed at Cal.com and known by id alone; Dave is at Calendly, with tokens.
fn connected(home: &Home) -> (Emulators, Vec<String>) {
    let emulators = Emulators::start(home);
    emulators.configure(home);
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
    home.run_with(&["connections", "import"], &lines).fine();
    let secrets = [&dave["access_token"], &dave["refresh_token"]];
    let secrets = secrets.map(|secret| secret.as_str().unwrap().to_owned());
    (emulators, secrets.into())
}

/// Runs a command and expects that its answer holds no token.
fn quiet(home: &Home, arguments: &[&str], secrets: &[String]) -> Answer {
    let answer = home.run(arguments);
    for secret in secrets.iter().map(String::as_str).chain(["eyJ"]) {
        assert!(
            !format!("{answer:?}").contains(secret),
            "{arguments:?} tells a token"
        );
    }
    answer
}

#[test]
fn a_managed_user_known_by_id_alone_is_minted_at_the_first_request() {
    let home = Home::new();
    let (_emulators, _) = connected(&home);
    let (sidecar, outbound, _) = home.sidecar(&[]);
    let me = get_for(&format!("{outbound}/calcom/v2/me"), "u_c");
    assert_eq!(me.status, 200, "{}", me.body);
    assert!(me.body.contains("carol"), "{}", me.body);
    let show = ["connections", "show", "calcom", "u_c", "--json"];
    assert_eq!(home.run(&show).fine().json()["generation"], 1);
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn connections_are_listed_shown_and_renewed_without_their_tokens() {
    let home = Home::new();
    let (emulators, secrets) = connected(&home);
    let table = quiet(&home, &["connections", "list"], &secrets).fine().out;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("PROVIDER  USER  STATUS"), "{table}");
    assert!(lines[2].starts_with("calendly  u_d   active"), "{table}");
    assert!(lines.iter().all(|line| !line.ends_with(' ')), "{table:?}");

    let one = ["connections", "list", "--provider", "calcom", "--json"];
    let one = quiet(&home, &one, &secrets).fine().json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    let show = quiet(&home, &["connections", "show", "calendly", "u_d"], &secrets);
    assert!(show.fine().out.contains("status: active\n"));

    let refresh = ["connections", "refresh", "calendly", "u_d", "--json"];
    let renewed = quiet(&home, &refresh, &secrets).fine().json();
    assert_eq!(
        (&renewed["generation"], &renewed["renewable"]),
        (&json!(2), &json!(true))
    );
    let force = [
        "connections",
        "refresh",
        "calcom",
        "u_c",
        "--force",
        "--json",
    ];
    assert_eq!(
        quiet(&home, &force, &secrets).fine().json()["generation"],
        1
    );

    // The grant dies: the renewal says what to do, and the list shows it.
    let url = format!("{}/_sandbox/revoke", emulators.calendly);
    post(&url, &json!({ "user": "dave", "what": "grant" }));
    let refused = quiet(&home, &refresh, &secrets).fails(1, &[]);
    assert!(
        refused.error()["error"]
            .as_str()
            .unwrap()
            .contains("calendly/u_d")
    );
    let dead = ["connections", "list", "--needs-reauth", "--json"];
    let dead = quiet(&home, &dead, &secrets).fine().json();
    assert_eq!(dead[0]["user"], "u_d");
    assert_eq!(dead[0]["status"], "needs_reauth");
}

#[test]
fn a_revoked_connection_is_forgotten_by_a_running_sidecar_too() {
    let home = Home::new();
    let (_emulators, secrets) = connected(&home);
    let (sidecar, outbound, _) = home.sidecar(&[]);
    let me = format!("{outbound}/calendly/users/me");
    assert_eq!(get_for(&me, "u_d").status, 200);
    let revoke = ["connections", "revoke", "calendly", "u_d"];
    let answer = quiet(&home, &revoke, &secrets).fine();
    assert_eq!(
        answer.out,
        "calendly/u_d is forgotten; its tokens are revoked.\n"
    );
    while get_for(&me, "u_d").status != 424 {
        std::thread::yield_now();
    }
    home.run(&revoke)
        .fails(1, &["calendly/u_d is not connected"]);
    let managed = ["connections", "revoke", "calcom", "u_c", "--json"];
    let answer: Value = quiet(&home, &managed, &secrets).fine().json();
    assert_eq!(answer["user"], "u_c");
    assert_eq!(
        home.run(&["connections", "list", "--json"]).fine().json(),
        json!([])
    );
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let home = Home::new();
    for command in [
        &["connections", "list"][..],
        &["connections", "show", "calcom", "u_1"],
        &["connections", "refresh", "calcom", "u_1"],
        &["connections", "revoke", "calcom", "u_1"],
    ] {
        home.run(command).fails(
            1,
            &["there is no database at daypass.db", "store.url=sqlite:"],
        );
    }
    assert!(!home.path("daypass.db").exists(), "and none was made");

    let import = ["connections", "import"];
    home.run_with(&import, "user,provider,access_token\n")
        .fine();
    let none = home.run(&["connections", "list"]).fine().out;
    assert!(none.starts_with("No connections."));
    for command in ["show", "refresh", "revoke"] {
        home.run(&["connections", command, "calcom", "u_1"])
            .fails(1, &["calcom/u_1 is not connected"]);
        home.run(&["connections", command, "calendy", "u_1"]).fails(
            2,
            &["there are: calcom, calendly", "did you mean `calendly`?"],
        );
        home.run(&["connections", command, "calcom", "not a user"])
            .fails(2, &["USER"]);
    }
    home.run(&["connections", "list", "--provider", "nix"])
        .fails(2, &["there are: calcom, calendly"]);
    let error = home.run(&["connections", "show", "calcom", "u_1", "--json"]);
    assert!(error.fails(1, &[]).error()["error"].is_string());
}
