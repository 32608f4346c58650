//! Rows: a connection as the fields of a hash, and back.
//!
//! Stored fields are data, not trusted: a row that does not fit together is
//! [`Inconsistent`](crate::store::Error::Inconsistent), and its message names fields, not values of
//! tokens.

use std::collections::HashMap;

use super::failure::Failure;
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, Generation, GrantId, OwnerId},
    },
    store::{
        Attempt, Connection, Cooldown, Intent, NewConnection, ReauthReason, Record, Redemption,
        Renewed, SealedTokens, Status, seal::Sealed,
    },
};

/// The fields of a hash as the server has them.
pub(super) type Fields = HashMap<String, Vec<u8>>;

/// What does not fit.
pub(super) type Unfit = String;

/// Fields to set.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(&'static str, Vec<u8>)>);

/// Takes the fields of a row.
pub(super) struct Row(pub(super) Fields);

/// The connection of `key` in the row `fields`.
pub(super) fn read(key: &ConnectionKey, fields: Fields) -> Result<Connection, Failure> {
    Row(fields).connection(key).map_err(|what| Failure::Row {
        row: key.to_string(),
        what,
    })
}

/// As [`read`]; no fields are no row.
pub(super) fn find(key: &ConnectionKey, fields: Fields) -> Result<Option<Connection>, Failure> {
    if fields.is_empty() {
        return Ok(None);
    }
    read(key, fields).map(Some)
}

/// What a new connection sets; its id and the time of its creation come first.
pub(super) fn of_new(new: &NewConnection) -> Pairs {
    let mut pairs = Pairs::default();
    pairs.bytes("id", hex::encode(new.id.as_bytes()).into_bytes());
    pairs.time("created", Some(new.at));
    pairs.time("updated", Some(new.at));
    pairs.grant(new.grant);
    pairs.tokens(new.tokens.as_ref());
    pairs.text("external_id", new.external_id.as_deref());
    pairs.text("organization", new.organization.as_deref());
    pairs.number("managed_user_id", new.managed_user_id);
    pairs.text("scope", new.scope.as_deref());
    pairs
}

/// What a renewal sets.
pub(super) fn of_renewed(renewed: &Renewed) -> Pairs {
    let mut pairs = Pairs::default();
    pairs.grant(renewed.grant);
    pairs.tokens(Some(&renewed.tokens));
    if renewed.redemption == Redemption::Force {
        pairs.time("forced", Some(renewed.tokens.renewed_at));
    }
    pairs.text("external_id", renewed.external_id.as_deref());
    pairs.text("organization", renewed.organization.as_deref());
    pairs.text("scope", renewed.scope.as_deref());
    pairs
}

/// All that is kept of a connection.
pub(super) fn of_record(record: &Record) -> Pairs {
    let connection = &record.connection;
    let mut pairs = Pairs::default();
    pairs.bytes("id", hex::encode(connection.id.as_bytes()).into_bytes());
    pairs.bytes(
        "generation",
        connection.generation.get().to_string().into_bytes(),
    );
    pairs.grant(connection.grant);
    if let Status::NeedsReauth { reason, since } = connection.status {
        pairs.text("reason", Some(reason.as_str()));
        pairs.time("since", Some(since));
    }
    pairs.tokens(connection.tokens.as_ref());
    pairs.text("external_id", connection.external_id.as_deref());
    pairs.text("organization", connection.organization.as_deref());
    pairs.number("managed_user_id", connection.managed_user_id);
    pairs.text("scope", connection.scope.as_deref());
    pairs.attempts(connection.intent.as_ref(), record.before.as_ref());
    if let Some(cooldown) = connection.cooldown {
        pairs.time("cooldown_until", Some(cooldown.until));
        pairs.number("cooldown_failures", Some(cooldown.failures.into()));
    }
    pairs.time("forced", connection.forced_at);
    pairs.time("created", Some(connection.created_at));
    pairs.time("updated", Some(connection.updated_at));
    pairs.text(
        "fingerprint",
        record.fingerprint.map(hex::encode).as_deref(),
    );
    pairs
}

/// The record of `key` in the row `fields`, and whether its lease is held at `now`; or what does not
/// fit.
pub(super) fn read_whole(
    key: &ConnectionKey,
    fields: Fields,
    now: Timestamp,
) -> Result<(Record, bool), Unfit> {
    let mut row = Row(fields);
    let leased = row.time("lease_until")?.is_some_and(|until| until > now);
    let record = Record {
        before: row.before()?,
        fingerprint: row.fingerprint()?,
        connection: row.connection(key)?,
    };
    Ok((record, leased))
}

/// As in the field; [`Row::redemption`] reads it back.
pub(super) const fn redemption_text(redemption: Redemption) -> &'static str {
    match redemption {
        Redemption::Standard => "standard",
        Redemption::Force => "force",
    }
}

// === impl Pairs ===

