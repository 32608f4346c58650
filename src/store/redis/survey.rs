//! What the servers say of themselves; see [`Inspect`].

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

use super::{
    Redis,
    address::Kind,
    assurances,
    desk::Desk,
    door::in_time,
    failure::{Failure, code},
    opening::SCHEMA,
};
use crate::{
    base::clock::Timestamp,
    store::{Error, Finding, Inspect, Survey},
};

/// How long a subscription may take.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

#[async_trait]
impl Inspect for Redis {
    async fn survey(&self) -> Result<Survey, Error> {
        self.told(Box::pin(survey(&self.desk)).await)
    }

    async fn assurances(&self) -> Result<Vec<Finding>, Error> {
        self.told(Box::pin(assurances::look(&self.desk)).await)
    }
}

async fn survey(desk: &Desk) -> Result<Survey, Failure> {
    let client = desk.door.client().await?;
    let mut connection = in_time(client.get_multiplexed_async_connection()).await?;
    let (server, is_replica) = described(desk, &mut connection).await?;
    let time: (i64, i64) = in_time(redis::cmd("TIME").query_async(&mut connection)).await?;
    let millis = time.0.saturating_mul(1000).saturating_add(time.1 / 1000);
    let schema = desk
        .command::<Option<u32>>(redis::cmd("GET").arg(desk.keys.single("schema")))
        .await?;
    Ok(Survey {
        server,
        schema: schema.unwrap_or(0),
        known: SCHEMA,
        clock: Some(Timestamp::from_millis(millis)),
        announced: Some(is_heard(desk).await),
        is_replica,
    })
}

/// The program and its version, as far as the user may ask, and whether it is a replica.
async fn described(
    desk: &Desk,
    connection: &mut MultiplexedConnection,
) -> Result<(String, bool), Failure> {
    let info = match assurances::info(connection).await {
        Ok(info) => info,
        Err(Failure::Driver(error)) if code(&error).as_deref() == Some("NOPERM") => {
            return Ok((format!("Redis, {}", desk.address.shown()), false));
        }
        Err(failure) => return Err(failure),
    };
    let version = info.get("redis_version").map_or("?", String::as_str);
    let program = match info.get("valkey_version") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {version}"),
    };
    let is_replica = info.get("role").is_some_and(|role| role == "slave");
    // In a cluster, which node was asked is chance.
    let is_replica = is_replica && desk.address.kind != Kind::Cluster;
    Ok((format!("{program}, {}", desk.address.shown()), is_replica))
}

async fn is_heard(desk: &Desk) -> bool {
    let begun = Instant::now();
    while !desk.listening.load(Ordering::Relaxed) {
        if Instant::now().saturating_duration_since(begun) > HEARD_WITHIN {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
    true
}
