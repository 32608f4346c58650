//! `audit list`: what commands and sidecars leave behind, and what a sidecar logs of it.

use http::Method;
use serde_json::{Value, json};

use crate::{
    binary::{Home, Serving},
    emulators::{Emulators, call, get},
};

fn text(record: &Value, name: &str) -> String {
    record[name].as_str().unwrap_or("-").to_owned()
}

/// A home where commands and a call have changed something, and the sidecar that took the call.
fn changed(home: &Home) -> (Serving, String, Value) {
    let emulators = Emulators::start(home);
    emulators.configure(home);
    let dave = emulators.at_calendly("dave");
    let row = json!({
        "user": "u_d",
        "provider": "calendly",
        "access_token": dave["access_token"],
        "refresh_token": dave["refresh_token"],
        "expires_in": 3600,
    });
    home.run_with(&["connections", "import"], &row.to_string())
        .fine();
    home.run(&["connections", "refresh", "calendly", "u_d"])
        .fine();
    home.run(&["connections", "revoke", "calendly", "nobody"])
        .fails(1, &["calendly/nobody is not connected"]);
    home.run(&["deliveries", "replay"]).fine();
    home.run(&["rotate-keys"]).fine();
    home.run(&["rotate-keys", "--check"]).fine();
    let (mut sidecar, _, admin) = home.sidecar(&[]);
    let one = format!("{admin}/v1/connections/calendly/u_d");
    assert_eq!(call(Method::DELETE, &one, None, None).status, 200);
    let line = sidecar.has_logged("\"daypass::audit\"");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["action"], "connection.disconnect");
    assert_eq!(line["who"], "local");
    (sidecar, admin, dave)
}

#[test]
fn commands_and_calls_are_listed_the_newest_first() {
    let home = Home::new();
    let (sidecar, admin, dave) = changed(&home);
    let answer = home.run(&["audit", "list", "--json"]).fine();
    let listed = answer.json();
    let mut records = listed["audit"].as_array().unwrap().clone();
    let served = get(&format!("{admin}/v1/audit")).json();
    assert_eq!(served["items"], listed["audit"], "both show the same");
    records.reverse();
    let names = ["via", "action", "user", "outcome", "reason"];
    let told = records
        .iter()
        .map(|record| names.map(|name| text(record, name)).join(" "));
    let expected = [
        "cli connection.import - done -",
        "cli connection.refresh u_d done -",
        "cli connection.disconnect nobody refused not-connected",
        "cli deliveries.replay - done -",
        "cli keys.rotate - done -",
        "api connection.disconnect u_d done -",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(records[0]["detail"], "1 created, 0 replaced, 0 unchanged");
    let who = text(&records[0], "who");
    assert!(who.starts_with("uid-") && who.contains('@'), "{who}");
    for secret in ["access_token", "refresh_token"] {
        assert!(!answer.out.contains(dave[secret].as_str().unwrap()));
    }
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn the_list_is_a_table_for_people_and_is_selected() {
    let home = Home::new();
    let (sidecar, _, _) = changed(&home);
    let table = home.run(&["audit", "list", "--user", "u_d"]).fine().out;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("AT ") && lines.len() == 3, "{table}");
    let one = [
        "audit",
        "list",
        "--action",
        "connection.import",
        "--limit",
        "1",
        "--json",
    ];
    let one = home.run(&one).fine().json();
    assert_eq!(one["audit"].as_array().unwrap().len(), 1);
    home.run(&["audit", "list", "--action", "everything"])
        .fails(2, &["connection.disconnect"]);
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn a_command_whose_record_is_not_stored_says_so() {
    let home = Home::new();
    let row = json!({ "user": "u_1", "provider": "calendly", "refresh_token": "r" });
    Emulators::start(&home).configure(&home);
    home.run_with(&["connections", "import"], &row.to_string())
        .fine();
    let db = rusqlite::Connection::open(home.path("daypass.db")).unwrap();
    db.execute_batch("ALTER TABLE audit RENAME TO gone")
        .unwrap();
    let answer = home
        .run_with(&["connections", "import", "--replace"], &row.to_string())
        .fine();
    assert!(answer.out.contains("1 replaced"), "{answer:?}");
    assert!(answer.err.contains("a record of the audit"), "{answer:?}");
}

#[test]
fn the_description_of_the_api_is_printed() {
    let home = Home::new();
    for arguments in [&["openapi"][..], &["openapi", "--json"]] {
        let answer = home.run(arguments).fine();
        assert_eq!(answer.out, daypass::admin::description());
    }
}

#[test]
fn a_migration_is_written_down_in_the_store_that_it_fills() {
    let home = Home::new();
    Emulators::start(&home).configure(&home);
    let row = json!({ "user": "u_1", "provider": "calendly", "refresh_token": "r" });
    home.run_with(&["connections", "import"], &row.to_string())
        .fine();
    let other = "sqlite:other.db";
    home.run(&["store", "migrate", "--rest", "0", "--to", other])
        .fine();
    let other = format!("store.url={other}");
    let listed = home.run(&["audit", "list", "--json", "--set", &other]);
    let listed = listed.fine().json();
    let records = listed["audit"].as_array().unwrap();
    assert_eq!(records.len(), 1, "{listed}");
    assert_eq!(text(&records[0], "action"), "store.migrate");
    assert_eq!(text(&records[0], "outcome"), "done");
    assert_eq!(text(&records[0], "detail"), "from daypass.db");
}
