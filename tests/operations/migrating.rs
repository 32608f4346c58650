//! `store migrate`: every connection arrives as it was, whatever happens on the way.

use std::{fs, thread, time::Duration};

use daypass::{
    base::{ids::Generation, ids::OwnerId, random::OsRandom},
    store::{Fence, Lease, ReauthReason, Record, Redemption},
};
use serde_json::Value;

use crate::{
    binary::{Answer, Home},
    places::{Place, cluster_url, postgres_url, redis_url},
    population::{Open, assert_same, keys, population, ring, sorted},
};

/// A file with a URL, as an operator would have one.
fn url_file(home: &Home, name: &str, url: &str) -> String {
    home.write(name, url);
    home.path(name).display().to_string()
}

/// Where surely nobody serves.
const AT_REST: [&str; 2] = ["--rest", "0"];

/// Moves what is in the store of `place` to the one at `target`, where surely nobody serves.
fn migrate(place: &Place, target: &str, more: &[&str]) -> Answer {
    migrate_as_ever(place, target, &[&AT_REST, more].concat())
}

/// Moves likewise, as an operator does.
fn migrate_as_ever(place: &Place, target: &str, more: &[&str]) -> Answer {
    let to = url_file(&place.home, "target-url", target);
    let mut arguments = vec!["store", "migrate", "--json", "--to-file", &to];
    arguments.extend(more);
    place.home.run(&arguments)
}

/// The last line of a migration's answer.
#[track_caller]
fn verdict(answer: Answer) -> Value {
    let answer = answer.fine();
    let last = answer.out.lines().last().unwrap();
    serde_json::from_str(last).unwrap()
}

fn place_with(url: &str, records: &[Record]) -> Place {
    let place = Place::at(url);
    Open::at(&url_of(&place, url)).put(records);
    place
}

/// Paths are those of the place.
fn url_of(place: &Place, url: &str) -> String {
    match url.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite:{}", place.home.path(path).display()),
        None => url.to_owned(),
    }
}

/// From each store to each other one, two at a time.
#[test]
fn connections_travel_from_every_store_to_every_other_as_they_are() {
    let people = sorted(population(601, &keys()));
    let sqlite = || "sqlite:daypass.db".to_owned();
    let stores: [(&str, &(dyn Fn() -> String + Sync)); 4] = [
        ("SQLite", &sqlite),
        ("PostgreSQL", &postgres_url),
        ("Redis", &redis_url),
        ("a cluster", &cluster_url),
    ];
    thread::scope(|scope| {
        for half in stores.chunks(2) {
            let (stores, people) = (&stores, &people);
            scope.spawn(move || {
                for (from, source) in half {
                    for (to, target) in stores.iter().filter(|(to, _)| to != from) {
                        travel(&format!("{from} to {to}"), &source(), &target(), people);
                    }
                }
            });
        }
    });
}

/// There is more than one page of `people`.
fn travel(way: &str, source: &str, target: &str, people: &[Record]) {
    let place = place_with(source, people);
    let told = verdict(migrate(&place, target, &[]));
    assert_eq!(told["copied"], people.len(), "{way}: {told}");
    assert_eq!(told["verdict"]["same"], people.len(), "{way}: {told}");
    assert_same(&Open::at(&url_of(&place, target)).all(), people);
}

/// Back into the very store that it came from: what is there is older, and is brought up to date.
#[test]
fn a_store_that_was_left_takes_back_what_has_gone_on_elsewhere() {
    let people = sorted(population(600, &keys()));
    let place = place_with("sqlite:daypass.db", &people);
    let there = postgres_url();
    verdict(migrate(&place, &there, &[]));
    let mut later = people;
    for record in later.iter_mut().step_by(2) {
        let connection = &mut record.connection;
        connection.generation = connection.generation.next();
        connection.updated_at = connection.updated_at.saturating_add(Duration::from_secs(9));
    }
    Open::at(&there).put(&later);
    place.name_store(&there);
    let told = verdict(migrate(&place, "sqlite:daypass.db", &[]));
    assert_eq!(told["copied"], 300, "{told}");
    let back = Open::at(&url_of(&place, "sqlite:daypass.db"));
    assert_same(&back.all(), &later);
    // And once more, there is nothing left to do.
    assert_eq!(
        verdict(migrate(&place, "sqlite:daypass.db", &[]))["copied"],
        0
    );
}

