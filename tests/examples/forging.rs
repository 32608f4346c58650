//! What did not come from Daypass, or not like that: the example takes none of it.
//!
//! Signatures are made here after the specification (Standard Webhooks, "Signature scheme"), not with
//! the code of the product. Each forgery is a genuine delivery but for one thing.

use base64::{Engine, prelude::BASE64_STANDARD};
use daypass::base::clock::{Clock, SystemClock};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use sha2::Sha256;

use crate::{browser::Browser, stage::Stage};

/// 24 bytes that the example does not know.
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// As old as the libraries refuse: they allow five minutes.
const TOO_OLD: i64 = 600;

/// A delivery to the example.
#[derive(Clone)]
struct Delivery {
    id: String,
    timestamp: String,
    signature: Option<String>,
    body: Vec<u8>,
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn takes_only_what_daypass_signed(&self, alice: &mut Browser) {
        let before = self.news(alice).await.len();
        let now = i64::try_from(SystemClock.now().as_secs()).unwrap();
        let genuine = Delivery::new("evt_genuine.1", now, &self.signing_secret);
        for (what, forged) in forgeries(&genuine, now, &self.signing_secret) {
            let status = self.deliver(&forged).await;
            assert!(status.is_client_error(), "{what}: {status}");
        }
        assert_eq!(self.news(alice).await.len(), before, "a forgery was kept");

        assert_eq!(self.deliver(&genuine).await, StatusCode::NO_CONTENT);
        assert_eq!(self.deliver(&genuine).await, StatusCode::NO_CONTENT);
        assert_eq!(
            self.news(alice).await.len(),
            before + 1,
            "once, though it came twice"
        );

        // While Daypass changes over to another secret it signs with both.
        let rotating = Delivery::new("evt_genuine.2", now, &self.signing_secret);
        let other = rotating.signed(OTHER_SECRET);
        let both = Delivery {
            signature: Some(format!("{other} {}", rotating.signature.clone().unwrap())),
            ..rotating
        };
        assert_eq!(self.deliver(&both).await, StatusCode::NO_CONTENT);
        assert_eq!(self.news(alice).await.len(), before + 2);
    }

    async fn deliver(&self, delivery: &Delivery) -> StatusCode {
        let mut headers = HeaderMap::new();
        let known = [
            ("content-type", Some("application/json")),
            ("x-user-id", Some("alice")),
            ("daypass-provider", Some(self.example.provider)),
            ("daypass-event", Some("forged")),
            ("webhook-id", Some(&*delivery.id)),
            ("webhook-timestamp", Some(&delivery.timestamp)),
            ("webhook-signature", delivery.signature.as_deref()),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let request = self.http.post(self.at("/webhooks/daypass"));
        let request = request.headers(headers).body(delivery.body.clone());
        request.send().await.unwrap().status()
    }
}

fn forgeries(genuine: &Delivery, now: i64, secret: &str) -> Vec<(&'static str, Delivery)> {
    let with = |signature: Option<&str>| Delivery {
        signature: signature.map(ToOwned::to_owned),
        ..genuine.clone()
    };
    let signature = genuine.signature.as_deref().unwrap();
    vec![
        (
            "another body",
            Delivery {
                body: genuine.body.iter().map(u8::to_ascii_uppercase).collect(),
                ..genuine.clone()
            },
        ),
        (
            "a body with a blank more",
            Delivery {
                body: [&genuine.body[..], b" "].concat(),
                ..genuine.clone()
            },
        ),
        (
            "a body that is no text",
            Delivery {
                body: vec![0xff, 0xfe],
                ..genuine.clone()
            },
        ),
        (
            "no body",
            Delivery {
                body: Vec::new(),
                ..genuine.clone()
            },
        ),
        (
            "another id",
            Delivery {
                id: "evt_genuine.3".to_owned(),
                ..genuine.clone()
            },
        ),
        (
            "another time",
            Delivery {
                timestamp: (now - 1).to_string(),
                ..genuine.clone()
            },
        ),
        (
            "another secret",
            Delivery::new(&genuine.id, now, OTHER_SECRET),
        ),
        ("too old", Delivery::new(&genuine.id, now - TOO_OLD, secret)),
        (
            "from the future",
            Delivery::new(&genuine.id, now + TOO_OLD, secret),
        ),
        ("no signature", with(None)),
        ("an empty signature", with(Some(""))),
        ("a signature without a version", with(Some("abc"))),
        ("a signature that is no base64", with(Some("v1,?"))),
        (
            "a version that is not known",
            with(Some(&signature.replacen("v1,", "v9,", 1))),
        ),
    ]
}

// === impl Delivery ===

impl Delivery {
    fn new(id: &str, at: i64, secret: &str) -> Self {
        let delivery = Self {
            id: id.to_owned(),
            timestamp: at.to_string(),
            signature: None,
            body: json!({ "type": "forged", "note": "ü" }).to_string().into(),
        };
        Self {
            signature: Some(delivery.signed(secret)),
            ..delivery
        }
    }

    fn signed(&self, secret: &str) -> String {
        let encoded = secret.strip_prefix("whsec_").unwrap();
        let key = BASE64_STANDARD.decode(encoded).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let (id, timestamp) = (&self.id, &self.timestamp);
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(&self.body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}
