//! The keys: whether there are any, and whether what is stored opens with them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Check, Finding, Patient, counted, place};
use crate::{
    app,
    config::key_file_beside,
    store::{
        Backend, Connection, Filter,
        seal::{Aad, Field, KeyRing, OpenError},
    },
};

const NAME: &str = "keys";

/// How many connections are tried. A key that is missing is missing for many.
const TRIED: usize = 500;

/// See the [module docs](self).
pub(super) struct Keys;

#[async_trait]
impl Check for Keys {
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding> {
        let ring = match ring(patient) {
            Ok((ring, mut findings)) => match ring {
                Some(ring) => {
                    findings.extend(try_some(patient, &ring).await);
                    return findings;
                }
                None => return findings,
            },
            Err(finding) => finding,
        };
        vec![ring]
    }
}

/// The keys, and what there is to say of the place where they are kept.
fn ring(patient: &Patient<'_>) -> Result<(Option<KeyRing>, Vec<Finding>), Finding> {
    let settings = &patient.loaded.settings;
    let unusable = |error: app::KeysError| {
        Finding::error(
            NAME,
            error.to_string(),
            "no token can be read or stored",
            "put the right key there; without it, what was sealed with it stays closed",
        )
    };
    let configured = app::configured_keys(&settings.encryption).map_err(unusable)?;
    if let Some(ring) = configured {
        return Ok((Some(ring), Vec::new()));
    }
    let Backend::Sqlite { path } = &settings.store.backend else {
        return Err(unusable(app::KeysError::Missing));
    };
    let path = key_file_beside(path);
    let ring = app::key_of_file(&path).map_err(unusable)?;
    let findings = if ring.is_some() {
        place::private(NAME, &path).into_iter().collect()
    } else {
        vec![Finding::ok(
            NAME,
            format!("none yet; `daypass run` makes {}", path.display()),
        )]
    };
    Ok((ring, findings))
}

/// Opens the tokens of some connections.
async fn try_some(patient: &Patient<'_>, ring: &KeyRing) -> Vec<Finding> {
    let Ok(opened) = &patient.opened else {
        return vec![Finding::ok(
            NAME,
            "not tried on stored tokens, for the store cannot be read",
        )];
    };
    let page = match opened
        .stores
        .store
        .page(&Filter::default(), None, TRIED)
        .await
    {
        Ok(page) => page,
        Err(error) => {
            return vec![Finding::error(
                NAME,
                error.to_string(),
                "that connection cannot be used, and no list that it is on can be read",
                "let its user connect again, or forget it: `daypass connections revoke`",
            )];
        }
    };
    let mut closed: BTreeMap<String, usize> = BTreeMap::new();
    for connection in &page {
        if let Err(error) = open(connection, ring) {
            *closed.entry(error.to_string()).or_default() += 1;
        }
    }
    if closed.is_empty() {
        let active = ring.active_id();
        let what = match page.len() {
            0 => format!("\"{active}\" seals; nothing is stored that could be opened"),
            tried => {
                let tried = counted(tried, "connection");
                format!("\"{active}\" seals; all tokens of {tried} open")
            }
        };
        return vec![Finding::ok(NAME, what)];
    }
    let tried = page.len();
    let told = closed.into_iter().map(|(error, count)| {
        Finding::error(
            NAME,
            format!("{count} of {tried} connections do not open: {error}"),
            "their users get 503 until the key is there, and have to connect again if it is lost",
            "add the key under its id to [encryption], beside the one that is there",
        )
    });
    told.collect()
}

fn open(connection: &Connection, ring: &KeyRing) -> Result<(), OpenError> {
    let Some(tokens) = &connection.tokens else {
        return Ok(());
    };
    ring.open(
        &Aad::new(&connection.key, Field::AccessToken),
        &tokens.access,
    )?;
    if let Some(refresh) = &tokens.refresh {
        ring.open(&Aad::new(&connection.key, Field::RefreshToken), refresh)?;
    }
    Ok(())
}
