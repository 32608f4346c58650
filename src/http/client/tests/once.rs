//! Never two requests on one connection: many callers at once, some of which leave at any time, before a
//! provider that watches every byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::stream;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::world::*;
use crate::http::body::Body;

const CALLERS: usize = 24;
const CALLS: usize = 40;

/// Numbers that look random, the same in each run.
fn dice(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |sides| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % sides
    }
}

/// Serves one connection by the letter; what is against it goes to `wrong`.
async fn watch(nth: usize, mut peer: Peer, wrong: Arc<Mutex<Vec<String>>>) {
    let mut roll = dice(nth as u64 + 7);
    while let Some(head) = peer.head().await {
        let upload = if head.starts_with("POST") {
            peer.until("0\r\n\r\n").await
        } else {
            Some(String::new())
        };
        let Some(upload) = upload else { return };
        tokio::time::sleep(Duration::from_millis(roll(4))).await;
        let id = head.lines().find(|line| line.starts_with("x-id")).unwrap();
        let body = format!("{id} {}", upload.len());
        for piece in answer(roll(4), &body) {
            if peer.has_more() {
                wrong.lock().push(format!("{head} was followed by more"));
            }
            peer.say(piece).await;
            tokio::time::sleep(Duration::from_millis(roll(3))).await;
        }
        if roll(9) == 0 {
            return;
        }
    }
}

/// An answer, in one piece or two.
fn answer(shape: u64, body: &str) -> Vec<String> {
    let length = body.len();
    match shape {
        0 => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            vec![head, body.to_owned()]
        }
        1 => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let all = format!("{head}{length:x}\r\n{body}\r\n");
            vec![all, "0\r\n\r\n".to_owned()]
        }
        _ => vec![ok(body)],
    }
}

async fn call_often(world: Arc<World>, caller: usize, answered: Arc<AtomicUsize>) {
    let mut roll = dice(caller as u64 + 1);
    for nth in 0..CALLS {
        let id = format!("{caller}-{nth}");
        let is_upload = roll(3) == 0;
        let body = if is_upload {
            body_of(stream::iter(vec![bytes("some"), bytes("more")]))
        } else {
            Body::empty()
        };
        let mut request = world.request(if is_upload { "POST" } else { "GET" }, body);
        request.headers_mut().insert("x-id", id.parse().unwrap());
        let call = tower::Service::call(&mut world.client.clone(), request);
        let patience = match roll(5) {
            0 => Duration::from_millis(roll(4)),
            _ => Duration::from_secs(10),
        };
        let Ok(response) = timeout(patience, call).await else {
            continue;
        };
        // One that closes as it is used may break a call, but never gives it another's answer.
        let Ok(response) = response else { continue };
        if roll(5) == 0 {
            continue;
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.starts_with(&format!("x-id: {id} ")), "{id}: {body}");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_two_requests_meet_on_a_connection_and_no_answer_goes_astray() {
    let wrong = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&wrong);
    let world = World::new(move |nth, peer| watch(nth, peer, Arc::clone(&log))).await;
    let world = Arc::new(world);
    let answered = Arc::<AtomicUsize>::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let calls = call_often(Arc::clone(&world), caller, Arc::clone(&answered));
            world.lifecycle.spawn(calls)
        })
        .collect();
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert_eq!(*wrong.lock(), Vec::<String>::new());
    let answered = answered.load(Ordering::SeqCst);
    assert!(answered > CALLERS * CALLS / 2, "{answered}");
    let connections = world.connections();
    assert!(connections < CALLERS * CALLS / 2, "{connections}");
}
