//! One recognisable value per secret, through every flow: none of them may be seen anywhere but at
//! the provider.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
};

use daypass::sandbox::{
    ApiFault, ApiMischief, Canned, Created, Killed, Malformation, NewUser, Revoke, TokenFault,
    TokenMischief, token_id,
};
use serde_json::json;

use crate::{
    sidecar::{Answer, Sidecar},
    world::{KEY, World, expired, file_with, line},
};

const CALCOM_SECRET: &str = "sentinel-calcom-client-secret";
const PLATFORM_SECRET: &str = "sentinel-platform-client-secret";
const CALENDLY_SECRET: &str = "sentinel-calendly-client-secret";
const WEBHOOK_SECRET: &str = "sentinel-webhook-secret";
const SIGNING_KEY: &str = "sentinel-signing-key";
const ADMIN_TOKEN: &str = "sentinel-admin-token";
const CALLERS_OWN: &str = "sentinel-of-the-caller";

/// Everything that anybody could see, by where it was seen.
#[derive(Default)]
struct Seen(BTreeMap<String, String>);

impl Seen {
    fn answer(&mut self, what: &str, answer: &Answer) {
        let text = format!("{:?} {}", answer.headers, answer.body);
        self.0.entry(what.to_owned()).or_default().push_str(&text);
    }

    fn text(&mut self, what: &str, text: &str) {
        self.0.entry(what.to_owned()).or_default().push_str(text);
    }
}

async fn world() -> World {
    let world = World::open()
        .await
        .with("telemetry.log=trace,h2=trace,hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,tower=trace")
        .with("refresh.cooldown=1ms")
        .with("refresh.cooldown_max=2ms")
        .with("refresh.force_interval=1ms")
        .with(&format!("providers.calcom.webhook_secret={WEBHOOK_SECRET}"))
        .with(&format!(
            "providers.calendly.webhook_signing_key={SIGNING_KEY}"
        ))
        .with(&format!("admin.token={ADMIN_TOKEN}"));
    world.sandbox.calcom().set(|switches| {
        CALCOM_SECRET.clone_into(&mut switches.client_secret);
        PLATFORM_SECRET.clone_into(&mut switches.calcom.platform_client_secret);
    });
    world
        .sandbox
        .calendly()
        .set(|switches| CALENDLY_SECRET.clone_into(&mut switches.client_secret));
    fs::write(world.config(), world.configuration()).unwrap();
    world
}

fn revoke(user: &str, what: Killed) -> Revoke {
    let user = user.to_owned();
    Revoke { user, what }
}

