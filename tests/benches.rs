//! The benches that compare measure what they say: the loader does not leave out what a stall costs, and the
//! comparison of proxies counts right and refuses who does not do the work.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that meets the unexpected must fail loudly; the loader runs on the real clock, and \
              its servers on threads of their own"
)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::load::{Plan, Took, percentile};

#[path = "../benches/peers/load.rs"]
mod load;

/// How long the server does nothing, once.
const STALL: Duration = Duration::from_millis(300);

/// A server that answers at once, but stalls once, `after` it was asked for the first time.
fn stalling(after: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let at_work = Arc::new(Mutex::new(()));
    thread::spawn(move || {
        let stalled = Arc::clone(&at_work);
        for (number, stream) in listener.incoming().enumerate() {
            let at_work = Arc::clone(&at_work);
            thread::spawn(move || answer(&stream.unwrap(), &at_work));
            if number == 0 {
                let stalled = Arc::clone(&stalled);
                thread::spawn(move || {
                    thread::sleep(after);
                    let _held = stalled.lock().unwrap();
                    thread::sleep(STALL);
                });
            }
        }
    });
    address
}

/// Answers every head, unless others are kept from working.
fn answer(stream: &TcpStream, at_work: &Mutex<()>) {
    stream.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            let _turn = at_work.lock().unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if (&*stream).write_all(answer).is_err() {
                return;
            }
        }
    }
}

fn plan(target: SocketAddr) -> Plan {
    Plan {
        target,
        request: b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
        rate: 400.0,
        connections: 8,
        warm_up: 40,
        requests: 400,
    }
}

fn ninetieth(all: &[Took], of: impl Fn(&Took) -> Duration) -> Duration {
    let mut sorted: Vec<_> = all.iter().map(of).collect();
    sorted.sort_unstable();
    percentile(&sorted, 90.0)
}

#[test]
fn a_stall_is_in_the_latency_of_every_request_that_was_due_meanwhile() {
    let all = plan(stalling(Duration::from_millis(400))).run().unwrap();
    assert_eq!(all.len(), 400);
    // 120 of 400 were due while nothing was answered: evenly spread, the 90th percentile waited for 200 ms.
    let since_due = ninetieth(&all, |took| took.since_due);
    assert!(since_due > STALL / 3, "{since_due:?}");
    // What a tool reports that sends when it may: eight slow requests of 400.
    let since_sent = ninetieth(&all, |took| took.since_sent);
    assert!(since_sent < STALL / 6, "{since_sent:?}");
}

#[test]
fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() {
    let values: Vec<_> = (1..=200).map(Duration::from_millis).collect();
    for (percent, millis) in [
        (0.0, 1),
        (1.0, 2),
        (50.0, 100),
        (99.0, 198),
        (99.9, 200),
        (100.0, 200),
    ] {
        assert_eq!(percentile(&values, percent), Duration::from_millis(millis));
    }
}

#[test]
fn an_answer_that_is_not_200_ends_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            stream.unwrap().write_all(refusal).unwrap();
        }
    });
    let failed = plan(target).run().unwrap_err();
    assert!(failed.to_string().contains("503"), "{failed}");
}

/// Runs the Python tests in `folder`.
fn passes(folder: &str) {
    let ran = Command::new("python3")
        .args(["-B", "-m", "unittest", "--quiet"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("Ran "), "{said}");
    assert!(!said.contains("Ran 0"), "{said}");
}

#[test]
fn the_comparison_counts_right_and_refuses_who_does_not_do_the_work() {
    passes("benches/peers");
}

#[test]
fn the_gate_reads_profiles_right_and_refuses_what_grew() {
    passes("benches");
}
