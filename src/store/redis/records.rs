//! Records that end by themselves: one hash each, in the bucket of its digest.
//!
//! The server forgets them at their end, so there is nothing to sweep. Under a clock of its own, which
//! only tests have, the end is compared instead.

use std::time::Duration;

use async_trait::async_trait;

use super::{Redis, Time, desk::Desk, failure::Failure, leases::millis, scripts};
use crate::store::{Digest, Error, Expiring, Purpose, seal::Sealed};

#[async_trait]
impl Expiring for Redis {
    async fn put(
        &self,
        purpose: Purpose,
        digest: &Digest,
        record: Sealed,
        ttl: Option<Duration>,
    ) -> Result<(), Error> {
        let desk = &self.desk;
        let [row, _] = desk.keys.record(purpose, digest, "");
        let mut call = scripts::PUT.prepare_invoke();
        call.key(row)
            .arg(desk.now())
            .arg(record.as_bytes())
            .arg(ttl.map_or_else(String::new, |ttl| millis(ttl).to_string()));
        self.told(desk.ask(&call).await)
    }

    async fn peek(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        self.told(peek(&self.desk, purpose, digest).await)
    }

    async fn take(&self, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Error> {
        self.told(take(&self.desk, purpose, digest).await)
    }

    async fn sweep(&self, _limit: usize) -> Result<u64, Error> {
        Ok(0)
    }
}

async fn peek(desk: &Desk, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Failure> {
    let [row, _] = desk.keys.record(purpose, digest, "");
    let mut command = redis::cmd("HMGET");
    command.arg(row).arg("record").arg("ends");
    let (record, ends): (Option<Vec<u8>>, Option<i64>) = desk.command(&command).await?;
    let has_ended = match &desk.time {
        Time::Server => false,
        Time::Clock(clock) => ends.is_some_and(|ends| ends <= clock.now().as_millis()),
    };
    Ok(record.filter(|_| !has_ended).map(Sealed::from_bytes))
}

async fn take(desk: &Desk, purpose: Purpose, digest: &Digest) -> Result<Option<Sealed>, Failure> {
    let keys = desk.keys.record(purpose, digest, &desk.call_id());
    let mut call = scripts::TAKE.prepare_invoke();
    call.key(&keys).arg(desk.now());
    let taken: Vec<Vec<u8>> = desk.ask(&call).await?;
    Ok(taken.into_iter().next().map(Sealed::from_bytes))
}
