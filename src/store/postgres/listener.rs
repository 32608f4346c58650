//! Listening: a connection on which other processes' changes arrive at once.
//!
//! 1. It is only trusted once it was heard: a pooler in transaction mode accepts `LISTEN` and delivers
//!    nothing. So each listener has a channel of its own, on which it is called once, by another
//!    connection. Not again: each notification wakes every listener that the server has.
//! 2. Once trusted it serves all other purposes too ([`Pool::adopt`](super::pool::Pool::adopt)), so
//!    that an idle process has one connection. What is asked on it shows whether it is alive; if
//!    nothing is, it is asked nothing every so often.

use std::{future::poll_fn, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_postgres::{AsyncMessage, Notification, types::Type};

use super::{CHANNEL, desk::Desk, failure::Failure, feed::Noted, pool::Driver};
use crate::base::{
    backoff::Backoff,
    random::{Random, SharedRandom},
};

/// How long a call may be on its way.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a listener may be silent before it is asked whether it is alive.
const SILENCE: Duration = Duration::from_secs(30);

/// After this, a listener that was never heard is tried again: poolers do get replaced.
const DEAF_FOR: Duration = Duration::from_mins(5);

/// Between attempts to connect.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(200),
    max: Duration::from_secs(15),
};

/// Notifications that may wait; beyond this the log is looked at.
const QUEUE: usize = 1024;

/// How listening ended.
enum End {
    /// Nothing ever arrived.
    Deaf,
    /// The connection did.
    Lost,
}

/// Listens until the drain begins.
pub(super) fn start(desk: &Arc<Desk>, random: SharedRandom) {
    let own = format!("daypass_{}", hex::encode(random.bytes::<8>()));
    let desk = Arc::clone(desk);
    let lifecycle = desk.lifecycle.clone();
    lifecycle.spawn_until_drain(async move { listen(&desk, &own, &*random).await });
}

async fn listen(desk: &Arc<Desk>, own: &str, random: &dyn Random) {
    let mut failures = 0;
    loop {
        let end = listen_once(desk, own).await;
        desk.feed.set_heard(false);
        // What was missed from here on is found by looking.
        desk.feed.ask_for_look();
        match end {
            Ok(End::Lost) => failures = 1,
            Ok(End::Deaf) => {
                tracing::info!(
                    poll_every = ?desk.options.poll_every,
                    "notifications of PostgreSQL do not arrive, most likely because of a pooler in \
                     between; changes by other processes are looked for instead",
                );
                sleep(DEAF_FOR).await;
            }
            Err(failure) => {
                failures += 1;
                tracing::debug!(?failure, failures, "not listening to PostgreSQL");
            }
        }
        sleep(RETRY.after(failures, random)).await;
    }
}

async fn listen_once(desk: &Arc<Desk>, own: &str) -> Result<End, Failure> {
    let (client, driver) = in_time(desk.pool.connect()).await?;
    let (heard, mut hearing) = mpsc::channel(QUEUE);
    let watched = Arc::clone(desk);
    desk.lifecycle
        .spawn_unwatched(async move { drive(driver, &heard, &watched).await });
    let ask = format!("LISTEN {CHANNEL}; LISTEN {own}");
    in_time(async { Ok(client.batch_execute(&ask).await?) }).await?;
    in_time(call(desk, own)).await?;
    match timeout(CALL_LIMIT, hear_until(own, desk, &mut hearing)).await {
        Ok(true) => {}
        // Says nothing of what delivers: the server was restarted, or a pooler replaced.
        Ok(false) => return Ok(End::Lost),
        Err(_nothing_came) => return Ok(End::Deaf),
    }
    desk.pool.adopt(client);
    desk.feed.set_heard(true);
    desk.feed.ask_for_look();
    // Only an ended connection ends the hearing.
    while timeout(SILENCE, hear_until("", desk, &mut hearing))
        .await
        .is_err()
    {
        // A connection that does not answer is closed by the pool, and that is heard.
        if let Err(failure) = in_time(ask_nothing(desk)).await {
            tracing::debug!(?failure, "the listening connection to PostgreSQL is silent");
        }
    }
    desk.pool.note_lost();
    Ok(End::Lost)
}

/// An empty statement, on the listening connection unless that is in use.
async fn ask_nothing(desk: &Desk) -> Result<(), Failure> {
    desk.pool.lend().await?.batch("").await
}

/// No step of getting ready may take longer than a call.
async fn in_time<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let done = timeout(CALL_LIMIT, step).await;
    done.unwrap_or(Err(Failure::Late(CALL_LIMIT)))
}

/// Rings `own` on whatever connection is free.
async fn call(desk: &Desk, own: &str) -> Result<(), Failure> {
    desk.query("SELECT pg_notify($1, '')", &[(&own, Type::TEXT)])
        .await
        .map(drop)
}

/// Hears what comes until something comes on `channel`; `false` if the connection ended.
async fn hear_until(
    channel: &str,
    desk: &Desk,
    hearing: &mut mpsc::Receiver<Notification>,
) -> bool {
    while let Some(notification) = hearing.recv().await {
        if notification.channel() == channel {
            return true;
        }
        if notification.channel() != CHANNEL {
            continue;
        }
        match Noted::parse(notification.payload()) {
            Some(entry) => desk.feed.tell(entry),
            None => desk.feed.ask_for_look(),
        }
    }
    false
}

/// Reads from the server until the connection ends.
async fn drive(mut driver: Driver, heard: &mpsc::Sender<Notification>, desk: &Desk) {
    while let Some(message) = poll_fn(|cx| driver.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notification(notification)) => {
                if heard.try_send(notification).is_err() {
                    if heard.is_closed() {
                        return;
                    }
                    desk.feed.ask_for_look();
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the listening connection to PostgreSQL ended");
                return;
            }
        }
    }
}
