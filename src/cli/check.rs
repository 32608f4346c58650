//! `daypass check`: the configuration, and nothing but the configuration.

use std::io::Write;

use serde_json::json;

use super::{Context, Error, Outcome, write, write_json};

/// Loads the configuration as `run` would; prints every problem, or what it amounts to.
pub(super) fn run(context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = match context.load() {
        Ok(loaded) => loaded,
        Err(problems) if context.global.json => {
            write_json(out, &problems)?;
            return Err(Error::Told);
        }
        Err(problems) => return Err(Error::Configuration(problems)),
    };
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    let names: Vec<_> = loaded
        .settings
        .providers
        .iter()
        .map(|provider| provider.name().to_string())
        .collect();
    if context.global.json {
        let answer = json!({
            "file": file,
            "problems": [],
            "warnings": loaded.warnings,
            "outbound": loaded.settings.outbound.listen.to_string(),
            "ingress": loaded.settings.ingress.listen.to_string(),
            "admin": loaded.settings.admin.listen.to_string(),
            "providers": names,
        });
        return write_json(out, &answer);
    }
    let mut text = match file {
        Some(file) => format!("{file} is fine.\n"),
        None => "No configuration file; the defaults and the environment are fine.\n".to_owned(),
    };
    for warning in &loaded.warnings {
        text = text
            + "warning: "
            + &warning.to_string()
            + "
";
    }
    let last = format!(
        "Outbound on {}, admin on {}; providers: {}.\n",
        loaded.settings.outbound.listen,
        loaded.settings.admin.listen,
        names.join(", "),
    );
    write(out, &(text + &last))
}
