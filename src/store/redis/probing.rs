//! Whether the servers are well, and the store still one that this version knows.

use std::sync::atomic::Ordering;

use futures_util::future::try_join_all;

use super::{desk::Desk, failure::Failure, scripts};

/// Buckets of a cluster that are read at once.
const AT_ONCE: usize = 4;

/// See [`Store::check`](crate::store::Store::check).
pub(super) async fn write(desk: &Desk) -> Result<(), Failure> {
    let mut call = scripts::PROBE.prepare_invoke();
    call.key(desk.keys.single("probe"))
        .key(desk.keys.single("schema"));
    let schema: Option<u32> = desk.ask(&call).await?;
    desk.admits(schema.unwrap_or(0))?;
    if !desk.is_cluster() {
        return Ok(());
    }
    let sections = desk.keys.sections().into_iter();
    let sections = sections.map(|section| format!("{section}probe"));
    let probes = desk.keys.each("probe").into_iter().chain(sections);
    let written = probes.map(async |probe| {
        let _count: u64 = desk.command(redis::cmd("INCR").arg(probe)).await?;
        Ok::<_, Failure>(())
    });
    try_join_all(written).await.map(drop)
}

/// See [`Store::ping`](crate::store::Store::ping).
pub(super) async fn read(desk: &Desk) -> Result<(), Failure> {
    let schema = desk.keys.single("schema");
    let schema: Option<u32> = desk.command(redis::cmd("GET").arg(schema)).await?;
    desk.admits(schema.unwrap_or(0))?;
    if !desk.is_cluster() {
        return Ok(());
    }
    let buckets = desk.keys.each("probe");
    let apart = (buckets.len() / AT_ONCE).max(1);
    let first = desk.pings.fetch_add(1, Ordering::Relaxed) % apart;
    let read = buckets.into_iter().skip(first).step_by(apart);
    let read = read.map(async |probe| {
        let _there: bool = desk.command(redis::cmd("EXISTS").arg(probe)).await?;
        Ok::<_, Failure>(())
    });
    try_join_all(read).await.map(drop)
}
