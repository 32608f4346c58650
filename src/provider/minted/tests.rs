//! Shapes of success, documented, historical and absurd.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::provider::scripted::jwt;

/// Some moment in 2026, as the provider's clock has it.
const AT: Timestamp = Timestamp::from_secs(1_790_000_000);

fn pair(body: &Value) -> Minted {
    parse(body.to_string().as_bytes(), AT).unwrap().minted
}

fn lifetime(body: &Value) -> Option<Duration> {
    pair(body).expires_in
}

fn secs(secs: impl Into<Option<u64>>) -> Option<Duration> {
    secs.into().map(Duration::from_secs)
}

#[test]
fn every_documented_shape_is_read() {
    let ends = AT.as_millis() + 3_600_000;
    let tokens = json!({"accessToken": "a", "refreshToken": "r", "accessTokenExpiresAt": ends,
        "refreshTokenExpiresAt": ends});
    for body in [
        json!({"access_token": "a", "refresh_token": "r", "token_type": "bearer", "expires_in": 3600}),
        json!({"status": "success", "data": tokens}),
        tokens,
        json!({"data": {"access_token": "a", "refresh_token": "r", "expiresIn": 3600}}),
        json!({"access_token": "a", "refreshToken": "r", "access_token_expires_at": ends}),
    ] {
        let pair = pair(&body);
        assert_eq!(pair.access.danger_expose(), "a", "{body}");
        assert_eq!(pair.refresh.unwrap().danger_expose(), "r", "{body}");
        assert_eq!(pair.expires_in, secs(3600), "{body}");
    }
}

#[test]
fn without_a_new_refresh_token_the_old_one_stays() {
    for body in [
        json!({"access_token": "a"}),
        json!({"access_token": "a", "refresh_token": null}),
        json!({"access_token": "a", "refresh_token": ""}),
        json!({"access_token": "a", "refresh_token": 7}),
    ] {
        assert!(pair(&body).refresh.is_none(), "{body}");
    }
}

#[test]
fn a_success_without_a_usable_access_token_is_none() {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "{}",
        "\"a\"",
        "<html>a</html>",
        "{\"access_token\":",
        "{\"access_token\":\"\"}",
        "{\"access_token\":\"  \"}",
        "{\"access_token\":7}",
        "{\"access_token\":null}",
        "{\"access_token\":\"a\\nb\"}",
        "{\"access_token\":\"ä\"}",
        "{\"refresh_token\":\"r\"}",
        "{\"data\":{}}",
        "{\"error\":\"invalid_grant\"}",
    ] {
        assert!(parse(body.as_bytes(), AT).is_none(), "{body}");
    }
}

#[test]
fn a_relative_lifetime_goes_first_then_an_absolute_one_then_the_token_itself() {
    let token = jwt(&json!({"iat": 1_000, "exp": 2_800}));
    let ends = AT.as_millis() + 60_000;
    let table = [
        (
            json!({"access_token": token, "expires_in": 5, "accessTokenExpiresAt": ends}),
            secs(5),
        ),
        (
            json!({"access_token": token, "accessTokenExpiresAt": ends}),
            secs(60),
        ),
        (json!({"access_token": token}), secs(1800)),
        (
            json!({"access_token": jwt(&json!({"exp": AT.as_secs() + 90}))}),
            secs(90),
        ),
        (
            json!({"access_token": jwt(&json!({"iat": AT.as_secs(), "expiresAt": ends}))}),
            secs(60),
        ),
        (json!({"access_token": jwt(&json!({"sub": "x"}))}), None),
        (json!({"access_token": "a.b.c"}), None),
        (json!({"access_token": format!("{token}.more")}), None),
        (json!({"access_token": "a"}), None),
    ];
    for (body, expected) in table {
        assert_eq!(lifetime(&body), expected, "{body}");
    }
}

