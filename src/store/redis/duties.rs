//! Duties: as [`leases`](super::leases), but each a hash of its own, beside the log.

use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::{
    desk::{Answer, Desk},
    failure::Failure,
    leases::millis,
    scripts,
};
use crate::{
    base::ids::OwnerId,
    store::{Duty, Turn},
};

/// See [`Store::take_duty`](crate::store::Store::take_duty).
pub(super) async fn take(
    desk: &Desk,
    duty: &Duty,
    owner: OwnerId,
    ttl: Duration,
) -> Result<Turn, Failure> {
    let mut call = call_about(desk, &scripts::TAKE_DUTY, duty, owner);
    call.arg(millis(ttl));
    let answer = Answer::read(desk.ask(&call).await?)?;
    if answer.word == "taken" {
        return Ok(Turn::Mine);
    }
    let left = answer.place.parse().unwrap_or(0);
    Ok(Turn::Anothers(Duration::from_millis(left)))
}

/// See [`Store::leave_duty`](crate::store::Store::leave_duty).
pub(super) async fn leave(desk: &Desk, duty: &Duty, owner: OwnerId) -> Result<bool, Failure> {
    // A duty is held as a lease is, and given back as one.
    let call = call_about(desk, &scripts::RELEASE, duty, owner);
    let answer = Answer::read(desk.ask(&call).await?)?;
    Ok(answer.word == "yes")
}

fn call_about<'a>(
    desk: &Desk,
    script: &'a Script,
    duty: &Duty,
    owner: OwnerId,
) -> ScriptInvocation<'a> {
    let mut call = desk.call(script);
    call.key(desk.keys.single(&format!("duty:{duty}")))
        .arg(duty.as_str())
        .arg(hex::encode(owner.as_bytes()));
    call
}