impl Pairs {
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.0.iter().map(|(name, value)| (*name, value.as_slice()))
    }

    fn bytes(&mut self, name: &'static str, value: Vec<u8>) {
        self.0.push((name, value));
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.bytes(name, value.as_bytes().to_vec());
        }
    }

    fn number(&mut self, name: &'static str, value: Option<i64>) {
        self.text(name, value.map(|value| value.to_string()).as_deref());
    }

    fn time(&mut self, name: &'static str, value: Option<Timestamp>) {
        self.number(name, value.map(Timestamp::as_millis));
    }

    /// Always there, so that none of before is left where another is written.
    fn grant(&mut self, grant: GrantId) {
        self.number("grant", Some(grant.to_stored()));
    }

    fn attempts(&mut self, intent: Option<&Intent>, before: Option<&Attempt>) {
        if let Some(intent) = intent {
            self.text("intent_owner", Some(&hex::encode(intent.owner.as_bytes())));
            self.text(
                "intent_redemption",
                Some(redemption_text(intent.redemption)),
            );
            self.number("intent_attempts", Some(intent.attempts.into()));
            self.time("intent_at", Some(intent.at));
        }
        if let Some(before) = before {
            self.text("before_owner", Some(&hex::encode(before.owner.as_bytes())));
            self.text(
                "before_redemption",
                Some(redemption_text(before.redemption)),
            );
            self.time("before_at", Some(before.at));
        }
    }

    fn tokens(&mut self, tokens: Option<&SealedTokens>) {
        let Some(tokens) = tokens else { return };
        self.bytes("access", tokens.access.as_bytes().to_vec());
        if let Some(refresh) = &tokens.refresh {
            self.bytes("refresh", refresh.as_bytes().to_vec());
        }
        self.time("renewed", Some(tokens.renewed_at));
        self.time("access_ends", Some(tokens.access_expires_at));
        self.time("refresh_ends", tokens.refresh_expires_at);
    }
}

// === impl Row ===

impl Row {
    pub(super) fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        self.0.remove(name)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Unfit> {
        let bytes = self.bytes(name).map(String::from_utf8).transpose();
        bytes.map_err(|_shows_the_value| format!("its {name} is no text"))
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Unfit> {
        let number = self.text(name)?.map(|text| text.parse()).transpose();
        number.map_err(|_shows_the_value| format!("its {name} is no number"))
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Unfit> {
        Ok(self.number(name)?.map(Timestamp::from_millis))
    }

    pub(super) fn needed<T>(name: &str, value: Option<T>) -> Result<T, Unfit> {
        value.ok_or_else(|| format!("its {name} is missing"))
    }

    fn connection(&mut self, key: &ConnectionKey) -> Result<Connection, Unfit> {
        let id = self.text("id")?.and_then(|id| hex::decode(id).ok());
        let id = ConnectionId::from_slice(&Self::needed("id", id)?)
            .map_err(|error| format!("its id is {error}"))?;
        let generation = self.number("generation")?;
        Ok(Connection {
            key: key.clone(),
            id,
            status: self.status()?,
            generation: Generation::new(Self::needed("generation", generation)?),
            grant: self.grant()?,
            tokens: self.tokens()?,
            external_id: self.text("external_id")?,
            organization: self.text("organization")?,
            managed_user_id: self.number("managed_user_id")?,
            scope: self.text("scope")?,
            intent: self.intent()?,
            cooldown: self.cooldown()?,
            forced_at: self.time("forced")?,
            created_at: Self::needed("created", self.time("created")?)?,
            updated_at: Self::needed("updated", self.time("updated")?)?,
        })
    }

    fn grant(&mut self) -> Result<GrantId, Unfit> {
        let Some(number) = self.number("grant")? else {
            return Ok(GrantId::UNNAMED);
        };
        GrantId::from_stored(number).ok_or_else(|| format!("its grant is {number}"))
    }

    fn status(&mut self) -> Result<Status, Unfit> {
        match (self.text("reason")?, self.time("since")?) {
            (None, None) => Ok(Status::Active),
            (Some(reason), Some(since)) => {
                let reason = ReauthReason::parse(&reason)
                    .ok_or_else(|| format!("its reason {reason:?} is unknown"))?;
                Ok(Status::NeedsReauth { reason, since })
            }
            _ => Err("its reason and since contradict each other".to_owned()),
        }
    }

    fn tokens(&mut self) -> Result<Option<SealedTokens>, Unfit> {
        let (access, refresh) = (self.bytes("access"), self.bytes("refresh"));
        let (renewed, ends) = (self.time("renewed")?, self.time("access_ends")?);
        let refresh_expires_at = self.time("refresh_ends")?;
        match (access, renewed, ends) {
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

    fn intent(&mut self) -> Result<Option<Intent>, Unfit> {
        let owner = self.owner("intent_owner")?;
        let redemption = self.redemption("intent_redemption")?;
        let (attempts, at) = (self.number("intent_attempts")?, self.time("intent_at")?);
        match (owner, redemption, attempts, at) {
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

    fn before(&mut self) -> Result<Option<Attempt>, Unfit> {
        let owner = self.owner("before_owner")?;
        let redemption = self.redemption("before_redemption")?;
        match (owner, redemption, self.time("before_at")?) {
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
        let Some(text) = self.text("fingerprint")? else {
            return Ok(None);
        };
        let bytes = hex::decode(text).unwrap_or_default();
        let bytes = bytes.try_into();
        bytes
            .map(Some)
            .map_err(|_shows_the_value| "its fingerprint is none".to_owned())
    }

    fn owner(&mut self, name: &str) -> Result<Option<OwnerId>, Unfit> {
        let owner = self.text(name)?.map(|owner| {
            let bytes = hex::decode(owner).unwrap_or_default();
            OwnerId::from_slice(&bytes)
        });
        owner
            .transpose()
            .map_err(|error| format!("its {name} is {error}"))
    }

    fn redemption(&mut self, name: &str) -> Result<Option<Redemption>, Unfit> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("standard") => Ok(Some(Redemption::Standard)),
            Some("force") => Ok(Some(Redemption::Force)),
            Some(other) => Err(format!("its {name} {other:?} is unknown")),
        }
    }

    fn cooldown(&mut self) -> Result<Option<Cooldown>, Unfit> {
        match (
            self.time("cooldown_until")?,
            self.number("cooldown_failures")?,
        ) {
            (None, None) => Ok(None),
            (Some(until), Some(failures)) => Ok(Some(Cooldown { until, failures })),
            _ => Err("the parts of its cooldown contradict each other".to_owned()),
        }
    }
}
