//! `doctor` and whom a sidecar calls and is called by: providers, the public address, the app. Each finding
//! against a real server, and nothing is spent or sent for it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use reqwest::Method;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};

use crate::{
    doctor::{found, one},
    emulators::{call, get},
    places::{Place, sqlite},
    running::Running,
};

/// What doctor says, with these settings; and its exit code.
fn examined(place: &Place, settings: &[&str]) -> (Value, Option<i32>) {
    let mut arguments = vec!["doctor", "--json"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let answer = place.home.run(&arguments);
    (answer.json(), answer.code)
}

/// A port at which nobody listens.
fn closed() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// No resolver has to be asked for a name that cannot be one.
fn unknown() -> String {
    format!("{}.invalid", "x".repeat(64))
}

fn switch(url: &str, switches: &Value) {
    call(
        Method::PATCH,
        &format!("{url}/_sandbox/switches"),
        None,
        Some(switches),
    );
}

#[test]
fn providers_that_are_well_are_said_to_be_and_nothing_is_spent_for_it() {
    let place = sqlite();
    let running = Running::on(&place);
    let import = ["connections", "import"];
    place
        .home
        .run_with(&import, &running.line("anna", 3600))
        .fine();
    let (report, code) = examined(&place, &[]);
    let told = found(&report, "providers", "ok").join("\n");
    for text in [
        "calcom (http://127.0.0.1:",
        "calendly (http://127.0.0.1:",
        "calcom and its platform client: the id and the secret are taken",
        "calendly and its client: the id and the secret are taken",
        "this machine's and that of calendly",
    ] {
        assert!(told.contains(text), "no {text:?} in {told}");
    }
    assert_eq!(
        (found(&report, "providers", "error"), code),
        (Vec::new(), Some(0))
    );
    // The tokens of the store are as they were.
    assert_eq!(Running::generation(&place, "anna"), json!(1));
    assert_eq!(running.renew("anna"), json!(2));
    let stats = get(&format!("{}/_sandbox/stats", running.emulators.calendly)).json();
    let redeemed = stats["redemptions"].as_object().unwrap();
    let honoured = redeemed.values().filter(|used| used["ok"] != 0);
    assert_eq!(honoured.count(), 1, "{stats}");
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_client_that_a_provider_does_not_take_is_an_error_with_the_remedy() {
    let place = sqlite();
    let emulators = place.emulate();
    switch(&emulators.calendly, &json!({ "client_secret": "another" }));
    let platform = json!({ "calcom": { "platform_client_secret": "another" } });
    switch(&emulators.calcom, &platform);
    let (report, code) = examined(&place, &[]);
    let told = found(&report, "providers", "error");
    assert_eq!(told.len(), 2, "{report:#}");
    assert!(
        told[0].contains("calcom and its platform client"),
        "{told:?}"
    );
    assert!(
        told[1].contains("refused the client credentials"),
        "{told:?}"
    );
    assert!(told[1].contains("\"mend\""), "{told:?}");
    assert_eq!(code, Some(1));
    // Who calls nobody does not know.
    place.home.run(&["doctor", "--offline"]).fine();
}

#[test]
fn a_clock_that_is_not_the_providers_is_told_of_by_how_far_it_is_off() {
    let place = sqlite();
    let emulators = place.emulate();
    for (skew, severity, text) in [
        (120, "error", "s behind that of calendly"),
        (-120, "error", "s ahead of that of calendly"),
        (10, "warning", "s behind that of calendly"),
        (1, "ok", "this machine's and that of calendly"),
    ] {
        switch(&emulators.calendly, &json!({ "clock_skew_secs": skew }));
        let (report, _) = examined(&place, &[]);
        let told = found(&report, "providers", severity).join("\n");
        let is_close = skew == 1 && told.contains("1 s behind that of calendly");
        assert!(told.contains(text) || is_close, "{skew}: {report:#}");
    }
}

#[test]
fn a_provider_that_cannot_be_reached_is_an_error() {
    let place = sqlite();
    let _emulators = place.emulate();
    let (gone, nowhere) = (closed(), unknown());
    for (base, text) in [
        (format!("http://127.0.0.1:{gone}"), "cannot be reached"),
        (format!("https://{nowhere}"), "is not known"),
    ] {
        let set = ["api_base", "auth_base"].map(|key| format!("providers.calendly.{key}={base}"));
        let (report, code) = examined(&place, &[&set[0], &set[1]]);
        one(
            &report,
            "providers",
            "error",
            &[text, "calendly", "\"mend\""],
        );
        assert_eq!(code, Some(1));
    }
}

/// Serves TLS, and answers whatever is asked with 404, for as long as the test runs. The authority's
/// certificate, and the port.
fn https(name: &str, days: i64) -> (String, u16) {
    daypass::http::tls::install_crypto();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    let end = end.to_zoned(jiff::tz::TimeZone::UTC);
    params.not_after = date_time_ymd(
        end.year().into(),
        u8::try_from(end.month()).unwrap(),
        u8::try_from(end.day()).unwrap(),
    );
    let leaf = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let (server, listener) = (Arc::new(server), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = StreamOwned::new(session, stream.unwrap());
            // Whoever does not trust it hangs up.
            let _asked = stream.read(&mut [0; 4096]);
            let _told = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            stream.conn.send_close_notify();
            let _ended = stream.flush();
        }
    });
    (issuer.pem(), port)
}

