//! The command line: what a person or a script asks of the `daypass` binary.
//!
//! 1. Exit codes: 0 done; 1 it failed, and the message says what to do; 2 the configuration or the
//!    command line is wrong.
//! 2. Answers go to standard output, everything else to standard error. Tables for people, `--json`
//!    for programs: then an error is one JSON object on standard error.
//! 3. A command is one file, and takes what it writes to as an argument, so that tests can read it.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    app::{self, Ending},
    base::dumps,
    config::{self, Environment, Loaded, Problems},
    telemetry::access,
};

mod audit;
mod check;
mod connections;
mod deliveries;
mod demo;
mod doctor;
mod error;
mod health;
pub mod import;
mod keygen;
mod known;
mod openapi;
mod operator;
mod progress;
mod rotate_keys;
mod run;
mod sandbox;
mod store;
mod table;

use error::{Error, explain};

/// Under which the options that every command understands are listed.
const GLOBAL: &str = "Global options";

/// Your app says who; Daypass brings the pass.
///
/// A sidecar that adds a user's valid OAuth token to calls to Cal.com and Calendly. Try `daypass demo`
/// first: it needs no account anywhere.
#[derive(Debug, Parser)]
#[command(name = "daypass", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
struct Global {
    /// The configuration file [default: ./daypass.toml, then /etc/daypass/daypass.toml]
    #[arg(long, short, global = true, value_name = "FILE", help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// Set one configuration key, over file and environment: `--set outbound.listen=127.0.0.1:8420`;
    /// may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value, help_heading = GLOBAL)]
    set: Vec<(String, String)>,
    /// Answer in JSON, errors too
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Leave core dumps and debuggers possible, which show every token and key in memory: for looking for
    /// a fault, where nobody's tokens are real
    #[arg(long, global = true, hide_short_help = true, help_heading = GLOBAL)]
    danger_allow_core_dumps: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar
    ///
    /// SIGTERM and SIGINT drain: no new requests, those under way have 25 seconds. A second signal
    /// ends it at once. Under systemd it tells how it goes, takes over the sockets it is handed, and
    /// reads its secrets again at SIGHUP. Without a configuration it starts on SQLite in the working directory, and
    /// makes a key file beside the database.
    Run(run::Options),
    /// Try it all without any account: sandbox, sidecar and connected users in one process
    Demo(demo::Options),
    /// Run the emulated Cal.com and Calendly alone
    Sandbox(sandbox::Options),
    /// Check the configuration: every problem at once
    Check,
    /// Look at all that a sidecar needs, and say what is wrong and how to mend it
    ///
    /// Changes nothing. Exit code 0 without errors, 1 with errors (with warnings, too, under --strict), 2 if
    /// the configuration is wrong.
    Doctor(doctor::Options),
    /// Make an encryption key
    ///
    /// Put it into a file that only Daypass can read, and name it in the configuration:
    /// `[encryption] active = "k1"`, `[[encryption.keys]] id = "k1"`, `file = "/path/to/key"`.
    Keygen,
    /// Seal all that is stored with the active key, while sidecars go on serving
    ///
    /// First give the new key to every sidecar, beside the old one; then make it the active one everywhere.
    /// A run that was killed is repeated, and goes on from where it was. At the end it says what is sealed
    /// with which key, and which keys may be removed. Exit code 0 if all is sealed with the active key,
    /// else 1.
    RotateKeys(rotate_keys::Options),
    /// Look at, import, renew and revoke connections
    #[command(subcommand)]
    Connections(connections::Command),
    /// Look at deliveries to the app, and send them again
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// Look at who did what
    #[command(subcommand)]
    Audit(audit::Command),
    /// Move the store
    #[command(subcommand)]
    Store(store::Command),
    /// Ask a running sidecar whether it is ready; for exec probes
    Health(health::Options),
    /// Print the description of the API for operators (OpenAPI 3.1)
    ///
    /// The same as `GET /v1/openapi.json` of the admin listener.
    Openapi,
}

