//! `rotate-keys`: a new encryption key takes the place of the old one while sidecars serve and renew, and
//! nobody notices.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    binary::{Answer, Serving},
    load::Load,
    places::Place,
    population::{keys, population},
    running::{Running, wait_until},
};

/// What [`crate::places`] gives to every place.
const OLD: &str = "c2VudGluZWwta2V5LW9mLTMyLWJ5dGVzLXRlc3RzISE=";

const NEW: &str = "bmV3LXNlbnRpbmVsLWtleS0zMi1ieXRlcy10ZXN0cyE=";

/// What is in the store beside the users of the app.
const OTHERS: u64 = 5_000;

/// Gives the place these keys, as `(id, value)`, the first of which seals.
fn give(place: &Place, keys: &[(&str, &str)]) {
    let text = fs::read_to_string(place.home.path("daypass.toml")).unwrap();
    let (store, rest) = text.split_once('[').unwrap().1.split_once("\n[").unwrap();
    let (_, providers) = rest.split_once("\n[providers").unwrap();
    let mut section = format!("[encryption]\nactive = \"{}\"\n", keys[0].0);
    for (id, value) in keys {
        section = format!("{section}[[encryption.keys]]\nid = \"{id}\"\nvalue = \"{value}\"\n");
    }
    let text = format!("[{store}\n{section}\n[providers{providers}");
    place.home.write("daypass.toml", &text);
}

/// The last line of an answer.
#[track_caller]
fn told(answer: &Answer) -> Value {
    let last = answer.out.lines().last().unwrap();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {answer:?}"))
}

#[track_caller]
fn of_key(report: &Value, id: &str) -> Value {
    let keys = report["keys"].as_array().unwrap();
    let found = keys.iter().find(|key| key["id"] == id);
    found
        .unwrap_or_else(|| panic!("no {id} in {report}"))
        .clone()
}

fn rotate(place: &Place, more: &[&str]) -> Answer {
    place.home.run(&[&["rotate-keys", "--json"], more].concat())
}

/// A sidecar with the configuration as it is now takes the place of `old`.
fn roll(place: &Place, load: &Load, old: Serving) -> Serving {
    let (new, outbound, _) = place.home.sidecar(&[]);
    load.move_to(&outbound);
    assert_eq!(old.stop(), Some(0));
    new
}

/// Kills a rotation when it has done something, and not all.
fn kill_one(place: &Place) {
    let there = place.open();
    let before = there.sealed_with("k1");
    assert!(there.begins_with("k1"));
    let running = place.home.serve(&["rotate-keys"]);
    while there.begins_with("k1") {
        thread::sleep(Duration::from_millis(1));
    }
    running.signal("KILL");
    drop(running);
    let left = there.sealed_with("k1");
    assert!(left > 0, "it was done before it could be killed");
    assert!(left < before);
}