#[test]
fn certificates_are_judged_by_authority_name_and_end() {
    let place = sqlite();
    let _emulators = place.emulate();
    for (name, days, is_trusted, severity, text) in [
        ("localhost", 400, true, "ok", "answers"),
        (
            "localhost",
            400,
            false,
            "error",
            "is from an authority that is not trusted",
        ),
        ("elsewhere.test", 400, true, "error", "is for another name"),
        ("localhost", -2, true, "error", "has ended"),
        ("localhost", 6, true, "warning", "ends within 7 days"),
    ] {
        let (authority, port) = https(name, days);
        place.home.write("ca.pem", &authority);
        let base = format!("https://localhost:{port}");
        let mut set = ["api_base", "auth_base"]
            .map(|key| format!("providers.calendly.{key}={base}"))
            .to_vec();
        if is_trusted {
            set.push("tls.ca_file=ca.pem".to_owned());
        }
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let (report, _) = examined(&place, &set);
        let told = found(&report, "providers", severity).join("\n");
        assert!(told.contains(text), "{name}, {days} days: {report:#}");
    }
}

#[test]
fn the_public_address_must_lead_to_a_daypass() {
    let place = sqlite();
    let running = Running::on(&place);
    let ready = running.sidecar.log.lines().last().unwrap();
    let ready: Value = serde_json::from_str(ready).unwrap();
    let ours = format!(
        "ingress.public_url=http://{}",
        ready["ingress"].as_str().unwrap()
    );
    let (report, _) = examined(&place, &[&ours]);
    one(&report, "ingress", "ok", &["leads to a Daypass"]);
    let other = format!("ingress.public_url={}", running.emulators.calendly);
    let (report, code) = examined(&place, &[&other]);
    one(
        &report,
        "ingress",
        "error",
        &["leads to something else", "ingress.listen"],
    );
    assert_eq!(code, Some(1));
    let gone = format!("ingress.public_url=http://127.0.0.1:{}", closed());
    let (report, code) = examined(&place, &[&gone]);
    one(
        &report,
        "ingress",
        "warning",
        &["cannot be reached", "from outside"],
    );
    assert_eq!(code, Some(0));
    let (authority, port) = https("elsewhere.test", 400);
    place.home.write("ca.pem", &authority);
    let other = format!("ingress.public_url=https://localhost:{port}");
    let (report, _) = examined(&place, &[&other, "tls.ca_file=ca.pem"]);
    one(&report, "ingress", "error", &["is for another name"]);
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn the_app_must_take_connections_and_gets_no_event() {
    let place = sqlite();
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    app.set_nonblocking(true).unwrap();
    let port = app.local_addr().unwrap().port();
    let at = |host: &str| format!("app.webhook_url={host}/hooks");
    let (report, _) = examined(&place, &[&at(&format!("http://127.0.0.1:{port}"))]);
    one(
        &report,
        "app",
        "ok",
        &["takes connections; no event was sent"],
    );
    let (mut caller, _) = app.accept().unwrap();
    caller.set_nonblocking(false).unwrap();
    let mut sent = Vec::new();
    caller.read_to_end(&mut sent).unwrap();
    assert_eq!(sent, b"");
    let (report, code) = examined(&place, &[&at(&format!("http://127.0.0.1:{}", closed()))]);
    one(
        &report,
        "app",
        "warning",
        &["cannot be reached", "start the app"],
    );
    assert_eq!(code, Some(0));
    let (report, code) = examined(&place, &[&at(&format!("http://{}", unknown()))]);
    one(&report, "app", "error", &["is not known"]);
    assert_eq!(code, Some(1));
}
