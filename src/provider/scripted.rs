//! A provider that plays a script, for tests: one connection for each play, and a record of what
//! came.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{ApiBase, CallError, Calls};
use crate::base::{
    clock::{ManualClock, Timestamp},
    ids::ProviderName,
    lifecycle::Lifecycle,
    secret::{ReloadableSecret, Secret},
};

/// `Sun, 06 Nov 1994 08:49:37 GMT`: when scripted answers say they were given.
pub(super) const DATE: Timestamp = Timestamp::from_secs(784_111_777);

/// Our own clock, which is hours away from the provider's.
pub(super) const OUR_NOW: Timestamp = Timestamp::from_secs(784_100_000);

/// What happens on one connection once the request is read.
#[derive(Clone, Debug)]
pub(super) enum Play {
    /// These bytes, then the end.
    Answer(Vec<u8>),
    /// These bytes, then silence for as long as the caller waits.
    Hang(Vec<u8>),
    /// A reset.
    Reset,
}

/// What a request looked like.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: String,
}

#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

// === impl Scripted ===

impl Scripted {
    /// Plays `script` and then refuses connections.
    pub(super) async fn start(script: Vec<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        drop(Lifecycle::new().spawn(async move {
            for play in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                record.lock().push(request);
                play.on(stream).await;
            }
        }));
        Self { address, seen }
    }

    pub(super) async fn answering(answer: Vec<u8>) -> Self {
        Self::start(vec![Play::Answer(answer)]).await
    }

    pub(super) fn base(&self) -> ApiBase {
        ApiBase::parse(&format!("http://{}", self.address)).unwrap()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen.lock().last().unwrap().clone()
    }

    /// The only request that came.
    pub(super) fn only(&self) -> Seen {
        let seen = self.seen.lock();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

// === impl Play ===

impl Play {
    async fn on(self, mut stream: TcpStream) {
        match self {
            Self::Answer(bytes) => {
                // The caller may have gone after the head, as for 5xx.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
            Self::Hang(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                let _ = stream.read(&mut [0; 1]).await;
            }
            Self::Reset => socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap(),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// The request line without the version.
    pub(super) fn target(&self) -> &str {
        self.head.split(" HTTP/1.1").next().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Every place where the client shows who it is.
    pub(super) fn client_is_shown_by(&self) -> Vec<&'static str> {
        let header = |name| self.header(name).is_some();
        let anywhere = |text| self.body.contains(text) || self.target().contains(text);
        [
            ("authorization", header("authorization")),
            ("x-cal-secret-key", header("x-cal-secret-key")),
            ("client_secret", anywhere("client_secret")),
            ("client_assertion", anywhere("client_assertion")),
        ]
        .into_iter()
        .filter_map(|(way, shown)| shown.then_some(way))
        .collect()
    }

    /// The fields of an urlencoded body, in order.
    pub(super) fn form(&self) -> Vec<(String, String)> {
        assert_eq!(
            self.header("content-type"),
            Some("application/x-www-form-urlencoded")
        );
        url::form_urlencoded::parse(self.body.as_bytes())
            .into_owned()
            .collect()
    }
}

/// Reads one request, whose body has a length.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Seen {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "no request");
    };
    let mut seen = Seen {
        head: String::from_utf8(bytes[..end].to_vec()).unwrap(),
        body: String::new(),
    };
    let length = seen
        .header("content-length")
        .unwrap_or("0")
        .parse()
        .unwrap();
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0, "no body");
    }
    seen.body = String::from_utf8(body).unwrap();
    seen
}

/// An answer as it goes over the wire, given at [`DATE`].
pub(super) fn answer(status: u16, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Scripted\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(super) fn json(status: u16, body: &serde_json::Value) -> Vec<u8> {
    answer(status, "application/json; charset=utf-8", &body.to_string())
}

pub(super) fn calls() -> Calls {
    calls_within(Duration::from_secs(20))
}

pub(super) fn calls_within(timeout: Duration) -> Calls {
    Calls::new(None, timeout, Arc::new(ManualClock::new(OUR_NOW))).unwrap()
}

pub(super) fn name(text: &str) -> ProviderName {
    ProviderName::parse(text).unwrap()
}

pub(super) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

pub(super) fn setting(text: &str) -> ReloadableSecret {
    ReloadableSecret::new(secret(text))
}

/// What [`Seen::form`] should be.
pub(super) fn fields<const N: usize>(fields: [(&str, &str); N]) -> Vec<(String, String)> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    fields.into_iter().map(owned).collect()
}

/// A JWT with these claims and a signature of no worth.
pub(super) fn jwt(claims: &serde_json::Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")
}

/// What came of a call, in one word and its detail; for tables.
pub(super) fn outcome<T>(result: Result<T, CallError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(CallError::NotSent { .. }) => "not sent".to_owned(),
        Err(CallError::Ambiguous { what, .. }) => format!("ambiguous: {what}"),
        Err(CallError::GrantRefused { code, .. }) => format!("grant: {code}"),
        Err(CallError::ClientRefused { code, .. }) => format!("client: {code}"),
        Err(CallError::OtherClient { code, .. }) => format!("another client's: {code}"),
        Err(CallError::NotConfigured { setting, .. }) => format!("not configured: {setting}"),
        Err(CallError::RateLimited { retry_after, .. }) => format!("limited: {retry_after:?}"),
        Err(CallError::Unexpected { status, .. }) => format!("unexpected: {status}"),
    }
}

/// All that an error would ever print: itself and its causes, both ways.
pub(super) fn printed(error: &CallError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        write!(text, "{error} {error:?}").unwrap();
        cause = error.source();
    }
    text
}
