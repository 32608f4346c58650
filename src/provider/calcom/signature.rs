//! The signature of Cal.com's webhooks (Cal.com, webhooks, delivery).
//!
//! `X-Cal-Signature-256: <hex>`: HMAC-SHA256 over the raw body. Where a webhook has no secret, the
//! header says so in words, which anybody can. There is no time in it: what is sent again later is told
//! by its content alone.

use http::HeaderName;

use crate::provider::{
    Forged, Genuine, Received,
    signature::{digest, only, signer},
};

const HEADER: HeaderName = HeaderName::from_static("x-cal-signature-256");

/// What the header says where there is no secret.
const NO_SECRET: &str = "no-secret-provided";

pub(super) fn verify(received: &Received<'_>) -> Result<Genuine, Forged> {
    let header = only(received.headers, &HEADER)?;
    if header == NO_SECRET {
        return Err(Forged::Unsigned);
    }
    let signature = digest(header).ok_or(Forged::Malformed)?;
    signer(received.keys, &[received.body], &[signature])
}
