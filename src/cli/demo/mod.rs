//! `daypass demo`: everything in one process, on made-up accounts, to be tried with curl.
//!
//! The sandbox plays Cal.com and Calendly, with access tokens that live for a minute instead of hours,
//! so that a renewal is seen while one watches. Nothing is left behind: the database lies in a
//! directory that is removed at the end.

use std::{fs, io::Write, net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use tempfile::TempDir;
use url::Url;

use super::{Context, Error, Outcome, block_on, ended, sandbox, write, write_json};
use crate::{
    app::{Sidecar, Signals},
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, InvalidId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::{OsRandom, Random},
        secret::Secret,
    },
    config::{self, Environment, Loaded},
    provider::Account,
    sandbox::{Created, NewUser, Options as SandboxOptions, Sandbox},
    telemetry::log,
    token::{Grant, GrantTokens},
};

mod inbox;
mod places;
mod play;
mod story;

use inbox::Inbox;
use places::Places;
use story::Story;

/// How long an access token of the demo lives.
const TOKEN_LIFETIME: Duration = Duration::from_mins(1);

/// Signs the deliveries. The examples know it, too; there is nothing to protect.
const SIGNING_SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgZXhhbXBsZXM=";

/// Where an app of the reader's most likely is: its users may return there.
const USUAL_ORIGINS: [&str; 2] = ["http://127.0.0.1:3000", "http://localhost:3000"];

/// All that Cal.com lets Daypass do for a user.
const CALCOM_SCOPE: &str = "PROFILE_READ BOOKING_READ WEBHOOK_READ WEBHOOK_WRITE";

/// Where the demo listens.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to call, in place of the provider [default: 127.0.0.1:7420, or a free port]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where browsers and providers call [default: 127.0.0.1:7421, or a free port]
    #[arg(long, value_name = "ADDRESS")]
    ingress: Option<SocketAddr>,
    /// Where probes and metrics are [default: 127.0.0.1:7422, or a free port]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Port of the emulated Cal.com; 0 takes a free one [default: 7430, or a free one]
    #[arg(long, value_name = "PORT")]
    calcom_port: Option<u16>,
    /// Port of the emulated Calendly; 0 takes a free one [default: 7431, or a free one]
    #[arg(long, value_name = "PORT")]
    calendly_port: Option<u16>,
    /// Where your app takes webhooks; its users may return there [default: the log tells of them]
    #[arg(long, value_name = "URL", conflicts_with = "check")]
    app: Option<Url>,
    /// Play the story through, check that everything happens as told, and end
    #[arg(long)]
    check: bool,
}

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(options: &Options, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    context.has_its_own_configuration("demo")?;
    let home = home()?;
    let places = Places::choose(options);
    block_on(async {
        let mut signals = Signals::new()?;
        let lifecycle = Lifecycle::new();
        let inbox = Inbox::open(&lifecycle)?;
        let app = options.app.as_ref();
        let starting = start(
            &places,
            &home,
            app.map_or_else(|| inbox.url(), Url::as_str),
            &lifecycle,
        );
        let Some(started) = signals.unless(starting).await else {
            return Ok(());
        };
        let (sidecar, sandbox) = started?;
        let story = Story::new(&sidecar, &sandbox, places.taken, app);
        if context.global.json {
            write_json(out, &story.addresses())?;
        } else {
            write(out, &story.told())?;
        }
        let outcome = if options.check {
            let played = signals.unless(play::through(&story, &inbox, out)).await;
            played.unwrap_or_else(|| Err(Error::Failed("the check was interrupted".to_owned())))
        } else {
            signals.next().await;
            Ok(())
        };
        let ending = sidecar.drain(&mut signals).await;
        // The emulators have nothing to finish for anybody.
        lifecycle.drain(Duration::ZERO).await;
        outcome.and_then(|()| ended(ending))
    })?
}

async fn start(
    places: &Places,
    home: &TempDir,
    app: &str,
    lifecycle: &Lifecycle,
) -> Result<(Sidecar, Sandbox), Error> {
    let ports = SandboxOptions {
        calcom_port: places.calcom,
        calendly_port: places.calendly,
        ..SandboxOptions::default()
    };
    let sandbox = sandbox::start(ports, lifecycle).await?;
    shorten_lives(&sandbox);
    let users = Users::connect(&sandbox).map_err(Error::Failed)?;
    let loaded = configure(places, &sandbox, &users, home, app)?;
    log::init(&loaded.settings.telemetry)?;
    let sidecar = Sidecar::start(&loaded.settings).await?;
    let core = sidecar.core();
    core.tokens.save(&users.grants(core.clock.now())?).await?;
    Ok((sidecar, sandbox))
}

fn home() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("daypass-demo-")
        .tempdir()
        .map_err(|source| Error::Io {
            what: "no temporary directory could be made for the demo".to_owned(),
            source,
        })
}

fn shorten_lives(sandbox: &Sandbox) {
    let lifetime = Some(TOKEN_LIFETIME.as_secs());
    sandbox
        .calcom()
        .set(|switches| switches.access_lifetime_secs = lifetime);
    sandbox
        .calendly()
        .set(|switches| switches.access_lifetime_secs = lifetime);
}

