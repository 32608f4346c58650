//! Servers whose certificate is for another name, or from an authority that is not trusted; and those that
//! speak no TLS, or nothing else.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    passwords::cut,
    places::Place,
    postgres_server::{FAST, Server as Postgres},
    redis_servers::{Server as Redis, cli},
    running::Running,
    trouble::refused,
};

/// What a server shows, and whom to trust for it.
struct Papers {
    authority: String,
    certificate: String,
    key: String,
}

/// For a server called `name`.
fn papers(name: &str) -> Papers {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    Papers {
        authority: issuer.pem(),
        certificate: params.signed_by(&key, &issuer).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn postgres(papers: &Papers) -> Postgres {
    let mut server = Postgres::start(FAST);
    give(&server, papers);
    server.set("ssl_cert_file = 's.crt'");
    server.set("ssl_key_file = 's.key'");
    server.set("ssl = on");
    server.restart();
    server
}

fn give(server: &Postgres, papers: &Papers) {
    let data = server.folder.join("data");
    for (file, text) in [("s.crt", &papers.certificate), ("s.key", &papers.key)] {
        let path = data.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(fs::metadata(&data).unwrap().uid()), None).unwrap();
    }
}

fn redis(papers: &Papers) -> Redis {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let authority = write("ca.pem", &papers.authority);
    let certificate = write("cert.pem", &papers.certificate);
    let key = write("key.pem", &papers.key);
    let mut options = vec!["--tls-port", "TLS-PORT", "--tls-auth-clients", "no"];
    options.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    options.extend(["--tls-ca-cert-file", &authority]);
    Redis::start(&options)
}

/// A place whose configuration trusts `papers`.
fn trusting(url: &str, papers: &Papers) -> Place {
    let place = Place::at(url);
    place.home.write("ca.pem", &papers.authority);
    place
}

const TRUST: [&str; 2] = ["--set", "tls.ca_file=ca.pem"];

#[test]
fn postgres_with_a_certificate_for_another_name_is_not_trusted() {
    let papers = papers("db.example");
    let server = postgres(&papers);
    let url = |mode: &str| {
        let url = server.url("postgres").replace("127.0.0.1", "localhost");
        format!("{}?sslmode={mode}", url.replace(":secret@", ":hunter2@"))
    };
    let place = trusting(&url("verify-full"), &papers);
    refused(
        &place,
        &TRUST,
        &["is for another name; use in store.url the name it was made for"],
    );
    refused(
        &place,
        &[],
        &["an authority that is not trusted; name its certificate in tls.ca_file"],
    );
    // Whoever insists is let through, and told of what that means.
    place.name_store(&url("require"));
    place
        .home
        .run_with(&["connections", "import"], "user,provider\n")
        .fine();
}

#[test]
fn redis_with_a_certificate_for_another_name_is_not_trusted() {
    let papers = papers("redis.example");
    let server = redis(&papers);
    let place = trusting(
        &format!("rediss://:hunter2@localhost:{}", server.port),
        &papers,
    );
    let told = "is not trusted, or is for another name; name its CA in tls.ca_file";
    refused(&place, &TRUST, &[told]);
    refused(&place, &[], &[told]);
    place.name_store(&format!("redis://:hunter2@localhost:{}", server.port));
    refused(
        &place,
        &TRUST,
        &["whether it speaks TLS exactly if store.url begins with rediss"],
    );
}

/// A sidecar on `url` that trusts the old authority; then the file names the new one, the server shows a
/// certificate of it, and who was connected is cut off.
fn replaces_its_authority(url: &str, old: &Papers, new: &Papers, change: impl FnOnce()) {
    let place = trusting(url, old);
    let emulators = place.emulate();
    let settings = fs::read_to_string(place.home.path("daypass.toml")).unwrap();
    let settings = format!("{settings}\n[tls]\nca_file = \"ca.pem\"\n");
    place.home.write("daypass.toml", &settings);
    let (sidecar, outbound, admin) = place.home.sidecar(&[]);
    let mut running = Running {
        emulators,
        sidecar,
        outbound,
        admin,
    };
    assert_eq!(running.connect_and_ask(&place, "anna"), 200);
    place.home.write("ca.pem", &new.authority);
    running
        .sidecar
        .logged("secret changed; the new one is in use");
    // The connections that there are go on.
    assert_eq!(running.ask("anna"), 200);
    change();
    running.until_ready();
    assert_eq!(running.connect_and_ask(&place, "ben"), 200);
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn an_authority_of_postgres_that_is_replaced_is_trusted_without_a_restart() {
    let (old, new) = (papers("localhost"), papers("localhost"));
    let server = postgres(&old);
    let url = server.url("postgres").replace("127.0.0.1", "localhost");
    replaces_its_authority(&format!("{url}?sslmode=verify-full"), &old, &new, || {
        give(&server, &new);
        server.sql("postgres", "SELECT pg_reload_conf()");
        assert_ne!(cut(&server), "0");
    });
}

#[test]
fn an_authority_of_redis_that_is_replaced_is_trusted_without_a_restart() {
    let (old, new) = (papers("localhost"), papers("localhost"));
    let server = redis(&old);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = format!("rediss://localhost:{}", server.port);
    replaces_its_authority(&url, &old, &new, || {
        let (certificate, key) = (
            write("cert.pem", &new.certificate),
            write("key.pem", &new.key),
        );
        let authority = write("ca.pem", &new.authority);
        let ask = |words: &[&str]| cli(server.port, &[&["--tls", "--insecure"], words].concat());
        let mut set = vec!["CONFIG", "SET", "tls-cert-file", &certificate];
        set.extend(["tls-key-file", &key, "tls-ca-cert-file", &authority]);
        assert_eq!(ask(&set), "OK");
        ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    });
}

#[test]
fn postgres_without_tls_is_not_spoken_to_in_clear_unless_asked() {
    let server = Postgres::start(FAST);
    let url = format!("{}?sslmode=verify-full", server.url("postgres"));
    refused(
        &Place::at(&url),
        &[],
        &["without TLS on the server only sslmode=disable works"],
    );
}
