//! Bad input at the intake, a store that is full, clocks that differ.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{Clock as _, ManualClock},
        ids::OwnerId,
        lifecycle::Lifecycle,
        random::OsRandom,
    },
    store::{
        DeliveryStatus, Everything, Settled,
        redis::{Address, Parts as RedisParts, Redis, Time},
        sqlite::Options,
    },
    webhook::Verdict,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ingress::{
        ALICE, CALCOM_KEY, CALENDLY_KEY, Ingress, calendly_signature, hmac, invitee, pending,
    },
    servers::{Server, cli},
    world::START,
};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_is_replayed_is_dropped_while_it_could_pass_and_refused_afterwards() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    let signature = calendly_signature(CALENDLY_KEY, START, body.as_bytes());
    let headers = [("calendly-webhook-signature", signature.as_str())];
    let mut answers = Vec::new();
    for _ in 0..4 {
        let (status, answer) = ingress.post("calendly", &headers, body.as_bytes()).await;
        let told = if status == 200 {
            &answer["status"]
        } else {
            &answer["detail"]
        };
        answers.push((status, told.as_str().unwrap_or_default().to_owned()));
        ingress.clock.advance(MINUTE + Duration::from_secs(20));
    }
    assert_eq!(answers[0], (200, "accepted".to_owned()));
    assert_eq!(answers[1], (200, "known".to_owned()));
    assert_eq!(answers[2], (200, "known".to_owned()));
    assert_eq!(answers[3].0, 401);
    assert!(answers[3].1.contains("s ago"), "{answers:?}");
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
}

/// One raw request; the status of its answer. The body may be longer than what is sent of it.
async fn raw(ingress: &Ingress, head: &str, body: &[u8]) -> u16 {
    let address = ingress.url.strip_prefix("http://").unwrap();
    let address = address.split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("POST /webhooks/calendly HTTP/1.1\r\nhost: {address}\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // Whoever refuses need not read it all.
    let _refused = stream.write_all(body).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    let text = std::str::from_utf8(&answer).unwrap();
    text.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap()
}

#[tokio::test]
async fn ten_megabytes_are_refused_before_they_have_come_however_they_are_framed() {
    let ingress = Ingress::start().await;
    let part = vec![b' '; (1 << 20) + 1];
    let length = format!("content-length: {}\r\n", 10 << 20);
    assert_eq!(raw(&ingress, &length, &part).await, 413);
    let mut chunk = format!("{:x}\r\n", 10 << 20).into_bytes();
    chunk.extend_from_slice(&part);
    let chunked = "transfer-encoding: chunked\r\n";
    assert_eq!(raw(&ingress, chunked, &chunk).await, 413);
    assert_eq!(ingress.deliveries().await, []);
}

#[tokio::test]
async fn json_of_any_shape_is_kept_and_is_nobodys() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    ingress.connect("calcom", "bob", Some("7")).await;
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let shapes = [
        "[]",
        "null",
        "3.5",
        "\"event\"",
        "{}",
        r#"{"event":7,"payload":[],"created_at":{}}"#,
        r#"{"event":"invitee.created","payload":{"scheduled_event":{"event_memberships":7}}}"#,
        r#"{"triggerEvent":["BOOKING_CREATED"],"payload":{"organizer":{"id":"x"}}}"#,
        r#"{"triggerEvent":"BOOKING_CREATED","payload":{"organizer":null,"startTime":1e99}}"#,
        deep.as_str(),
    ];
    for shape in shapes {
        let body = shape.as_bytes();
        assert_eq!(ingress.calendly_at(START, body).await.0, 202, "{shape}");
        assert_eq!(ingress.calcom(body).await, 202, "{shape}");
    }
    assert_eq!(ingress.users().await, [""; 0]);
    // No JSON that anybody reads is so deep.
    let deeper = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(ingress.calcom(deeper.as_bytes()).await, 400);
    for broken in ["", "{", "{\"event\":}", "\u{feff}{}", "{}{}"] {
        assert_eq!(ingress.calcom(broken.as_bytes()).await, 400, "{broken:?}");
    }
}

#[tokio::test]
async fn headers_that_come_twice_decide_nothing_and_those_of_the_app_are_not_passed_on() {
    let ingress = Ingress::start().await;
    ingress.connect("calcom", "alice", Some("7")).await;
    let body =
        json!({ "triggerEvent": "BOOKING_CREATED", "payload": { "organizer": { "id": 7 } } });
    let body = body.to_string();
    let good = hex::encode(hmac(CALCOM_KEY, &[body.as_bytes()]));
    let post = async |more: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in more {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let request = ingress.http.post(format!("{}/calcom", ingress.url));
        let answer = request.headers(headers).body(body.clone()).send().await;
        answer.unwrap().status().as_u16()
    };
    let signature = "x-cal-signature-256";
    assert_eq!(post(&[(signature, &good), (signature, &good)]).await, 401);
    assert_eq!(post(&[(signature, &good), (signature, "00")]).await, 401);
    assert_eq!(post(&[(signature, "00"), (signature, &good)]).await, 401);
    assert_eq!(ingress.deliveries().await, []);
    let forged = [
        (signature, good.as_str()),
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
        ("x-user-id", "mallory"),
        ("x-user-id", "eve"),
        ("daypass-event", "connection.connected"),
        ("webhook-id", "evt_1"),
    ];
    assert_eq!(post(&forged).await, 200);
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
    let all = ingress.all().await;
    assert_eq!(all[0].name, "BOOKING_CREATED");
}

