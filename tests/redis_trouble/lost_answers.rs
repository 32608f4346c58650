//! A connection that breaks after the server has done what it was asked and before the answer comes.
//! Each write is sent again, and must not be carried out again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use daypass::{
    base::{clock::Timestamp, ids::OwnerId, lifecycle::Lifecycle, random::OsRandom},
    store::{
        Begun, Committed, Connection, Cooldown, Fence, Fenced, Lease, ReauthReason, Redemption,
        Saved, Spent, Store, redis::Redis,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    servers::Server,
    world::{connect, new, open, renewed, tokens},
};

const TTL: Duration = Duration::from_secs(30);

/// A way to a server that can lose an answer.
pub(crate) struct Way {
    pub(crate) port: u16,
    loses: Arc<AtomicBool>,
    _lifecycle: Lifecycle,
}

impl Way {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (lifecycle, loses) = (Lifecycle::new(), Arc::new(AtomicBool::new(false)));
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            loses: Arc::clone(&loses),
            _lifecycle: lifecycle.clone(),
        };
        lifecycle.clone().spawn_unwatched(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                lifecycle.spawn_unwatched(pass(client, server, Arc::clone(&loses)));
            }
        });
        way
    }

    /// Loses the answer to the next script.
    pub(crate) fn lose_next(&self) {
        self.loses.store(true, Ordering::SeqCst);
    }

    /// Whether it has.
    pub(crate) fn has_lost(&self) -> bool {
        !self.loses.load(Ordering::SeqCst)
    }
}

/// Passes everything on, but breaks instead of passing the answer to a script on when told to.
async fn pass(mut client: TcpStream, mut server: TcpStream, loses: Arc<AtomicBool>) {
    let (mut asked, mut said) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_script = false;
    loop {
        tokio::select! {
            Ok(length @ 1..) = client.read(&mut asked) => {
                is_script = asked[..length].windows(7).any(|word| word == b"EVALSHA");
                if server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            Ok(length @ 1..) = server.read(&mut said) => {
                if is_script && loses.swap(false, Ordering::SeqCst) {
                    return;
                }
                if client.write_all(&said[..length]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

/// A store whose server knows every script, so that the next answer is the answer that counts.
async fn warm(server: &Server) -> (Way, Redis) {
    let way = Way::to(server.port).await;
    let store = open(&format!("redis://127.0.0.1:{}", way.port))
        .await
        .unwrap();
    let (first, me) = (connect(&store, "warm").await, OwnerId::random(&OsRandom));
    let fence = Fence::of(&first);
    store.acquire(&first.key, me, TTL).await.unwrap();
    store.extend(&first.key, me, TTL).await.unwrap();
    begin(&store, &first, me).await;
    store.fail(&fence, cooldown(), Spent::No).await.unwrap();
    mark(&store, &fence).await;
    store.commit(&fence, renewed("second")).await.unwrap();
    store.release(&first.key, me).await.unwrap();
    (way, store)
}

async fn begin(store: &Redis, at: &Connection, me: OwnerId) -> u32 {
    let (fence, when) = (Fence::of(at), Timestamp::from_secs(1_800_000_000));
    let begun = store.begin(&fence, me, Redemption::Standard, when).await;
    match begun.unwrap() {
        Begun::Recorded { attempts } => attempts,
        Begun::Refused => panic!("the lease is held"),
    }
}

async fn mark(store: &Redis, fence: &Fence) -> Fenced {
    let since = Timestamp::from_secs(1_800_000_000);
    let marked = store.mark_needs_reauth(fence, ReauthReason::GrantRefused, since);
    marked.await.unwrap()
}

const fn cooldown() -> Cooldown {
    Cooldown {
        until: Timestamp::from_secs(1_800_000_060),
        failures: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_written_once() {
    let server = Server::start(&[]);
    let (way, store) = warm(&server).await;
    way.lose_next();
    let saved = store.save(vec![new("anna")]).await.unwrap();
    assert!(way.has_lost());
    let [Saved::Created(first)] = saved.as_slice() else {
        panic!("{saved:?}");
    };
    assert_eq!(first.generation.get(), 1);
    way.lose_next();
    let committed = store
        .commit(&Fence::of(first), renewed("second"))
        .await
        .unwrap();
    assert!(way.has_lost());
    let Committed::Stored(second) = committed else {
        panic!("its own commit has overtaken it: {committed:?}");
    };
    assert_eq!(
        (second.generation.get(), &second.tokens),
        (2, &Some(tokens("second")))
    );
    way.lose_next();
    let marked = mark(&store, &Fence::of(&second)).await;
    assert!(way.has_lost());
    assert_eq!(marked, Fenced::Written, "the one who marked it tells of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_and_taken_back_once() {
    let server = Server::start(&[]);
    let (way, store) = warm(&server).await;
    let (first, me) = (connect(&store, "anna").await, OwnerId::random(&OsRandom));
    way.lose_next();
    let lease = store.acquire(&first.key, me, TTL).await.unwrap();
    assert!(
        way.has_lost() && matches!(lease, Lease::Granted(_)),
        "{lease:?}"
    );
    assert_eq!(begin(&store, &first, me).await, 1);
    way.lose_next();
    assert_eq!(begin(&store, &first, me).await, 2);
    assert!(way.has_lost());
    way.lose_next();
    let failed = store.fail(&Fence::of(&first), cooldown(), Spent::No).await;
    assert!(way.has_lost());
    assert_eq!(failed.unwrap(), Fenced::Written);
    let read = store.load(&first.key).await.unwrap().unwrap();
    assert_eq!(
        read.intent.map(|intent| intent.attempts),
        Some(1),
        "the older one stays"
    );
    way.lose_next();
    assert!(store.release(&first.key, me).await.unwrap());
    assert!(way.has_lost());
}
