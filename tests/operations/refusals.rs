//! Stores that refuse while sidecars run: a full disk, a lock, a right that was taken away, a master that
//! became a replica. Each time the tokens of a renewal under way are in the spool, one message says what
//! to do, and when that is done they are stored by themselves.

use std::{cell::RefCell, fs, thread};

use crate::{
    documents::documented,
    outages::{assert_nothing_was_lost, rotated},
    places::{Place, postgres_sql, postgres_url},
    postgres_server::{FAST, Server as Postgres},
    redis_servers::{Server as Redis, cli, cluster, eventually, free_port},
    running::{Running, wait_until},
    trouble::{RUN, made, refused},
};

/// One trouble, how it is made, and how it is mended.
struct Trouble<'t> {
    says: &'t str,
    begin: &'t dyn Fn(),
    end: &'t dyn Fn(),
    /// Whether the look of a sidecar, which writes next to nothing, finds it out; and that of `doctor`.
    shows: (bool, bool),
}

/// A renewal is under way when the trouble begins; nothing is lost when it has ended.
fn survives(place: &Place, trouble: &Trouble<'_>) {
    let says = trouble.says;
    documented(says);
    let mut running = Running::on(place);
    rotated(place, &running);
    (trouble.begin)();
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    running.sidecar.logged(says);
    running.until_told("1 renewals wait for the store");
    let (ready_tells, doctor_tells) = trouble.shows;
    if ready_tells {
        running.until_told(says);
    }
    if doctor_tells {
        let doctor = place.home.run(&["doctor", "--offline"]).fails(1, &[]);
        assert!(doctor.out.contains(says), "no {says:?} in {}", doctor.out);
    }
    assert_eq!(running.ask("anna"), 200, "with the new token");
    (trouble.end)();
    assert_nothing_was_lost(place, running);
}