/// A command's answer.
type Outcome = Result<(), Error>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before anything secret is read.
    let closed = if cli.global.danger_allow_core_dumps {
        Ok(())
    } else {
        dumps::forbid()
    };
    if let Err(error) = closed {
        // A kernel that does not know how keeps nobody from serving.
        let _unheard = writeln!(
            io::stderr(),
            "warning: others may look into this process: {error}"
        );
    }
    crate::http::tls::install_crypto();
    let outcome = dispatch(&cli);
    access::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever closed standard error does not want to hear it.
            let _unheard = explain(&error, cli.global.json);
            error.exit_code()
        }
    }
}

fn dispatch(cli: &Cli) -> Outcome {
    let environment = Environment::of_process();
    let context = Context {
        global: &cli.global,
        environment: &environment,
    };
    let mut out = io::stdout().lock();
    match &cli.command {
        Command::Run(options) => run::run(options, &context),
        Command::Demo(options) => demo::run(options, &context, &mut out),
        Command::Sandbox(options) => sandbox::run(options, &context, &mut out),
        Command::Check => check::run(&context, &mut out),
        Command::Doctor(options) => doctor::run(options, &context, &mut out),
        Command::Keygen => keygen::run(&context, &mut out),
        Command::RotateKeys(options) => rotate_keys::run(options, &context, &mut out),
        Command::Connections(command) => connections::run(command, &context, &mut out),
        Command::Deliveries(command) => deliveries::run(command, &context, &mut out),
        Command::Audit(command) => audit::run(command, &context, &mut out),
        Command::Store(command) => store::run(command, &context, &mut out),
        Command::Health(options) => health::run(options, &context, &mut out),
        Command::Openapi => openapi::run(&mut out),
    }
}

/// What a command knows of its surroundings.
struct Context<'a> {
    global: &'a Global,
    environment: &'a Environment,
}

impl Context<'_> {
    fn load(&self) -> Result<Loaded, Problems> {
        let request = config::Request {
            file: self.global.config.clone(),
            overrides: self.global.set.clone(),
        };
        config::load(&request, self.environment)
    }

    fn loaded(&self) -> Result<Loaded, Error> {
        self.load().map_err(Error::Configuration)
    }

    /// Refuses options that would be passed over in silence.
    fn has_its_own_configuration(&self, command: &str) -> Outcome {
        if self.global.config.is_none() && self.global.set.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "`daypass {command}` brings its own configuration: leave out --config and --set, and see \
             `daypass {command} --help` for what it can be told"
        )))
    }
}

/// A duration on the command line, as in the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a duration such as \"500ms\", \"5s\" or \"2m\"".to_owned();
    config::parse_duration(text).ok_or_else(wrong)
}

/// Runs `work` on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = app::runtime().map_err(|source| Error::Io {
        what: "the runtime could not be started".to_owned(),
        source,
    })?;
    Ok(runtime.block_on(work))
}

/// What the end of a serving command amounts to.
fn ended(ending: Ending) -> Outcome {
    match ending {
        Ending::Drained => Ok(()),
        Ending::Cut => Err(Error::Failed(
            "stopped at once by a second signal: requests under way were cut".to_owned(),
        )),
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as outbound.listen=127.0.0.1:8420".to_owned()),
    }
}

/// Writes to `out`, or says that it could not.
fn write(out: &mut dyn Write, text: &str) -> Outcome {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read the answer has heard enough: `daypass connections list | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(Error::Io {
            what: "the answer could not be written".into(),
            source,
        }),
        Ok(()) => Ok(()),
    }
}

/// Writes `value` as JSON and a line end.
fn write_json(out: &mut dyn Write, value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Io {
        what: "the answer could not be written as JSON".to_owned(),
        source: error.into(),
    })?;
    write(out, &format!("{text}\n"))
}

/// Whether a person is watching standard error.
fn watched() -> bool {
    io::stderr().is_terminal()
}
