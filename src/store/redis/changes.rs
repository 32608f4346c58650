//! What changed: a log of the newest changes, and a channel that tells of them as they are made.
//!
//! 1. The log is the truth. A cursor is the place of an entry; who finds that entry gone, because
//!    the log is bounded or a failover lost it, is told that anything may have changed.
//! 2. The channel is for speed, and names what changed ([`hearsay`](super::hearsay)). When its messages
//!    are lost, a look at the log finds the change.
//! 3. In a cluster the log lies elsewhere than most connections. A script leaves its change in the
//!    outbox of its bucket, in the same step as the change itself, and the process carries it to the
//!    log. If it dies in between, another one does: the log may lag, but misses nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FusedStream};
use redis::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{accounts, desk::Desk, door::in_time, failure::Failure, keys::parse_name};
use crate::{
    base::{ids::ConnectionKey, lifecycle::Lifecycle},
    store::{Changes, Cursor},
};

/// Entries of one millisecond that a cursor can tell apart: more than a server could make.
const SEQUENCE_BITS: u32 = 20;

/// How often outboxes and indices are looked after by one of the processes that share the store.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// How long a change may wait in an outbox before another process takes care of it.
const LEFT_BEHIND: i64 = 3;

/// How long to wait before subscribing again.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// How long a subscription may be silent before it is asked whether it still is one.
const SILENCE: Duration = Duration::from_secs(15);

/// See [`Store::changes`](crate::store::Store::changes).
pub(super) async fn changes(
    desk: &Desk,
    cursor: Option<Cursor>,
    wait: Duration,
) -> Result<Changes, Failure> {
    let begun = Instant::now();
    loop {
        // Armed before looking, so that a change between the look and the wait is not missed.
        let changed = desk.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let looked = Instant::now();
        // Who does not wait wants to know what the log says.
        let heard = cursor.filter(|_| !wait.is_zero());
        let found = if let Some(found) = heard.and_then(|cursor| heard_after(desk, cursor)) {
            found
        } else {
            match tidy(desk).await {
                // Who only listens is not to suffer from a server that takes no writes.
                Err(failure @ Failure::Driver(_)) => {
                    tracing::debug!(?failure, "outboxes and indices are looked after later");
                }
                other => other?,
            }
            look(desk, cursor).await?
        };
        let left = wait.saturating_sub(Instant::now().saturating_duration_since(begun));
        let nothing = found.keys.as_ref().is_some_and(Vec::is_empty);
        if cursor.is_none() || !nothing || left.is_zero() {
            return Ok(found);
        }
        let pause = if desk.listening.load(Ordering::Relaxed) {
            desk.hearsay.until_look(desk.options.poll_every)
        } else {
            desk.options.poll_unheard_every
        };
        let _elapsed = timeout(left.min(pause), changed).await;
        // Many changes at once are told at once.
        let since = Instant::now().saturating_duration_since(looked);
        sleep(desk.options.gather.saturating_sub(since).min(left)).await;
    }
}

/// What was heard after `cursor`; `None` if the log has to be looked at.
fn heard_after(desk: &Desk, cursor: Cursor) -> Option<Changes> {
    if !desk.listening.load(Ordering::Relaxed) {
        return None;
    }
    let keys = desk.hearsay.after(cursor, desk.options.poll_every)?;
    let keys = Some(keys);
    Some(Changes { cursor, keys })
}

/// What the log says now.
async fn look(desk: &Desk, cursor: Option<Cursor>) -> Result<Changes, Failure> {
    let Some(cursor) = cursor else {
        let cursor = last(desk).await?;
        let keys = Some(Vec::new());
        return Ok(Changes { cursor, keys });
    };
    let under_way = desk.hearsay.look();
    let mut command = redis::cmd("XRANGE");
    let id = write_id(cursor);
    command.arg(desk.keys.single("log")).arg(&id).arg("+");
    let entries = entries(desk.command(&command).await?)?;
    match entries.split_first() {
        Some(((first, _), newer)) if *first == cursor => {
            let cursor = newer.last().map_or(cursor, |(last, _)| *last);
            let keys: Vec<_> = newer.iter().filter_map(|(_, key)| key.clone()).collect();
            let news = desk.hearsay.looked(under_way, cursor, &keys);
            let keys = Some(distinct(&news));
            Ok(Changes { cursor, keys })
        }
        _ => {
            desk.hearsay.forget();
            let cursor = last(desk).await?;
            Ok(Changes { cursor, keys: None })
        }
    }
}

/// The place of the newest entry.
async fn last(desk: &Desk) -> Result<Cursor, Failure> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(desk.keys.single("log"));
    command.arg("+").arg("-").arg("COUNT").arg(1);
    let newest = entries(desk.command(&command).await?)?;
    Ok(newest.first().map_or(Cursor(0), |(cursor, _)| *cursor))
}

type Entry = (Cursor, Option<ConnectionKey>);

fn entries(values: Vec<Value>) -> Result<Vec<Entry>, Failure> {
    let read = |value| -> Result<Entry, Failure> {
        let (id, fields): (String, HashMap<String, String>) = redis::from_redis_value(value)?;
        let key = fields.get("name").and_then(|name| parse_name(name));
        Ok((read_id(&id), key))
    };
    values.into_iter().map(read).collect()
}

