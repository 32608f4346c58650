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

/// The event that all deliveries from here say they are of.
const MADE_HERE: &str = "forged";

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
        let now = SystemClock.now().as_secs();
        let genuine = Delivery::new("evt_genuine.1", now, &self.signing_secret);
        self.refuses_forgeries(&genuine, now, alice).await;
        self.keeps_once(&genuine, alice).await;

        // While Daypass changes over to another secret it signs with both.
        let rotating = Delivery::new("evt_genuine.2", now, &self.signing_secret);
        let other = rotating.signed(OTHER_SECRET);
        let both = Delivery {
            signature: Some(format!("{other} {}", rotating.signature.clone().unwrap())),
            ..rotating
        };
        self.keeps_once(&both, alice).await;
    }

    async fn refuses_forgeries(&self, genuine: &Delivery, now: i64, alice: &mut Browser) {
        let before = self.made_here(alice).await;
        for (what, forged) in forgeries(genuine, now, &self.signing_secret) {
            let status = self.deliver(&forged).await;
            assert!(status.is_client_error(), "{what}: {status}");
        }
        assert_eq!(self.made_here(alice).await, before, "a forgery was kept");
    }

    /// How many of the deliveries that are made here the example has kept. What Daypass has to tell comes
    /// when it comes.
    async fn made_here(&self, alice: &mut Browser) -> usize {
        let news = self.news(alice).await;
        news.iter().filter(|one| one["event"] == MADE_HERE).count()
    }

    async fn keeps_once(&self, delivery: &Delivery, alice: &mut Browser) {
        let before = self.made_here(alice).await;
        for _ in 0..2 {
            assert_eq!(self.deliver(delivery).await, StatusCode::NO_CONTENT);
        }
        let after = self.made_here(alice).await;
        assert_eq!(after, before + 1, "once, though it came twice");
    }

    async fn deliver(&self, delivery: &Delivery) -> StatusCode {
        let mut headers = HeaderMap::new();
        let known = [
            ("content-type", Some("application/json")),
            ("x-user-id", Some("alice")),
            ("daypass-provider", Some(self.example.provider)),
            ("daypass-event", Some(MADE_HERE)),
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
    let but = |change: &dyn Fn(&mut Delivery)| {
        let mut forged = genuine.clone();
        change(&mut forged);
        forged
    };
    let signed = |text: &str| but(&|it| it.signature = Some(text.to_owned()));
    let at = |at| Delivery::new(&genuine.id, at, secret);
    let signature = genuine.signature.as_deref().unwrap();
    let newer = signature.replacen("v1,", "v9,", 1);
    vec![
        ("another body", but(&|it| it.body.make_ascii_uppercase())),
        ("a body with a blank more", but(&|it| it.body.push(b' '))),
        (
            "a body that is no text",
            but(&|it| it.body = vec![0xff, 0xfe]),
        ),
        ("no body", but(&|it| it.body.clear())),
        ("another id", but(&|it| it.id.push('3'))),
        (
            "another time",
            but(&|it| it.timestamp = (now - 1).to_string()),
        ),
        (
            "another secret",
            Delivery::new(&genuine.id, now, OTHER_SECRET),
        ),
        ("too old", at(now - TOO_OLD)),
        ("from the future", at(now + TOO_OLD)),
        ("no signature", but(&|it| it.signature = None)),
        ("an empty signature", signed("")),
        ("a signature without a version", signed("abc")),
        ("a signature that is no base64", signed("v1,?")),
        ("a version that is not known", signed(&newer)),
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
