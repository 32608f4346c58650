//! `daypass connections refresh`.

use std::io::Write;

use clap::Args;

use super::{Outcome, Which, existing, must_exist, show, view, with_core};
use crate::{
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
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    known::provider(&options.which.provider, &loaded.settings)?;
    must_exist(loaded)?;
    let renewed = with_core(&loaded.settings, async |core| {
        core.tokens
            .refresh(&options.which.key(), options.force)
            .await?;
        existing(core, &options.which).await
    })?;
    let view = view(&renewed);
    if json {
        write_json(out, &view)
    } else {
        write(out, &show::as_lines(&view))
    }
}
