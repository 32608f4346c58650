//! How often, in this process: a bucket of tokens per key that fills up again with time.
//!
//! Memory is bounded. When there are too many keys, those that are full again are forgotten, which
//! changes nothing; if none is, all are, which lets a few calls more pass.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Buckets before full ones are swept.
const MAX_KEYS: usize = 10_000;

/// Limits calls by key; see the [module docs](self).
#[derive(Debug)]
pub(super) struct Limiter<K> {
    /// How many at once.
    burst: u32,
    /// How long one call takes to be forgiven.
    every: Duration,
    /// When each key will have been forgiven everything.
    full_at: Mutex<HashMap<K, Instant>>,
}

// === impl Limiter ===

impl<K: Eq + Hash> Limiter<K> {
    /// `burst` calls at once, and one more every `every`.
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            full_at: Mutex::default(),
        }
    }

    /// Counts a call of `key`, unless it comes too early: then how long to wait.
    pub(super) fn admit(&self, key: K) -> Result<(), Duration> {
        let now = Instant::now();
        let mut full_at = self.full_at.lock();
        if full_at.len() >= MAX_KEYS && !full_at.contains_key(&key) {
            full_at.retain(|_, at| *at > now);
            if full_at.len() >= MAX_KEYS {
                full_at.clear();
            }
        }
        let at = full_at.entry(key).or_insert(now);
        let next = (*at).max(now) + self.every;
        let allowed = now + self.every.saturating_mul(self.burst);
        if next > allowed {
            return Err(next.saturating_duration_since(allowed));
        }
        *at = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_at_a_time() {
        let limiter = Limiter::new(3, Duration::from_secs(2));
        for _ in 0..3 {
            assert_eq!(limiter.admit("a"), Ok(()));
        }
        assert_eq!(limiter.admit("a"), Err(Duration::from_secs(2)));
        assert_eq!(limiter.admit("b"), Ok(()), "another key has its own");
        advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.admit("a"), Err(Duration::from_secs(1)));
        advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.admit("a"), Ok(()));
        assert!(limiter.admit("a").is_err());
        advance(Duration::from_mins(1)).await;
        for _ in 0..3 {
            assert_eq!(limiter.admit("a"), Ok(()));
        }
        assert!(
            limiter.admit("a").is_err(),
            "no more is saved up than a burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_do_not_fill_the_memory() {
        let limiter = Limiter::new(1, Duration::from_secs(1));
        for key in 0..MAX_KEYS + 10 {
            assert_eq!(limiter.admit(key), Ok(()));
        }
        assert!(limiter.full_at.lock().len() <= MAX_KEYS);
    }
}
