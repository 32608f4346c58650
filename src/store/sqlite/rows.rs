//! Rows of `connections`, read and written whole.
//!
//! Reading trusts nothing: a cell of the wrong kind makes the row inconsistent, and is named.

use rusqlite::{CachedStatement, Connection as Db, OptionalExtension, Row, params, types::FromSql};

use super::failure::Failure;
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, Generation, GrantId, OwnerId, ProviderName, UserId},
    },
    store::{
        Attempt, Connection, Cooldown, Found, Intent, ReauthReason, Record, Redemption,
        SealedTokens, Status, seal::Sealed,
    },
};

/// In the order in which [`read`] takes them and [`Record::put`] gives them.
macro_rules! columns {
    () => {
        concat!("provider, user, ", $crate::store::sqlite::rows::values!())
    };
}

/// Those that are not the key.
macro_rules! values {
    () => {
        "id, generation, grant_id, reauth_reason, reauth_since, access, refresh, renewed_at, \
         access_expires_at, refresh_expires_at, external_id, organization, managed_user_id, scope, \
         intent_owner, intent_redemption, intent_attempts, intent_at, before_owner, \
         before_redemption, before_at, cooldown_until, cooldown_failures, forced_at, created_at, \
         updated_at, fingerprint, needs_reauth"
    };
}

pub(super) use {columns, values};

/// What [`values`] are bound to.
macro_rules! places {
    () => {
        "?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
         ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30"
    };
}

/// `SELECT` of whole rows; conditions follow.
pub(super) const SELECT: &str = concat!("SELECT ", columns!(), " FROM connections");

/// `SELECT` of whole rows, and of whether their lease is held at `?1`; conditions follow.
pub(super) const SELECT_WHOLE: &str = concat!(
    "SELECT ",
    columns!(),
    ", EXISTS (SELECT 1 FROM leases l WHERE l.provider = c.provider AND l.user = c.user \
     AND l.until > ?1) AS leased FROM connections c"
);

const SELECT_ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM connections WHERE provider = ?1 AND user = ?2"
);

/// What is there already keeps its place in the file.
const PUT: &str = concat!(
    "INSERT INTO connections (",
    columns!(),
    ") VALUES (?1, ?2, ",
    places!(),
    ") ON CONFLICT (provider, user) DO UPDATE SET (",
    values!(),
    ") = (",
    places!(),
    ")"
);

/// Takes the cells of a row one after the other.
pub(super) struct Cells<'a, 'r> {
    row: &'a Row<'r>,
    next: usize,
}

/// What does not fit.
pub(super) type Unfit = String;

/// The row of `key`, if there is one.
pub(super) fn find(db: &Db, key: &ConnectionKey) -> Result<Option<Record>, Failure> {
    db.prepare_cached(SELECT_ONE)?
        .query_row([key.provider.as_str(), key.user.as_str()], |row| {
            Ok(read(row))
        })
        .optional()?
        .transpose()
}

/// All rows that `statement` finds.
pub(super) fn collect(
    mut statement: CachedStatement<'_>,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Connection>, Failure> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?.connection);
    }
    Ok(found)
}

/// All that `statement` finds; the last cell of each row says whether its lease is held.
pub(super) fn collect_whole(
    mut statement: CachedStatement<'_>,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Found>, Failure> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = read_key(row)?;
        found.push(match read(row) {
            Ok(record) => Found::Whole {
                record: Box::new(record),
                leased: row.get("leased")?,
            },
            Err(Failure::Row { what, .. }) => Found::Broken { key, what },
            Err(failure) => return Err(failure),
        });
    }
    Ok(found)
}

/// The key in the first two cells of `row`.
pub(super) fn read_key(row: &Row<'_>) -> Result<ConnectionKey, Failure> {
    Cells::of(row).key().map_err(|what| inconsistent(row, what))
}

fn read(row: &Row<'_>) -> Result<Record, Failure> {
    Cells::of(row)
        .stored()
        .map_err(|what| inconsistent(row, what))
}

/// A row that begins with a key contradicts itself.
pub(super) fn inconsistent(row: &Row<'_>, what: Unfit) -> Failure {
    let text = |index| {
        row.get::<_, String>(index)
            .unwrap_or_else(|_| "?".to_owned())
    };
    Failure::Row {
        row: format!("{}/{}", text(0), text(1)),
        what,
    }
}

