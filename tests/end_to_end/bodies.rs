//! Bodies far larger than memory should be.

use std::{convert::Infallible, fs};

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;

use crate::{sidecar::Sidecar, world::World};

const MIB: u64 = 1 << 20;

/// 64 MiB show that nothing grows with the body; set the variable for the whole GiB.
fn size() -> u64 {
    if std::env::var_os("DAYPASS_LONG_TESTS").is_some() {
        1024 * MIB
    } else {
        64 * MIB
    }
}

/// The memory of a process in bytes.
fn resident(sidecar: &Sidecar) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_whatever_the_size_of_a_body() {
    let world = World::open().await;
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    sidecar
        .get("anna", "/calendly/_bytes?n=4000000&chunk=65536")
        .await
        .must_be(200);
    let before = resident(&sidecar);
    let path = format!("/calendly/_bytes?n={}&chunk=1048576", size());
    let mut answer = sidecar
        .request(Method::GET, "anna", &path)
        .send()
        .await
        .unwrap();
    let mut got = 0;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        got += chunk.len() as u64;
    }
    assert_eq!(got, size());
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    let frames = (0..size() / MIB).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone())));
    let upload = reqwest::Body::wrap(StreamBody::new(stream::iter(frames)));
    let answer = sidecar
        .request(Method::POST, "anna", "/calendly/_sink")
        .body(upload);
    let answer = crate::sidecar::Answer::read(answer).await;
    assert_eq!(answer.must_be(200).json()["bytes"], size());
    let grown = resident(&sidecar).saturating_sub(before);
    assert!(grown < 24 * MIB, "grew by {} KiB", grown / 1024);
}
