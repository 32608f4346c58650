//! What sealing promises, over arbitrary secrets and arbitrary damage.

use proptest::prelude::*;

use super::*;
use crate::base::{
    ids::{ProviderName, UserId},
    random::SeededRandom,
};

fn row(provider: &str, user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse(provider).unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

fn key(id: &str, seed: u64) -> Key {
    Key::parse(id, &generate_key(&SeededRandom::new(seed))).unwrap()
}

fn ring() -> KeyRing {
    KeyRing::new("k1", vec![key("k1", 1)]).unwrap()
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn sealed_with_seed(text: &str, seed: u64) -> Sealed {
    let anna = row("calcom", "anna");
    let aad = Aad::new(&anna, Field::AccessToken);
    ring().seal(&SeededRandom::new(seed), &aad, &secret(text))
}

/// Why it did not open; secrets have no `Debug`, so `unwrap_err` is not at hand.
fn refusal(ring: &KeyRing, aad: &Aad<'_>, sealed: &Sealed) -> Option<OpenError> {
    ring.open(aad, sealed).err()
}

proptest! {
    #[test]
    fn what_was_sealed_opens_again(text in ".{0,200}", seed: u64) {
        let anna = row("calcom", "anna");
        let aad = Aad::new(&anna, Field::AccessToken);
        let sealed = sealed_with_seed(&text, seed);
        let opened = ring().open(&aad, &sealed).ok();
        prop_assert!(opened.is_some_and(|plain| plain == secret(&text)));
    }

    #[test]
    fn any_flipped_bit_keeps_it_shut(text in ".{0,40}", seed: u64, bit: prop::sample::Index) {
        let anna = row("calcom", "anna");
        let mut bytes = sealed_with_seed(&text, seed).as_bytes().to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let aad = Aad::new(&anna, Field::AccessToken);
        prop_assert!(refusal(&ring(), &aad, &Sealed::from_bytes(bytes)).is_some());
    }

    #[test]
    fn any_truncation_keeps_it_shut(text in ".{0,40}", seed: u64, cut: prop::sample::Index) {
        let anna = row("calcom", "anna");
        let whole = sealed_with_seed(&text, seed);
        let len = cut.index(whole.as_bytes().len());
        let short = Sealed::from_bytes(whole.as_bytes()[..len].to_vec());
        let refused = refusal(&ring(), &Aad::new(&anna, Field::AccessToken), &short);
        let smallest = 2 + "k1".len() + NONCE_LEN + TAG_LEN;
        if len < smallest {
            prop_assert_eq!(refused, Some(OpenError::Truncated));
        } else {
            prop_assert_eq!(refused, Some(OpenError::DoesNotOpen { id: "k1".into() }));
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        let anna = row("calcom", "anna");
        let aad = Aad::new(&anna, Field::AccessToken);
        prop_assert!(refusal(&ring(), &aad, &Sealed::from_bytes(bytes)).is_some());
    }

    #[test]
    fn it_opens_for_no_other_row(
        provider in "[a-z][a-z0-9-]{0,9}",
        user in "[!-~]{1,20}",
        seed: u64,
    ) {
        prop_assume!((provider.as_str(), user.as_str()) != ("calcom", "anna"));
        let other = row(&provider, &user);
        let aad = Aad::new(&other, Field::AccessToken);
        let refused = refusal(&ring(), &aad, &sealed_with_seed("t", seed));
        prop_assert_eq!(refused, Some(OpenError::DoesNotOpen { id: "k1".into() }));
    }

    #[test]
    fn its_text_form_reads_back(text in ".{0,40}", seed: u64) {
        let sealed = sealed_with_seed(&text, seed);
        let json = serde_json::to_string(&sealed).unwrap();
        prop_assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
    }
}

#[test]
fn it_opens_for_no_other_field() {
    let anna = row("calcom", "anna");
    let aad = Aad::new(&anna, Field::RefreshToken);
    let refused = refusal(&ring(), &aad, &sealed_with_seed("t", 7));
    assert_eq!(refused, Some(OpenError::DoesNotOpen { id: "k1".into() }));
}

#[test]
fn names_that_run_together_are_bound_apart() {
    let (one, other) = (row("cal", "comx"), row("calcom", "x"));
    let encode = |key| Aad::new(key, Field::AccessToken).encode("k1");
    assert_ne!(encode(&one), encode(&other));
}

#[test]
fn old_keys_still_open_after_a_rotation() {
    let anna = row("calcom", "anna");
    let aad = Aad::new(&anna, Field::AccessToken);
    let old = sealed_with_seed("t", 7);
    let rotated = KeyRing::new("k2", vec![key("k1", 1), key("k2", 2)]).unwrap();
    assert!(rotated.open(&aad, &old).is_ok());
    let new = rotated.seal(&SeededRandom::new(8), &aad, &secret("t"));
    assert_eq!((old.key_id(), new.key_id()), (Ok("k1"), Ok("k2")));
}

#[test]
fn a_seal_under_a_forgotten_key_names_it() {
    let anna = row("calcom", "anna");
    let aad = Aad::new(&anna, Field::AccessToken);
    let later = KeyRing::new("k2", vec![key("k2", 2)]).unwrap();
    let refused = refusal(&later, &aad, &sealed_with_seed("t", 7));
    assert_eq!(refused, Some(OpenError::UnknownKey { id: "k1".into() }));
    assert_eq!(later.missed(), ["k1"], "an operator is told");
}

#[test]
fn a_changed_key_under_the_same_id_does_not_open() {
    let anna = row("calcom", "anna");
    let aad = Aad::new(&anna, Field::AccessToken);
    let other = KeyRing::new("k1", vec![key("k1", 9)]).unwrap();
    let refused = refusal(&other, &aad, &sealed_with_seed("t", 7));
    assert_eq!(refused, Some(OpenError::DoesNotOpen { id: "k1".into() }));
}

#[test]
fn one_secret_sealed_twice_looks_different() {
    let anna = row("calcom", "anna");
    let aad = Aad::new(&anna, Field::AccessToken);
    let random = SeededRandom::new(7);
    let seal = || ring().seal(&random, &aad, &secret("t"));
    assert_ne!(seal(), seal());
}

#[test]
fn a_key_that_is_not_base64_is_refused_by_name_and_not_shown() {
    let error = Key::parse("k1", &secret("&&sentinel")).unwrap_err();
    assert_eq!(error, KeyError::NotBase64 { id: "k1".into() });
    assert!(!format!("{error} {error:?}").contains("sentinel"));
}

#[test]
fn a_short_key_is_refused_by_name() {
    let error = Key::parse("k1", &secret("c2hvcnQ=")).unwrap_err();
    let expected = KeyError::WrongLength {
        id: "k1".into(),
        found: 5,
    };
    assert_eq!(error, expected);
}

#[test]
fn a_key_file_may_end_in_a_line_break_and_lack_padding() {
    let text = generate_key(&SeededRandom::new(1));
    let bare = text.danger_expose().trim_end_matches('=').to_owned();
    assert!(Key::parse("k1", &Secret::new(format!("{bare}\n"))).is_ok());
}

#[test]
fn ids_that_are_empty_or_long_are_refused() {
    let value = generate_key(&SeededRandom::new(1));
    for bad in ["", " ", "k 1", &"k".repeat(65)] {
        let refused = Key::parse(bad, &value).unwrap_err();
        assert_eq!(refused, KeyError::InvalidId { id: bad.into() });
    }
}

#[test]
fn two_keys_of_one_id_are_refused() {
    let error = KeyRing::new("k1", vec![key("k1", 1), key("k1", 2)]).unwrap_err();
    assert_eq!(error, KeyError::Duplicate { id: "k1".into() });
}

#[test]
fn an_active_id_without_a_key_is_refused() {
    let error = KeyRing::new("k3", vec![key("k1", 1), key("k2", 2)]).unwrap_err();
    let expected = KeyError::ActiveMissing {
        id: "k3".into(),
        known: "k1, k2".into(),
    };
    assert_eq!(error, expected);
}

#[test]
fn neither_keys_nor_seals_show_what_they_hold() {
    let sealed = sealed_with_seed("t", 7);
    let shown = format!("{:?} {sealed:?}", ring());
    let len = sealed.as_bytes().len();
    let expected =
        format!("KeyRing {{ active: Key(k1), keys: [Key(k1)], .. }} Sealed({len} bytes)");
    assert_eq!(shown, expected);
}