#[test]
fn a_migration_that_is_killed_again_and_again_goes_on_from_where_it_was() {
    let people = sorted(population(5_000, &keys()));
    let place = place_with("sqlite:daypass.db", &people);
    for target in [postgres_url(), redis_url()] {
        let to = url_file(&place.home, "target-url", &target);
        let there = Open::at(&target);
        let mut reached = 0;
        for _ in 0..3 {
            let running = place.home.serve(&["store", "migrate", "--to-file", &to]);
            while there.count() <= reached + 500 {
                thread::sleep(Duration::from_millis(2));
            }
            running.signal("KILL");
            drop(running);
            reached = there.count();
            assert!(reached < 5_000, "it was done before it could be killed");
        }
        let told = verdict(migrate(&place, &target, &[]));
        assert!(
            told["copied"].as_u64().unwrap() <= 5_000 - reached,
            "{told}"
        );
        assert_eq!(told["verdict"]["same"], 5_000, "{told}");
        assert_same(&there.all(), &people);
    }
}

#[test]
fn while_somebody_serves_from_the_source_nothing_is_called_done() {
    let place = place_with("sqlite:daypass.db", &population(20, &keys()));
    let target = postgres_url();
    let (sidecar, ..) = place.home.sidecar(&[]);
    let refused = migrate_as_ever(&place, &target, &[]);
    refused.fails(1, &["a sidecar serves from daypass.db", "--follow"]);
    assert_eq!(sidecar.stop(), Some(0));
    verdict(migrate(&place, &target, &[]));
}

#[test]
fn while_somebody_serves_from_the_target_nothing_is_called_done() {
    let place = place_with("sqlite:daypass.db", &population(20, &keys()));
    let target = postgres_url();
    let other = Place::at(&target);
    let (sidecar, ..) = other.home.sidecar(&[]);
    let refused = migrate_as_ever(&place, &target, &[]);
    refused.fails(1, &["a sidecar serves from", "already"]);
    assert_eq!(sidecar.stop(), Some(0));
    verdict(migrate(&place, &target, &[]));
}

#[test]
fn what_is_waited_for_is_said_and_how_far_it_has_come() {
    let place = place_with("sqlite:daypass.db", &population(3, &keys()));
    let target = redis_url();
    let told = migrate_as_ever(&place, &target, &["--rest", "5"])
        .fine()
        .out;
    let lines: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let note = lines.iter().find_map(|line| line["note"].as_str()).unwrap();
    let expected = "for sidecars that may still serve from daypass.db or Redis at 127.0.0.1";
    assert!(
        note.starts_with("Waiting ") && note.contains(expected),
        "{note}"
    );
    assert!(note.contains("writes to its store every 12 s"), "{note}");
    let waits = lines
        .iter()
        .filter(|line| line["progress"]["phase"] == "waiting");
    let done: Vec<u64> = waits
        .map(|line| {
            assert_eq!(line["progress"]["unit"], "seconds", "{line}");
            line["progress"]["done"].as_u64().unwrap()
        })
        .collect();
    assert!(done.len() >= 2 && done.is_sorted(), "{told}");
    let last = lines
        .iter()
        .rfind(|line| line["progress"]["phase"] == "waiting");
    let last = &last.unwrap()["progress"];
    assert_eq!(last["done"], last["total"], "{told}");
}

