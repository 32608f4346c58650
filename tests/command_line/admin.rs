//! Probes and metrics through the real binary, and `health`.

use rusqlite::Connection;

use crate::{
    binary::Home,
    emulators::{get, get_for},
};

#[test]
fn metrics_are_those_of_the_documentation_and_name_no_user() {
    let home = Home::new();
    let (sidecar, outbound, admin) =
        home.sidecar(&["--set", "telemetry.otlp_endpoint=http://127.0.0.1:1"]);
    get_for(&format!("{outbound}/calendly/users/me"), "user-in-question");
    let answer = get(&format!("{admin}/metrics"));
    assert_eq!(
        answer.content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(answer.body.ends_with("# EOF\n") && !answer.body.contains("user-in-question"));
    let documented = include_str!("../../docs/metrics.md");
    let names = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(name, _)| name.starts_with("daypass_") && !name.contains(['{', ' ', '(']))
        .map(|(name, _)| name.trim_end_matches("_total"));
    let mut count = 0;
    for name in names {
        let described = format!("# TYPE {} ", name.trim_end_matches("_info"));
        assert!(answer.body.contains(&described), "{name} is not there");
        count += 1;
    }
    assert!(count > 8);
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn a_store_that_is_locked_degrades_and_recovers() {
    let home = Home::new();
    let (sidecar, _, admin) = home.sidecar(&[]);
    let readyz = format!("{admin}/readyz");
    assert_eq!(get(&readyz).json()["status"], "ready");
    let thief = Connection::open(home.path("daypass.db")).unwrap();
    thief.execute_batch("BEGIN IMMEDIATE").unwrap();
    let degraded = until(&readyz, "degraded");
    let store = &degraded["components"]["store"];
    assert!(!store["reason"].as_str().unwrap().is_empty(), "{degraded}");
    let set = format!("admin.listen={}", admin.strip_prefix("http://").unwrap());
    let health = home.run(&["health", "--set", &set]).fine();
    assert!(
        health.out.starts_with("degraded\n  store is degraded: "),
        "{health:?}"
    );
    thief.execute_batch("ROLLBACK").unwrap();
    until(&readyz, "ready");
    assert_eq!(sidecar.stop(), Some(0));
}

/// Asks until the whole is `status`; the status stays 200 all the while.
fn until(readyz: &str, status: &str) -> serde_json::Value {
    loop {
        let answer = get(readyz);
        assert_eq!(answer.status, 200);
        let report = answer.json();
        if report["status"] == status {
            return report;
        }
        std::thread::yield_now();
    }
}

#[test]
fn health_tells_by_its_exit_code() {
    let home = Home::new();
    let (sidecar, _, admin) = home.sidecar(&[]);
    let set = format!("admin.listen={}", admin.strip_prefix("http://").unwrap());
    assert_eq!(home.run(&["health", "--set", &set]).fine().out, "ready\n");
    let live = home.run(&["health", "--live", "--set", &set]).fine();
    assert_eq!(live.out, "alive\n");
    let json = home.run(&["health", "--live", "--json", "--set", &set]);
    assert_eq!(json.fine().json()["status"], "alive");
    let json = home.run(&["health", "--json", "--set", &set]).fine().json();
    assert_eq!(json["components"]["store"]["status"], "ready");
    assert_eq!(sidecar.stop(), Some(0));
    home.run(&["health", "--set", &set])
        .fails(1, &["no answer from the sidecar at 127.0.0.1", "refused"]);
    let down = home.run(&["health", "--json", "--set", &set]).fails(1, &[]);
    assert!(down.error()["error"].is_string());
}

#[test]
fn health_finds_a_unix_socket() {
    let home = Home::new();
    let listen = format!("admin.listen=unix:{}", home.path("admin.sock").display());
    let set = ["--set", &listen];
    let mut sidecar = home.serve(&[
        "run",
        "--set",
        "outbound.listen=127.0.0.1:0",
        set[0],
        set[1],
    ]);
    sidecar.logged("ready");
    assert_eq!(home.run(&["health", set[0], set[1]]).fine().out, "ready\n");
    assert_eq!(sidecar.stop(), Some(0));
    assert!(!home.path("admin.sock").exists(), "it is tidied away");
}

#[test]
fn health_waits_for_a_sidecar_that_is_not_up_yet() {
    let home = Home::new();
    let listen = format!("admin.listen=unix:{}", home.path("admin.sock").display());
    let set = ["--set", &listen];
    let waits = ["health", "--live", "--wait", "1m", set[0], set[1]];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.run(&waits).fine().out);
        let any = "outbound.listen=127.0.0.1:0";
        let mut sidecar = home.serve(&["run", "--set", any, set[0], set[1]]);
        assert_eq!(waiting.join().unwrap(), "alive\n");
        sidecar.has_logged("ready");
        assert_eq!(sidecar.stop(), Some(0));
    });
    let in_vain = ["health", "--wait", "150ms", set[0], set[1]];
    home.run(&in_vain).fails(1, &["no answer from the sidecar"]);
    home.run(&["health", "--wait", "soon"])
        .fails(2, &["write a duration such as"]);
}
