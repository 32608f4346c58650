//! What the file says of itself; see [`Inspect`].

use async_trait::async_trait;

use super::{Sqlite, schema};
use crate::store::{Error, Finding, Inspect, Survey};

#[async_trait]
impl Inspect for Sqlite {
    async fn survey(&self) -> Result<Survey, Error> {
        let schema: i32 = self
            .list(|db| Ok(db.pragma_query_value(None, "user_version", |row| row.get(0))?))
            .await?;
        Ok(Survey {
            server: format!("SQLite {}, {}", rusqlite::version(), self.path.display()),
            schema: u32::try_from(schema).unwrap_or(0),
            known: schema::known(),
            clock: None,
            announced: None,
            is_replica: false,
        })
    }

    /// Commits are synced before they return, whatever the settings of the machine.
    async fn assurances(&self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }
}
