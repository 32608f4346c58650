//! Under a service manager: what it is told, the sockets that it keeps, and restarts behind them.

use std::{
    fs,
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::Method;
use parking_lot::Mutex;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    manager::{Manager, handing_over},
    sidecar::{Answer, until},
    world::{World, client},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_when_it_serves_how_it_is_and_that_it_goes() {
    let world = World::open().await;
    world.expired_at_calendly("anna").await;
    world
        .sandbox
        .calendly()
        .set(|switches| switches.client_secret = "another".to_owned());
    let manager = Manager::listen(&world);
    let mut sidecar = world
        .sidecar_told(&[("NOTIFY_SOCKET", &manager.address)])
        .await;
    manager.until("READY=1").await;
    assert_eq!(
        manager.heard()[..2],
        ["STATUS=opening the store", "READY=1\nSTATUS=ready"]
    );
    let refused = sidecar.get("anna", "/calendly/users/me").await;
    refused.must_be_problem(503, "provider-misconfigured");
    let told = manager.until("STATUS=degraded").await;
    assert_eq!(
        told,
        "STATUS=degraded; providers: calendly refuses the client credentials"
    );
    sidecar.terminate();
    let told = manager.until("STOPPING=1").await;
    assert!(told.contains("\nEXTEND_TIMEOUT_USEC=30000000\n"), "{told}");
    assert!(told.contains("\nSTATUS=told to end; finishes"), "{told}");
    assert_eq!(sidecar.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_at_an_abstract_address_hears_too_and_one_that_is_gone_does_no_harm() {
    let world = World::open().await;
    let name = format!("@daypass-test-{}", std::process::id());
    // Nobody listens there.
    let mut sidecar = world.sidecar_told(&[("NOTIFY_SOCKET", &name)]).await;
    sidecar.admin("/readyz").await.must_be(200);
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    assert!(sidecar.log.text().contains("cannot be told anything"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_signs_of_life_as_often_as_is_asked_for_until_its_end() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let manager = Manager::listen(&world);
    let told = [
        ("NOTIFY_SOCKET", manager.address.as_str()),
        ("WATCHDOG_USEC", "200000"),
    ];
    let mut sidecar = world.sidecar_told(&told).await;
    until("signs of life", async || {
        (manager.times("WATCHDOG=1") >= 3).then_some(())
    })
    .await;
    // Frozen, it gives none.
    sidecar.signal("STOP");
    sleep(Duration::from_millis(100)).await;
    assert!(!manager.hears_within(Duration::from_millis(500)).await);
    sidecar.signal("CONT");
    // While it drains, it does.
    let path = "/calendly/_sse?n=8&interval_ms=150";
    let events = sidecar.request(Method::GET, "anna", path).send().await;
    sidecar.terminate();
    manager.until("STOPPING=1").await;
    let before = manager.times("WATCHDOG=1");
    let events = events.unwrap().text().await.unwrap();
    assert_eq!(events.matches("data:").count(), 8, "{events}");
    assert!(manager.times("WATCHDOG=1") >= before + 3);
    assert_eq!(sidecar.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_reload_it_reads_its_secrets_at_once() {
    let world = World::open().await;
    let file = world.path("admin-token");
    fs::write(&file, "first-token").unwrap();
    let world = world.with(&format!("admin.token_file={}", file.display()));
    let manager = Manager::listen(&world);
    let sidecar = world
        .sidecar_told(&[("NOTIFY_SOCKET", &manager.address)])
        .await;
    let shows = async |token: &str| {
        let call = world.http.get(format!("{}/v1/connections", sidecar.admin));
        Answer::read(call.bearer_auth(token)).await.status.as_u16()
    };
    assert_eq!(shows("first-token").await, 200);
    fs::write(&file, "second-token").unwrap();
    let began = Instant::now();
    sidecar.signal("HUP");
    let told = manager.until("RELOADING=1").await;
    let since = told.split_once("MONOTONIC_USEC=").unwrap().1;
    let since: u64 = since.lines().next().unwrap().parse().unwrap();
    assert!(since > 0, "{told}");
    until("it has read them", async || {
        (manager.times("READY=1\nSTATUS=ready") == 2).then_some(())
    })
    .await;
    let took = Instant::now().saturating_duration_since(began);
    assert_eq!(
        (shows("first-token").await, shows("second-token").await),
        (401, 200)
    );
    // By itself, it looks every five seconds.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_behind_a_socket_that_is_kept_it_drops_no_request() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/calendly/_echo", socket.local_addr().unwrap());
    let mut sidecar = world
        .sidecar_by(handing_over(&world, &socket, "outbound"))
        .await;
    assert!(url.starts_with(&sidecar.outbound), "{}", sidecar.outbound);
    let (over, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let failed = Arc::new(Mutex::new(Vec::new()));
    // Half of them connect anew each time, the others keep their connections.
    let callers: Vec<_> = [0, 0, 0, 8, 8, 8]
        .map(|kept| {
            let http = client().pool_max_idle_per_host(kept).build().unwrap();
            let (url, over) = (url.clone(), Arc::clone(&over));
            let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    // A body, so that no client tries again by itself.
                    let call = http.post(&url).header("x-user-id", "anna").body("x");
                    match call.send().await {
                        Ok(answer) if answer.status() == 200 => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failed.lock().push(format!("{other:?}")),
                    }
                }
            })
        })
        .into_iter()
        .collect();
    for _ in 0..4 {
        let before = answered.load(Ordering::Relaxed);
        until("requests are answered", async || {
            (answered.load(Ordering::Relaxed) > before + 50).then_some(())
        })
        .await;
        sidecar.terminate();
        assert_eq!(sidecar.ended().await, Some(0));
        sidecar = world
            .sidecar_by(handing_over(&world, &socket, "outbound"))
            .await;
    }
    over.store(true, Ordering::Relaxed);
    join_all(callers).await;
    assert_eq!(*failed.lock(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_came_just_before_the_end_is_served() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar().await;
    let address = sidecar.outbound.strip_prefix("http://").unwrap().to_owned();
    let mut early = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut kept = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request =
        format!("GET /calendly/users/me HTTP/1.1\r\nHost: {address}\r\nX-User-Id: anna\r\n\r\n");
    kept.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 15];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    sidecar.terminate();
    until("it drains", async || sidecar.log.line("draining")).await;
    early.write_all(request.as_bytes()).await.unwrap();
    kept.write_all(request.as_bytes()).await.unwrap();
    let (mut of_early, mut of_kept) = (String::new(), String::new());
    early.read_to_string(&mut of_early).await.unwrap();
    kept.read_to_string(&mut of_kept).await.unwrap();
    for answer in [
        &of_early,
        &of_kept[of_kept.find("HTTP/1.1").unwrap()..].to_owned(),
    ] {
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    assert_eq!(sidecar.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_lingers_each_answer_ends_its_connection() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let mut sidecar = world.sidecar_that(&["--linger", "1h"]).await;
    let before = sidecar.get("anna", "/calendly/users/me").await;
    assert_eq!(before.must_be(200).header("connection"), "");
    sidecar.terminate();
    until("it lingers", async || {
        sidecar.log.line("told to end; serving on for a while")
    })
    .await;
    until("connections are ended", async || {
        let after = sidecar.get("anna", "/calendly/users/me").await;
        (after.must_be(200).header("connection") == "close").then_some(())
    })
    .await;
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_no_listeners_is_refused_with_what_to_do() {
    let world = World::open().await.with("outbound.listen=127.0.0.1:7420");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for (name, told) in [
        (
            "outbound",
            "outbound.listen says 127.0.0.1:7420: make the two the same",
        ),
        (
            "daypass.socket",
            "where no listener is configured: set outbound.listen",
        ),
    ] {
        let mut command = handing_over(&world, &socket, name);
        let ended = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = ended.output().await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{said}");
        assert!(
            said.contains(&socket.local_addr().unwrap().to_string()),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemds_own_activation_hands_over_all_three_listeners() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    // Nobody else has addresses there.
    let host = format!("127.83.{}.1", std::process::id() % 250);
    let sides = [("outbound", 7420), ("ingress", 7421), ("admin", 7422)];
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--fdname=outbound:daypass.socket:admin");
    let mut settings = Vec::new();
    for (side, port) in sides {
        command.arg(format!("--listen={host}:{port}"));
        settings.push(format!("--set={side}.listen={host}:{port}"));
    }
    command
        .args([env!("CARGO_BIN_EXE_daypass"), "run"])
        .args(world.arguments())
        .args(settings);
    // It begins what it starts when somebody connects.
    let ready = format!("http://{host}:7422/readyz");
    let first = until("somebody listens", async || {
        world.http.get(&ready).send().await.ok()
    });
    let (mut sidecar, first) = tokio::join!(world.sidecar_by(command), first);
    assert_eq!(first.status(), 200);
    assert_eq!(sidecar.ingress, format!("http://{host}:7421"));
    let handed = sidecar.log.lines();
    let handed = handed
        .iter()
        .filter(|line| line["message"] == "socket handed over");
    assert_eq!(handed.count(), 3);
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
}
