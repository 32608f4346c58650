//! Leases: who renews which connection, for how long.
//!
//! 1. A lease is a part of its connection's row, and ends with it.
//! 2. It is held while the server's time is before its end; from then on anybody may take it. Its end
//!    is compared, not left to the expiry of a key: an expired key would take the row along.
//! 3. Only its owner prolongs it or gives it back.
//! 4. If the time was set back, no more than the lease's own length is left of it.

use std::time::Duration;

use redis::Script;

use super::{desk::Desk, failure::Failure, rows, scripts};
use crate::{
    base::ids::{ConnectionKey, OwnerId},
    store::Lease,
};

/// Longer than any lease; what the scripts can count exactly.
const LONGEST: u64 = 1 << 45;

/// See [`Store::acquire`](crate::store::Store::acquire).
pub(super) async fn acquire(
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<Lease, Failure> {
    let (mut call, place) = desk.call_about(&scripts::ACQUIRE, key);
    call.arg(hex::encode(owner.as_bytes())).arg(millis(ttl));
    let answer = desk.answer(&call, &place).await?;
    match answer.word.as_str() {
        "granted" => {
            let connection = rows::read(key, answer.row)?;
            Ok(Lease::Granted(Box::new(connection)))
        }
        "held" => {
            let left = answer.place.parse().unwrap_or(0);
            Ok(Lease::Held(Duration::from_millis(left)))
        }
        _ => Ok(Lease::Gone),
    }
}

/// See [`Store::extend`](crate::store::Store::extend).
pub(super) async fn extend(
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<bool, Failure> {
    ask(desk, &scripts::EXTEND, key, owner, ttl).await
}

/// See [`Store::release`](crate::store::Store::release).
pub(super) async fn release(
    desk: &Desk,
    key: &ConnectionKey,
    owner: OwnerId,
) -> Result<bool, Failure> {
    ask(desk, &scripts::RELEASE, key, owner, Duration::ZERO).await
}

async fn ask(
    desk: &Desk,
    script: &Script,
    key: &ConnectionKey,
    owner: OwnerId,
    ttl: Duration,
) -> Result<bool, Failure> {
    let (mut call, place) = desk.call_about(script, key);
    call.arg(hex::encode(owner.as_bytes())).arg(millis(ttl));
    let answer = desk.answer(&call, &place).await?;
    Ok(answer.word == "yes")
}

/// As the scripts take it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}
