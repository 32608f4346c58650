//! How many calls are left: a bucket for each user, and one for all of them.
//!
//! 1. A bucket holds as many calls as the rate has, and fills up again evenly (GCRA: all that is kept
//!    is when it will be full again). It is one number that is changed without a lock.
//! 2. A user's calls are charged first; what the user may not do costs the others nothing.
//! 3. Memory is bounded: of very many users the least active are forgotten, whose buckets are likely
//!    to be full again.
//! 4. Each process counts for itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{UnitWeighter, sync::Cache};
use tokio::time::Instant;

use super::{Limits, Rate, Whose};

/// Users that are remembered at each provider; about 150 bytes each.
const MAX_USERS: usize = 50_000;
/// What is made room for at once.
const EXPECTED_USERS: usize = 512;

/// The buckets of one provider.
#[derive(Debug)]
pub(super) struct Limiter {
    users: Option<(Meter, Cache<String, Arc<Bucket>>)>,
    provider: Option<(Meter, Bucket)>,
}

/// A call that is beyond a limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) whose: Whose,
    pub(super) rate: Rate,
    /// When the next call will be within it.
    pub(super) wait: Duration,
}

/// A rate in the units of its buckets: nanoseconds since `start`.
#[derive(Debug)]
struct Meter {
    rate: Rate,
    /// What one call costs.
    call: u64,
    /// What a full bucket holds.
    full: u64,
    start: Instant,
}

/// When it will be full again.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

// === impl Limiter ===

impl Limiter {
    /// `None` if there is no limit.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        Self::remembering(limits, MAX_USERS)
    }

    fn remembering(limits: &Limits, max_users: usize) -> Option<Self> {
        if limits.per_user.is_none() && limits.per_provider.is_none() {
            return None;
        }
        let users = || {
            Cache::with_weighter(
                max_users.min(EXPECTED_USERS),
                max_users as u64,
                UnitWeighter,
            )
        };
        Some(Self {
            users: limits.per_user.map(|rate| (Meter::new(rate), users())),
            provider: limits
                .per_provider
                .map(|rate| (Meter::new(rate), Bucket::default())),
        })
    }

    /// Takes a call of `user`; if there is none left, nothing is taken.
    pub(super) fn take(&self, user: &str) -> Option<Over> {
        let of_user = self
            .users
            .as_ref()
            .map(|(meter, users)| (meter, bucket_of(users, user)));
        if let Some((meter, bucket)) = &of_user
            && let Err(wait) = meter.take(bucket)
        {
            return Some(Over {
                whose: Whose::User,
                rate: meter.rate,
                wait,
            });
        }
        let (meter, bucket) = self.provider.as_ref()?;
        let wait = meter.take(bucket).err()?;
        if let Some((meter, bucket)) = &of_user {
            meter.give_back(bucket);
        }
        Some(Over {
            whose: Whose::Provider,
            rate: meter.rate,
            wait,
        })
    }
}

fn bucket_of(users: &Cache<String, Arc<Bucket>>, user: &str) -> Arc<Bucket> {
    if let Some(bucket) = users.get(user) {
        return bucket;
    }
    let made = users.get_or_insert_with(user, || Ok::<_, std::convert::Infallible>(Arc::default()));
    match made {
        Ok(bucket) => bucket,
        Err(never) => match never {},
    }
}

// === impl Meter ===

impl Meter {
    fn new(rate: Rate) -> Self {
        let nanos = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX / 4);
        let call = (nanos / u64::from(rate.calls.get())).max(1);
        Self {
            rate,
            call,
            full: call.saturating_mul(u64::from(rate.calls.get())),
            start: Instant::now(),
        }
    }

    fn take(&self, bucket: &Bucket) -> Result<(), Duration> {
        let since = Instant::now().saturating_duration_since(self.start);
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 4);
        let latest = now.saturating_add(self.full);
        let charged = |full_at: u64| full_at.max(now).saturating_add(self.call);
        let taken = bucket
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(charged(full_at)).filter(|charged| *charged <= latest)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(full_at) => Err(Duration::from_nanos(
                charged(full_at).saturating_sub(latest),
            )),
        }
    }

    fn give_back(&self, bucket: &Bucket) {
        bucket.0.fetch_sub(self.call, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tokio::time::advance;

    use super::*;
    use crate::proxy::policy::Mode;

    fn rate(calls: u32, secs: u64) -> Rate {
        Rate {
            calls: NonZeroU32::new(calls).unwrap(),
            per: Duration::from_secs(secs),
        }
    }

    fn limiter(per_user: Option<Rate>, per_provider: Option<Rate>) -> Limiter {
        let limits = Limits {
            per_user,
            per_provider,
            mode: Mode::Enforce,
        };
        Limiter::remembering(&limits, 100).unwrap()
    }

    fn refused(limiter: &Limiter, user: &str) -> Option<(Whose, u64)> {
        let over = limiter.take(user)?;
        Some((over.whose, over.wait.as_secs()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_that_calls_too_often_waits_and_the_others_do_not() {
        let limiter = limiter(Some(rate(3, 30)), None);
        for _ in 0..3 {
            assert_eq!(limiter.take("anna"), None);
        }
        assert_eq!(refused(&limiter, "anna"), Some((Whose::User, 10)));
        assert_eq!(limiter.take("bob"), None);
        advance(Duration::from_secs(4)).await;
        assert_eq!(refused(&limiter, "anna"), Some((Whose::User, 6)));
        advance(Duration::from_secs(6)).await;
        assert_eq!(limiter.take("anna"), None);
        assert!(limiter.take("anna").is_some());
        advance(Duration::from_hours(1)).await;
        for _ in 0..3 {
            assert_eq!(limiter.take("anna"), None);
        }
        assert!(limiter.take("anna").is_some(), "no more than a bucket");
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_cannot_use_up_what_is_for_all() {
        let limiter = limiter(Some(rate(2, 6000)), Some(rate(4, 60)));
        for _ in 0..100 {
            let _ = limiter.take("greedy");
        }
        assert_eq!(limiter.take("anna"), None);
        assert_eq!(limiter.take("bob"), None);
        assert_eq!(refused(&limiter, "carl"), Some((Whose::Provider, 15)));
        // It was not carl's fault: his own bucket is as full as it was.
        advance(Duration::from_secs(30)).await;
        assert_eq!(limiter.take("carl"), None);
        assert_eq!(limiter.take("carl"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_users_do_not_fill_the_memory() {
        let limiter = limiter(Some(rate(1, 60)), None);
        for user in 0..10_000 {
            assert_eq!(limiter.take(&user.to_string()), None);
        }
        assert!(limiter.users.unwrap().1.len() <= 100);
    }

    #[test]
    fn callers_at_once_get_no_more_than_there_is() {
        let limiter = limiter(None, Some(rate(1000, 1_000_000)));
        let passed: usize = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| limiter.take("x").is_none()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }
}