#[test]
fn a_renewal_under_way_is_waited_for() {
    let people = population(20, &keys());
    let place = place_with("sqlite:daypass.db", &people);
    let (here, target) = (Open::at(&url_of(&place, "sqlite:daypass.db")), redis_url());
    let (me, fence) = (OwnerId::random(&OsRandom), Fence::of(&people[3].connection));
    let lease = |ttl| {
        here.ask(async |store| {
            let lease = store.acquire(&fence.key, me, ttl).await.unwrap();
            assert!(matches!(lease, Lease::Granted(_)), "{lease:?}");
            let at = people[3].connection.updated_at;
            store
                .begin(&fence, me, Redemption::Standard, at)
                .await
                .unwrap();
        });
    };
    lease(Duration::from_secs(8));
    let running = place.home.serve(&[
        "store",
        "migrate",
        "--to-file",
        &url_file(&place.home, "target-url", &target),
        "--rest",
        "0",
    ]);
    let mut running = running;
    let told = running.logged("s for the leases of 1 connection (");
    assert!(
        told.contains(&people[3].connection.key.to_string()),
        "{told}"
    );
    assert_eq!(running.ended(), Some(0), "{}", running.log);
    assert_same(&Open::at(&target).all(), &here.all());
    // What it came to is taken along by the next run.
    lease(Duration::from_mins(10));
    here.ask(async |store| {
        let (reason, since) = (ReauthReason::GrantRefused, people[3].connection.updated_at);
        store
            .mark_needs_reauth(&fence, reason, since)
            .await
            .unwrap();
        store.release(&fence.key, me).await.unwrap();
    });
    verdict(migrate(&place, &target, &[]));
    assert_same(&Open::at(&target).all(), &here.all());
}

#[test]
fn a_target_that_is_in_use_for_something_else_is_left_alone() {
    let people = sorted(population(40, &keys()));
    let (ours, others) = people.split_at(20);
    let place = place_with("sqlite:daypass.db", ours);
    let target = postgres_url();
    let there = Open::at(&target);
    there.put(others);
    let mut impostor = ours[4].clone();
    impostor.connection.id = others[0].connection.id;
    there.put(std::slice::from_ref(&impostor));
    let before = there.all();
    let refused = migrate(&place, &target, &[]);
    let name = ours[4].connection.key.to_string();
    refused.fails(
        1,
        &["21 connections", "--prune", "nothing was copied", &name],
    );
    assert_same(&there.all(), &before);
    let told = verdict(migrate(&place, &target, &["--prune"]));
    assert_eq!(
        (&told["copied"], &told["removed"]),
        (&20.into(), &21.into())
    );
    assert_same(&there.all(), ours);
}

#[test]
fn a_target_that_has_gone_on_is_left_alone() {
    let people = sorted(population(40, &keys()));
    let place = place_with("sqlite:daypass.db", &people);
    let target = redis_url();
    let there = Open::at(&target);
    let mut ahead = people[7].clone();
    ahead.connection.generation = Generation::new(99);
    there.put(std::slice::from_ref(&ahead));
    let name = ahead.connection.key.to_string();
    let refused = migrate(&place, &target, &[]);
    refused.fails(
        1,
        &["newer tokens", &name, "the other way round", "--keep-newer"],
    );
    assert_eq!(there.count(), 1, "nothing was copied");
    let told = verdict(migrate(&place, &target, &["--keep-newer"]));
    assert_eq!(told["verdict"]["newer_in_target"]["count"], 1, "{told}");
    let mut expected = people;
    expected[7] = ahead;
    assert_same(&there.all(), &expected);
}

#[test]
fn tokens_that_the_configured_keys_do_not_open_are_copied_and_told_of() {
    let other = ring("k0", "YW5vdGhlci1rZXktb2YtMzItYnl0ZXMtZm9yLXlvdSE=");
    let mut people = population(40, &keys());
    let sealed_otherwise = population(40, &other);
    people[1] = sealed_otherwise[1].clone();
    let people = sorted(people);
    let place = place_with("sqlite:daypass.db", &people);
    let target = postgres_url();
    let refused = migrate(&place, &target, &[]);
    let told: Value = serde_json::from_str(refused.out.lines().last().unwrap()).unwrap();
    assert_eq!(told["verdict"]["unopenable"]["count"], 1, "{told}");
    refused.fails(1, &["incomplete", "do not open", "[encryption]"]);
    assert_same(&Open::at(&target).all(), &people);
}

