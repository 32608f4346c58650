//! Secrets in a mounted volume that are exchanged while calls are under way: the new ones are in use within
//! seconds, and no call fails.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use daypass::sandbox::Switches;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, StatusCode};
use serde_json::json;
use sha2::Sha256;

use crate::{
    app::{App, Taken},
    sidecar::{Answer, Sidecar, until_within},
    world::World,
};

/// A volume as the kubelet mounts it: each file is a link into `..data`, which is itself a link, and is
/// replaced in one step.
pub(crate) struct Volume {
    folder: PathBuf,
    turn: usize,
}

/// Files are looked at every five seconds.
const SOON: Duration = Duration::from_secs(30);

const OLD: [(&str, &str); 6] = [
    ("client-secret", "sandbox-client-secret"),
    ("platform-secret", "sandbox-platform-secret"),
    ("webhook-secret", "old-webhook-secret"),
    ("signing-key", "old-signing-key"),
    ("app-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("admin-token", "old-admin-token"),
];

const NEW: [(&str, &str); 6] = [
    ("client-secret", "new-client-secret"),
    ("platform-secret", "new-platform-secret"),
    ("webhook-secret", "new-webhook-secret"),
    ("signing-key", "new-signing-key"),
    ("app-secret", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
    ("admin-token", "new-admin-token"),
];

// === impl Volume ===

impl Volume {
    pub(crate) fn mount(folder: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir(&folder).unwrap();
        let mut volume = Self { folder, turn: 0 };
        volume.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.folder.join(name)).unwrap();
        }
        volume
    }

    /// Puts other contents in the place of all that is there.
    pub(crate) fn swap(&mut self, files: &[(&str, &str)]) {
        self.turn += 1;
        let name = format!("..2026_11_{}", self.turn);
        fs::create_dir(self.folder.join(&name)).unwrap();
        for (file, text) in files {
            fs::write(self.folder.join(&name).join(file), format!("{text}\n")).unwrap();
        }
        let beside = self.folder.join("..data_tmp");
        symlink(&name, &beside).unwrap();
        fs::rename(&beside, self.folder.join("..data")).unwrap();
        if self.turn > 1 {
            let old = format!("..2026_11_{}", self.turn - 1);
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Calls for `user` at `path` without a pause until `story` has ended; every one of them is answered 200.
pub(crate) async fn under_load<T>(
    sidecar: &Sidecar,
    (user, path): (&str, &str),
    story: impl Future<Output = T>,
) -> T {
    let mut calls = 0_u32;
    let load = async {
        loop {
            let answer = sidecar.get(user, path).await;
            answer.must_be(200);
            calls += 1;
        }
    };
    let done = tokio::select! {
        done = story => done,
        () = load => unreachable!("it has no end"),
    };
    assert!(calls > 20, "{calls} calls are no load");
    done
}

/// Waits until the sidecar has said so often that a secret has changed.
pub(crate) async fn until_reloaded(sidecar: &Sidecar, times: usize) {
    until_within(SOON, "the new secrets", async || {
        let lines = sidecar.log.lines();
        let changed = lines.iter().filter(|line| {
            line.to_string()
                .contains("secret changed; the new one is in use")
        });
        (changed.count() >= times).then_some(())
    })
    .await;
}

fn hmac_hex(key: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// Whether one of the signatures is made with `secret`.
fn is_signed_with(taken: &Taken, secret: &str) -> bool {
    let key = secret.strip_prefix("whsec_").unwrap();
    let key = BASE64_STANDARD.decode(key).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    for part in [
        taken.header("webhook-id").as_bytes(),
        b".",
        taken.header("webhook-timestamp").as_bytes(),
        b".",
        &taken.body,
    ] {
        mac.update(part);
    }
    let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    let mut signatures = taken.header("webhook-signature").split(' ');
    signatures.any(|signature| signature == expected)
}

/// A world whose sidecar reads all of its secrets from `volume`.
async fn world(volume: &Volume, app: &App) -> World {
    let world = World::open()
        .await
        .with(&format!("app.webhook_url={}/hooks", app.url))
        .with(&format!(
            "app.signing_secret_file={}",
            volume.path("app-secret")
        ))
        .with(&format!("admin.token_file={}", volume.path("admin-token")))
        .with("ingress.public_url=https://daypass.example");
    let file = |key: &str, name: &str| format!("{key}_file = \"{}\"", volume.path(name));
    world.reconfigure(
        "platform_client_secret = \"sandbox-platform-secret\"",
        &format!(
            "{}\n{}",
            file("platform_client_secret", "platform-secret"),
            file("webhook_secret", "webhook-secret")
        ),
    );
    world.reconfigure(
        "client_id = \"sandbox-calendly-client\"\nclient_secret = \"sandbox-client-secret\"",
        &format!(
            "client_id = \"sandbox-calendly-client\"\n{}\n{}",
            file("client_secret", "client-secret"),
            file("webhook_signing_key", "signing-key")
        ),
    );
    world
}

async fn status_with(sidecar: &Sidecar, world: &World, token: &str) -> StatusCode {
    let url = format!("{}/v1/connections", sidecar.admin);
    let answer = world.http.get(url).bearer_auth(token).send().await;
    answer.unwrap().status()
}

/// The status of an event of Cal.com, and of Calendly, that is signed with these keys and is nobody's.
async fn intake(sidecar: &Sidecar, world: &World, calcom: &str, calendly: &str) -> [StatusCode; 2] {
    let now = daypass::base::clock::Clock::now(&daypass::base::clock::SystemClock);
    let secs = (now.as_millis() / 1000).to_string();
    let body = json!({
        "triggerEvent": "BOOKING_CREATED",
        "createdAt": "2026-11-26T00:00:00.000Z",
        "payload": { "uid": format!("{calcom}-{secs}"), "organizer": { "id": 4711, "email": "o@example.org" } },
    })
    .to_string();
    let post = |provider: &str, body: &str| {
        let url = format!("{}/webhooks/{provider}", sidecar.ingress);
        let request = world.http.post(url).body(body.to_owned());
        request.header("content-type", "application/json")
    };
    let signature = hmac_hex(calcom, &[body.as_bytes()]);
    let of_calcom = post("calcom", &body).header("x-cal-signature-256", signature);
    let of_calcom = of_calcom.send().await.unwrap().status();
    let body = json!({
        "event": "invitee.created",
        "created_at": "2026-11-26T00:00:00.000000Z",
        "created_by": "https://api.calendly.com/users/NOBODY",
        "payload": { "uri": format!("https://api.calendly.com/scheduled_events/E/invitees/{calendly}{secs}") },
    })
    .to_string();
    let digest = hmac_hex(calendly, &[secs.as_bytes(), b".", body.as_bytes()]);
    let of_calendly = post("calendly", &body);
    let of_calendly = of_calendly.header(
        "calendly-webhook-signature",
        format!("t={secs},v1={digest}"),
    );
    [of_calcom, of_calendly.send().await.unwrap().status()]
}

#[tokio::test(flavor = "multi_thread")]
async fn mounted_secrets_that_are_exchanged_are_in_use_at_once_and_fail_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::mount(folder.path().join("secrets"), &OLD);
    let app = App::start().await;
    let world = world(&volume, &app).await;
    world.valid_at_calendly("anna").await;
    world.valid_at_calendly("ben").await;
    world.managed("mona").await;
    let sidecar = world.sidecar().await;
    let refused = StatusCode::UNAUTHORIZED;
    assert_eq!(status_with(&sidecar, &world, "old-admin-token").await, 200);
    let before = intake(&sidecar, &world, "old-webhook-secret", "old-signing-key").await;
    assert!(before.iter().all(StatusCode::is_success), "{before:?}");
    let early = intake(&sidecar, &world, "new-webhook-secret", "new-signing-key").await;
    assert_eq!(early, [refused; 2]);

    let story = async {
        volume.swap(&NEW);
        until_reloaded(&sidecar, NEW.len()).await;
        // From now on only the new ones are right.
        let of_client =
            |switches: &mut Switches| switches.client_secret = "new-client-secret".to_owned();
        world.sandbox.calendly().set(of_client);
        world.sandbox.calcom().set(|switches: &mut Switches| {
            switches.calcom.platform_client_secret = "new-platform-secret".to_owned();
        });
        for (user, path) in [
            ("ben", "/-/calendly/refresh"),
            ("mona", "/-/calcom/refresh?force=true"),
        ] {
            let renewed = Answer::read(sidecar.request(Method::POST, user, path)).await;
            renewed.must_be(200);
        }
    };
    under_load(&sidecar, ("anna", "/calendly/users/me"), story).await;
    assert_eq!(
        status_with(&sidecar, &world, "old-admin-token").await,
        refused
    );
    assert_eq!(status_with(&sidecar, &world, "new-admin-token").await, 200);
    let late = intake(&sidecar, &world, "old-webhook-secret", "old-signing-key").await;
    assert_eq!(late, [refused; 2]);
    let after = intake(&sidecar, &world, "new-webhook-secret", "new-signing-key").await;
    assert!(after.iter().all(StatusCode::is_success), "{after:?}");
    // The app is told of the renewals, under the new secret.
    let secret = NEW[4].1;
    until_within(SOON, "a delivery with the new signature", async || {
        let taken = app.taken();
        let renewals = taken
            .iter()
            .filter(|one| one.header("daypass-event") == "connection.refreshed");
        renewals.clone().next()?;
        assert!(renewals.clone().all(|one| is_signed_with(one, secret)));
        Some(())
    })
    .await;
}

/// The value of a key is for good: another one under its id would lock up what the first has sealed.
#[tokio::test(flavor = "multi_thread")]
async fn another_encryption_key_under_the_same_id_is_refused_and_the_first_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = Volume::mount(folder.path().join("keys"), &[("k1", crate::world::KEY)]);
    let world = World::open().await;
    world.reconfigure(
        &format!("value = \"{}\"", crate::world::KEY),
        &format!("file = \"{}\"", volume.path("k1")),
    );
    world.valid_at_calendly("anna").await;
    let sidecar = world.sidecar().await;
    volume.swap(&[("k1", "bmV3LXNlbnRpbmVsLWtleS0zMi1ieXRlcy10ZXN0cyE=")]);
    until_within(SOON, "the complaint", async || {
        let text = sidecar.log.text();
        text.contains("a new key gets a new id").then_some(())
    })
    .await;
    sidecar.get("anna", "/calendly/users/me").await.must_be(200);
}
