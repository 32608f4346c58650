//! Whether the servers are well, and the store still one that this version knows.

use std::sync::atomic::Ordering;

use futures_util::future::try_join_all;

use super::{desk::Desk, failure::Failure, keys::some_of, scripts};

/// Buckets of a cluster that are read at once.
const READ_AT_ONCE: usize = 4;

/// Buckets of a cluster that are written to at once while all is well.
const WRITTEN_AT_ONCE: usize = 8;

/// See [`Store::check`](crate::store::Store::check). In a cluster each bucket may lie on another server:
/// all are written to the first time, and after a failure. While all is well, some are: see [`probes`].
pub(super) async fn write(desk: &Desk) -> Result<(), Failure> {
    let written = write_some(desk, desk.checks.load(Ordering::Relaxed)).await;
    if written.is_ok() {
        desk.checks.fetch_add(1, Ordering::Relaxed);
    } else {
        desk.checks.store(0, Ordering::Relaxed);
    }
    written
}

async fn write_some(desk: &Desk, turn: usize) -> Result<(), Failure> {
    let mut call = scripts::PROBE.prepare_invoke();
    call.key(desk.keys.single("probe"))
        .key(desk.keys.single("schema"));
    let schema: Option<u32> = desk.ask(&call).await?;
    desk.admits(schema.unwrap_or(0))?;
    if !desk.is_cluster() {
        return Ok(());
    }
    let written = probes(desk, turn).into_iter().map(async |probe| {
        let _count: u64 = desk.command(redis::cmd("INCR").arg(probe)).await?;
        Ok::<_, Failure>(())
    });
    try_join_all(written).await.map(drop)
}

/// What is written to: thousands of sidecars do so every few seconds. Evenly apart, so that up to eight
/// servers are each met each time, and others each time, so that any number of them is gone round in eight.
fn probes(desk: &Desk, turn: usize) -> Vec<String> {
    let sections = desk.keys.sections().into_iter();
    let sections: Vec<_> = sections.map(|section| format!("{section}probe")).collect();
    let buckets = desk.keys.each("probe");
    if turn == 0 {
        return [buckets, sections].concat();
    }
    let some = some_of(buckets, WRITTEN_AT_ONCE, turn);
    some.chain(some_of(sections, 1, turn)).collect()
}

/// See [`Store::ping`](crate::store::Store::ping).
pub(super) async fn read(desk: &Desk) -> Result<(), Failure> {
    let schema = desk.keys.single("schema");
    let schema: Option<u32> = desk.command(redis::cmd("GET").arg(schema)).await?;
    desk.admits(schema.unwrap_or(0))?;
    if !desk.is_cluster() {
        return Ok(());
    }
    let turn = desk.pings.fetch_add(1, Ordering::Relaxed);
    let read = some_of(desk.keys.each("probe"), READ_AT_ONCE, turn).map(async |probe| {
        let _there: bool = desk.command(redis::cmd("EXISTS").arg(probe)).await?;
        Ok::<_, Failure>(())
    });
    try_join_all(read).await.map(drop)
}
