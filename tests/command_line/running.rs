//! `run`: what it makes, what it refuses, and how it ends.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Stdio,
};

use crate::{
    binary::Home,
    emulators::{Emulators, get},
};

fn mode(home: &Home, name: &str) -> u32 {
    let metadata = fs::metadata(home.path(name)).unwrap();
    metadata.permissions().mode() & 0o777
}

#[test]
fn without_any_file_it_starts_on_sqlite_and_a_key_file_that_it_tells_of() {
    let home = Home::new();
    let (mut sidecar, outbound, _) = home.sidecar(&[]);
    assert!(sidecar.log.contains("made a key file"), "{}", sidecar.log);
    assert_eq!(mode(&home, "daypass.db"), 0o600);
    assert_eq!(mode(&home, "daypass.key"), 0o600);
    let answer = get(&format!("{outbound}/calendly/users/me"));
    assert_eq!(answer.json()["type"], "urn:daypass:problem:missing-user");
    sidecar.signal("TERM");
    assert_eq!(sidecar.ended(), Some(0));

    let key = fs::read(home.path("daypass.key")).unwrap();
    let (sidecar, ..) = home.sidecar(&[]);
    assert!(!sidecar.log.contains("made a key file"));
    assert_eq!(fs::read(home.path("daypass.key")).unwrap(), key);
    assert_eq!(sidecar.stop(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_told_with_its_listener_and_another_way() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (side, other) in [("outbound", "admin"), ("admin", "outbound")] {
        let set = format!("{side}.listen={address}");
        let free = format!("{other}.listen=127.0.0.1:0");
        // Whatever else runs on this machine may have the port that ingress has by default.
        let settings = [
            "--set",
            &set,
            "--set",
            &free,
            "--set",
            "ingress.listen=127.0.0.1:0",
        ];
        home.run(&[&["run"], &settings[..]].concat()).fails(
            1,
            &[
                &format!("the {side} listener cannot have {address}"),
                &format!("--set {side}.listen="),
                "Address already in use",
            ],
        );
    }
    assert!(!home.path("daypass.db").exists(), "nothing was touched");
}

#[test]
fn an_interrupt_ends_it_too() {
    let home = Home::new();
    let (mut sidecar, ..) = home.sidecar(&[]);
    sidecar.signal("INT");
    assert_eq!(sidecar.ended(), Some(0));
    assert!(sidecar.log.contains("drained"));
}

#[test]
fn a_drain_is_told_by_probes_and_a_second_signal_cuts_it_short() {
    let home = Home::new();
    let emulators = Emulators::start(&home);
    emulators.configure(&home);
    let dora = emulators.at_calendly("dora");
    let row = format!(
        "user,provider,access_token\nu_d,calendly,{}\n",
        dora["access_token"].as_str().unwrap()
    );
    home.run_with(&["connections", "import"], &row).fine();
    let (mut sidecar, outbound, admin) = home.sidecar(&[]);

    // An answer that takes far longer than a drain may.
    let url = format!("{outbound}/calendly/_sse?n=1000&interval_ms=1000");
    let (sender, begun) = std::sync::mpsc::channel();
    let caller = std::thread::spawn(move || {
        let host = url.strip_prefix("http://").unwrap();
        let (host, path) = host.split_once('/').unwrap();
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let head = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nX-User-Id: u_d\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        sender.send(first).unwrap();
        // Until it is cut.
        let _cut = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(&begun.recv().unwrap(), b"HTTP/1.1 200");

    sidecar.signal("TERM");
    sidecar.logged("draining");
    let ready = get(&format!("{admin}/readyz"));
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["status"], "draining");
    assert_eq!(get(&format!("{admin}/livez")).status, 200);
    let set = format!("admin.listen={}", admin.strip_prefix("http://").unwrap());
    let health = home.run(&["health", "--set", &set]).fails(1, &["503"]);
    let reason = "told to end; finishes what is under way, within 25 s";
    assert_eq!(
        health.out,
        format!("draining\n  process is draining: {reason}\n")
    );

    sidecar.signal("TERM");
    assert_eq!(sidecar.ended(), Some(1));
    assert!(sidecar.log.contains("second signal"), "{}", sidecar.log);
    caller.join().unwrap();
    assert_eq!(emulators.process.stop(), Some(0));
}

#[test]
fn it_goes_on_serving_when_nobody_reads_its_log_any_more() {
    let home = Home::new();
    let socket = home.path("outbound.sock");
    let listen = format!("outbound.listen=unix:{}", socket.display());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = home.command(&[
        "run",
        "--set",
        &listen,
        "--set",
        "ingress.listen=127.0.0.1:0",
        "--set",
        "admin.listen=127.0.0.1:0",
    ]);
    let mut child = command.stderr(Stdio::from(writer)).spawn().unwrap();
    for _ in 0..3 {
        let mut caller = loop {
            match UnixStream::connect(&socket) {
                Ok(caller) => break caller,
                Err(_) => assert!(child.try_wait().unwrap().is_none(), "it ended"),
            }
            std::thread::yield_now();
        };
        let head =
            "GET /calendly/users/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        caller.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let order = format!("kill -TERM {}", child.id());
    let told = std::process::Command::new("sh")
        .args(["-c", &order])
        .status();
    assert!(told.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
