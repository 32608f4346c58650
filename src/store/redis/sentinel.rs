//! Sentinels: who the master is, asked each time a connection is opened.

use redis::aio::MultiplexedConnection;

use super::{
    address::{Address, Host},
    door::in_time,
    failure::{Failure, code},
    plug,
};

/// The master as the first sentinel says that knows it.
pub(super) async fn find_master(
    address: &Address,
    master: &str,
    trust: Option<&[u8]>,
) -> Result<Host, Failure> {
    let mut complaint = None;
    for sentinel in &address.hosts {
        match ask(address, sentinel, master, trust).await {
            Ok(Some(host)) => return Ok(host),
            Ok(None) => {}
            Err(Failure::Driver(error)) => complaint = Some(error),
            Err(_silent) => {}
        }
    }
    Err(Failure::NoMaster { complaint })
}

/// Just after a failover sentinels may still name the old master.
pub(super) async fn must_be_master(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let role = redis::cmd("ROLE");
    let role: Result<Vec<redis::Value>, _> = in_time(role.query_async(connection)).await;
    match role {
        Ok(role) => match role.first().map(redis::from_redis_value_ref::<String>) {
            Some(Ok(role)) if role == "master" => Ok(()),
            _ => Err(Failure::NoMaster { complaint: None }),
        },
        // Who may not ask will be told by the first write.
        Err(Failure::Driver(error)) if code(&error).as_deref() == Some("NOPERM") => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Sentinels often have no password, or the servers' own.
async fn ask(
    address: &Address,
    sentinel: &Host,
    master: &str,
    trust: Option<&[u8]>,
) -> Result<Option<Host>, Failure> {
    let asked = ask_as(address, sentinel, master, trust, true).await;
    match asked {
        Err(Failure::Driver(error)) if code(&error).as_deref() == Some("WRONGPASS") => {
            ask_as(address, sentinel, master, trust, false).await
        }
        other => other,
    }
}

async fn ask_as(
    address: &Address,
    sentinel: &Host,
    master: &str,
    trust: Option<&[u8]>,
    known: bool,
) -> Result<Option<Host>, Failure> {
    let client = plug::build(address, plug::info(address, sentinel, known)?, trust)?;
    let mut connection = in_time(client.get_multiplexed_async_connection()).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let found: Option<(String, u16)> = in_time(question.query_async(&mut connection)).await?;
    Ok(found.map(|(name, port)| Host { name, port }))
}