/// Calls of every sort, with every answer noted.
async fn every_flow(world: &World, sidecar: &Sidecar, seen: &mut Seen) {
    let (calcom, calendly) = (world.sandbox.calcom(), world.sandbox.calendly());
    let api = ("/calendly/users/me", "/calcom/v2/me");
    for user in ["anna", "ben"] {
        seen.answer("expired", &sidecar.get(user, api.0).await);
    }
    seen.answer("managed", &sidecar.get("mona", api.1).await);
    for what in [
        ApiMischief::Unauthorized,
        ApiMischief::Expired,
        ApiMischief::LeakingForbidden,
        ApiMischief::InsufficientScope,
        ApiMischief::RateLimited { retry_after: None },
        ApiMischief::ServerError,
        ApiMischief::HtmlForbidden,
        ApiMischief::Drop,
    ] {
        for times in [1, 2] {
            calcom.set(|switches| switches.api_faults = vec![ApiFault::next(times, what.clone())]);
            calendly
                .set(|switches| switches.api_faults = vec![ApiFault::next(times, what.clone())]);
            seen.answer("api fault", &sidecar.get("mona", api.1).await);
            seen.answer("api fault", &sidecar.get("carl", api.1).await);
            seen.answer("api fault", &sidecar.get("anna", api.0).await);
        }
    }
    calcom.set(|switches| switches.api_faults.clear());
    calendly.set(|switches| switches.api_faults.clear());
    for what in [
        TokenMischief::DropBefore,
        TokenMischief::Answer(Canned {
            status: 500,
            body: "oh".to_owned(),
            headers: BTreeMap::new(),
        }),
        TokenMischief::Malformed {
            how: Malformation::Html,
        },
        TokenMischief::Malformed {
            how: Malformation::NoAccessToken,
        },
        TokenMischief::InvalidClient,
        TokenMischief::DropAfter,
    ] {
        calcom.set(|switches| switches.token_faults = vec![TokenFault::next(1, what.clone())]);
        calendly.set(|switches| switches.token_faults = vec![TokenFault::next(1, what.clone())]);
        for force in ["", "?force=true"] {
            for (user, provider) in [("mona", "calcom"), ("carl", "calcom"), ("dora", "calendly")] {
                let path = format!("/-/{provider}/refresh{force}");
                seen.answer("token fault", &sidecar.post(user, &path, Vec::new()).await);
            }
        }
    }
    calendly.revoke(&revoke("ben", Killed::Grant)).unwrap();
    seen.answer("dead grant", &sidecar.get("ben", api.0).await);
    seen.answer("dead grant", &sidecar.get("ben", api.0).await);
    let with_own = world
        .http
        .get(format!(
            "{}{}?access_token={CALLERS_OWN}",
            sidecar.outbound, "/calendly/_echo"
        ))
        .header("x-user-id", "anna")
        .header("cookie", CALLERS_OWN)
        .header("x-cal-secret-key", CALLERS_OWN)
        .bearer_auth(CALLERS_OWN);
    seen.answer("the caller's own", &Answer::read(with_own).await);
    for path in [
        "/-/calendly/connection",
        "/-/calendly/token",
        "/nowhere/",
        "/-/calendly/none",
    ] {
        seen.answer("local calls", &sidecar.get("anna", path).await);
    }
    for path in ["/readyz", "/livez", "/metrics", "/v1/connections"] {
        seen.answer("admin", &sidecar.admin(path).await);
    }
}

async fn every_command(world: &World, users: &[Created], seen: &mut Seen) {
    let mut bad = String::new();
    for created in users {
        let (access, refresh) = (&created.access_token, &created.refresh_token);
        bad.push_str(&format!(
            "{{\"user\":\"x\",\"access_token\":\"{access}\" oops {refresh}\n"
        ));
        bad.push_str(&format!("{access}\n"));
        bad.push_str(&format!(
            "{}\n",
            json!({"user": "x y", "provider": "calendly", "refresh_token": refresh})
        ));
        bad.push_str(&format!(
            "{}\n",
            json!({"user": "x", "provider": "calendly", "access_token": [access]})
        ));
        bad.push_str(&format!("{}\n", json!({"user": "x", "provider": "calendly", "expires_at": access, "refresh_token": refresh})));
    }
    for command in [
        &["connections", "import"] as &[&str],
        &["connections", "import", "--json"],
        &["connections", "list"],
        &["connections", "list", "--json"],
        &["connections", "show", "calendly", "anna"],
        &["connections", "show", "calendly", "anna", "--json"],
        &["connections", "refresh", "calendly", "anna"],
        &["connections", "refresh", "calendly", "ben"],
        &["connections", "revoke", "calendly", "anna"],
        &["check"],
    ] {
        let ended = world.command(command, &bad).await;
        seen.text(
            &command.join(" "),
            &format!("{}{}", ended.stdout, ended.stderr),
        );
    }
    let broken = fs::read_to_string(world.config()).unwrap();
    for (from, to) in [
        ("client_secret = \"", "client_secret = 7\nclient_secre = \""),
        ("client_secret = \"", "client_secret = \"\\n"),
        ("client_secret = \"", "client_secret = \"\"\""),
        ("value = \"", "value = \"x"),
        (
            "client_secret = \"",
            "client_secret_file = \"/nowhere\"\nclient_secret = \"",
        ),
        ("api_base", "api_bse"),
    ] {
        fs::write(world.config(), broken.replace(from, to)).unwrap();
        for command in ["check", "run"] {
            let ended = world.command(&[command], "").await;
            assert_eq!(ended.code, Some(2), "{from} → {to}: {ended:?}");
            seen.text(
                "bad configuration",
                &format!("{}{}", ended.stdout, ended.stderr),
            );
        }
    }
}

