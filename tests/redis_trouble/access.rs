//! Passwords, users, certificates: each refusal says what to mend, none repeats a password.

use daypass::store::{Error, Inspect as _, Store};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::{
    servers::{Server, cli},
    world::{connect, key, open, open_trusting, whole},
};

/// The rule that the documentation gives for a user of its own.
const RULE: &str = "on >password ~{daypass:* &daypass:* +@read +@write +@connection +@scripting \
                    +subscribe +publish +ping +time +info +role +config|get -@dangerous +info +role \
                    +config|get";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_not_repeated() {
    let server = Server::start(&["--requirepass", "correct"]);
    let at = format!("127.0.0.1:{}", server.port);
    open(&format!("redis://:correct@{at}")).await.unwrap();
    for credentials in [":hunter2@", "anna:hunter2@", ""] {
        let error = open(&format!("redis://{credentials}{at}"))
            .await
            .unwrap_err();
        let said = whole(&error);
        assert!(said.contains("refuses the user or password"), "{said}");
        assert!(
            said.contains("store.url") && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_user_can_do_all_that_is_needed() {
    let documented = include_str!("../../docs/configuration.md")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(documented.contains(&format!("ACL SETUSER daypass {RULE}")));
    let server = Server::start(&[]);
    let rule: Vec<&str> = RULE.split(' ').collect();
    let words = [&["ACL", "SETUSER", "daypass"], rule.as_slice()].concat();
    assert_eq!(cli(server.port, &words), "OK");
    let url = format!("redis://daypass:password@127.0.0.1:{}", server.port);
    let store = open(&url).await.unwrap();
    let anna = connect(&store, "anna").await;
    assert_eq!(store.load(&anna.key).await.unwrap(), Some(anna));
    store.check().await.unwrap();
    store.remove(&key("anna")).await.unwrap();
    assert!(
        !store.assurances().await.unwrap().is_empty(),
        "it keeps nothing on disk"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_do_all_of_it_is_refused_at_once() {
    let server = Server::start(&[]);
    let url = format!("redis://daypass:password@127.0.0.1:{}", server.port);
    for (lacks, rule) in [("a command", "-xadd"), ("the keys", "resetkeys")] {
        let everything = ["ACL", "SETUSER", "daypass", "reset", "on", ">password"];
        let words = [&everything[..], &["~*", "&*", "+@all", rule]].concat();
        assert_eq!(cli(server.port, &words), "OK");
        let error = open(&url).await.unwrap_err();
        assert!(
            matches!(error, Error::NotWritable { .. }),
            "{lacks}: {error:?}"
        );
        assert!(
            whole(&error).contains("grant it"),
            "{lacks}: {}",
            whole(&error)
        );
    }
}

/// A CA, and a server that speaks TLS only, whose certificate is for `name`.
fn tls_server(name: &str) -> (Server, String) {
    let folder = tempfile::tempdir().unwrap().keep();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = write("cert.pem", certificate.pem());
    let key = write("key.pem", key.serialize_pem());
    let ca_file = write("ca.pem", ca_pem.clone());
    let mut options = vec!["--tls-port", "TLS-PORT", "--tls-auth-clients", "no"];
    options.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    options.extend(["--tls-ca-cert-file", &ca_file]);
    let server = Server::start(&options);
    std::fs::remove_dir_all(folder).unwrap();
    (server, ca_pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_a_trusted_certificate_for_the_right_name() {
    let (server, ca) = tls_server("localhost");
    let named = format!("rediss://localhost:{}", server.port);
    let store = open_trusting(&named, Some(ca.clone())).await.unwrap();
    connect(&store, "anna").await;
    let by_number = format!("rediss://127.0.0.1:{}", server.port);
    let wrong_name = open_trusting(&by_number, Some(ca)).await.unwrap_err();
    let unknown_ca = open(&named).await.unwrap_err();
    for error in [wrong_name, unknown_ca] {
        let said = whole(&error);
        assert!(
            said.contains("certificate") && said.contains("tls.ca_file"),
            "{said}"
        );
    }
    let plain = format!("redis://localhost:{}", server.port);
    let said = whole(&open(&plain).await.unwrap_err());
    assert!(said.contains("rediss"), "{said}");
}
