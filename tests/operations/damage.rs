//! What was damaged: it is named, everything else goes on, and nothing of it is made worse.

use std::fs;

use crate::{
    backups::with_postgres,
    binary::Home,
    documents::documented,
    places::Place,
    postgres_server::{FAST, Server as Postgres},
    running::{Running, wait_until},
    trouble::RUN,
};

#[test]
fn nothing_of_a_file_that_is_no_database_is_written() {
    let home = Home::new();
    let letter = "this is a letter, and no database at all";
    fs::write(home.path("daypass.db"), letter).unwrap();
    let told = "it is no SQLite file; check store.url, or restore a backup";
    documented(told);
    home.run(&RUN).fails(1, &[told]);
    let doctor = home.run(&["doctor"]).fails(1, &[]);
    assert!(doctor.out.contains(told), "{}", doctor.out);
    let left = fs::read_to_string(home.path("daypass.db")).unwrap();
    assert_eq!(left, letter);
}

#[test]
fn a_row_that_contradicts_itself_is_one_users_trouble() {
    let place = Place::at("sqlite:daypass.db");
    let mut running = Running::on(&place);
    for user in ["anna", "ben"] {
        assert_eq!(running.connect_and_ask(&place, user), 200);
    }
    running.sidecar.signal("TERM");
    assert_eq!(running.sidecar.ended(), Some(0));
    let db = rusqlite::Connection::open(place.home.path("daypass.db")).unwrap();
    db.pragma_update(None, "ignore_check_constraints", true)
        .unwrap();
    let damage = "UPDATE connections SET id = x'00' WHERE user = 'ben'";
    assert_eq!(db.execute(damage, []).unwrap(), 1);
    drop(db);
    let mut running = running.again(&place);
    assert_eq!(running.ask("ben"), 503);
    let told = "the stored row of calendly/ben is inconsistent";
    documented(told);
    running.sidecar.logged(told);
    assert_eq!(running.ask("anna"), 200);
    running.until_ready();
    // What the document says to do.
    let line = running.line("ben", 3600);
    let revoke = ["connections", "revoke", "calendly", "ben"];
    let _gone = place.home.run(&revoke);
    let import = ["connections", "import"];
    place.home.run_with(&import, &line).fine();
    wait_until("ben is served", || running.ask("ben") == 200);
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_file_of_the_spool_that_cannot_be_read_is_left_where_it_is() {
    let place = Place::at("sqlite:daypass.db");
    fs::create_dir(place.home.path("spool")).unwrap();
    let broken = place.home.path("spool/broken.renewal");
    fs::write(&broken, "{").unwrap();
    let told = "a spooled renewal cannot be read; it is left where it is";
    documented(told);
    let running = Running::on(&place);
    assert!(
        running.sidecar.log.contains(told),
        "{}",
        running.sidecar.log
    );
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    assert_eq!(running.stop(), Some(0));
    assert_eq!(fs::read_to_string(broken).unwrap(), "{");
}

/// The sidecar goes on with what it has in memory, and with the backup as soon as that is there.
#[test]
fn tables_that_somebody_dropped_come_back_with_a_backup_and_without_a_restart() {
    let server = Postgres::start(FAST);
    let place = Place::at(&server.url("postgres"));
    let running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    with_postgres(&place, "backup: postgres", &server);
    server.sql("postgres", "DROP SCHEMA daypass CASCADE");
    running.until_told("are gone; restore a backup, or restart daypass to begin anew");
    assert_eq!(running.ask("anna"), 200, "from memory");
    assert_eq!(running.ask("nobody"), 503);
    with_postgres(&place, "restore: postgres", &server);
    running.until_ready();
    assert_eq!(running.renew("anna"), 3);
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}
