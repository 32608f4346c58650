//! Moving a store that is in use, with real sidecars and emulated providers: nothing that is renewed on
//! the way is lost, and no refresh token is spent twice.

use std::fs;

use serde_json::{Value, json};

use crate::{
    places::{Place, postgres_url, redis},
    population::Open,
    running::{Running, wait_until},
};

fn import(place: &Place, lines: &str) {
    let import = ["connections", "import"];
    place.home.run_with(&import, lines).fine();
}

fn revoke(place: &Place, user: &str) {
    let revoke = ["connections", "revoke", "calendly", user];
    place.home.run(&revoke).fine();
}

/// The generations in a store, by user.
fn generations(there: &Open) -> Value {
    let all = there.all().into_iter().map(|record| {
        let user = record.connection.key.user.to_string();
        (user, json!(record.connection.generation.get()))
    });
    Value::Object(all.collect())
}

#[test]
fn a_store_in_use_is_followed_and_left_without_losing_a_renewal() {
    let (place, target) = (redis(), postgres_url());
    let mut running = Running::on(&place);
    for name in ["anna", "ben", "carl", "dave"] {
        import(&place, &running.line(name, 3600));
    }
    place.home.write("target-url", &target);
    // Whoever serves writes every eleven seconds at least.
    let follow = ["store", "migrate", "--follow", "--rest", "18"];
    let mut migration = place
        .home
        .serve(&[&follow[..], &["--to-file", "target-url"]].concat());
    migration.logged("Following the changes of Redis");

    // What happens meanwhile: a renewal, a disconnect, a reconnect, one user anew, and a new one.
    assert_eq!(running.renew("anna"), 2);
    revoke(&place, "ben");
    import(&place, &running.line("carl", 3600));
    revoke(&place, "dave");
    import(&place, &running.line("dave", 3600));
    import(&place, &running.line("erin", 3600));
    let there = Open::at(&target);
    let expected = json!({ "anna": 2, "carl": 2, "dave": 1, "erin": 1 });
    wait_until("the changes have arrived", || {
        generations(&there) == expected
    });

    // Told to end while the sidecar still serves, it waits, and takes along what is renewed last.
    migration.signal("TERM");
    migration.logged("A sidecar still serves from Redis");
    assert_eq!(running.renew("anna"), 3);
    running.sidecar.signal("TERM");
    assert_eq!(running.sidecar.ended(), Some(0));
    assert_eq!(migration.ended(), Some(0), "{}", migration.log);

    place.name_store(&target);
    let running = running.again(&place);
    for name in ["anna", "carl", "dave", "erin"] {
        assert_eq!(running.ask(name), 200, "{name}");
    }
    assert_eq!(running.ask("ben"), 424);
    assert_eq!(running.renew("anna"), 4);
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}

/// Leaves a renewal in the spool of the place: the store is locked when it is to be committed.
fn spool_a_renewal(place: &Place, running: &mut Running) {
    import(place, &running.line("anna", 3600));
    running.slow_down(1500);
    let _asker = running.begin_to_renew("anna");
    let db = rusqlite::Connection::open(place.home.path("daypass.db")).unwrap();
    let begun = "SELECT count(*) FROM connections WHERE intent_attempts = 1";
    wait_until("the renewal has begun", || {
        db.query_row(begun, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    });
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    running.sidecar.signal("KILL");
    running.sidecar.ended();
    db.execute_batch("ROLLBACK").unwrap();
    running.slow_down(0);
}

/// Ids and generations are the same in the new store, so that what waits in the spool fits there.
#[test]
fn what_waits_in_the_spool_is_taken_by_the_new_store() {
    let (place, target) = (Place::at("sqlite:daypass.db"), postgres_url());
    let mut running = Running::on(&place);
    spool_a_renewal(&place, &mut running);
    place.home.write("target-url", &target);
    let migrate = ["store", "migrate", "--rest", "0", "--to-file", "target-url"];
    let told = place.home.run(&migrate).fine();
    let expected = "1 renewals wait in spool: they are newer than what was copied";
    assert!(told.out.contains(expected), "{}", told.out);
    let there = Open::at(&target);
    assert_eq!(generations(&there), json!({ "anna": 1 }));

    place.name_store(&target);
    let running = running.again(&place);
    assert_eq!(running.ask("anna"), 200);
    wait_until("the new store has taken it", || {
        generations(&there) == json!({ "anna": 2 })
    });
    wait_until("the spool is empty", || {
        fs::read_dir(place.home.path("spool")).unwrap().count() == 0
    });
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}
