//! `daypass connections revoke`.

use std::io::Write;

use serde_json::json;

use super::{Outcome, Which, must_exist, not_connected, with_core};
use crate::{
    app::Inward,
    cli::{known, write, write_json},
    config::Loaded,
    token::Revocation,
};

/// Revokes one connection's tokens at the provider, and forgets it whatever the provider says.
pub(in crate::cli) fn run(
    which: &Which,
    loaded: &Loaded,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    must_exist(loaded)?;
    let key = which.key();
    let revocation = with_core(&loaded.settings, async |core| {
        let inward = Inward::for_command(core, &loaded.settings);
        Ok(inward.connect.disconnect(&key).await?)
    })?;
    let Some(revocation) = revocation else {
        // One of a provider that is no longer configured can be forgotten, too.
        known::provider(&key.provider, &loaded.settings)?;
        return Err(not_connected(&key));
    };
    let (name, text) = match revocation {
        Revocation::Revoked => ("revoked", "its tokens are revoked"),
        Revocation::NotOffered => (
            "not-offered",
            "the provider revokes no tokens on request: they end by themselves",
        ),
        Revocation::Failed => (
            "failed",
            "the provider could not be told: its tokens end by themselves, or when the user \
             removes the app",
        ),
    };
    if json {
        return write_json(
            out,
            &json!({ "provider": key.provider, "user": key.user, "revocation": name }),
        );
    }
    write(out, &format!("{key} is forgotten; {text}.\n"))
}
