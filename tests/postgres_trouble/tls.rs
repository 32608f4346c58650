//! TLS: certificates that fit, that are for another name, or that nobody vouches for.

use std::{fs, os::unix::fs::chown, path::PathBuf, sync::Arc};

use daypass::{
    base::{lifecycle::Lifecycle, random::OsRandom},
    http::tls::{Alpn, client_config},
    store::{
        Error, Store,
        postgres::{Address, Postgres, Surroundings},
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::postgres_server::{FAST, Server};

/// A server whose certificate is for `name`, and the file of the authority that vouches for it.
struct Protected {
    server: Server,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Protected {
    fn start(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&pair, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.pem");
        fs::write(&authority, issuer.pem()).unwrap();
        let mut server = Server::start(FAST);
        let data = server.folder.join("data");
        for (file, text) in [
            ("s.crt", certificate.pem()),
            ("s.key", pair.serialize_pem()),
        ] {
            let path = data.join(file);
            fs::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&path, mode).unwrap();
            let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&data).unwrap());
            chown(&path, Some(owner), None).unwrap();
        }
        server.set("ssl_cert_file = 's.crt'");
        server.set("ssl_key_file = 's.key'");
        server.set("ssl = on");
        server.restart();
        Self {
            server,
            authority,
            _folder: folder,
        }
    }

    async fn open(&self, host: &str, mode: &str, trusted: bool) -> Result<Postgres, Error> {
        let url = self.server.url("postgres").replace("127.0.0.1", host);
        let authority = trusted.then_some(self.authority.as_path());
        let surroundings = Surroundings {
            tls: client_config(authority, Alpn::Unset).unwrap(),
            lifecycle: Lifecycle::new(),
            random: Arc::new(OsRandom),
        };
        let address = Address::parse(&format!("{url}?sslmode={mode}")).unwrap();
        Postgres::open(&address, surroundings).await
    }

    /// How many of its sessions are protected.
    fn protected(&self) -> String {
        let count = "SELECT count(*) > 0 FROM pg_stat_ssl WHERE ssl";
        self.server.sql("postgres", count)
    }
}

#[tokio::test]
async fn a_certificate_for_the_right_name_by_a_trusted_authority_is_accepted() {
    let protected = Protected::start("localhost");
    let store = protected
        .open("localhost", "verify-full", true)
        .await
        .unwrap();
    store.check().await.unwrap();
    assert_eq!(protected.protected(), "t");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_and_the_remedy_named() {
    let protected = Protected::start("db.example");
    let error = protected
        .open("localhost", "verify-full", true)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("is for another name"), "{error}");
    let error = protected
        .open("127.0.0.1", "verify-ca", true)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is for another name"), "{error}");
    let store = protected.open("localhost", "require", false).await.unwrap();
    store.check().await.unwrap();
    assert_eq!(protected.protected(), "t");
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_to_be_named_in_the_configuration() {
    let protected = Protected::start("localhost");
    let error = protected
        .open("localhost", "verify-full", false)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("tls.ca_file"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_clear_unless_asked() {
    let server = Server::start(FAST);
    for mode in ["require", "verify-full"] {
        let url = format!("{}?sslmode={mode}", server.url("postgres"));
        let error = crate::records::open(&url).await.unwrap_err();
        assert!(error.to_string().contains("sslmode=disable"), "{error}");
    }
    for mode in ["prefer", "disable"] {
        let url = format!("{}?sslmode={mode}", server.url("postgres"));
        crate::records::open(&url).await.unwrap();
    }
}
