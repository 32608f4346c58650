//! How many there are, without making the store count all the time.
//!
//! 1. Counting a million rows takes a moment, so what was counted is kept for fifty times as long as
//!    that took: a small store is counted for every page, a large one spends a fiftieth of its time on
//!    it, however many pages are open.
//! 2. One asks, the others wait for its answer. What could not be counted is not kept.

use std::{future::Future, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::store::{Census, Error, Everything, Tally};

/// For how many times as long as it took.
const TIMES: u32 = 50;

/// At most.
const MOST: Duration = Duration::from_mins(2);

/// What was counted.
#[derive(Default)]
pub(super) struct Counted {
    census: Kept<Vec<Census>>,
    tally: Kept<Vec<Tally>>,
}

struct Kept<T>(Mutex<Option<(T, Instant)>>);

// === impl Counted ===

impl Counted {
    /// How many connections there are.
    pub(super) async fn census(&self, store: &dyn Everything) -> Result<Vec<Census>, Error> {
        self.census.or(store.census()).await
    }

    /// How many deliveries there are.
    pub(super) async fn tally(&self, store: &dyn Everything) -> Result<Vec<Tally>, Error> {
        self.tally.or(store.tally()).await
    }
}

// === impl Kept ===

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Kept<T> {
    async fn or(&self, count: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut kept = self.0.lock().await;
        if let Some((counted, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(counted.clone());
        }
        let began = Instant::now();
        let counted = count.await?;
        let took = Instant::now().saturating_duration_since(began);
        let until = Instant::now() + took.saturating_mul(TIMES).min(MOST);
        *kept = Some((counted.clone(), until));
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_took_a_second_is_counted_once_in_fifty() {
        let kept = Kept::<u32>::default();
        let counting = async |number| {
            kept.or(async {
                sleep(Duration::from_secs(1)).await;
                Ok(number)
            })
            .await
            .unwrap()
        };
        assert_eq!(counting(1).await, 1);
        advance(Duration::from_secs(49)).await;
        assert_eq!(counting(2).await, 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(counting(3).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_nothing_is_always_new_and_a_failure_is_not_kept() {
        let kept = Kept::<u32>::default();
        assert_eq!(kept.or(async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(kept.or(async { Ok(2) }).await.unwrap(), 2);
        let failing = async {
            Err(Error::NotReady {
                what: "there is none".to_owned(),
            })
        };
        assert!(kept.or(failing).await.is_err());
        assert_eq!(kept.or(async { Ok(3) }).await.unwrap(), 3);
    }
}