/// All sorts of users, imported.
async fn users(world: &World) -> Vec<Created> {
    let calcom = |order| world.sandbox.calcom().create_user(&order).unwrap();
    let anna = world.calendly_user("anna");
    let ben = world.calendly_user("ben");
    let dora = world.calendly_user("dora");
    let mona = calcom(NewUser::managed("mona"));
    let carl = calcom(NewUser::named("carl"));
    world
        .import(&[
            expired(&line("calendly", &anna)),
            line("calendly", &ben),
            line("calendly", &dora),
            line("calcom", &mona),
            line("calcom", &carl),
        ])
        .await;
    vec![anna, ben, dora, mona, carl]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_seen_outside_the_provider() {
    let world = world().await;
    let users = users(&world).await;
    let mut seen = Seen::default();
    let mut sidecar = world.sidecar().await;
    every_flow(&world, &sidecar, &mut seen).await;
    let renewed = renewed_ids(&world);
    assert!(
        renewed.len() >= 20,
        "only {} renewed tokens to look for",
        renewed.len()
    );
    let secrets: Vec<&str> = users
        .iter()
        .flat_map(|created| {
            [
                created.access_token.as_str(),
                created.refresh_token.as_str(),
            ]
        })
        .chain([
            CALCOM_SECRET,
            PLATFORM_SECRET,
            CALENDLY_SECRET,
            WEBHOOK_SECRET,
        ])
        .chain([SIGNING_KEY, ADMIN_TOKEN, CALLERS_OWN, KEY, "sentinel-key"])
        // Every access token of both emulators begins so.
        .chain(["eyJ"])
        .collect();
    // While the sidecar runs, so that the write-ahead log is still there. The configuration has the
    // secrets by nature.
    let text = fs::read_to_string(world.config()).unwrap();
    fs::remove_file(world.config()).unwrap();
    for secret in &secrets {
        assert_eq!(file_with(world.home.path(), secret), None, "{secret}");
    }
    fs::write(world.config(), text).unwrap();
    every_command(&world, &users, &mut seen).await;
    sidecar.terminate();
    assert_eq!(sidecar.ended().await, Some(0));
    seen.text("log", &sidecar.log.text());
    assert!(
        seen.0["log"].contains("\"level\":\"TRACE\""),
        "the log says all it can"
    );
    for (what, text) in &seen.0 {
        assert_eq!(token_in(text, &renewed), None, "in {what}");
        for secret in &secrets {
            let found = text
                .find(secret)
                .map(|at| &text[at.saturating_sub(300)..at]);
            assert_eq!(found, None, "{secret} in {what}");
        }
    }
}

/// The names of all tokens that were minted by a renewal.
fn renewed_ids(world: &World) -> HashSet<String> {
    let calls = [world.calcom_calls(), world.calendly_calls()];
    let calls = calls.into_iter().flatten();
    calls
        .flat_map(|call| [call.new_access, call.new_refresh])
        .flatten()
        .collect()
}

/// A word of `text` that is one of the tokens with these names.
fn token_in<'a>(text: &'a str, ids: &HashSet<String>) -> Option<&'a str> {
    let of_no_token = |letter: char| !(letter.is_ascii_alphanumeric() || "._~-".contains(letter));
    let mut words = text.split(of_no_token).filter(|word| word.len() > 15);
    words.find(|word| ids.contains(&token_id(word)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_told_only_where_that_was_allowed() {
    let world = World::open().await;
    let anna = world.valid_at_calendly("anna").await;
    let token = anna.access_token.clone();
    let sidecar = world.sidecar().await;
    let refused = sidecar.get("anna", "/-/calendly/token").await;
    refused.must_be_problem(403, "token-reads-disabled");
    let world = world.with("outbound.token_reads=true");
    let open = world.sidecar().await;
    let told = open.get("anna", "/-/calendly/token").await;
    assert_eq!(
        told.must_be(200).json()["access_token"],
        serde_json::json!(token)
    );
}
