//! Sends genuine webhooks to a sidecar at a constant rate, and is the app that they are delivered to.
//! Driven by `benches/webhooks.py`: a plan a line on standard input, what was measured a line on standard
//! output.
//!
//! 1. The rate does not yield: each event has a time at which it is to be sent, and what it took is counted
//!    from then, whether or not a connection was free (no coordinated omission).
//! 2. Sender and app are one process with one clock, so that the way from one to the other can be measured.
//! 3. The app looks at nothing but which event it is, and answers at once; on some of its addresses later.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot be set up has nothing to measure, and says what it has measured"
)]

use std::{
    collections::BTreeMap, io::BufRead as _, net::SocketAddr, sync::Arc, thread, time::Duration,
};

use daypass::base::clock::{Clock as _, SystemClock};
use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};

/// Where the number of an event stands in its body.
const NUMBERED: &[u8] = b"/scheduled_events/E";

/// What to send.
#[derive(Clone, Debug, Deserialize)]
struct Plan {
    ingress: SocketAddr,
    path: String,
    key: String,
    /// Events a second.
    rate: f64,
    seconds: f64,
    connections: usize,
    /// For so many users, in turn.
    users: u64,
    /// How long to wait for what is under way; without an app, zero.
    patience: f64,
    /// Addresses of the app that answer late, and by how many milliseconds.
    #[serde(default)]
    late: BTreeMap<String, u64>,
}

/// What the app got.
#[derive(Debug, Default)]
struct Inbox {
    late: BTreeMap<String, u64>,
    /// The event, when it came, and at which address.
    came: Vec<(u64, Instant, String)>,
}

/// What became of an event that was sent.
struct Sent {
    took: Duration,
    status: u16,
}

type Shared = Arc<Mutex<Inbox>>;

/// An event as Calendly signs it.
fn event(number: u64, user: u64, key: &str) -> (String, String) {
    let filler = "x".repeat(64);
    let answers: Vec<Value> = (0..4)
        .map(|position| json!({ "question": filler, "answer": filler, "position": position }))
        .collect();
    let meeting = format!("https://api.calendly.com/scheduled_events/E{number}");
    let account = format!("https://api.calendly.com/users/U{user}");
    let body = json!({
        "created_at": SystemClock.now(),
        "created_by": account,
        "event": "invitee.created",
        "payload": {
            "uri": format!("{meeting}/invitees/I{number}"),
            "cancel_url": format!("https://calendly.com/cancellations/{number}"),
            "reschedule_url": format!("https://calendly.com/reschedulings/{number}"),
            "email": "ada@example.com", "name": "Ada Lovelace", "status": "active",
            "timezone": "Europe/London", "rescheduled": false, "tracking": { "utm_source": null },
            "questions_and_answers": answers,
            "scheduled_event": {
                "uri": meeting, "name": "Half an hour", "status": "active",
                "start_time": "2030-01-01T10:00:00.000000Z", "end_time": "2030-01-01T10:30:00.000000Z",
                "event_memberships": [{ "user": account, "user_email": "host@example.com" }],
                "location": { "type": "custom", "location": "somewhere" },
            },
        },
    })
    .to_string();
    let time = SystemClock.now().as_secs();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    (format!("t={time},v1={signature}"), body)
}

/// A connection on which requests follow each other.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::on(stream)
    }

    fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let read = Vec::with_capacity(8192);
        Self { stream, read }
    }

    /// The next message, head and body; `None` if the other side has closed.
    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = whole(&self.read) {
                let rest = self.read.split_off(length);
                return Some(std::mem::replace(&mut self.read, rest));
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn post(&mut self, plan: &Plan, signature: &str, body: &str) -> Option<u16> {
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             calendly-webhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
            plan.path,
            plan.ingress,
            body.len(),
        );
        self.stream.write_all(request.as_bytes()).await.ok()?;
        let answer = self.message().await?;
        std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
    }
}

