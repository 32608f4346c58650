//! Rows of `connections`, read whole.
//!
//! Reading trusts nothing: a cell of the wrong kind makes the row inconsistent, and is named.

use tokio_postgres::{Row, types::FromSql};

use super::failure::Failure;
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, Generation, GrantId, OwnerId, ProviderName, UserId},
    },
    store::{
        Attempt, Connection, Cooldown, Intent, ReauthReason, Record, Redemption, SealedTokens,
        Status, seal::Sealed,
    },
};

/// In the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "provider, user_id, id, generation, grant_id, reauth_reason, reauth_since, access, refresh, \
         renewed_at, access_expires_at, refresh_expires_at, external_id, organization, \
         managed_user_id, scope, intent_owner, intent_redemption, intent_attempts, intent_at, \
         cooldown_until, cooldown_failures, forced_at, created_at, updated_at"
    };
}
pub(super) use columns;

/// How many cells [`read`] takes; what else was asked for comes after them.
pub(super) const COLUMNS: usize = 25;

/// Takes the cells of a row one after the other.
pub(super) struct Cells<'r> {
    row: &'r Row,
    next: usize,
}

/// What does not fit.
pub(super) type Unfit = String;

/// The key in the two cells of `row` from `first`.
pub(super) fn read_key(row: &Row, first: usize) -> Result<ConnectionKey, Failure> {
    let mut cells = Cells { row, next: first };
    cells.key().map_err(|what| inconsistent(row, first, what))
}

/// The connection in the first cells of `row`.
pub(super) fn read(row: &Row) -> Result<Connection, Failure> {
    Cells::of(row)
        .connection()
        .map_err(|what| inconsistent(row, 0, what))
}

/// The record in a row that has, after the cells of [`read`], those of the earlier attempt, the
/// fingerprint, and whether the lease is held.
pub(super) fn read_whole(row: &Row) -> Result<(Record, bool), Failure> {
    let mut cells = Cells { row, next: 0 };
    let mut whole = || {
        let record = Record {
            connection: cells.connection()?,
            before: cells.before()?,
            fingerprint: cells.fingerprint()?,
        };
        Ok((record, cells.take()?))
    };
    whole().map_err(|what| inconsistent(row, 0, what))
}

/// A row with a key in the two cells from `first` contradicts itself.
pub(super) fn inconsistent(row: &Row, first: usize, what: Unfit) -> Failure {
    let text = |index: usize| {
        row.try_get::<_, String>(index)
            .unwrap_or_else(|_| "?".to_owned())
    };
    Failure::Row {
        row: format!("{}/{}", text(first), text(first + 1)),
        what,
    }
}

/// As in the column; [`Cells::redemption`] reads it back.
pub(super) const fn redemption_text(redemption: Redemption) -> &'static str {
    match redemption {
        Redemption::Standard => "standard",
        Redemption::Force => "force",
    }
}

// === impl Cells ===

impl<'r> Cells<'r> {
    pub(super) const fn of(row: &'r Row) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql<'r>>(&mut self) -> Result<T, Unfit> {
        let index = self.next;
        self.next += 1;
        self.row.try_get(index).map_err(|_shows_the_value| {
            let name = self
                .row
                .columns()
                .get(index)
                .map(tokio_postgres::Column::name);
            format!("its {} is of the wrong kind", name.unwrap_or("?"))
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

    pub(super) fn count(&mut self) -> Result<Option<u32>, Unfit> {
        let count: Option<i64> = self.take()?;
        count
            .map(|count| u32::try_from(count).map_err(|_beyond| format!("it counts {count}")))
            .transpose()
    }

    pub(super) fn key(&mut self) -> Result<ConnectionKey, Unfit> {
        let (provider, user): (&str, &str) = (self.take()?, self.take()?);
        Ok(ConnectionKey {
            provider: ProviderName::parse(provider).map_err(|error| error.to_string())?,
            user: UserId::parse(user).map_err(|error| error.to_string())?,
        })
    }

    fn connection(&mut self) -> Result<Connection, Unfit> {
        Ok(Connection {
            key: self.key()?,
            id: ConnectionId::from_slice(self.take()?)
                .map_err(|error| format!("its id is {error}"))?,
            generation: self.generation()?,
            grant: self.grant()?,
            status: self.status()?,
            tokens: self.tokens()?,
            external_id: self.take()?,
            organization: self.take()?,
            managed_user_id: self.take()?,
            scope: self.take()?,
            intent: self.intent()?,
            cooldown: self.cooldown()?,
            forced_at: self.time()?,
            created_at: self.moment()?,
            updated_at: self.moment()?,
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
        let reason: Option<&str> = self.take()?;
        match (reason, self.time()?) {
            (None, None) => Ok(Status::Active),
            (Some(reason), Some(since)) => {
                let reason = ReauthReason::parse(reason)
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

    fn before(&mut self) -> Result<Option<Attempt>, Unfit> {
        match (self.owner()?, self.redemption()?, self.time()?) {
            (None, None, None) => Ok(None),
            (Some(owner), Some(redemption), Some(at)) => Ok(Some(Attempt {
                owner,
                redemption,
                at,
            })),
            _ => Err("the parts of its earlier intent contradict each other".to_owned()),
        }
    }

    fn fingerprint(&mut self) -> Result<Option<[u8; 32]>, Unfit> {
        let bytes: Option<&[u8]> = self.take()?;
        bytes
            .map(<[u8; 32]>::try_from)
            .transpose()
            .map_err(|_length| "its fingerprint is of the wrong length".to_owned())
    }

    fn intent(&mut self) -> Result<Option<Intent>, Unfit> {
        let owner = self.owner()?;
        match (owner, self.redemption()?, self.count()?, self.time()?) {
            (None, None, None, None) => Ok(None),
            (Some(owner), Some(redemption), Some(attempts), Some(at)) => Ok(Some(Intent {
                owner,
                redemption,
                attempts,
                at,
            })),
            _ => Err("the parts of its intent contradict each other".to_owned()),
        }
    }

    pub(super) fn owner(&mut self) -> Result<Option<OwnerId>, Unfit> {
        let owner: Option<&[u8]> = self.take()?;
        owner
            .map(OwnerId::from_slice)
            .transpose()
            .map_err(|error| format!("its owner is {error}"))
    }

    fn redemption(&mut self) -> Result<Option<Redemption>, Unfit> {
        let text: Option<&str> = self.take()?;
        match text {
            None => Ok(None),
            Some("standard") => Ok(Some(Redemption::Standard)),
            Some("force") => Ok(Some(Redemption::Force)),
            Some(other) => Err(format!("its redemption {other:?} is unknown")),
        }
    }

    fn cooldown(&mut self) -> Result<Option<Cooldown>, Unfit> {
        match (self.time()?, self.count()?) {
            (None, None) => Ok(None),
            (Some(until), Some(failures)) => Ok(Some(Cooldown { until, failures })),
            _ => Err("the parts of its cooldown contradict each other".to_owned()),
        }
    }
}
