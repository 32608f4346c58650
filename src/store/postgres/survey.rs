//! What the server says of itself, and what it could lose; see [`Inspect`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;

use super::{Postgres, desk::Desk, failure::Failure, listener::CALL_LIMIT, schema};
use crate::{
    base::clock::Timestamp,
    store::{Concern, Error, Finding, Inspect, Survey},
};

const SURVEY: &str = "\
    SELECT current_setting('server_version'), \
        (extract(epoch FROM clock_timestamp()) * 1000)::int8, pg_is_in_recovery(), \
        (SELECT coalesce(max(version), 0) FROM daypass.schema_versions)";

/// Settings are those of this user and database, which may differ from the server's.
const PROMISES: &str = "\
    SELECT current_setting('fsync') = 'off', current_setting('full_page_writes') = 'off', \
        current_setting('synchronous_commit'), \
        current_setting('synchronous_standby_names') = '', \
        EXISTS (SELECT FROM pg_stat_replication)";

#[async_trait]
impl Inspect for Postgres {
    async fn survey(&self) -> Result<Survey, Error> {
        let (desk, place) = (Arc::clone(&self.desk), Arc::clone(&self.place));
        let limit = self.limit_of_lists();
        self.ask(limit, async move { survey(&desk, &place).await })
            .await
    }

    async fn assurances(&self) -> Result<Vec<Finding>, Error> {
        let (desk, place) = (Arc::clone(&self.desk), Arc::clone(&self.place));
        let limit = self.limit_of_lists();
        let ask = async move {
            let rows = desk.query(PROMISES, &[]).await?;
            rows.first()
                .map_or(Ok(Vec::new()), |row| findings(row, &place))
        };
        self.ask(limit, ask).await
    }
}

async fn survey(desk: &Desk, place: &str) -> Result<Survey, Failure> {
    let rows = desk.query(SURVEY, &[]).await?;
    let Some(row) = rows.first() else {
        return Err(Failure::Unfit("the server shows no state of its own"));
    };
    let (version, now): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    let schema: i64 = row.try_get(3)?;
    Ok(Survey {
        server: format!("PostgreSQL {version}, {place}"),
        schema: u32::try_from(schema).unwrap_or(u32::MAX),
        known: u32::try_from(schema::known()).unwrap_or(u32::MAX),
        clock: Some(Timestamp::from_millis(now)),
        announced: Some(is_heard(desk).await),
        is_replica: row.try_get(2)?,
    })
}

/// Whether the listener has heard itself called, which a pooler in transaction mode prevents.
async fn is_heard(desk: &Desk) -> bool {
    let begun = Instant::now();
    while desk.options.listen && !desk.feed.is_heard() {
        if Instant::now().saturating_duration_since(begun) > CALL_LIMIT {
            return false;
        }
        sleep(Duration::from_millis(20)).await;
    }
    desk.options.listen
}

fn findings(row: &Row, place: &str) -> Result<Vec<Finding>, Failure> {
    let (unsynced, torn): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let commit: String = row.try_get(2)?;
    let (nobody_waited_for, replicated): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let server = format!("PostgreSQL at {place}");
    let mut findings = Vec::new();
    if unsynced || torn {
        findings.push(Finding {
            concern: Concern::Persistence,
            is_grave: true,
            what: format!("{server} runs with fsync or full_page_writes off"),
            why: "a crash of its machine can damage the database and lose every connection",
            mend: "set both on",
        });
    } else if commit == "off" {
        findings.push(Finding {
            concern: Concern::Persistence,
            is_grave: true,
            what: format!("{server} acknowledges commits before they are on disk"),
            why: "a crash of the server loses the last moments, and those whose tokens were renewed in \
                  them have to connect again",
            mend: "set synchronous_commit on, for the server or with ALTER ROLE for this user",
        });
    }
    let waits = !nobody_waited_for && !["off", "local"].contains(&commit.as_str());
    if replicated && !waits {
        findings.push(Finding {
            concern: Concern::Replication,
            is_grave: false,
            what: format!("{server} does not wait for its standbys"),
            why: "a standby that is promoted lacks what was written in the last moments",
            mend: "name one in synchronous_standby_names to bound that",
        });
    }
    Ok(findings)
}