/// How long the message at the beginning of `read` is, if all of it is there.
fn whole(read: &[u8]) -> Option<usize> {
    let head = find(read, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(read.get(..head)?).ok()?;
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let length = head + body.unwrap_or(0);
    (read.len() >= length).then_some(length)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Which event a delivery is.
fn number(message: &[u8]) -> Option<u64> {
    let digits = message.get(find(message, NUMBERED)? + NUMBERED.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// The app, until the end of the program.
async fn app(listener: TcpListener, inbox: Shared) {
    let mut calls = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        calls.spawn(serve(stream, Arc::clone(&inbox)));
        while calls.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, inbox: Shared) {
    let place = stream.local_addr().unwrap().ip().to_string();
    let mut wire = Wire::on(stream);
    while let Some(message) = wire.message().await {
        let late = {
            let mut inbox = inbox.lock();
            if let Some(number) = number(&message) {
                inbox.came.push((number, Instant::now(), place.clone()));
            }
            inbox.late.get(&place).copied()
        };
        if let Some(late) = late {
            sleep(Duration::from_millis(late)).await;
        }
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        if wire.stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Sends what `plan` says, in numbers from `first` on; what became of each.
async fn send(plan: &Plan, first: u64, begun: Instant) -> Vec<Sent> {
    let count = count(plan);
    let (pace, paced) = mpsc::unbounded_channel();
    let (rate, paced) = (plan.rate, Arc::new(tokio::sync::Mutex::new(paced)));
    // The runtime's own timer is no finer than a millisecond.
    thread::spawn(move || {
        for nth in 0..count {
            let intended = begun + after(nth, rate);
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            if pace.send((nth, intended)).is_err() {
                return;
            }
        }
    });
    let mut senders = JoinSet::new();
    for _ in 0..plan.connections {
        let (plan, paced) = (plan.clone(), Arc::clone(&paced));
        senders.spawn(async move {
            let (mut wire, mut sent) = (Wire::to(plan.ingress).await, Vec::new());
            loop {
                let next = paced.lock().await.recv().await;
                let Some((nth, intended)) = next else {
                    return sent;
                };
                let (signature, body) = event(first + nth, nth % plan.users, &plan.key);
                let status = wire.post(&plan, &signature, &body).await;
                if status.is_none() {
                    wire = Wire::to(plan.ingress).await;
                }
                sent.push(Sent {
                    took: Instant::now() - intended,
                    status: status.unwrap_or(0),
                });
            }
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousands"
)]
const fn count(plan: &Plan) -> u64 {
    (plan.rate * plan.seconds) as u64
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn after(nth: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(nth as f64 / rate)
}

/// Milliseconds: those of the middle, and of the slowest.
fn spread(mut took: Vec<Duration>) -> Value {
    took.sort();
    let at = |share: usize| {
        let place = (took.len() * share / 1000).min(took.len().saturating_sub(1));
        took.get(place).map(|took| took.as_secs_f64() * 1e3)
    };
    json!({
        "count": took.len(),
        "p50": at(500), "p90": at(900), "p99": at(990), "p999": at(999), "most": at(1000),
    })
}

/// Waits until everything has come, or for as long as the plan has patience.
async fn await_all(inbox: &Shared, expected: usize, patience: f64) {
    let end = Instant::now() + Duration::from_secs_f64(patience);
    while Instant::now() < end && inbox.lock().came.len() < expected {
        sleep(Duration::from_millis(20)).await;
    }
}

async fn measure(plan: Plan, first: u64, inbox: &Shared) -> Value {
    {
        let mut inbox = inbox.lock();
        inbox.came.clear();
        inbox.late.clone_from(&plan.late);
    }
    let begun = Instant::now() + Duration::from_millis(100);
    let sent = send(&plan, first, begun).await;
    let sending = Instant::now().saturating_duration_since(begun);
    await_all(inbox, sent.len(), plan.patience).await;
    let came = std::mem::take(&mut inbox.lock().came);
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for sent in &sent {
        *statuses.entry(sent.status).or_default() += 1;
    }
    let (mut seen, mut places) = (std::collections::BTreeSet::new(), BTreeMap::new());
    let (mut again, mut all, mut last) = (0, Vec::new(), begun);
    for (number, at, place) in came {
        let Some(nth) = number.checked_sub(first) else {
            continue;
        };
        if !seen.insert(nth) {
            again += 1;
            continue;
        }
        let took = at.saturating_duration_since(begun + after(nth, plan.rate));
        last = last.max(at);
        all.push(took);
        places.entry(place).or_insert_with(Vec::new).push(took);
    }
    let places: BTreeMap<_, _> = places
        .into_iter()
        .map(|(place, took)| (place, spread(took)))
        .collect();
    json!({
        "rate": plan.rate,
        "sent": sent.len(),
        "sending_s": sending.as_secs_f64(),
        "statuses": statuses,
        "intake_ms": spread(sent.iter().map(|sent| sent.took).collect()),
        "delivery_ms": spread(all),
        "delivering_s": last.saturating_duration_since(begun).as_secs_f64(),
        "delivered_again": again,
        "places": places,
    })
}

fn main() {
    let port = std::env::args().find_map(|word| word.parse::<u16>().ok());
    let Some(port) = port else {
        // As `cargo bench` runs it, among others.
        println!("run benches/webhooks.py");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let inbox = Shared::default();
    runtime.block_on(async {
        let listener = TcpListener::bind(("0.0.0.0", port)).await.unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(app(listener, Arc::clone(&inbox)));
        let mut first = 1;
        let (told, mut plans) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let _ended = told.send(line.unwrap());
            }
        });
        while let Some(line) = plans.recv().await {
            let plan: Plan = serde_json::from_str(&line).unwrap();
            let next = first + count(&plan);
            println!("{}", measure(plan, first, &inbox).await);
            first = next;
        }
    });
}
