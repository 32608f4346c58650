//! One question to one server, step by step: whether its name is known, whether it answers, whom its
//! certificate is for and for how long, and what it says.
//!
//! A library would do it in fewer lines, and not say which step failed.

use std::{io, path::Path, sync::Arc, time::Duration};

use rustls::{
    CertificateError,
    client::danger::ServerCertVerifier,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::Finding;
use crate::{
    base::clock::{Clock, SystemClock, Timestamp},
    http::tls::{self, Alpn},
};

/// Far more than any step takes that will succeed.
const STEP: Duration = Duration::from_secs(5);

/// No more of an answer is read, in bytes.
const ENOUGH: u64 = 64 << 10;

/// A certificate that ends within so many days is told of: those that are renewed by themselves are
/// renewed earlier.
const DAYS: [u64; 4] = [1, 3, 7, 14];

/// Asks servers, trusting what the configuration trusts.
pub(super) struct Asker {
    connector: TlsConnector,
    verifier: Arc<dyn ServerCertVerifier>,
}

/// An open way to a server.
pub(super) struct Way {
    stream: Box<dyn Io>,
    /// Within how many days its certificate ends, if that is soon.
    pub(super) ends_within: Option<u64>,
}

/// What a server said.
pub(super) struct Said {
    pub(super) status: u16,
    /// The head and the beginning of the body.
    pub(super) text: String,
    /// Its own time.
    pub(super) date: Option<Timestamp>,
    /// When it was asked, and when it had answered.
    pub(super) asked: Timestamp,
    pub(super) told: Timestamp,
}

/// At which step it failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The name is not known.
    Name(io::Error),
    /// Nobody listens there.
    Connect(io::Error),
    /// No answer in time.
    Silence,
    /// Its certificate is from an authority that is not trusted.
    Untrusted,
    /// Its certificate is for another name.
    OtherName,
    /// Its certificate has ended, or has not begun.
    Ended,
    /// Something else about TLS.
    Tls(String),
    /// It speaks something else than HTTP.
    NotHttp,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

// === impl Asker ===

impl Asker {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, tls::Error> {
        let config = tls::client_config(ca_file, Alpn::Unset)?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            verifier: tls::verifier(ca_file)?,
        })
    }

    /// Opens the way to the server of `url`, and asks nothing.
    pub(super) async fn reach(&self, url: &Url) -> Result<Way, Fault> {
        let port = url.port_or_known_default().unwrap_or(443);
        let name = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(Fault::Name(io::ErrorKind::InvalidInput.into())),
        };
        let addresses = in_time(lookup_host((name.as_str(), port)), Fault::Name).await?;
        let addresses: Vec<_> = addresses.collect();
        let stream = in_time(TcpStream::connect(&*addresses), Fault::Connect).await?;
        if url.scheme() != "https" {
            return Ok(Way {
                stream: Box::new(stream),
                ends_within: None,
            });
        }
        let name = ServerName::try_from(name).map_err(|error| Fault::Tls(error.to_string()))?;
        let connecting = self.connector.connect(name.clone(), stream);
        let stream = in_time(connecting, |error| of_tls(&error)).await?;
        let (_, session) = stream.get_ref();
        let ends_within = session
            .peer_certificates()
            .and_then(|chain| self.ends_within(chain, &name));
        Ok(Way {
            stream: Box::new(stream),
            ends_within,
        })
    }

    /// Within how many days the chain is trusted no longer.
    fn ends_within(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Option<u64> {
        let (own, others) = chain.split_first()?;
        let now = UnixTime::now();
        DAYS.into_iter().find(|days| {
            let then = now.as_secs().saturating_add(days * 86_400);
            let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
            let verified = self
                .verifier
                .verify_server_cert(own, others, name, &[], then);
            verified.is_err_and(|error| matches!(of_rustls(&error), Fault::Ended))
        })
    }
}

// === impl Way ===