/// What a Redis says, whether the look of a sidecar finds it out, and how it begins and ends.
type OfRedis<'t> = (&'t str, bool, &'t (dyn Fn(&Redis) + Sync), &'t [&'t str]);

#[test]
fn a_redis_that_takes_no_writes_loses_no_tokens() {
    let nowhere = free_port().to_string();
    let ask = |server: &Redis, words: &[&str]| {
        let answer = cli(server.port, words);
        assert_eq!(answer, "OK", "{words:?}");
    };
    let troubles: [OfRedis<'_>; 4] = [
        (
            "is a read-only replica; name the master in store.url, or the sentinels",
            true,
            &|server| ask(server, &["REPLICAOF", "127.0.0.1", &nowhere]),
            &["REPLICAOF", "NO", "ONE"],
        ),
        (
            "has fewer replicas than min-replicas-to-write asks for; bring them back",
            true,
            &|server| ask(server, &["CONFIG", "SET", "min-replicas-to-write", "1"]),
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        (
            "cannot write to its disk; make room, or look at its log",
            true,
            &fail_to_save,
            &["CONFIG", "SET", "save", ""],
        ),
        (
            "the Redis user may not do what daypass needs at",
            false,
            &|server| ask(server, &["ACL", "SETUSER", "default", "-hset"]),
            &["ACL", "SETUSER", "default", "+@all"],
        ),
    ];
    thread::scope(|scope| {
        for trouble in troubles {
            scope.spawn(move || survives_on_redis(trouble, ask));
        }
    });
}

fn survives_on_redis((says, ready_tells, begin, end): OfRedis<'_>, ask: impl Fn(&Redis, &[&str])) {
    let server = Redis::start(&["--appendonly", "yes"]);
    let place = Place::at(&format!("redis://127.0.0.1:{}", server.port));
    let trouble = Trouble {
        says,
        begin: &|| begin(&server),
        end: &|| ask(&server, end),
        shows: (ready_tells, true),
    };
    survives(&place, &trouble);
}

/// What stands where the snapshot belongs cannot be replaced by it.
fn fail_to_save(server: &Redis) {
    fs::create_dir(server.folder.join("dump.rdb")).unwrap();
    cli(server.port, &["CONFIG", "SET", "save", "3600 100000"]);
    cli(server.port, &["BGSAVE"]);
    eventually("a snapshot fails", || {
        cli(server.port, &["INFO", "persistence"]).contains("rdb_last_bgsave_status:err")
    });
}

/// The other masters refuse everything, too, while the slots of one have nobody.
#[test]
fn a_cluster_that_lacks_a_master_loses_no_tokens() {
    let nodes = cluster();
    let hosts: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let place = Place::at(&format!("redis-cluster://{}", hosts.join(",")));
    let running = Running::on(&place);
    rotated(&place, &running);
    nodes[2].signal("STOP");
    eventually("the others notice", || {
        cli(nodes[0].port, &["CLUSTER", "INFO"]).contains("cluster_state:fail")
    });
    // The one says nothing, the others that it is missing; whichever is heard first.
    let told = [
        "is down or moving; look at CLUSTER INFO, or wait for the failover",
        "does not answer; look whether it runs and is reachable",
    ];
    told.into_iter().for_each(documented);
    wait_until("the trouble is told of", || {
        let said = running.readiness().to_string();
        told.iter().any(|told| said.contains(told))
    });
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    assert_eq!(running.ask("anna"), 200, "with the new token");
    nodes[2].signal("CONT");
    assert_nothing_was_lost(&place, running);
}

#[test]
fn a_postgres_that_takes_no_writes_loses_no_tokens() {
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; \
                END $$; \
                CREATE TRIGGER full_disk BEFORE UPDATE ON daypass.connections FOR EACH ROW \
                WHEN (NEW.generation > OLD.generation) EXECUTE FUNCTION full_disk()";
    let read_only = "ALTER SYSTEM SET default_transaction_read_only = on";
    let troubles = [
        (
            "is full; make room",
            false,
            full,
            "DROP FUNCTION full_disk CASCADE",
        ),
        (
            "is read-only, most likely a replica; name the primary in store.url",
            true,
            read_only,
            "ALTER SYSTEM RESET default_transaction_read_only",
        ),
    ];
    thread::scope(|scope| {
        for (says, ready_tells, begin, end) in troubles {
            scope.spawn(move || {
                let server = Postgres::start(FAST);
                let place = Place::at(&server.url("postgres"));
                let change = |sql: &str| {
                    for sql in [sql, "SELECT pg_reload_conf()"] {
                        let mut asked = server.asked("postgres", sql);
                        asked.env("PGOPTIONS", "-c default_transaction_read_only=off");
                        assert!(asked.status().unwrap().success(), "{sql}");
                    }
                };
                let trouble = Trouble {
                    says,
                    begin: &|| change(begin),
                    end: &|| change(end),
                    shows: (ready_tells, false),
                };
                survives(&place, &trouble);
            });
        }
    });
}

#[test]
fn a_lock_on_the_file_loses_no_tokens() {
    let place = Place::at("sqlite:daypass.db");
    let path = place.home.path("daypass.db");
    let holder = RefCell::new(None);
    let trouble = Trouble {
        says: "locked; look for a backup or shell that has it open",
        begin: &|| {
            let db = rusqlite::Connection::open(&path).unwrap();
            db.execute_batch("BEGIN IMMEDIATE").unwrap();
            *holder.borrow_mut() = Some(db);
        },
        end: &|| drop(holder.borrow_mut().take()),
        shows: (true, true),
    };
    survives(&place, &trouble);
}

/// Whoever upgrades a sidecar starts it on what its predecessor has left in the spool.
#[test]
fn a_store_from_the_future_loses_no_tokens() {
    let place = Place::at("sqlite:daypass.db");
    let path = place.home.path("daypass.db");
    let become_version = |version: i64| {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", version).unwrap();
    };
    let trouble = Trouble {
        says: "the store has schema 99, this version of daypass knows 6: upgrade daypass",
        begin: &|| become_version(99),
        // As if this were the newer version.
        end: &|| become_version(1),
        shows: (true, true),
    };
    survives(&place, &trouble);
}

#[test]
fn a_user_who_lacks_a_right_is_told_so() {
    let redis = Redis::start(&["--appendonly", "yes"]);
    let weak = [
        "ACL", "SETUSER", "weak", "on", ">hunter2", "~*", "&*", "+@all", "-hset",
    ];
    assert_eq!(cli(redis.port, &weak), "OK");
    let place = Place::at(&format!("redis://weak:hunter2@127.0.0.1:{}", redis.port));
    let told = "the Redis user may not do what daypass needs at";
    documented(told);
    place.home.run(&RUN).fails(1, &[told]);

    let url = postgres_url();
    let place = Place::at(&url);
    made(&place);
    let (_, database) = url.rsplit_once('/').unwrap();
    postgres_sql(&format!("CREATE ROLE weak_{database} LOGIN"));
    place.name_store(&url.replace("daypass:secret@", &format!("weak_{database}:hunter2@")));
    let told = "denies the user of store.url a right; have the schema made for it";
    refused(&place, &[], &[told]);
}
