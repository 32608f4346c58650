//! What both emulators stand on: time, chance, switches, limits and the log of one listener.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    deliver::Delivery,
    log::Log,
    switches::{Call, Switches, TokenMischief},
};
use crate::base::{
    clock::{SharedClock, Timestamp},
    lifecycle::Lifecycle,
    random::SharedRandom,
};

/// Buckets kept before the stale ones are swept.
const MAX_BUCKETS: usize = 4096;

/// The rate window of both services, in seconds.
const WINDOW_SECS: i64 = 60;

#[derive(Debug)]
pub(crate) struct Stage {
    /// Scheme, host and port, without a slash.
    pub(crate) base_url: String,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) http: reqwest::Client,
    pub(crate) log: Log,
    pub(crate) sent: Mutex<Vec<Delivery>>,
    switches: Mutex<Switches>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Seconds since the epoch.
    ends: i64,
    used: u32,
}

/// Where a caller stands in its window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    pub(crate) reset_secs: i64,
    pub(crate) exceeded: bool,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn new(
        base_url: String,
        lifecycle: Lifecycle,
        clock: SharedClock,
        random: SharedRandom,
        http: reqwest::Client,
    ) -> Self {
        Self {
            base_url,
            lifecycle,
            clock,
            random,
            http,
            log: Log::default(),
            sent: Mutex::default(),
            switches: Mutex::default(),
            buckets: Mutex::default(),
        }
    }

    /// Now, by the provider's clock, which may be wrong on purpose.
    pub(crate) fn now(&self) -> Timestamp {
        let skew = self.switch(|switches| switches.clock_skew_secs);
        let by = Duration::from_secs(skew.unsigned_abs());
        let now = self.clock.now();
        if skew < 0 {
            now.saturating_sub(by)
        } else {
            now.saturating_add(by)
        }
    }

    pub(crate) fn switch<T>(&self, read: impl FnOnce(&Switches) -> T) -> T {
        read(&self.switches.lock())
    }

    pub(crate) fn set<T>(&self, write: impl FnOnce(&mut Switches) -> T) -> T {
        write(&mut self.switches.lock())
    }

    pub(crate) fn token_fault(&self, call: Call) -> Option<TokenMischief> {
        self.set(|switches| switches.take_token_fault(call))
    }

    /// The gap between a token call's check and its commit.
    pub(crate) async fn gap(&self) {
        match self.switch(|switches| switches.token_latency_ms) {
            0 => tokio::task::yield_now().await,
            millis => sleep(Duration::from_millis(millis)).await,
        }
    }

    pub(crate) async fn nap(&self, read: impl FnOnce(&Switches) -> u64) {
        let millis = self.switch(read);
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
        }
    }

    pub(crate) fn hex<const BYTES: usize>(&self) -> String {
        hex::encode(self.random.bytes::<BYTES>())
    }

    pub(crate) fn uuid(&self) -> String {
        uuid::Builder::from_random_bytes(self.random.bytes())
            .into_uuid()
            .to_string()
    }

    /// Calendly's older ids: 16 characters, upper case.
    pub(crate) fn short_id(&self) -> String {
        self.hex::<8>().to_uppercase()
    }

    /// Counts one use of `bucket`; `None` if `limit` is zero, which means no limit.
    pub(crate) fn spend(&self, bucket: &str, limit: u32) -> Option<Usage> {
        if limit == 0 {
            return None;
        }
        let now = self.clock.now().as_secs();
        let mut buckets = self.buckets.lock();
        if buckets.len() > MAX_BUCKETS {
            buckets.retain(|_, bucket| bucket.ends > now);
        }
        let fresh = Bucket {
            ends: now + WINDOW_SECS,
            used: 0,
        };
        let entry = buckets.entry(bucket.to_owned()).or_insert(fresh);
        // A window that ends too late was begun before the clock was set back.
        if entry.ends <= now || entry.ends > now + WINDOW_SECS {
            *entry = fresh;
        }
        let exceeded = entry.used >= limit;
        entry.used = entry.used.saturating_add(1);
        Some(Usage {
            limit,
            remaining: limit.saturating_sub(entry.used),
            reset_secs: entry.ends - now,
            exceeded,
        })
    }

    /// Whether `uri` is a registered redirect URI. Both services compare exactly.
    pub(crate) fn may_redirect(&self, uri: &str) -> bool {
        self.switch(|switches| {
            if switches.redirect_uris.is_empty() {
                is_loopback(uri)
            } else {
                switches.redirect_uris.iter().any(|known| known == uri)
            }
        })
    }
}

/// Whether `uri` leads to this machine.
pub(crate) fn is_loopback(uri: &str) -> bool {
    let Ok(url) = url::Url::parse(uri) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
