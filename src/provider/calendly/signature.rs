//! The signature of Calendly's webhooks (Calendly, signature).
//!
//! `Calendly-Webhook-Signature: t=<unix s>,v1=<hex>`: HMAC-SHA256 over `t`, a dot and the raw body.
//! Several `v1` are not documented, but are how such schemes replace keys: any of them will do.

use http::HeaderName;

use crate::{
    base::clock::Timestamp,
    provider::{
        Forged, Genuine, Received,
        signature::{Digest, digest, in_time, only, signer},
    },
};

const HEADER: HeaderName = HeaderName::from_static("calendly-webhook-signature");

/// So many signatures are looked at; each costs one comparison per key.
const MAX_SIGNATURES: usize = 8;

/// Seconds since the epoch have ten digits until the year 2286.
const MAX_TIME_DIGITS: usize = 12;

pub(super) fn verify(received: &Received<'_>) -> Result<Genuine, Forged> {
    let (time, signatures) = parse(only(received.headers, &HEADER)?).ok_or(Forged::Malformed)?;
    let parts = [time.as_bytes(), b".", received.body];
    let genuine = signer(received.keys, &parts, &signatures)?;
    let signed = Timestamp::from_secs(time.parse().map_err(|_not_a_number| Forged::Malformed)?);
    in_time(signed, received.at, received.tolerance)?;
    Ok(genuine)
}

/// The time as it is written, for it is signed as it is written; and the signatures that are any.
fn parse(header: &str) -> Option<(&str, Vec<Digest>)> {
    let mut time = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", written) if time.is_none() => time = Some(written),
            ("t", _) => return None,
            ("v1", hex) if signatures.len() < MAX_SIGNATURES => signatures.extend(digest(hex)),
            _ => {}
        }
    }
    let time = time?;
    let digits = time.bytes().all(|byte| byte.is_ascii_digit());
    let fits = digits && (1..=MAX_TIME_DIGITS).contains(&time.len());
    (fits && !signatures.is_empty()).then_some((time, signatures))
}