/// Each key once, in the order of their last changes.
fn distinct(keys: &[ConnectionKey]) -> Vec<ConnectionKey> {
    let last: HashMap<&ConnectionKey, usize> = keys.iter().zip(0..).collect();
    let is_last = |(number, key): &(usize, &ConnectionKey)| last.get(key) == Some(number);
    let distinct = keys.iter().enumerate().filter(is_last);
    distinct.map(|(_, key)| key.clone()).collect()
}

/// An entry's id is the milliseconds of the server's time and a number within these.
fn read_id(id: &str) -> Cursor {
    let (millis, sequence) = id.split_once('-').unwrap_or((id, "0"));
    let (millis, sequence): (u64, u64) =
        (millis.parse().unwrap_or(0), sequence.parse().unwrap_or(0));
    Cursor((millis << SEQUENCE_BITS) | sequence.min((1 << SEQUENCE_BITS) - 1))
}

fn write_id(cursor: Cursor) -> String {
    let sequence = cursor.0 & ((1 << SEQUENCE_BITS) - 1);
    format!("{}-{sequence}", cursor.0 >> SEQUENCE_BITS)
}

/// Carries to the log what other processes left in the outboxes, and indexes what older versions did
/// not. One process does it at a time.
async fn tidy(desk: &Desk) -> Result<(), Failure> {
    if !is_time_to_tidy(desk) {
        return Ok(());
    }
    let mut claim = redis::cmd("SET");
    claim.arg(desk.keys.single("tidy")).arg(1).arg("NX");
    claim
        .arg("PX")
        .arg(u64::try_from(TIDY_EVERY.as_millis()).unwrap_or(10_000) / 2);
    let claimed: Option<String> = desk.command(&claim).await?;
    if claimed.is_none() {
        return Ok(());
    }
    if desk.is_cluster() {
        carry_left_behind(desk).await?;
    }
    accounts::mend(desk).await
}

fn is_time_to_tidy(desk: &Desk) -> bool {
    let mut tidied = desk.tidied.lock();
    let now = Instant::now();
    let is_time = tidied.is_none_or(|at| now.saturating_duration_since(at) >= TIDY_EVERY);
    if is_time {
        *tidied = Some(now);
    }
    is_time
}

/// Carries what has waited for a while: what has not is still in the hands of its writer.
pub(super) async fn carry_left_behind(desk: &Desk) -> Result<(), Failure> {
    let time: (i64, i64) = desk.command(&redis::cmd("TIME")).await?;
    for outbox in desk.keys.each("out") {
        let waiting: HashMap<String, String> =
            desk.command(redis::cmd("HGETALL").arg(&outbox)).await?;
        for (place, left) in waiting {
            let Some((at, name)) = left.split_once(' ') else {
                continue;
            };
            if at.parse().is_ok_and(|at: i64| at + LEFT_BEHIND <= time.0) {
                desk.carry(&outbox, &place, name).await?;
            }
        }
    }
    Ok(())
}

/// Listens for changes until the store is dropped.
pub(super) fn listen(desk: &Arc<Desk>, lifecycle: &Lifecycle) {
    let desk = Arc::downgrade(desk);
    lifecycle.spawn_unwatched(async move {
        while let Some(open) = desk.upgrade() {
            if let Err(failure) = hear(open, &desk).await {
                tracing::debug!(?failure, "no subscription to changes; looking instead");
            }
            let Some(open) = desk.upgrade() else { return };
            open.listening.store(false, Ordering::Relaxed);
            open.hearsay.forget();
            // What ended this connection has probably ended the other one, which would show only
            // when the next call is lost on it.
            open.door.leave(None).await;
            open.changed.notify_waiters();
            drop(open);
            sleep(RESUBSCRIBE).await;
        }
    });
}

/// Hears of changes until the subscription ends.
async fn hear(open: Arc<Desk>, desk: &Weak<Desk>) -> Result<(), Failure> {
    let client = open.door.client().await?;
    let mut subscription = in_time(client.get_async_pubsub()).await?;
    in_time(subscription.subscribe(open.keys.channel())).await?;
    // What was missed until now is found by looking.
    open.hearsay.forget();
    open.listening.store(true, Ordering::Relaxed);
    open.changed.notify_waiters();
    drop(open);
    let (mut sink, stream) = subscription.split();
    let mut stream = stream.fuse();
    loop {
        let heard = timeout(SILENCE, stream.next()).await;
        let Some(open) = desk.upgrade() else {
            return Ok(());
        };
        match heard {
            Ok(Some(message)) => {
                match message.get_payload::<String>() {
                    Ok(name) => parse_name(&name).map_or((), |key| open.hearsay.hear(key)),
                    Err(_) => open.hearsay.forget(),
                }
                open.changed.notify_waiters();
            }
            Ok(None) => return Ok(()),
            Err(_elapsed) if stream.is_terminated() => return Ok(()),
            Err(_elapsed) => in_time(sink.ping()).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_id_of_an_entry() {
        for id in ["1700000000123-0", "1700000000123-77", "0-0"] {
            assert_eq!(write_id(read_id(id)), id);
        }
        assert!(read_id("1700000000123-9") < read_id("1700000000124-0"));
    }
}
