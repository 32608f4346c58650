//! An app that asks and renews without a pause while operators do something, and to which nothing may fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use parking_lot::RwLock;
use reqwest::Method;

use crate::{
    emulators::{call, get_for},
    running::wait_until,
};

/// The app: some threads that ask and renew without a pause, at whichever sidecar is theirs.
pub(crate) struct Load {
    sidecar: Arc<RwLock<String>>,
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    renewed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(crate) fn start(outbound: &str, users: &[String]) -> Self {
        let mut load = Self {
            sidecar: Arc::new(RwLock::new(outbound.to_owned())),
            ends: Arc::default(),
            asked: Arc::default(),
            renewed: Arc::default(),
            threads: Vec::new(),
        };
        for users in users.chunks(users.len() / 2) {
            let (sidecar, ends) = (Arc::clone(&load.sidecar), Arc::clone(&load.ends));
            let (asked, renewed) = (Arc::clone(&load.asked), Arc::clone(&load.renewed));
            let users = users.to_vec();
            load.threads.push(thread::spawn(move || {
                let mut failures = Vec::new();
                for (round, user) in (0..).zip(users.iter().cycle()) {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    // Held while it is asked, so that whoever moves on knows that nothing is under way.
                    let at = sidecar.read();
                    let answer = if round % 3 == 0 {
                        renewed.fetch_add(1, Ordering::Relaxed);
                        let url = format!("{at}/-/calendly/refresh");
                        call(Method::POST, &url, Some(user), None)
                    } else {
                        asked.fetch_add(1, Ordering::Relaxed);
                        get_for(&format!("{at}/calendly/users/me"), user)
                    };
                    if answer.status != 200 {
                        failures.push(format!("{user}: {} {}", answer.status, answer.body));
                    }
                }
                failures
            }));
        }
        load
    }

    /// Goes on at another sidecar; the one before has nothing under way then.
    pub(crate) fn move_to(&self, outbound: &str) {
        outbound.clone_into(&mut self.sidecar.write());
    }

    /// Waits until it has asked and renewed some more.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let done = || [&self.asked, &self.renewed].map(|count| count.load(Ordering::Relaxed));
        let before = done();
        let more = |(before, now): (&usize, usize)| now > before + 2;
        wait_until("the app asks and renews", || {
            before.iter().zip(done()).all(more)
        });
    }

    /// How much it has done; nothing of it failed.
    #[track_caller]
    pub(crate) fn stop(self) -> (usize, usize) {
        self.ends.store(true, Ordering::Relaxed);
        let failures: Vec<String> = self
            .threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(failures, [""; 0]);
        (
            self.asked.load(Ordering::Relaxed),
            self.renewed.load(Ordering::Relaxed),
        )
    }
}
