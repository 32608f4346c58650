//! What goes wrong in a run, drawn from its seed.

use std::time::Duration;

use daypass::sandbox::{Canned, Malformation, TokenMischief};

use crate::{dice::Dice, keeper::Backend, way::Mode};

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Strike {
    /// SIGKILL; another process takes the place.
    Kill { place: usize, down: Duration },
    /// SIGSTOP, and later SIGCONT.
    Pause { place: usize, long: Duration },
    /// The store ends by a signal, and is started again.
    Restart {
        signal: &'static str,
        down: Duration,
    },
    /// The store stands still; a file is locked by somebody else.
    Freeze { long: Duration },
    /// The way from a place to the store breaks.
    WayToStore {
        place: usize,
        mode: Mode,
        long: Duration,
    },
    /// The ways from a place to the providers break.
    WayToProvider {
        place: usize,
        mode: Mode,
        long: Duration,
    },
    /// The next redemption at a provider goes wrong.
    Call {
        provider: &'static str,
        what: TokenMischief,
        name: &'static str,
    },
    /// Providers think for so long, after they have rotated.
    Slow { millis: u64, long: Duration },
    /// A user's access tokens are revoked.
    Revoke { user: usize },
    /// A user connects again.
    Reconnect { user: usize },
}

/// How long a fleet is troubled before it may settle.
pub(crate) const TROUBLE: Duration = Duration::from_secs(9);

/// What goes wrong in one round, and when.
pub(crate) fn round(
    dice: &Dice,
    backend: Backend,
    signals: &[&'static str],
    (places, users): (usize, usize),
) -> Vec<(Duration, Strike)> {
    let number = dice.between(10, 18);
    let mut strikes: Vec<_> = (0..number)
        .map(|_| {
            let at = dice.millis(0, u64::try_from(TROUBLE.as_millis()).unwrap());
            (at, strike(dice, backend, signals, (places, users)))
        })
        .collect();
    strikes.sort_by_key(|(at, _)| *at);
    strikes
}

fn strike(
    dice: &Dice,
    backend: Backend,
    signals: &[&'static str],
    (places, users): (usize, usize),
) -> Strike {
    const BROKEN: [Mode; 5] = [
        Mode::Reset,
        Mode::Stalled,
        Mode::LosesQuestions,
        Mode::LosesAnswers,
        Mode::LosesAll,
    ];
    let (place, user) = (dice.below(places), dice.below(users));
    let is_file = backend == Backend::Sqlite;
    let has_way = matches!(backend, Backend::Postgres | Backend::Redis);
    match dice.below(27) {
        0..=3 => Strike::Kill {
            place,
            down: dice.millis(0, 1_500),
        },
        4..=8 => Strike::Pause {
            place,
            long: dice.millis(300, 6_000),
        },
        9 | 10 if !is_file => Strike::Restart {
            signal: dice.pick(signals),
            down: dice.millis(0, 2_000),
        },
        9..=11 => Strike::Freeze {
            long: dice.millis(300, 4_000),
        },
        12..=15 if has_way => Strike::WayToStore {
            place,
            mode: dice.pick(&BROKEN),
            long: dice.millis(200, 5_000),
        },
        12..=18 => Strike::WayToProvider {
            place,
            mode: dice.pick(&BROKEN),
            long: dice.millis(200, 4_000),
        },
        19..=22 => {
            let (what, name) = call(dice);
            let provider = dice.pick(&["calendly", "calendly", "calcom"]);
            Strike::Call {
                provider,
                what,
                name,
            }
        }
        23 => Strike::Slow {
            millis: dice.between(200, 2_500),
            long: dice.millis(300, 1_500),
        },
        24 | 25 => Strike::Revoke { user },
        _ => Strike::Reconnect { user },
    }
}

fn call(dice: &Dice) -> (TokenMischief, &'static str) {
    let answer = |status| Canned {
        status,
        body: "<h1>no</h1>".to_owned(),
        ..Canned::default()
    };
    match dice.below(7) {
        0..=2 => (TokenMischief::DropAfter, "answer lost by the provider"),
        3 => {
            let how = dice.pick(&[
                Malformation::Empty,
                Malformation::Truncated,
                Malformation::NoAccessToken,
            ]);
            (
                TokenMischief::Malformed { how },
                "answer spoiled by the provider",
            )
        }
        4 => (
            TokenMischief::AnswerAfter(answer(502)),
            "answer replaced by a 502",
        ),
        5 => (TokenMischief::Answer(answer(503)), "503 of the provider"),
        _ => (TokenMischief::DropBefore, "call cut by the provider"),
    }
}
