//! `daypass connections refresh`.

use std::io::Write;

use clap::Args;
use prometheus_client::metrics::counter::Counter;

use super::{Outcome, Which, existing, must_exist, show, view, with_core};
use crate::{
    admin::audit::{Action, Actor, Order},
    cli::{known, write, write_json},
    config::Loaded,
};

/// Which connection to renew, and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    which: Which,
    /// Mint tokens with the client's own secret (Cal.com managed users); every older token dies
    #[arg(long)]
    force: bool,
}

/// Renews one connection now, and shows it.
pub(in crate::cli) fn run(
    options: &Options,
    loaded: &Loaded,
    operator: &Actor,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    known::provider(&options.which.provider, &loaded.settings)?;
    must_exist(loaded)?;
    let renewed = with_core(&loaded.settings, async |core| {
        let key = options.which.key();
        let forced = options.force.then(|| "force".to_owned());
        let order = Order::to(Action::Refresh).about(&key).with(forced);
        let audit = core.audit(Counter::default());
        let renewing = core.tokens.refresh(&key, options.force);
        audit.of(operator, order, renewing).await?;
        existing(core, &options.which).await
    })?;
    let view = view(&renewed);
    if json {
        write_json(out, &view)
    } else {
        write(out, &show::as_lines(&view))
    }
}
