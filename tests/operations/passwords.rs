//! A password that is rotated while sidecars run: the file with the URL changes, and the next connection
//! is made with the new one.

use crate::{
    load::Load,
    places::Place,
    postgres_server::Server as Postgres,
    redis_servers::{Server as Redis, cli, cluster},
    running::{Running, wait_until},
};

/// Ends every connection of a sidecar; how many there were.
pub(crate) fn cut(server: &Postgres) -> String {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = 'daypass'";
    server.sql("postgres", cut)
}

#[test]
fn a_new_password_of_postgres_is_used_without_a_restart() {
    let server = Postgres::start_as("scram-sha-256", &[]);
    let url = server.url("postgres");
    let place = Place::at(&url);
    let mut running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    server.sql("postgres", "ALTER ROLE daypass PASSWORD 'rotated'");
    place.name_store(&url.replace(":secret@", ":rotated@"));
    running
        .sidecar
        .logged("secret changed; the new one is in use");
    // Connections that were made with the old one go on; these are cut, so that new ones are needed.
    assert_ne!(cut(&server), "0");
    running.until_ready();
    assert_eq!(running.connect_and_ask(&place, "ben"), 200);
    assert!(!running.sidecar.log.contains("rotated"));
    assert_eq!(running.stop(), Some(0));
}

/// Until the file has it too, only what is in memory is served; nothing has to be restarted then.
#[test]
fn a_password_that_changed_before_its_file_is_an_outage_that_ends_with_it() {
    let server = Postgres::start_as("scram-sha-256", &[]);
    let url = server.url("postgres");
    let place = Place::at(&url);
    let running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    server.sql("postgres", "ALTER ROLE daypass PASSWORD 'rotated'");
    wait_until("the store refuses it", || {
        // One that was just signing in is not among those that are cut.
        cut(&server);
        running
            .readiness()
            .to_string()
            .contains("refuses the user or the password")
    });
    assert_eq!(running.ask("anna"), 200, "from memory");
    place.name_store(&url.replace(":secret@", ":rotated@"));
    running.until_ready();
    assert_eq!(running.connect_and_ask(&place, "ben"), 200);
    assert_eq!(running.stop(), Some(0));
}

const USER: [&str; 7] = ["ACL", "SETUSER", "app", "on", "~*", "&*", "+@all"];

fn with_user(server: &Redis) {
    let words = [&USER[..], &[">first"]].concat();
    assert_eq!(cli(server.port, &words), "OK");
}

#[test]
fn a_new_password_of_redis_is_used_without_a_restart() {
    let server = Redis::start(&["--appendonly", "yes"]);
    with_user(&server);
    rotate(std::slice::from_ref(&server), "redis");
}

#[test]
fn a_new_password_of_a_cluster_is_used_without_a_restart() {
    let nodes = cluster();
    nodes.iter().for_each(with_user);
    rotate(&nodes, "redis-cluster");
}

/// As an operator rotates it: the new password is added, the file changed, the old one taken away.
fn rotate(nodes: &[Redis], scheme: &str) {
    let hosts: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let url = |password: &str| format!("{scheme}://app:{password}@{}", hosts.join(","));
    let place = Place::at(&url("first"));
    let mut running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    let on_each = |words: &[&str]| {
        for node in nodes {
            cli(node.port, words);
        }
    };
    on_each(&["ACL", "SETUSER", "app", ">second"]);
    place.name_store(&url("second"));
    running
        .sidecar
        .logged("secret changed; the new one is in use");
    // Asked once more, it signs in anew, while the old password would still do.
    assert_eq!(running.connect_and_ask(&place, "ben"), 200);
    on_each(&["ACL", "SETUSER", "app", "<first"]);
    on_each(&["CLIENT", "KILL", "USER", "app"]);
    running.until_ready();
    assert_eq!(running.connect_and_ask(&place, "carl"), 200);
    assert_eq!(running.stop(), Some(0));
}

/// The old connection goes on while the new password is refused, for the file may be ahead of the server.
#[test]
fn a_new_password_that_redis_does_not_know_yet_costs_nothing() {
    let server = Redis::start(&["--appendonly", "yes"]);
    with_user(&server);
    let url = |password: &str| format!("redis://app:{password}@127.0.0.1:{}", server.port);
    let place = Place::at(&url("first"));
    let mut running = Running::on(&place);
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    place.name_store(&url("second"));
    running
        .sidecar
        .logged("secret changed; the new one is in use");
    running
        .sidecar
        .logged("made with the new user, password or authorities; the old one stays in use");
    assert_eq!(running.readiness()["status"], "ready");
    cli(server.port, &["ACL", "SETUSER", "app", ">second", "<first"]);
    cli(server.port, &["CLIENT", "KILL", "USER", "app"]);
    running.until_ready();
    assert_eq!(running.connect_and_ask(&place, "ben"), 200);
    assert_eq!(running.stop(), Some(0));
}

/// An app asks and renews meanwhile, and nothing fails: what is open goes on. `change` makes the new password
/// the only good one; once `cut` has ended all that is open, everything is done with it.
fn rotates_under_load(place: &Place, url: &str, change: impl Fn(), cut: impl Fn()) {
    let mut running = Running::on(place);
    running.take_all_calls();
    let users: Vec<String> = (0..4).map(|n| format!("user{n}")).collect();
    let lines: String = users.iter().map(|user| running.line(user, 3600)).collect();
    let import = ["connections", "import"];
    place.home.run_with(&import, &lines).fine();
    let load = Load::start(&running.outbound, &users);
    load.goes_on();
    change();
    place.name_store(url);
    running
        .sidecar
        .logged("secret changed; the new one is in use");
    load.goes_on();
    load.stop();
    cut();
    running.until_ready();
    assert_eq!(running.connect_and_ask(place, "anna"), 200);
    running.assert_each_token_was_sent_once();
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_password_of_postgres_is_rotated_under_load_without_a_failure() {
    let server = Postgres::start_as("scram-sha-256", &[]);
    let url = server.url("postgres");
    rotates_under_load(
        &Place::at(&url),
        &url.replace(":secret@", ":rotated@"),
        || {
            server.sql("postgres", "ALTER ROLE daypass PASSWORD 'rotated'");
        },
        || {
            cut(&server);
        },
    );
}

#[test]
fn a_password_of_redis_is_rotated_under_load_without_a_failure() {
    let server = Redis::start(&["--appendonly", "yes"]);
    with_user(&server);
    let url = |password: &str| format!("redis://app:{password}@127.0.0.1:{}", server.port);
    rotates_under_load(
        &Place::at(&url("first")),
        &url("second"),
        || {
            cli(server.port, &["ACL", "SETUSER", "app", ">second", "<first"]);
        },
        || {
            cli(server.port, &["CLIENT", "KILL", "USER", "app"]);
        },
    );
}

#[test]
fn another_store_in_the_file_is_not_moved_to_in_passing() {
    let place = crate::places::redis();
    let mut running = Running::on(&place);
    place.name_store(&crate::places::postgres_url());
    let told = running.sidecar.logged("secret file not usable");
    assert!(
        told.contains("names another store than at the start; restart daypass"),
        "{told}"
    );
    assert_eq!(running.readiness()["status"], "ready");
    assert_eq!(running.stop(), Some(0));
}
