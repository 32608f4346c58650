//! Stores that fail at the worst moment: after the provider has rotated the tokens, before they are
//! stored. What was minted is used at once, and stored when that can be done; nobody has to connect again.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::{
    documents::documented,
    places::Place,
    postgres_server::{FAST, Server as Postgres},
    redis_servers::{Server as Redis, cli, cluster, eventually},
    running::{Running, wait_until},
    standby,
};

fn import(place: &Place, lines: &str) {
    let import = ["connections", "import"];
    place.home.run_with(&import, lines).fine();
}

/// Begins a renewal of anna's that takes its time; see [`Running::rotate`].
pub(crate) fn rotated(place: &Place, running: &Running) {
    import(place, &running.line("anna", 3600));
    assert_eq!(running.ask("anna"), 200);
    running.rotate(place, "anna");
}

/// The tokens of that renewal are stored in the end, and no others were asked for.
pub(crate) fn assert_nothing_was_lost(place: &Place, running: Running) {
    running.slow_down(0);
    running.until_ready();
    wait_until("the renewal is stored", || {
        Running::generation(place, "anna") == json!(2)
    });
    assert_eq!(place.spooled(), 0);
    assert_eq!(running.ask("anna"), 200);
    assert_eq!(running.renew("anna"), json!(3));
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}

/// A small disk, until dropped.
struct Disk<'p>(&'p Path);

impl<'p> Disk<'p> {
    /// `None`, and a word about it, if this user may not mount.
    fn try_new(at: &'p Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(at);
        if mount.output().is_ok_and(|done| done.status.success()) {
            return Some(Self(at));
        }
        let told = b"not checked: this user may not mount\n";
        std::io::Write::write_all(&mut std::io::stderr(), told).unwrap();
        None
    }