impl Way {
    /// Asks with `method` for the path of `url`, with nothing in the body.
    pub(super) async fn ask(mut self, method: &str, url: &Url) -> Result<Said, Fault> {
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: daypass-doctor\r\nAccept: */*\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
            url.path()
        );
        let asked = SystemClock.now();
        let answer = async {
            self.stream.write_all(head.as_bytes()).await?;
            let mut bytes = Vec::new();
            // What ends without saying so has still said what came before.
            let _ended = self.stream.take(ENOUGH).read_to_end(&mut bytes).await;
            Ok(bytes)
        };
        let bytes = in_time(answer, Fault::Connect).await?;
        let told = SystemClock.now();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut words = text.split(' ');
        let status = match (words.next(), words.next()) {
            (Some(version), Some(status)) if version.starts_with("HTTP/1.") => status.parse().ok(),
            _ => None,
        };
        Ok(Said {
            status: status.ok_or(Fault::NotHttp)?,
            date: date(&text),
            text,
            asked,
            told,
        })
    }
}

fn date(text: &str) -> Option<Timestamp> {
    let (head, _) = text.split_once("\r\n\r\n")?;
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then_some(value.trim())
    })?;
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let parsed = parser.parse_timestamp(value).ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

async fn in_time<T>(
    step: impl Future<Output = io::Result<T>>,
    fault: impl FnOnce(io::Error) -> Fault,
) -> Result<T, Fault> {
    match timeout(STEP, step).await {
        Ok(done) => done.map_err(fault),
        Err(_elapsed) => Err(Fault::Silence),
    }
}

fn of_tls(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(inner) => of_rustls(inner),
        None => Fault::Tls(error.to_string()),
    }
}

fn of_rustls(error: &rustls::Error) -> Fault {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return Fault::Tls(error.to_string());
    };
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::Untrusted,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Fault::OtherName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Fault::Ended,
        _ => Fault::Tls(error.to_string()),
    }
}

// === impl Fault ===

impl Fault {
    /// Whether it is of the certificate, and so not of the moment.
    pub(super) const fn is_of_certificate(&self) -> bool {
        matches!(self, Self::Untrusted | Self::OtherName | Self::Ended)
    }

    /// What is the matter with `at`.
    pub(super) fn what(&self, at: &str) -> String {
        match self {
            Self::Name(error) => format!("the name of {at} is not known: {error}"),
            Self::Connect(error) => format!("{at} cannot be reached: {error}"),
            Self::Silence => format!("{at} does not answer within {} s", STEP.as_secs()),
            Self::Untrusted => {
                format!("the certificate of {at} is from an authority that is not trusted")
            }
            Self::OtherName => format!("the certificate of {at} is for another name"),
            Self::Ended => format!("the certificate of {at} has ended, or has not begun"),
            Self::Tls(error) => format!("TLS with {at} fails: {error}"),
            Self::NotHttp => format!("what answers at {at} does not speak HTTP"),
        }
    }

    /// What to do.
    pub(super) const fn mend(&self) -> &'static str {
        match self {
            Self::Name(_) => "correct the host in the configuration, or look at DNS",
            Self::Connect(_) | Self::Silence => {
                "look whether it runs, and whether a firewall, network policy or proxy is in between"
            }
            Self::Untrusted => {
                "name its authority in tls.ca_file; if somebody in between opens TLS, theirs"
            }
            Self::OtherName => "write the name that the certificate is for into the configuration",
            Self::Ended => "renew the certificate; if it is good, set the clock of this machine",
            Self::Tls(_) => "look whether it speaks TLS 1.2 or 1.3 there",
            Self::NotHttp => "correct the URL",
        }
    }
}

/// That a certificate ends soon.
pub(super) fn ending(check: &'static str, at: &str, way: &Way) -> Option<Finding> {
    let days = way.ends_within?;
    let within = match days {
        1 => "within a day".to_owned(),
        days => format!("within {days} days"),
    };
    Some(Finding::warning(
        check,
        format!("the certificate of {at} ends {within}"),
        "nobody can be reached there from then on",
        "renew it, or look why that does not happen by itself",
    ))
}