/// An event that takes some room.
fn large(number: u32) -> String {
    let mut event = invitee(number, ALICE, &[ALICE]);
    event["payload"]["text"] = json!("x".repeat(20_000));
    event.to_string()
}

/// Sends events until one is refused; its number.
async fn fill(ingress: &Ingress) -> u32 {
    for number in 1..1000 {
        let body = large(number);
        let (status, problem) = ingress.calendly_at(START, body.as_bytes()).await;
        if status == 200 {
            continue;
        }
        assert_eq!(status, 503, "{problem}");
        assert_eq!(problem["type"], "urn:daypass:problem:store-unavailable");
        let last = ingress.witness.verdicts.lock().last().copied();
        assert_eq!(last, Some(Verdict::Failed));
        return number;
    }
    panic!("it never fills");
}

async fn deliver_one(ingress: &Ingress) {
    let me = OwnerId::random(&OsRandom);
    let claimed = ingress.store.claim_lines(me, MINUTE, 1).await.unwrap();
    let first = claimed[0].delivery.id;
    let settled = ingress.store.settle(first, me, Settled::Delivered).await;
    assert!(settled.unwrap());
}

/// Fills the store, mends it, and sees what was refused come in.
async fn fills_and_is_mended(ingress: &Ingress, mend: impl AsyncFnOnce()) {
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let refused = fill(ingress).await;
    let kept = u32::try_from(ingress.users().await.len()).unwrap();
    assert_eq!(
        kept,
        refused - 1,
        "what was acknowledged is there, and nothing else"
    );
    // What is there is delivered all the same.
    deliver_one(ingress).await;
    mend().await;
    let left = ingress.users().await.len();
    let body = large(refused);
    assert_eq!(ingress.calendly_at(START, body.as_bytes()).await.0, 200);
    assert_eq!(ingress.users().await.len(), left + 1);
    let again = ingress.calendly_at(START, body.as_bytes()).await;
    assert_eq!(again.1["status"], "known", "and it came in once");
}

#[tokio::test]
async fn a_full_disk_is_503_loses_nothing_and_ends_when_there_is_room() {
    let mut options = Options::default();
    options.max_pages = Some(160);
    let ingress = Ingress::start_with(options, true).await;
    // What is over is forgotten; its place is taken by what comes.
    let room = async || {
        for _ in 0..3 {
            deliver_one(&ingress).await;
        }
        let end = START.saturating_add(MINUTE);
        assert!(ingress.store.prune(end, START, 100).await.unwrap() >= 3);
    };
    fills_and_is_mended(&ingress, room).await;
    assert!(
        ingress
            .all()
            .await
            .iter()
            .all(|found| found.status == DeliveryStatus::Pending)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_is_503_loses_nothing_and_ends_when_there_is_more() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let used = cli(server.port, &["INFO", "memory"]);
    let used = used
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.unwrap().trim().parse().unwrap();
    let most = (used + (3 << 20)).to_string();
    let clock = ManualClock::new(START);
    let store = Redis::open(
        Address::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap(),
        RedisParts {
            trust: None,
            time: Time::Clock(Arc::new(clock.clone())),
            random: Arc::new(OsRandom),
            lifecycle: Lifecycle::new(),
        },
    );
    let store: Arc<dyn Everything> = Arc::new(store.await.unwrap());
    cli(server.port, &["CONFIG", "SET", "maxmemory", &most]);
    let ingress = Ingress::over(store, clock, tempfile::tempdir().unwrap(), true).await;
    let port = server.port;
    fills_and_is_mended(&ingress, async || {
        cli(port, &["CONFIG", "SET", "maxmemory", "0"]);
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_whose_clock_is_wrong_refuses_aloud_and_takes_the_events_when_it_is_set() {
    let ingress = Ingress::start().await;
    ingress.connect("calendly", "alice", Some(ALICE)).await;
    let body = invitee(1, ALICE, &[ALICE]).to_string();
    // The provider is right; this machine is ten minutes behind, or ahead.
    for (skew, word) in [("behind", "ahead of our clock"), ("ahead", "s ago")] {
        let ten = Duration::from_mins(10);
        let now = ingress.clock.now();
        let right = match skew {
            "behind" => now.saturating_add(ten),
            _ => now.saturating_sub(ten),
        };
        let (status, problem) = ingress.calendly_at(right, body.as_bytes()).await;
        assert_eq!(status, 401);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{skew}: {detail}");
    }
    assert_eq!(ingress.deliveries().await, []);
    // Set right, the provider's next try is taken.
    ingress.clock.advance(Duration::from_mins(10));
    let next = ingress.clock.now();
    assert_eq!(ingress.calendly_at(next, body.as_bytes()).await.0, 200);
    assert_eq!(ingress.deliveries().await, [pending("alice")]);
}
