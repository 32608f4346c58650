//! The provider's token endpoint is down: the same, and its calls depend on the number of sidecars, not
//! on that of users.

use std::time::Duration;

use daypass::sandbox::{Canned, TokenFault, TokenMischief};
use tokio::time::Instant;

use super::{
    Asker, BACK, LATE, Outage, PLACES, SETTINGS, connect, connect_for, everywhere_ready, names,
    ready, served, words,
};
use crate::{
    ground::{Answer, Ground},
    keeper::{Backend, STORES},
    on_each,
    way::Mode,
};

#[expect(
    clippy::too_many_lines,
    reason = "an outage is told from its beginning to its end"
)]
async fn the_token_endpoint_is_down(backend: Backend) {
    let mut outage = Outage::new();
    let ground = Ground::open(backend, PLACES, SETTINGS).await;
    let (long, short) = (names("long", 5), names("short", 25));
    connect(&ground, &long).await;
    ground.start().await;
    served(&ground, &long, Instant::now()).await;
    let life = outage.part().max(Duration::from_secs(4));
    let minted = Instant::now();
    connect_for(&ground, &short, life.as_secs()).await;
    let calendly = ground.sandbox.calendly();
    let is_served = |_, answer: &Answer| answer.status == 200;
    let before = Instant::now().saturating_duration_since(minted);
    // In its last quarter a request waits for a renewal first.
    let while_it_lives = |at: Duration, answer: &Answer| {
        let is_long_gone = at + before + LATE > life * 3 / 4;
        (answer.status == 200 && at < life) || (answer.slug() == "refresh-failed" && is_long_gone)
    };
    let askers: Vec<_> = long
        .iter()
        .map(|user| (user, &is_served as &(dyn Fn(_, &_) -> _ + Sync)))
        .chain(short.iter().map(|user| (user, &while_it_lives as _)))
        .map(|(user, may_be)| Asker {
            user,
            place: None,
            may_be,
        })
        .collect();
    outage
        .last(&ground, &askers, async |nth| {
            let what = TokenMischief::Answer(Canned {
                status: 503,
                ..Canned::default()
            });
            let fault = TokenFault {
                times: None,
                call: None,
                what,
            };
            calendly.set(|switches| switches.token_faults = vec![fault]);
            let (name, mode) = match nth {
                1..=3 => ("nobody listens", Mode::Refused),
                4..=6 => ("503", Mode::Open),
                _ => ("silence", Mode::LosesAll),
            };
            set_tokens(&ground, mode);
            for place in (0..PLACES).filter(|_| nth > 4) {
                let (status, reason) = ready(&ground, place, "providers").await;
                assert_eq!(status, "degraded");
                assert!(
                    reason.contains("calendly answers no token calls"),
                    "{reason}"
                );
            }
            name
        })
        .await;
    calendly.set(|switches| switches.token_faults.clear());
    set_tokens(&ground, Mode::Open);
    let everybody = [long, short].concat();
    let ended = Instant::now();
    let served = served(&ground, &everybody, ended).await;
    let ready = everywhere_ready(&ground, ended).await;
    outage.back = [ready, served, Duration::ZERO];
    words::tell_of_tokens(backend, &outage);
    assert!(served < BACK);
    // The first calls, and the turns of each sidecar; however many users there are.
    let most = 25 + PLACES as u64 * (10 + outage.long.as_secs() / 5);
    assert!(
        outage.calls() <= most,
        "{} calls are a storm",
        outage.calls()
    );
    let stats = calendly.stats();
    assert!(
        stats
            .redemptions
            .values()
            .all(|used| used.ok == 1 && used.refused == 0),
        "{stats:?}"
    );
}

fn set_tokens(ground: &Ground, mode: Mode) {
    for ways in &ground.ways {
        ways.tokens.set(mode);
    }
}

#[test]
fn while_the_token_endpoint_is_down_nobody_storms() {
    on_each(&STORES, the_token_endpoint_is_down);
}
