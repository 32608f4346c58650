//! `daypass connections …`: the connections of a store, from outside the sidecar.
//!
//! These commands open the store themselves, beside whatever sidecars run on it: leases and
//! generations keep them apart, and running sidecars hear of every change.

use std::{io::Write, path::Path};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Context, Error, Outcome, block_on, operator};
use crate::{
    app::{Core, Role},
    base::{
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
    },
    config::{Loaded, Settings},
    store::{Backend, Connection, Status},
    telemetry::{self, log},
};

mod import;
mod list;
mod refresh;
mod report;
mod revoke;
mod show;

/// Of what the rooms log, only what nobody else says: that a key file was made, that something is not in
/// the audit.
pub(super) const LOGGED: &str = "off,daypass::app=warn,daypass::audit=warn";

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List connections
    List(list::Options),
    /// Show one connection
    Show(Which),
    /// Import tokens from CSV or JSON Lines
    Import(import::Options),
    /// Renew one connection's tokens now
    Refresh(refresh::Options),
    /// Revoke one connection's tokens and forget it
    Revoke(Which),
}

/// One connection.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The provider's name in the configuration
    provider: ProviderName,
    /// The app's id of the user
    user: UserId,
}

/// Runs the command.
pub(super) fn run(command: &Command, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    let json = context.global.json;
    log::init(&telemetry::Config {
        log: LOGGED.to_owned(),
        ..loaded.settings.telemetry.clone()
    })?;
    let operator = operator::of(context.environment);
    match command {
        Command::List(options) => list::run(options, &loaded, json, out),
        Command::Show(which) => show::run(which, &loaded, json, out),
        Command::Import(options) => import::run(options, &loaded, &operator, json, out),
        Command::Refresh(options) => refresh::run(options, &loaded, &operator, json, out),
        Command::Revoke(which) => revoke::run(which, &loaded, &operator, json, out),
    }
}

/// Runs `work` on an open store, and lets what it began come to its end.
pub(super) fn with_core<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Core) -> Result<T, Error>,
) -> Result<T, Error> {
    block_on(async {
        let lifecycle = Lifecycle::new();
        let core = Core::open(settings, Role::Command, lifecycle.clone()).await?;
        let outcome = work(&core).await;
        lifecycle.drain(crate::app::DRAIN_LIMIT).await;
        outcome
    })?
}

/// Refuses to make a database where there is none: listing or renewing what is not there is a
/// mistake in the path.
pub(super) fn must_exist(loaded: &Loaded) -> Outcome {
    let Backend::Sqlite { path } = &loaded.settings.store.backend else {
        // A server says by itself that it cannot be reached.
        return Ok(());
    };
    if Path::new(path).exists() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "there is no database at {}: start `daypass run` there once, import connections, or name \
         another with --set store.url=sqlite:PATH",
        path.display()
    )))
}

/// The connection that is meant, or an error that names it.
async fn existing(core: &Core, which: &Which) -> Result<Connection, Error> {
    let key = which.key();
    match core.tokens.connection(&key).await? {
        Some(connection) => Ok(connection),
        None => Err(not_connected(&key)),
    }
}

fn not_connected(key: &ConnectionKey) -> Error {
    Error::Failed(format!(
        "{key} is not connected; `daypass connections list` tells who is"
    ))
}

/// A connection as JSON, without its tokens.
fn view(connection: &Connection) -> Value {
    let (status, reason, since) = match connection.status {
        Status::Active => ("active", None, None),
        Status::NeedsReauth { reason, since } => {
            ("needs_reauth", Some(reason.as_str()), Some(since))
        }
    };
    json!({
        "provider": connection.key.provider,
        "user": connection.key.user,
        "status": status,
        "reason": reason,
        "since": since,
        "generation": connection.generation,
        "expires_at": connection.tokens.as_ref().map(|tokens| tokens.access_expires_at),
        "renewed_at": connection.tokens.as_ref().map(|tokens| tokens.renewed_at),
        "renewable": connection.tokens.as_ref().is_some_and(|tokens| tokens.refresh.is_some())
            || connection.managed_user_id.is_some(),
        "external_id": connection.external_id,
        "organization": connection.organization,
        "managed_user_id": connection.managed_user_id,
        "scope": connection.scope,
        "created_at": connection.created_at,
        "updated_at": connection.updated_at,
    })
}

// === impl Which ===

impl Which {
    fn key(&self) -> ConnectionKey {
        ConnectionKey {
            provider: self.provider.clone(),
            user: self.user.clone(),
        }
    }
}