// === impl Record ===

impl Record {
    /// Writes the row, in place of the one with the same key if there is one.
    pub(super) fn put(&self, db: &Db) -> Result<(), Failure> {
        let c = &self.connection;
        let (reason, since) = match c.status {
            Status::Active => (None, None),
            Status::NeedsReauth { reason, since } => (Some(reason.as_str()), Some(since)),
        };
        let tokens = c.tokens.as_ref();
        let intent = c.intent.as_ref();
        let before = self.before.as_ref();
        db.prepare_cached(PUT)?.execute(params![
            c.key.provider.as_str(),
            c.key.user.as_str(),
            c.id.as_bytes().as_slice(),
            i64::try_from(c.generation.get()).unwrap_or(i64::MAX),
            c.grant.to_stored(),
            reason,
            since.map(Timestamp::as_millis),
            tokens.map(|tokens| tokens.access.as_bytes()),
            tokens.and_then(|tokens| tokens.refresh.as_ref().map(Sealed::as_bytes)),
            tokens.map(|tokens| tokens.renewed_at.as_millis()),
            tokens.map(|tokens| tokens.access_expires_at.as_millis()),
            tokens.and_then(|tokens| tokens.refresh_expires_at.map(Timestamp::as_millis)),
            c.external_id,
            c.organization,
            c.managed_user_id,
            c.scope,
            intent.map(|intent| intent.owner.as_bytes().as_slice()),
            intent.map(|intent| redemption_text(intent.redemption)),
            intent.map(|intent| intent.attempts),
            intent.map(|intent| intent.at.as_millis()),
            before.map(|before| before.owner.as_bytes().as_slice()),
            before.map(|before| redemption_text(before.redemption)),
            before.map(|before| before.at.as_millis()),
            c.cooldown.map(|cooldown| cooldown.until.as_millis()),
            c.cooldown.map(|cooldown| cooldown.failures),
            c.forced_at.map(Timestamp::as_millis),
            c.created_at.as_millis(),
            c.updated_at.as_millis(),
            self.fingerprint.as_ref().map(<[u8; 32]>::as_slice),
            c.status != Status::Active,
        ])?;
        Ok(())
    }
}

// === impl Cells ===

impl<'a, 'r> Cells<'a, 'r> {
    pub(super) const fn of(row: &'a Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> Result<T, Unfit> {
        let index = self.next;
        self.next += 1;
        self.row.get(index).map_err(|_shows_the_value| {
            let statement: &rusqlite::Statement<'_> = self.row.as_ref();
            let name = statement.column_name(index).unwrap_or("?");
            format!("its {name} is of the wrong kind")
        })
    }

    pub(super) fn time(&mut self) -> Result<Option<Timestamp>, Unfit> {
        let millis: Option<i64> = self.take()?;
        Ok(millis.map(Timestamp::from_millis))
    }

    /// A time that is there always.
    pub(super) fn moment(&mut self) -> Result<Timestamp, Unfit> {
        Ok(Timestamp::from_millis(self.take()?))
    }

    pub(super) fn key(&mut self) -> Result<ConnectionKey, Unfit> {
        let provider: String = self.take()?;
        let user: String = self.take()?;
        Ok(ConnectionKey {
            provider: ProviderName::parse(&provider).map_err(|error| error.to_string())?,
            user: UserId::parse(&user).map_err(|error| error.to_string())?,
        })
    }

    fn stored(&mut self) -> Result<Record, Unfit> {
        let connection = Connection {
            key: self.key()?,
            id: ConnectionId::from_slice(&self.take::<Vec<u8>>()?)
                .map_err(|error| format!("its id is {error}"))?,
            generation: self.generation()?,
            grant: self.grant()?,
            status: self.status()?,
            tokens: self.tokens()?,
            external_id: self.take()?,
            organization: self.take()?,
            managed_user_id: self.take()?,
            scope: self.take()?,
            intent: None,
            cooldown: None,
            forced_at: None,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
        };
        let (intent, before) = self.attempts()?;
        let connection = Connection {
            intent,
            cooldown: self.cooldown()?,
            forced_at: self.time()?,
            created_at: self.moment()?,
            updated_at: self.moment()?,
            ..connection
        };
        let fingerprint: Option<[u8; 32]> = self.take()?;
        Ok(Record {
            connection,
            before,
            fingerprint,
        })
    }

