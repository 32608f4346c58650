//! Background loops that keep memory and store in step.
//!
//! 1. [`changes`]: what another process wrote (a renewal, a reconnect, a removal) reaches memory by
//!    the store's change feed. While the feed is down memory is used as it is; when it is back,
//!    everything is looked at again.
//! 2. [`reread`]: a change that could not be read when it was told is read as soon as the store
//!    answers. Memory is used until then.
//! 3. [`unspool`]: renewals that the store refused are offered again every few seconds, until it
//!    answers. Siblings find the old tokens spent meanwhile.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{engine::Engine, entry::Entry};
use crate::base::backoff::Backoff;

/// How long one question to the change feed waits for an answer.
const WAIT: Duration = Duration::from_secs(20);

/// Between questions to a store that fails.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(15),
};

/// Between two offers of the spool: a try costs little, and what is stored late is missed by siblings.
const OFFER: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(3),
};

/// Follows the store's changes for ever.
pub(super) async fn changes(engine: Arc<Engine>) {
    let mut cursor = None;
    let mut failures = 0;
    loop {
        match engine.store.changes(cursor, WAIT).await {
            Ok(changes) => {
                let missed_some = cursor.is_none() || failures > 0;
                (cursor, failures) = (Some(changes.cursor), 0);
                match changes.keys {
                    Some(keys) if !missed_some => {
                        for entry in keys
                            .iter()
                            .filter_map(|key| engine.cache.find(&key.provider, key.user.as_str()))
                        {
                            entry.tell();
                            if !look_again(&engine, &entry).await {
                                entry.mark_stale();
                            }
                            engine.recall(&entry);
                        }
                    }
                    _ => engine
                        .cache
                        .all()
                        .iter()
                        .for_each(|entry| entry.mark_stale()),
                }
                engine.changed.notify_waiters();
            }
            Err(error) => {
                failures += 1;
                engine.observer.store_failed(&error);
                if failures == 1 {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the store does not tell what changes; tokens in memory go on being used",
                    );
                }
                sleep(RETRY.after(failures, &*engine.random)).await;
            }
        }
    }
}

/// Brings an entry up to date, so that no request has to wait for it; `false` if the store fails.
async fn look_again(engine: &Engine, entry: &Arc<Entry>) -> bool {
    let news = entry.news();
    match engine.store.load(&entry.key).await {
        Ok(Some(connection)) => {
            // A failure was logged, and the next request that needs the token meets it again.
            let _unreadable = engine.adopt(entry, &connection, news);
        }
        Ok(None) => entry.clear(news),
        Err(_) => {
            engine.read_later(entry);
            return false;
        }
    }
    true
}

/// Reads what could not be read, for ever.
pub(super) async fn reread(engine: Arc<Engine>) {
    let mut failures = 1;
    loop {
        let Some(entry) = engine.next_unread() else {
            failures = 1;
            engine.unread_some.notified().await;
            continue;
        };
        sleep(RETRY.after(failures, &*engine.random)).await;
        let read = look_again(&engine, &entry).await;
        failures = if read { 0 } else { failures + 1 };
    }
}

/// Empties the spool, whenever there is something in it, for ever.
pub(super) async fn unspool(engine: Arc<Engine>) {
    let mut failures = 0;
    loop {
        let waiting = engine.spool.all();
        if waiting.is_empty() {
            failures = 0;
            engine.spooled.notified().await;
            continue;
        }
        let mut refused = false;
        for spooled in waiting {
            // Before the store is asked, so that news that overtakes its answer is heard.
            let entry = engine.cache.entry(&spooled.fence().key);
            let news = entry.news();
            match engine.unspool(&spooled).await {
                Ok(Some(connection)) => {
                    let _unreadable = engine.adopt(&entry, &connection, news);
                }
                Ok(None) => entry.clear(news),
                Err(_) => refused = true,
            }
        }
        if refused {
            failures += 1;
            sleep(OFFER.after(failures, &*engine.random)).await;
        } else {
            failures = 0;
        }
    }
}
