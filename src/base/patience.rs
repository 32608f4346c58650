//! A limit for waiting that counts only while this process runs.
//!
//! A process can stand still for longer than any limit: a frozen container, a migrated host, SIGSTOP.
//! What came meanwhile lies in its sockets; it has to be read before anybody says that nothing came.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

/// A limit is counted in so many parts, each once, however long it took.
const PARTS: u32 = 16;

/// Runs `work` for at most `limit` of the time in which this process runs; `None` if that is over.
///
/// After a standstill what is left of the limit is left, and at least a sixteenth of it.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let part = limit / PARTS;
    let mut left = PARTS;
    loop {
        let begun = Instant::now();
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = sleep(part) => {}
        }
        let late = Instant::now().saturating_duration_since(begun) >= part.saturating_mul(2);
        left = left.saturating_sub(1);
        match (left, late) {
            (0, true) => left = 1,
            (0, false) => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        sync::oneshot,
        task::yield_now,
        time::{advance, timeout},
    };

    use super::*;
    use crate::base::lifecycle::Lifecycle;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn whoever_runs_waits_for_the_limit_and_no_longer() {
        let begun = Instant::now();
        assert_eq!(within(LIMIT, std::future::pending::<()>()).await, None);
        assert_eq!(Instant::now().saturating_duration_since(begun), LIMIT);
        assert_eq!(within(LIMIT, sleep(LIMIT / 2)).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_the_process_stood_still_is_read() {
        // At the beginning, in the middle, and within the last part.
        for before in [0, 5_000, 9_900] {
            let (tell, told) = oneshot::channel();
            let waiting = within(LIMIT, told);
            let standing_still = async {
                sleep(Duration::from_millis(before)).await;
                advance(Duration::from_hours(1)).await;
                // Whoever reads the socket gets its turn later than the clock.
                for _ in 0..20 {
                    yield_now().await;
                }
                tell.send(7).unwrap();
            };
            let (answer, ()) = tokio::join!(waiting, standing_still);
            assert_eq!(answer, Some(Ok(7)), "after {before} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_does_not_make_waiting_endless() {
        let waiting = Lifecycle::new().spawn(within(LIMIT, std::future::pending::<()>()));
        sleep(Duration::from_millis(9_900)).await;
        advance(Duration::from_hours(1)).await;
        let ended = timeout(LIMIT / 2, waiting).await.unwrap();
        assert_eq!(ended.unwrap(), Some(None));
    }
}