    fn generation(&mut self) -> Result<Generation, Unfit> {
        let number: i64 = self.take()?;
        u64::try_from(number)
            .map(Generation::new)
            .map_err(|_negative| format!("its generation is {number}"))
    }

    fn grant(&mut self) -> Result<GrantId, Unfit> {
        let number: i64 = self.take()?;
        GrantId::from_stored(number).ok_or_else(|| format!("its grant_id is {number}"))
    }

    fn status(&mut self) -> Result<Status, Unfit> {
        let reason: Option<String> = self.take()?;
        match (reason, self.time()?) {
            (None, None) => Ok(Status::Active),
            (Some(reason), Some(since)) => {
                let reason = ReauthReason::parse(&reason)
                    .ok_or_else(|| format!("its reauth_reason {reason:?} is unknown"))?;
                Ok(Status::NeedsReauth { reason, since })
            }
            _ => Err("its reauth_reason and reauth_since contradict each other".to_owned()),
        }
    }

    fn tokens(&mut self) -> Result<Option<SealedTokens>, Unfit> {
        let access: Option<Vec<u8>> = self.take()?;
        let refresh: Option<Vec<u8>> = self.take()?;
        let (renewed_at, access_expires_at) = (self.time()?, self.time()?);
        let refresh_expires_at = self.time()?;
        match (access, renewed_at, access_expires_at) {
            (None, None, None) => Ok(None),
            (Some(access), Some(renewed_at), Some(access_expires_at)) => Ok(Some(SealedTokens {
                access: Sealed::from_bytes(access),
                refresh: refresh.map(Sealed::from_bytes),
                renewed_at,
                access_expires_at,
                refresh_expires_at,
            })),
            _ => Err("its access token and the times of it contradict each other".to_owned()),
        }
    }

    fn attempts(&mut self) -> Result<(Option<Intent>, Option<Attempt>), Unfit> {
        let (owner, redemption) = (self.owner()?, self.redemption()?);
        let (attempts, at): (Option<u32>, _) = (self.take()?, self.time()?);
        let intent = match (owner, redemption, attempts, at) {
            (None, None, None, None) => None,
            (Some(owner), Some(redemption), Some(attempts), Some(at)) => Some(Intent {
                owner,
                redemption,
                attempts,
                at,
            }),
            _ => return Err("the parts of its intent contradict each other".to_owned()),
        };
        let before = match (self.owner()?, self.redemption()?, self.time()?) {
            (None, None, None) => None,
            (Some(owner), Some(redemption), Some(at)) => Some(Attempt {
                owner,
                redemption,
                at,
            }),
            _ => return Err("the parts of its earlier intent contradict each other".to_owned()),
        };
        Ok((intent, before))
    }

    pub(super) fn owner(&mut self) -> Result<Option<OwnerId>, Unfit> {
        let bytes: Option<Vec<u8>> = self.take()?;
        bytes
            .map(|bytes| OwnerId::from_slice(&bytes))
            .transpose()
            .map_err(|error| format!("its owner is {error}"))
    }

    fn redemption(&mut self) -> Result<Option<Redemption>, Unfit> {
        let text: Option<String> = self.take()?;
        match text.as_deref() {
            None => Ok(None),
            Some("standard") => Ok(Some(Redemption::Standard)),
            Some("force") => Ok(Some(Redemption::Force)),
            Some(other) => Err(format!("its redemption {other:?} is unknown")),
        }
    }

    fn cooldown(&mut self) -> Result<Option<Cooldown>, Unfit> {
        let until = self.time()?;
        let failures: Option<u32> = self.take()?;
        match (until, failures) {
            (None, None) => Ok(None),
            (Some(until), Some(failures)) => Ok(Some(Cooldown { until, failures })),
            _ => Err("the parts of its cooldown contradict each other".to_owned()),
        }
    }
}

/// As in the column; [`Cells::redemption`] reads it back.
const fn redemption_text(redemption: Redemption) -> &'static str {
    match redemption {
        Redemption::Standard => "standard",
        Redemption::Force => "force",
    }
}
