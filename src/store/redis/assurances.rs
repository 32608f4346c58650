//! What the servers promise, and what they do not: whether data survives a restart, whether they may
//! throw it away, whether a failover may lose the last of it.
//!
//! `INFO` tells most of it; `CONFIG`, which many users may not ask, the rest.

use std::collections::HashMap;

use redis::{Client, aio::MultiplexedConnection};

use super::{
    address::Kind,
    desk::Desk,
    door::in_time,
    failure::{Failure, code},
    plug,
};
use crate::store::{Concern, Finding};

/// What a server says of itself.
struct Server {
    shown: String,
    info: HashMap<String, String>,
    /// `None` if it may not be asked.
    config: Option<HashMap<String, String>>,
}

/// What the configuration is asked for.
const SETTINGS: [&str; 5] = [
    "save",
    "appendonly",
    "appendfsync",
    "maxmemory-policy",
    "min-replicas-to-write",
];

/// Looks at the server; at each node of a cluster that the URL names.
pub(super) async fn look(desk: &Desk) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    if desk.address.kind != Kind::Cluster {
        let client = desk.door.client().await?;
        findings.extend(ask(&client, desk.address.shown()).await?.findings());
        return Ok(findings);
    }
    for host in &desk.address.hosts {
        let client = plug::client(&desk.address, host, desk.door.trust().as_deref())?;
        match ask(&client, host.to_string()).await {
            Ok(server) => findings.extend(server.findings()),
            Err(failure) => findings.push(Finding {
                concern: Concern::Unchecked,
                is_grave: false,
                what: format!(
                    "{host} does not answer: {}",
                    failure.into_error(&desk.address)
                ),
                why: "what it could lose is not known",
                mend: "look at that node",
            }),
        }
    }
    Ok(findings)
}

async fn ask(client: &Client, shown: String) -> Result<Server, Failure> {
    let mut connection = in_time(client.get_multiplexed_async_connection()).await?;
    let info = permitted(info(&mut connection).await)?.unwrap_or_default();
    let config = permitted(config(&mut connection).await)?;
    Ok(Server {
        shown: format!("Redis at {shown}"),
        info,
        config,
    })
}

pub(super) async fn info(
    connection: &mut MultiplexedConnection,
) -> Result<HashMap<String, String>, Failure> {
    let text: String = in_time(redis::cmd("INFO").query_async(connection)).await?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

async fn config(
    connection: &mut MultiplexedConnection,
) -> Result<HashMap<String, String>, Failure> {
    let mut settings = HashMap::new();
    for name in SETTINGS {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        let found: HashMap<String, String> = in_time(command.query_async(connection)).await?;
        settings.extend(found);
    }
    Ok(settings)
}

/// `None` if the user may not ask, or the server does not know the question.
fn permitted<T>(asked: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(Failure::Driver(error))
            if matches!(code(&error).as_deref(), Some("NOPERM" | "ERR")) =>
        {
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

// === impl Server ===

impl Server {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.persistence());
        findings.extend(self.flush());
        findings.extend(self.eviction());
        findings.extend(self.replication());
        if self.config.is_none() {
            findings.push(Finding {
                concern: Concern::Unchecked,
                is_grave: false,
                what: format!(
                    "the user may not ask {} for its configuration",
                    self.shown
                ),
                why: "its persistence and replication could not be checked in full",
                mend: "grant config|get, or look yourself: appendonly yes, maxmemory-policy noeviction",
            });
        }
        findings
    }

    fn setting(&self, name: &str) -> Option<&str> {
        let value = self.config.as_ref()?.get(name)?;
        Some(value.as_str())
    }

    fn says(&self, name: &str) -> Option<&str> {
        self.info.get(name).map(String::as_str)
    }

    fn persistence(&self) -> Option<Finding> {
        let shown = &self.shown;
        let appends = match self.setting("appendonly") {
            Some(setting) => setting == "yes",
            None => self.says("aof_enabled")? == "1",
        };
        let (what, why, mend) = match (appends, self.setting("save"), self.setting("appendfsync")) {
            (true, _, Some("no")) => (
                format!("{shown} leaves its appendonly file to the system's leisure"),
                "a crash of the machine loses the last half minute, and those whose tokens were \
                 renewed in it have to connect again",
                "set appendfsync to everysec or always",
            ),
            (true, ..) => return None,
            (false, Some(""), _) => (
                format!("{shown} keeps nothing on disk"),
                "a restart loses every connection, and every user has to connect again",
                "set appendonly yes",
            ),
            (false, ..) => (
                format!("{shown} writes snapshots only"),
                "a restart loses the renewals since the last one, and those users have to connect \
                 again",
                "set appendonly yes",
            ),
        };
        Some(Finding {
            concern: Concern::Persistence,
            is_grave: true,
            what,
            why,
            mend,
        })
    }

    /// Redis' own default, and no fault of a store of tokens: a renewal that is lost with the machine is
    /// tried again by its record. An event that was acknowledged is not sent again by anybody.
    fn flush(&self) -> Option<Finding> {
        let appends = self.setting("appendonly")? == "yes";
        (appends && self.setting("appendfsync")? == "everysec").then(|| Finding {
            concern: Concern::Flush,
            is_grave: false,
            what: format!("{} writes to its disk once a second", self.shown),
            why: "if its machine crashes, webhooks that were acknowledged in the last second or two are \
                  lost, and users whose tokens were renewed in it may have to connect again",
            mend: "set appendfsync always, or leave it: meetings are found again by the next sync",
        })
    }

    fn eviction(&self) -> Option<Finding> {
        let policy = self
            .setting("maxmemory-policy")
            .or_else(|| self.says("maxmemory_policy"))?;
        (policy != "noeviction").then(|| Finding {
            concern: Concern::Eviction,
            is_grave: true,
            what: format!(
                "{} may throw connections away when memory is short (maxmemory-policy {policy})",
                self.shown
            ),
            why: "their users have to connect again",
            mend: "set maxmemory-policy noeviction",
        })
    }

    fn replication(&self) -> Option<Finding> {
        let replicas: u32 = self.says("connected_slaves")?.parse().ok()?;
        let waited_for = self.setting("min-replicas-to-write")?;
        (replicas > 0 && waited_for == "0").then(|| Finding {
            concern: Concern::Replication,
            is_grave: false,
            what: format!("{} does not wait for its replicas", self.shown),
            why: "a replica that takes over lacks what was written in the last moments, also what a \
                  master that was cut off went on accepting",
            mend: "set min-replicas-to-write 1 and min-replicas-max-lag 10 to bound that",
        })
    }
}