/// Writes the configuration that a person would, and loads it.
fn configure(
    places: &Places,
    sandbox: &Sandbox,
    users: &Users,
    home: &TempDir,
    app: &str,
) -> Result<Loaded, Error> {
    let file = home.path().join("daypass.toml");
    let text = configuration(places, sandbox, users, home, app);
    fs::write(&file, text).map_err(|source| Error::Io {
        what: format!("{} could not be written", file.display()),
        source,
    })?;
    let request = config::Request {
        file: Some(file),
        overrides: Vec::new(),
    };
    config::load(&request, &Environment::default()).map_err(Error::Configuration)
}

/// The configuration; deliveries go to `app`.
fn configuration(
    places: &Places,
    sandbox: &Sandbox,
    users: &Users,
    home: &TempDir,
    app: &str,
) -> String {
    let origin = Url::parse(app).map(|url| url.origin().ascii_serialization());
    let origins = USUAL_ORIGINS
        .map(str::to_owned)
        .into_iter()
        .chain(origin.ok());
    let random: &dyn Random = &OsRandom;
    let general = format!(
        r#"# What `daypass demo` runs on; removed when it ends.
[outbound]
listen = "{listen}"
[ingress]
listen = "{ingress}"
public_url = "http://{ingress}"
allowed_return_origins = {origins:?}
[admin]
listen = "{admin}"
[store]
url = "sqlite:{database}"
[[encryption.keys]]
id = "demo"
value = "{key}"
[app]
webhook_url = "{app}"
signing_secret = "{SIGNING_SECRET}"
"#,
        listen = places.outbound,
        ingress = places.ingress,
        admin = places.admin,
        origins = origins.collect::<Vec<_>>(),
        key = BASE64_STANDARD.encode(random.bytes::<32>()),
        database = home.path().join("daypass.db").display(),
    );
    general + &providers(sandbox, users)
}

/// Both providers, as far as a configuration knows them.
fn providers(sandbox: &Sandbox, users: &Users) -> String {
    let (calcom, calendly) = (sandbox.calcom_url(), sandbox.calendly_url());
    format!(
        r#"[providers.calcom]
kind = "calcom"
api_base = "{calcom}"
authorize_url = "{calcom}/auth/oauth2/authorize"
token_url = "{calcom}/v2/auth/oauth2/token"
client_id = "{oauth_id}"
client_secret = "{oauth_secret}"
scope = "{CALCOM_SCOPE}"
platform_client_id = "{platform_id}"
platform_client_secret = "{platform_secret}"
[providers.calendly]
kind = "calendly"
api_base = "{calendly}"
auth_base = "{calendly}"
client_id = "{calendly_id}"
client_secret = "{calendly_secret}"
"#,
        oauth_id = users.calcom_alice.client_id,
        oauth_secret = users.calcom_alice.client_secret,
        platform_id = users.calcom_bob.client_id,
        platform_secret = users.calcom_bob.client_secret,
        calendly_id = users.calendly_alice.client_id,
        calendly_secret = users.calendly_alice.client_secret,
    )
}

/// Alice and Bob, as the two providers know them.
struct Users {
    calcom_alice: Created,
    calcom_bob: Created,
    calendly_alice: Created,
    calendly_bob: Created,
}

// === impl Users ===

impl Users {
    fn connect(sandbox: &Sandbox) -> Result<Self, String> {
        sandbox.seed()?;
        Ok(Self {
            calcom_alice: sandbox.calcom().create_user(&NewUser::named("alice"))?,
            calcom_bob: sandbox.calcom().create_user(&NewUser::managed("bob"))?,
            calendly_alice: sandbox.calendly().create_user(&NewUser::named("alice"))?,
            calendly_bob: sandbox.calendly().create_user(&NewUser::named("bob"))?,
        })
    }

    fn grants(&self, now: Timestamp) -> Result<[Grant; 4], Error> {
        let grant = |provider, user, created| grant(provider, user, created, now);
        Ok([
            grant("calcom", "alice", &self.calcom_alice)?,
            grant("calcom", "bob", &self.calcom_bob)?,
            grant("calendly", "alice", &self.calendly_alice)?,
            grant("calendly", "bob", &self.calendly_bob)?,
        ])
    }
}

fn grant(provider: &str, user: &str, created: &Created, now: Timestamp) -> Result<Grant, Error> {
    let invalid = |error: InvalidId| Error::Failed(error.to_string());
    Ok(Grant {
        key: ConnectionKey {
            provider: ProviderName::parse(provider).map_err(invalid)?,
            user: UserId::parse(user).map_err(invalid)?,
        },
        account: Account {
            external_id: Some(created.external_id.clone()),
            organization: created.organization.clone(),
            managed_user_id: created.managed_user_id,
        },
        tokens: Some(GrantTokens {
            access: Secret::from(created.access_token.clone()),
            refresh: Some(Secret::from(created.refresh_token.clone())),
            expires_at: Some(created.access_expires_at),
            refresh_expires_at: created.refresh_expires_at,
            issued_at: Some(now),
        }),
        scope: created.scope.clone(),
        once: false,
    })
}