    /// Leaves no room on it; what has to be removed to have room again.
    fn fill(&self) -> std::path::PathBuf {
        let ballast = self.0.join("ballast");
        assert!(
            fs::write(&ballast, vec![0; 32 << 20]).is_err(),
            "it is full"
        );
        ballast
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_when_tokens_are_to_be_stored_loses_none() {
    let place = Place::at("sqlite:small/daypass.db");
    let small = place.home.path("small");
    let Some(disk) = Disk::try_new(&small, "size=4m") else {
        return;
    };
    let running = Running::on(&place);
    rotated(&place, &running);
    let ballast = disk.fill();
    let full = "the disk of small/daypass.db is full; make room";
    running.until_told(full);
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    running.until_told("1 renewals wait for the store");
    assert_eq!(running.ask("anna"), 200, "with the new token");
    let doctor = place.home.run(&["doctor", "--offline"]).fails(1, &[]);
    assert!(doctor.out.contains(full), "{}", doctor.out);
    place
        .home
        .run_with(&["connections", "import"], &running.line("ben", 3600))
        .fails(1, &[full]);
    fs::remove_file(ballast).unwrap();
    assert_nothing_was_lost(&place, running);
}

#[test]
fn an_import_that_fills_the_disk_of_postgres_is_repeated_when_there_is_room() {
    let folder = tempfile::Builder::new()
        .prefix("daypass-disk")
        .tempdir()
        .unwrap();
    let options = "size=12m,mode=700,uid=65534,gid=65534";
    let Some(disk) = Disk::try_new(folder.path(), options) else {
        return;
    };
    let server = Postgres::start(FAST);
    let at = folder.path().display();
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{at}'"),
    );
    server.sql("postgres", "CREATE DATABASE small TABLESPACE small");
    let place = Place::at(&server.url("small"));
    let running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    let ballast = disk.fill();
    let many: Vec<String> = (0..3_000)
        .map(|n| json!({ "user": format!("m{n}"), "provider": "calcom", "refresh_token": "r" }))
        .map(|row| row.to_string())
        .collect();
    let (import, many) = (["connections", "import"], many.join("\n"));
    let full = format!(
        "the disk of PostgreSQL at 127.0.0.1:{}/small is full; make room",
        server.port
    );
    place.home.run_with(&import, &many).fails(1, &[&full]);
    assert_eq!(running.ask("anna"), 200);
    fs::remove_file(ballast).unwrap();
    let answer = place.home.run_with(&import, &many).fine().out;
    assert!(answer.contains(" unchanged, 0 skipped"), "{answer}");
    let census = server.sql("small", "SELECT count(*) FROM daypass.connections");
    assert_eq!(census, "3001");
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_postgres_that_restarts_in_the_midst_of_a_commit_loses_none() {
    let mut server = Postgres::start(&[]);
    let place = Place::at(&server.url("postgres"));
    let mut running = Running::on(&place);
    rotated(&place, &running);
    // Whoever commits has to wait for this lock, and is cut off by the restart.
    let lock = "BEGIN; SELECT FROM daypass.connections FOR UPDATE; SELECT pg_sleep(600)";
    let mut locker = server.asked("postgres", lock).spawn().unwrap();
    server.wait_for(
        "postgres",
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE daypass%'",
    );
    server.restart();
    let _cut_off = locker.wait();
    let told = "daypass connects again by itself";
    documented(told);
    running.sidecar.logged(told);
    assert_nothing_was_lost(&place, running);
}

#[test]
fn a_postgres_that_is_gone_when_tokens_are_to_be_stored_loses_none() {
    let mut server = Postgres::start(&[]);
    let place = Place::at(&server.url("postgres"));
    let running = Running::on(&place);
    rotated(&place, &running);
    server.stop("KILL");
    running.until_told("cannot be reached; check that it runs");
    wait_until("the new tokens are in the spool", || place.spooled() == 1);
    assert_eq!(running.ask("anna"), 200, "with the new token");
    server.resume();
    assert_nothing_was_lost(&place, running);
}

/// The standby has everything but the commit that is under way.
#[test]
fn a_failover_of_postgres_in_the_midst_of_a_commit_loses_none() {
    let mut primary = Postgres::start(&[]);
    let standby = standby::of(&primary);
    let both = format!("127.0.0.1:{},127.0.0.1:{}", primary.port, standby.port);
    let url = primary.url("postgres");
    let place = Place::at(&url.replace(&format!("127.0.0.1:{}", primary.port), &both));
    let running = Running::on(&place);
    rotated(&place, &running);
    let lock = "BEGIN; SELECT FROM daypass.connections FOR UPDATE; SELECT pg_sleep(600)";
    let mut locker = primary.asked("postgres", lock).spawn().unwrap();
    primary.wait_for(
        "postgres",
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE daypass%'",
    );
    let sent = primary.sql("postgres", "SELECT pg_current_wal_lsn()");
    standby.wait_for(
        "postgres",
        &format!("SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{sent}'"),
    );
    primary.stop("KILL");
    let _cut_off = locker.wait();
    standby.sql("postgres", "SELECT pg_promote()");
    assert_nothing_was_lost(&place, running);
}

#[test]
fn a_failover_of_redis_in_the_midst_of_a_commit_loses_none() {
    let master = Redis::start(&["--appendonly", "yes"]);
    let port = master.port.to_string();
    let replica = Redis::start(&["--appendonly", "yes", "--replicaof", "127.0.0.1", &port]);
    eventually("the replica follows", || {
        cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
    });
    let sentinels: Vec<Redis> = (0..3).map(|_| Redis::sentinel(master.port, 2)).collect();
    for sentinel in &sentinels {
        eventually("the sentinels know each other and the replica", || {
            let said = cli(sentinel.port, &["INFO", "sentinel"]);
            said.contains("slaves=1,sentinels=3")
        });
    }
    let hosts: Vec<String> = sentinels
        .iter()
        .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
        .collect();
    let place = Place::at(&format!("redis-sentinel://{}/main", hosts.join(",")));
    let running = Running::on(&place);
    rotated(&place, &running);
    // What was written before has reached the replica: this is about what is written now.
    eventually("the replica has everything", || {
        let offset = |server: &Redis, name: &str| {
            let info = cli(server.port, &["INFO", "replication"]);
            let found = info
                .lines()
                .find_map(|line| line.strip_prefix(name).map(str::to_owned));
            found.unwrap_or_default().trim().to_owned()
        };
        offset(&master, "master_repl_offset:") == offset(&replica, "slave_repl_offset:")
    });
    master.signal("KILL");
    eventually("the replica is the master", || {
        cli(replica.port, &["ROLE"]).starts_with("master")
    });
    assert_nothing_was_lost(&place, running);
}

/// `MOVED` and `ASK` are what a client hears while slots move from node to node.
#[test]
fn slots_that_move_while_users_are_renewed_cost_nothing() {
    let nodes = cluster();
    let hosts: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let place = Place::at(&format!("redis-cluster://{}", hosts.join(",")));
    let running = Running::on(&place);
    running.take_all_calls();
    let users: Vec<String> = (0..12).map(|n| format!("user{n}")).collect();
    let lines: String = users.iter().map(|user| running.line(user, 3600)).collect();
    import(&place, &lines);
    let id = |node: &Redis| cli(node.port, &["CLUSTER", "MYID"]);
    let mut moving = Command::new("redis-cli")
        .args(["--cluster", "reshard", &hosts[0]])
        .args([
            "--cluster-from",
            &id(&nodes[0]),
            "--cluster-to",
            &id(&nodes[1]),
        ])
        .args(["--cluster-slots", "5461", "--cluster-yes"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut rounds = 0;
    while moving.try_wait().unwrap().is_none() || rounds < 2 {
        rounds += 1;
        for user in &users {
            assert_eq!(running.renew(user), json!(rounds + 1), "{user}");
        }
    }
    assert!(moving.wait().unwrap().success());
    let slots = cli(nodes[0].port, &["CLUSTER", "INFO"]);
    assert!(slots.contains("cluster_state:ok"), "{slots}");
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}
