//! Tickets: links that let one user connect at one provider.
//!
//! 1. A ticket says for whom, so whoever opens it connects *their* account to that user. It is made for
//!    the app alone, ends after [`LIFE`], and may be opened several times until then: mail programs and
//!    chats open links before people do.
//! 2. A *kept* ticket (`calendly.<secret>`) is a random secret whose digest finds a sealed record. It
//!    is short, and it can carry where to return to.
//! 3. A *bearing* ticket (`calendly~<sealed>`) carries its sealed record itself. Making one writes
//!    nothing, so that it can stand in every answer to a user who is not connected. It says nothing of
//!    where to return to; whoever opens it may, within the allowed origins.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{
    records::{Records, digest},
    return_to::{ReturnOrigins, ReturnTo},
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
        random::Random,
        secret::Secret,
    },
    store::{
        self, Purpose,
        seal::{Aad, Field, Sealed},
    },
};

/// Long enough to be opened from a page that was left standing for a while.
pub(super) const LIFE: Duration = Duration::from_mins(15);

/// The longest bearing ticket: a user id of 256 characters and a key id of 64 stay far below.
const MAX_LEN: usize = 1024;

/// 256 bits in base64.
const SECRET_LEN: usize = 43;

/// What bearing tickets are bound to. No digest looks like it.
const BEARING: &str = "ticket";

/// What a ticket says.
#[derive(Clone, Debug)]
pub(super) struct Invitation {
    /// Who may connect, and where.
    pub(super) key: ConnectionKey,
    /// Where the browser goes afterwards.
    pub(super) return_to: Option<ReturnTo>,
}

/// The record of a kept ticket.
#[derive(Serialize, Deserialize)]
struct Kept {
    user: UserId,
    return_to: Option<String>,
}

/// The record in a bearing ticket.
#[derive(Serialize, Deserialize)]
struct Bearing {
    user: UserId,
    until: Timestamp,
}

/// Makes a kept ticket.
pub(super) async fn keep(
    records: &Records,
    random: &dyn Random,
    invitation: &Invitation,
) -> Result<Secret<String>, store::Error> {
    let ConnectionKey { provider, user } = &invitation.key;
    let bytes = Secret::new(random.bytes::<32>());
    let secret = URL_SAFE_NO_PAD.encode(bytes.danger_expose());
    let ticket = Secret::new(format!("{provider}.{secret}"));
    let record = Kept {
        user: user.clone(),
        return_to: invitation
            .return_to
            .as_ref()
            .map(|url| url.as_str().to_owned()),
    };
    let digest = digest(ticket.danger_expose());
    records
        .put(Purpose::Ticket, provider, &digest, &record, LIFE)
        .await?;
    Ok(ticket)
}

/// Makes a bearing ticket.
pub(super) fn bear(records: &Records, key: &ConnectionKey, now: Timestamp) -> Secret<String> {
    let record = Bearing {
        user: key.user.clone(),
        until: now.saturating_add(LIFE),
    };
    let sealed = records.seal(&bearing(&key.provider), &record);
    let text = URL_SAFE_NO_PAD.encode(sealed.as_bytes());
    Secret::new(format!("{}~{text}", key.provider))
}

/// What `ticket` says; `None` if it has ended, or never was one.
pub(super) async fn open(
    records: &Records,
    origins: &ReturnOrigins,
    ticket: &str,
    now: Timestamp,
) -> Result<Option<Invitation>, store::Error> {
    let invitation = |provider, user, return_to| Invitation {
        key: ConnectionKey { provider, user },
        return_to,
    };
    if ticket.len() > MAX_LEN {
        return Ok(None);
    }
    if let Some((name, sealed)) = ticket.split_once('~') {
        let read = || {
            let provider = ProviderName::parse(name).ok()?;
            let sealed = Sealed::from_bytes(URL_SAFE_NO_PAD.decode(sealed).ok()?);
            let record: Bearing = records.open(&bearing(&provider), &sealed)?;
            (now < record.until).then(|| invitation(provider, record.user, None))
        };
        return Ok(read());
    }
    let Some((name, secret)) = ticket.split_once('.') else {
        return Ok(None);
    };
    // What is no ticket costs no look into the store.
    let Ok(provider) = ProviderName::parse(name) else {
        return Ok(None);
    };
    if secret.len() != SECRET_LEN {
        return Ok(None);
    }
    let digest = digest(ticket);
    let kept = records.peek::<Kept>(Purpose::Ticket, &provider, &digest);
    Ok(kept.await?.map(|record| {
        // An origin that is no longer allowed is no reason not to connect.
        let return_to = record.return_to.and_then(|text| origins.check(&text).ok());
        invitation(provider, record.user, return_to)
    }))
}

fn bearing(provider: &ProviderName) -> Aad<'_> {
    Aad::of_record(provider, BEARING, Field::Expiring)
}