#[test]
fn a_row_that_cannot_be_read_is_named_and_the_others_are_moved() {
    let people = sorted(population(40, &keys()));
    let place = place_with("sqlite:daypass.db", &people);
    let key = &people[5].connection.key;
    let db = rusqlite::Connection::open(place.home.path("daypass.db")).unwrap();
    db.pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    let sql = "UPDATE connections SET id = x'00' WHERE provider = ?1 AND user = ?2";
    db.execute(sql, [key.provider.as_str(), key.user.as_str()])
        .unwrap();
    drop(db);
    let target = redis_url();
    let refused = migrate(&place, &target, &[]);
    let told: Value = serde_json::from_str(refused.out.lines().last().unwrap()).unwrap();
    let first = told["verdict"]["unreadable"]["first"][0].as_str().unwrap();
    assert!(first.starts_with(&format!("{key}: its id")), "{told}");
    refused.fails(1, &["incomplete", "cannot be read"]);
    let mut expected = people;
    expected.remove(5);
    assert_same(&Open::at(&target).all(), &expected);
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_touched() {
    let place = place_with("sqlite:daypass.db", &population(3, &keys()));
    let migrate = |arguments: &[&str]| {
        let all = [&["store", "migrate"], arguments].concat();
        place.home.run(&all)
    };
    migrate(&[]).fails(2, &["where to?", "--to"]);
    migrate(&["--to", "sqlite:daypass.db"]).fails(2, &["same store"]);
    let secret = "postgres://daypass:hunter2@127.0.0.1/x";
    let refused = migrate(&["--to", secret]).fails(2, &["--to-file", "every user of this machine"]);
    assert!(!refused.err.contains("hunter2"));
    migrate(&["--to", "nonsense"]).fails(2, &["--to: expected"]);
    migrate(&["--to-file", "nowhere"]).fails(1, &["nowhere cannot be read"]);
    let target = "sqlite:target.db";
    migrate(&["--from", "sqlite:nowhere.db", "--to", target])
        .fails(1, &["no database at nowhere.db"]);
    assert!(!place.home.path("nowhere.db").exists(), "and none was made");
    assert!(!place.home.path("target.db").exists());
    let empty = url_file(&place.home, "empty", &redis_url());
    migrate(&["--from-file", &empty, "--to", target]).fails(1, &["no connections in Redis"]);
    let empty = url_file(&place.home, "empty", &postgres_url());
    migrate(&["--from-file", &empty, "--to", target]).fails(1, &["no tables of this version"]);
}

#[test]
fn a_key_file_is_used_from_where_the_next_sidecar_looks_for_it() {
    let home = Home::new();
    let import = ["connections", "import"];
    let line = "user,provider,refresh_token\nu,calendly,r\n";
    home.run_with(&import, line).fine();
    fs::create_dir(home.path("new")).unwrap();
    let mut migrate = vec!["store", "migrate", "--to", "sqlite:new/daypass.db"];
    migrate.extend(AT_REST);
    home.run(&migrate)
        .fails(1, &["no key file at new/daypass.key", "copy daypass.key"]);
    fs::copy(home.path("daypass.key"), home.path("new/daypass.key")).unwrap();
    let told = home.run(&migrate).fine();
    assert!(
        told.out
            .starts_with("1 copied, 0 removed. Verified: 1 the same"),
        "{}",
        told.out
    );
    // To a server, the key has to be configured; the answer says how.
    let to = url_file(&home, "target-url", &redis_url());
    let told = home.run(&["store", "migrate", "--to-file", &to, "--rest", "0"]);
    let told = told.fine();
    assert!(
        told.out.contains("id = \"file\", file = \"daypass.key\""),
        "{}",
        told.out
    );
    // Where nobody watches, progress is told in lines.
    assert!(told.err.contains("copying: 1 of 1\n"), "{}", told.err);
    assert!(told.err.contains("verifying: 1 of 1\n"), "{}", told.err);
}
