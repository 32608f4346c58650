//! What the columns of an export mean.
//!
//! | meaning | Daypass | `CalendarIntegration` | `calendar_connections` |
//! |---|---|---|---|
//! | whose | `user` | `userUlid` | `user_id` |
//! | where | `provider` | – (`calcom`) | `provider` |
//! | access token | `access_token` | `calAccessToken` | `access_token` |
//! | refresh token | `refresh_token` | `calRefreshToken` | `refresh_token` |
//! | its end | `expires_at`, `expires_in` | `calAccessTokenExpiresAt` | – |
//! | managed user | `managed_user_id` | `calManagedUserId` | – |
//! | account | `external_id` | – | `calendly_user_uri` |
//! | organization | `organization` | – | `calendly_organization_uri` |
//! | scope | `scope` | – | – |
//! | in use | – | – | `is_active` |
//!
//! 1. A row needs a user, a provider, and something to renew or use: a token or a managed user.
//! 2. Where there are columns for these but all are empty, the row is skipped: that user never
//!    connected. Where there is no such column, it is a problem: the names may be misspelt.
//! 3. The provider is the row's own, else the caller's, else what the columns imply.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Entry, Expiry, ImportRow, record::Record, when};
use crate::{
    base::{
        ids::{ProviderName, UserId},
        secret::Secret,
    },
    provider::Account,
};

const USER: [&str; 3] = ["user", "userulid", "userid"];
const PROVIDER: [&str; 1] = ["provider"];
const ACCESS: [&str; 2] = ["accesstoken", "calaccesstoken"];
const REFRESH: [&str; 2] = ["refreshtoken", "calrefreshtoken"];
const EXPIRES_AT: [&str; 2] = ["expiresat", "calaccesstokenexpiresat"];
const EXPIRES_IN: [&str; 1] = ["expiresin"];
const MANAGED: [&str; 2] = ["manageduserid", "calmanageduserid"];
const EXTERNAL: [&str; 2] = ["externalid", "calendlyuseruri"];
const ORGANIZATION: [&str; 2] = ["organization", "calendlyorganizationuri"];
const SCOPE: [&str; 1] = ["scope"];
const ACTIVE: [&str; 1] = ["isactive"];

/// Columns that only an export of Cal.com connections has, and only one of Calendly's.
const IMPLY_CALCOM: [&str; 4] = [
    "userulid",
    "calaccesstoken",
    "calrefreshtoken",
    "calmanageduserid",
];
const IMPLY_CALENDLY: [&str; 2] = ["calendlyuseruri", "calendlyorganizationuri"];

/// Whether `names` could be a header of any of the shapes.
pub(super) fn is_header(names: &[String]) -> bool {
    names.iter().any(|name| USER.contains(&name.as_str()))
}

pub(super) fn read(
    line: u64,
    mut record: Record,
    provider: Option<&ProviderName>,
) -> Result<Entry, String> {
    if !is_active(&mut record)? {
        return Ok(Entry::Skipped {
            line,
            reason: "is not active",
        });
    }
    let credentials = record.has(&ACCESS) || record.has(&REFRESH) || record.has(&MANAGED);
    let row = ImportRow {
        line,
        user: user(&mut record)?,
        provider: provider_of(&mut record, provider)?,
        access: token(&mut record, &ACCESS, "the access token")?,
        refresh: token(&mut record, &REFRESH, "the refresh token")?,
        expiry: expiry(&mut record)?,
        account: Account {
            external_id: text(&mut record, &EXTERNAL)?,
            organization: text(&mut record, &ORGANIZATION)?,
            managed_user_id: managed(&mut record)?,
        },
        scope: text(&mut record, &SCOPE)?,
    };
    let empty =
        row.access.is_none() && row.refresh.is_none() && row.account.managed_user_id.is_none();
    match (empty, credentials) {
        (false, _) => Ok(Entry::Row(row)),
        (true, true) => Ok(Entry::Skipped {
            line,
            reason: "has neither tokens nor a managed user",
        }),
        (true, false) => Err("has no column for tokens or a managed user".to_owned()),
    }
}

fn is_active(record: &mut Record) -> Result<bool, String> {
    let Some(text) = record.take(&ACTIVE)? else {
        return Ok(true);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" => Ok(true),
        "false" | "f" | "0" | "no" | "n" => Ok(false),
        _ => Err("is_active is neither true nor false".to_owned()),
    }
}

fn user(record: &mut Record) -> Result<UserId, String> {
    let Some(text) = record.take(&USER)? else {
        return Err("has no user".to_owned());
    };
    UserId::parse(text.trim()).map_err(|error| error.to_string())
}

fn provider_of(record: &mut Record, given: Option<&ProviderName>) -> Result<ProviderName, String> {
    let named = record.take(&PROVIDER)?;
    let name = match (&named, given) {
        (Some(text), _) => text.trim().to_ascii_lowercase(),
        (None, Some(given)) => return Ok(given.clone()),
        (None, None) if record.has(&IMPLY_CALCOM) => "calcom".to_owned(),
        (None, None) if record.has(&IMPLY_CALENDLY) => "calendly".to_owned(),
        (None, None) => return Err("names no provider, and none was given".to_owned()),
    };
    ProviderName::parse(&name).map_err(|error| error.to_string())
}

/// A token must fit into a header, or no call could be made with it.
fn token(
    record: &mut Record,
    names: &[&str],
    what: &str,
) -> Result<Option<Secret<String>>, String> {
    let Some(text) = record.take(names)? else {
        return Ok(None);
    };
    let text = Zeroizing::new(text.trim().to_owned());
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let mut text = text;
        Ok(Some(Secret::new(std::mem::take(&mut *text))))
    } else {
        Err(format!("{what} has characters that no token has"))
    }
}

fn expiry(record: &mut Record) -> Result<Option<Expiry>, String> {
    if let Some(text) = record.take(&EXPIRES_AT)? {
        return match when::parse(&text) {
            Some(time) => Ok(Some(Expiry::At(time))),
            None => Err(
                "the token's end is not a time: expected ISO 8601, or seconds or \
                         milliseconds since 1970"
                    .to_owned(),
            ),
        };
    }
    let Some(text) = record.take(&EXPIRES_IN)? else {
        return Ok(None);
    };
    match when::whole_number(text.trim()).and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => Ok(Some(Expiry::In(Duration::from_secs(seconds)))),
        None => Err("expires_in is not a number of seconds".to_owned()),
    }
}

fn managed(record: &mut Record) -> Result<Option<i64>, String> {
    let Some(text) = record.take(&MANAGED)? else {
        return Ok(None);
    };
    match text.trim().parse::<i64>() {
        Ok(id) if id > 0 => Ok(Some(id)),
        _ => Err("the managed user's id is not a positive number".to_owned()),
    }
}

fn text(record: &mut Record, names: &[&str]) -> Result<Option<String>, String> {
    let taken = record.take(names)?;
    Ok(taken.map(|text| text.trim().to_owned()))
}