/// As docs/operations.md has it.
fn rotates_under_load(place: &Place) {
    let running = Running::on(place);
    running.take_all_calls();
    place.open().put(&population(OTHERS, &keys()));
    let users: Vec<String> = (0..8).map(|n| format!("user{n}")).collect();
    let lines: String = users.iter().map(|user| running.line(user, 3600)).collect();
    let import = ["connections", "import"];
    place.home.run_with(&import, &lines).fine();
    let load = Load::start(&running.outbound, &users);

    // 1. The new key everywhere, beside the old one. 2. The new one is active.
    give(place, &[("k1", OLD), ("k2", NEW)]);
    let sidecar = roll(place, &load, running.sidecar);
    give(place, &[("k2", NEW), ("k1", OLD)]);
    let sidecar = roll(place, &load, sidecar);

    // 3. All is sealed anew, in two runs, for the first one is killed.
    let check = rotate(place, &["--check"]);
    let left = of_key(&told(&check), "k1")["total"].as_u64().unwrap();
    check.fails(1, &["not sealed with the active key"]);
    kill_one(place);
    let done = rotate(place, &[]).fine();
    let report = told(&done);
    let resealed = report["resealed"].as_u64().unwrap();
    assert!(0 < resealed && resealed < left, "{resealed} of {left}");
    assert!(done.out.contains("\"phase\":\"sealing\""), "{}", done.out);
    let old = of_key(&report, "k1");
    assert_eq!(
        (&old["total"], &old["may_be_removed"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(of_key(&report, "k2")["active"], true);
    rotate(place, &["--check"]).fine();

    // 4. The old key is taken away; what it has sealed would not open any more.
    give(place, &[("k2", NEW)]);
    let sidecar = roll(place, &load, sidecar);
    let doctor = place.home.run(&["doctor", "--json", "--offline"]);
    let all = doctor.json()["findings"].clone();
    let of_keys = |finding: &&Value| finding["check"] == "keys";
    let found: Vec<&Value> = all.as_array().unwrap().iter().filter(of_keys).collect();
    assert!(
        found.iter().all(|found| found["severity"] == "ok"),
        "{found:?}"
    );
    thread::sleep(Duration::from_millis(300));
    let (asked, renewed) = load.stop();
    assert!(
        asked > 20 && renewed > 10,
        "{asked} asked, {renewed} renewed"
    );
    assert!(
        !sidecar.log.contains("\"level\":\"ERROR\""),
        "{}",
        sidecar.log
    );
    assert_eq!(sidecar.stop(), Some(0));
    let emulators = running.emulators;
    let stats = crate::emulators::get(&format!("{}/_sandbox/stats", emulators.calendly)).json();
    let redeemed = stats["redemptions"].as_object().unwrap();
    let is_once = |found: &Value| found["ok"] == 1 && found["refused"] == 0;
    assert!(redeemed.values().all(is_once), "{stats}");
}

#[test]
fn keys_are_rotated_under_load_without_a_failure_on_sqlite() {
    rotates_under_load(&crate::places::sqlite());
}

#[test]
fn keys_are_rotated_under_load_without_a_failure_on_postgres() {
    rotates_under_load(&crate::places::postgres());
}

#[test]
fn keys_are_rotated_under_load_without_a_failure_on_redis() {
    rotates_under_load(&crate::places::redis());
}

/// One sidecar was forgotten.
#[test]
fn who_goes_on_sealing_with_the_old_key_is_found_by_the_count() {
    let place = crate::places::redis();
    let running = Running::on(&place);
    running.take_all_calls();
    place
        .home
        .run_with(&["connections", "import"], &running.line("anna", 3600))
        .fine();
    give(&place, &[("k2", NEW), ("k1", OLD)]);
    rotate(&place, &[]).fine();
    // It has only the old key: it cannot read what was sealed anew, but serves what it has in memory.
    // What it is told of new users it seals with its own key.
    give(&place, &[("k1", OLD)]);
    place
        .home
        .run_with(&["connections", "import"], &running.line("ben", 3600))
        .fine();
    give(&place, &[("k2", NEW), ("k1", OLD)]);
    let check = rotate(&place, &["--check"]);
    let old = of_key(&told(&check), "k1");
    assert_eq!(
        (&old["total"], &old["may_be_removed"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(old["rows"]["connections"], 1);
    check.fails(
        1,
        &[
            "1 row is not sealed with the active key \\\"k2\\\"",
            "rotate-keys",
        ],
    );
    assert_eq!(told(&rotate(&place, &[]).fine())["resealed"], 1);
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_key_that_is_missing_is_named_by_whoever_starts_without_it() {
    let place = crate::places::sqlite();
    let running = Running::on(&place);
    place
        .home
        .run_with(&["connections", "import"], &running.line("anna", 3600))
        .fine();
    assert_eq!(running.sidecar.stop(), Some(0));
    give(&place, &[("k2", NEW)]);
    let (mut sidecar, ..) = place.home.sidecar(&[]);
    let line = sidecar.has_logged("needs an encryption key that is not configured");
    assert!(
        line.contains("\"k1\"") && line.contains("connections"),
        "{line}"
    );
    assert_eq!(sidecar.stop(), Some(0));
    let doctor = place.home.run(&["doctor"]).fails(1, &[]);
    assert!(
        doctor.out.contains("\"k1\", which is not configured"),
        "{}",
        doctor.out
    );
    let answer = rotate(&place, &[]);
    let report = told(&answer);
    let lost = of_key(&report, "k1");
    assert_eq!(
        (&lost["configured"], &lost["total"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(report["unopenable"], json!({ "k1": 1 }));
    assert!(
        report["notes"].to_string().contains("add it to"),
        "{report}"
    );
    answer.fails(1, &["not sealed with the active key"]);
    // For people.
    let told = place.home.run(&["rotate-keys"]).fails(1, &[]).out;
    assert!(told.contains("k1") && told.contains("missing"), "{told}");
}

/// They come into the store after everything was sealed anew, and are then sealed with the active key.
#[test]
fn renewals_that_waited_in_a_spool_come_into_the_store_sealed_anew() {
    let mut server = crate::postgres_server::Server::start(&[]);
    let place = Place::at(&server.url("postgres"));
    let running = Running::on(&place);
    crate::outages::rotated(&place, &running);
    server.stop("KILL");
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    running.sidecar.signal("KILL");
    let emulators = running.emulators;
    server.resume();
    give(&place, &[("k2", NEW), ("k1", OLD)]);
    let done = rotate(&place, &[]).fine();
    let old = of_key(&told(&done), "k1");
    assert_eq!(
        (&old["spooled"], &old["may_be_removed"]),
        (&json!(1), &json!(false))
    );
    let (sidecar, ..) = place.home.sidecar(&[]);
    wait_until("the store has taken it", || place.spooled() == 0);
    let check = rotate(&place, &["--check"]).fine();
    let old = of_key(&told(&check), "k1");
    assert_eq!(
        (&old["total"], &old["may_be_removed"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(Running::generation(&place, "anna"), json!(2));
    assert_eq!(sidecar.stop(), Some(0));
    drop(emulators);
}
