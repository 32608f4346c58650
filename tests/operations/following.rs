//! Moving a store that is in use, with real sidecars and emulated providers: nothing that is renewed on
//! the way is lost, and no refresh token is spent twice.

use std::{fs, io::Write as _, net::TcpStream, thread, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    binary::Serving,
    emulators::{Emulators, call, get, get_for},
    places::{Place, postgres_url, redis},
    population::Open,
};

fn line(emulators: &Emulators, name: &str, expires_in: u32) -> String {
    let user = emulators.at_calendly(name);
    let row = json!({
        "user": name,
        "provider": "calendly",
        "access_token": user["access_token"],
        "refresh_token": user["refresh_token"],
        "expires_in": expires_in,
    });
    format!("{row}\n")
}

fn import(place: &Place, lines: &str) {
    let import = ["connections", "import"];
    place.home.run_with(&import, lines).fine();
}

fn revoke(place: &Place, user: &str) {
    let revoke = ["connections", "revoke", "calendly", user];
    place.home.run(&revoke).fine();
}

/// Has the sidecar renew `user`; its generation then.
fn renew(outbound: &str, user: &str) -> u64 {
    let url = format!("{outbound}/-/calendly/refresh");
    let answer = call(Method::POST, &url, Some(user), None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["generation"].as_u64().unwrap()
}

/// The generations in the store at `url`, by user.
fn generations(there: &Open) -> Value {
    let all = there.all().into_iter().map(|record| {
        let user = record.connection.key.user.to_string();
        (user, json!(record.connection.generation.get()))
    });
    Value::Object(all.collect())
}

/// No refresh token was sent twice, whatever came of it.
fn assert_each_token_was_sent_once(emulators: &Emulators) {
    let stats = get(&format!("{}/_sandbox/stats", emulators.calendly)).json();
    let uses = stats["redemptions"].as_object().unwrap();
    assert!(!uses.is_empty(), "{stats}");
    let is_once = |found: &Value| found["ok"] == 1 && found["refused"] == 0;
    assert!(uses.values().all(is_once), "{stats}");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("in half a minute it did not come about that {what}");
}

#[test]
fn a_store_in_use_is_followed_and_left_without_losing_a_renewal() {
    let (place, target) = (redis(), postgres_url());
    let emulators = place.emulate();
    let lines: String = ["anna", "ben", "carl", "dave"]
        .map(|name| line(&emulators, name, 3600))
        .concat();
    import(&place, &lines);
    let (sidecar, outbound, _) = place.home.sidecar(&[]);
    place.home.write("target-url", &target);
    let follow = ["store", "migrate", "--follow", "--to-file", "target-url"];
    let mut migration = place.home.serve(&follow);
    migration.logged("Following the changes of Redis");

    // What happens meanwhile: a renewal, a disconnect, a reconnect, one user anew, and a new one.
    assert_eq!(renew(&outbound, "anna"), 2);
    revoke(&place, "ben");
    import(&place, &line(&emulators, "carl", 3600));
    revoke(&place, "dave");
    import(&place, &line(&emulators, "dave", 3600));
    import(&place, &line(&emulators, "erin", 3600));
    let there = Open::at(&target);
    let expected = json!({ "anna": 2, "carl": 2, "dave": 1, "erin": 1 });
    wait_until("the changes have arrived", || {
        generations(&there) == expected
    });

    // Told to end while the sidecar still serves, it waits, and takes along what is renewed last.
    migration.signal("TERM");
    migration.logged("A sidecar still serves from Redis");
    assert_eq!(renew(&outbound, "anna"), 3);
    assert_eq!(sidecar.stop(), Some(0));
    assert_eq!(migration.ended(), Some(0), "{}", migration.log);

    place.name_store(&target);
    let (sidecar, outbound, _) = place.home.sidecar(&[]);
    let me = format!("{outbound}/calendly/users/me");
    for name in ["anna", "carl", "dave", "erin"] {
        assert_eq!(get_for(&me, name).status, 200, "{name}");
    }
    assert_eq!(get_for(&me, "ben").status, 424);
    assert_eq!(renew(&outbound, "anna"), 4);
    assert_eq!(sidecar.stop(), Some(0));
    assert_each_token_was_sent_once(&emulators);
}

/// Has Calendly take so long to answer after it has rotated a token.
fn slow_down(emulators: &Emulators, millis: u64) {
    let url = format!("{}/_sandbox/switches", emulators.calendly);
    let body = json!({ "token_latency_after_ms": millis });
    call(Method::PATCH, &url, None, Some(&body));
}

/// Leaves a renewal in the spool of the place: the store is locked when it is to be committed.
fn spool_a_renewal(place: &Place, emulators: &Emulators) {
    import(place, &line(emulators, "anna", 3600));
    let (mut sidecar, outbound, _) = place.home.sidecar(&[]);
    slow_down(emulators, 1500);
    // Whoever asks for it does not hear the end of it.
    let host = outbound.trim_start_matches("http://");
    let mut asker = TcpStream::connect(host).unwrap();
    let head = format!(
        "POST /-/calendly/refresh HTTP/1.1\r\nHost: {host}\r\nX-User-Id: anna\r\n\
         Content-Length: 0\r\n\r\n"
    );
    asker.write_all(head.as_bytes()).unwrap();
    let path = place.home.path("daypass.db");
    let db = rusqlite::Connection::open(path).unwrap();
    let begun = "SELECT count(*) FROM connections WHERE intent_attempts = 1";
    wait_until("the renewal has begun", || {
        db.query_row(begun, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    });
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    wait_until("the new tokens are in the spool", || {
        fs::read_dir(place.home.path("spool")).is_ok_and(|files| {
            let mut names = files.map(|file| file.unwrap().path());
            names.any(|path| path.extension() == Some("renewal".as_ref()))
        })
    });
    kill(&mut sidecar);
    db.execute_batch("ROLLBACK").unwrap();
    slow_down(emulators, 0);
}

fn kill(sidecar: &mut Serving) {
    sidecar.signal("KILL");
    sidecar.ended();
}

/// Ids and generations are the same in the new store, so that what waits in the spool fits there.
#[test]
fn what_waits_in_the_spool_is_taken_by_the_new_store() {
    let target = postgres_url();
    let place = Place::at("sqlite:daypass.db");
    let emulators = place.emulate();
    spool_a_renewal(&place, &emulators);
    place.home.write("target-url", &target);
    let migrate = ["store", "migrate", "--to-file", "target-url"];
    let told = place.home.run(&migrate).fine();
    let expected = "1 renewals wait in spool: they are newer than what was copied";
    assert!(told.out.contains(expected), "{}", told.out);
    let there = Open::at(&target);
    assert_eq!(generations(&there), json!({ "anna": 1 }));

    place.name_store(&target);
    let (sidecar, outbound, _) = place.home.sidecar(&[]);
    let me = format!("{outbound}/calendly/users/me");
    assert_eq!(get_for(&me, "anna").status, 200);
    wait_until("the new store has taken it", || {
        generations(&there) == json!({ "anna": 2 })
    });
    assert_eq!(sidecar.stop(), Some(0));
    assert_eq!(fs::read_dir(place.home.path("spool")).unwrap().count(), 0);
    assert_each_token_was_sent_once(&emulators);
}