#[test]
fn the_refresh_token_tells_its_own_end() {
    let month = 30 * 24 * 3600;
    let token = jwt(&json!({"iat": 1_000, "exp": 1_000 + month}));
    let body = json!({"access_token": "a", "refresh_token": token});
    assert_eq!(pair(&body).refresh_expires_in, secs(month));
    let year = AT.as_millis() + 365 * 86_400_000;
    let body = json!({"accessToken": "a", "refreshToken": "r", "refreshTokenExpiresAt": year});
    assert_eq!(pair(&body).refresh_expires_in, secs(365 * 86_400));
    let body = json!({"accessToken": "a", "refreshTokenExpiresAt": year});
    assert_eq!(
        pair(&body).refresh_expires_in,
        None,
        "of a token that did not come"
    );
}

#[test]
fn absurd_lifetimes_are_as_good_as_none() {
    let token = jwt(&json!({"iat": 1_000, "exp": 2_800}));
    for absurd in [
        json!(0),
        json!(-1),
        json!(86_400 * 400),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
        json!("soon"),
        json!(null),
        json!([]),
    ] {
        let body = json!({"access_token": "a", "expires_in": absurd});
        assert_eq!(lifetime(&body), None, "{body}");
        let body = json!({"access_token": token, "expires_in": absurd});
        assert_eq!(lifetime(&body), secs(1800), "{body}");
    }
    for absurd in [
        0,
        AT.as_millis() - 1,
        AT.as_millis() * 2,
        i64::MAX,
        i64::MIN,
    ] {
        let body = json!({"accessToken": "a", "accessTokenExpiresAt": absurd});
        assert_eq!(lifetime(&body), None, "{body}");
    }
    let lying = jwt(&json!({"iat": 2_800, "exp": 1_000}));
    assert_eq!(lifetime(&json!({"access_token": lying})), None);
}

#[test]
fn numbers_may_be_written_as_text_and_times_in_seconds() {
    for (body, expected) in [
        (json!({"access_token": "a", "expires_in": "1800"}), 1800),
        (json!({"access_token": "a", "expires_in": 1800.0}), 1800),
        (
            json!({"access_token": "a", "accessTokenExpiresAt": AT.as_secs() + 60}),
            60,
        ),
    ] {
        assert_eq!(lifetime(&body), secs(expected), "{body}");
    }
}

#[test]
fn the_scope_is_text_or_a_list() {
    for scope in [json!("a b"), json!(["a", "b"])] {
        let body = json!({"access_token": "a", "scope": scope});
        assert_eq!(pair(&body).scope.as_deref(), Some("a b"));
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[ -~]{0,40}\\.[ -~]{0,40}\\.[ -~]{0,40}".prop_map(Value::from),
        any::<(i64, i64)>().prop_map(|(iat, exp)| jwt(&json!({"iat": iat, "exp": exp})).into()),
    ];
    leaf.prop_recursive(2, 16, 8, |inner| {
        let name = prop_oneof![
            Just("access_token"),
            Just("accessToken"),
            Just("refresh_token"),
            Just("refreshToken"),
            Just("expires_in"),
            Just("accessTokenExpiresAt"),
            Just("refreshTokenExpiresAt"),
            Just("data"),
            Just("scope"),
        ];
        proptest::collection::vec((name, inner), 0..8).prop_map(|fields| {
            Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
        })
    })
}

fn check(body: &[u8], at: i64) {
    let Some(success) = parse(body, Timestamp::from_millis(at)) else {
        return;
    };
    let minted = success.minted;
    assert!(!minted.access.danger_expose().is_empty());
    assert!(minted.access.to_bearer_header().is_ok());
    assert!(
        minted
            .refresh
            .is_none_or(|token| !token.danger_expose().is_empty())
    );
    assert!(
        minted
            .expires_in
            .is_none_or(|it| !it.is_zero() && it <= MAX_ACCESS)
    );
    assert!(
        minted
            .refresh_expires_in
            .is_none_or(|it| !it.is_zero() && it <= MAX_REFRESH)
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>, at: i64) {
        check(&body, at);
    }

    #[test]
    fn no_shape_yields_an_empty_token_or_an_absurd_lifetime(body in anything(), at: i64) {
        check(body.to_string().as_bytes(), at);
    }
}
