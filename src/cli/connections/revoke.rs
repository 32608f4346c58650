//! `daypass connections revoke`.

use std::io::Write;

use prometheus_client::metrics::counter::Counter;
use serde_json::json;

use super::{Outcome, Which, must_exist, not_connected, with_core};
use crate::{
    admin::audit::{Action, Actor, Order},
    app::Inward,
    cli::{known, write, write_json},
    config::Loaded,
    connect,
    token::{self, Revocation},
};

/// Revokes one connection's tokens at the provider, and forgets it whatever the provider says.
pub(in crate::cli) fn run(
    which: &Which,
    loaded: &Loaded,
    operator: &Actor,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    must_exist(loaded)?;
    let key = which.key();
    let revocation = with_core(&loaded.settings, async |core| {
        let inward = Inward::for_command(core, &loaded.settings);
        let order = Order::to(Action::Disconnect).about(&key);
        let removing = async {
            let removed = inward.connect.disconnect(&key).await?;
            removed.ok_or_else(|| token::Error::NotConnected { key: key.clone() }.into())
        };
        let tell = |revocation: &Revocation| Some(format!("tokens {}", revocation.as_str()));
        let audit = core.audit(Counter::default());
        match audit.telling(operator, order, removing, tell).await {
            Err(connect::Error::Tokens(token::Error::NotConnected { .. })) => Ok(None),
            removed => Ok(Some(removed?)),
        }
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
