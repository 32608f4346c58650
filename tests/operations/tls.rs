//! Servers whose certificate is for another name, or from an authority that is not trusted; and those that
//! speak no TLS, or nothing else.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    places::Place,
    postgres_server::{FAST, Server as Postgres},
    redis_servers::Server as Redis,
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
    let data = server.folder.join("data");
    for (file, text) in [("s.crt", &papers.certificate), ("s.key", &papers.key)] {
        let path = data.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(fs::metadata(&data).unwrap().uid()), None).unwrap();
    }
    server.set("ssl_cert_file = 's.crt'");
    server.set("ssl_key_file = 's.key'");
    server.set("ssl = on");
    server.restart();
    server
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
