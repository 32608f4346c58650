//! `demo` and `sandbox`: what a first-time user meets.

use std::{fs, net::TcpListener};

use crate::{
    binary::{Answer, Home},
    emulators::{get, get_for},
};

const FREE_PORTS: [&str; 11] = [
    "demo",
    "--listen",
    "127.0.0.1:0",
    "--ingress",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
    "--calcom-port",
    "0",
    "--calendly-port",
    "0",
];

/// What the demo left behind.
fn left(home: &Home) -> usize {
    fs::read_dir(home.path("")).unwrap().count()
}

#[test]
fn everything_happens_as_the_demo_tells() {
    let home = Home::new();
    let check = [&FREE_PORTS[..], &["--check"]].concat();
    let answer: Answer = home.run(&check).fine();
    assert_eq!(
        answer.out.matches("as told: ").count(),
        13,
        "{}",
        answer.out
    );
    assert_eq!(left(&home), 0);
}

#[test]
fn the_demo_serves_its_users_and_leaves_nothing_behind() {
    let home = Home::new();
    let demo = home.serve(&[&FREE_PORTS[..], &["--json"]].concat());
    let places = demo.printed_json();
    let outbound = places["outbound"].as_str().unwrap();
    let me = get_for(&format!("{outbound}/calcom/v2/me"), "bob");
    assert_eq!(me.status, 200);
    assert!(me.body.contains("bob"));
    let admin = places["admin"].as_str().unwrap();
    assert_eq!(get(&format!("{admin}/readyz")).status, 200);
    assert_eq!(left(&home), 1);
    assert_eq!(demo.stop(), Some(0));
    assert_eq!(left(&home), 0);
}

#[test]
fn the_demo_moves_to_free_ports_and_says_so() {
    let home = Home::new();
    // Another program may have it; all that matters is that it is taken.
    let _taken = TcpListener::bind("127.0.0.1:7430");
    let demo = home.serve(&["demo"]);
    let story = demo.printed("Stop with Ctrl-C");
    assert!(
        story.contains("7430") && story.contains("taken here"),
        "{story}"
    );
    assert!(!story.contains("http://127.0.0.1:7430"), "{story}");
    assert!(story.lines().count() <= 45, "one screen:\n{story}");
    assert_eq!(demo.stop(), Some(0));
    assert_eq!(left(&home), 0);
}

#[test]
fn a_port_that_was_asked_for_is_not_replaced() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut arguments = FREE_PORTS.map(str::to_owned);
    arguments[2] = address.to_string();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    home.run(&arguments)
        .fails(1, &["cannot have", "Address already in use"]);
    assert_eq!(left(&home), 0);
    let port = address.port().to_string();
    let sandbox = ["sandbox", "--calcom-port", &port, "--calendly-port", "0"];
    home.run(&sandbox)
        .fails(1, &["--calcom-port", "Address already in use"]);
}

#[test]
fn the_sandbox_starts_tells_what_it_can_do_and_stops() {
    let home = Home::new();
    let sandbox = ["sandbox", "--calcom-port", "0", "--calendly-port", "0"];
    let mut sandbox = home.serve(&sandbox);
    let welcome = sandbox.printed("Stop with Ctrl-C");
    let page = welcome
        .split_whitespace()
        .find(|word| word.ends_with("/_sandbox"))
        .unwrap();
    assert!(get(page).body.contains("/_sandbox/users"));
    sandbox.signal("INT");
    assert_eq!(sandbox.ended(), Some(0));
}
