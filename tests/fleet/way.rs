//! A way by TCP that breaks when it is told to, and whose witness sees what passes.
//!
//! 1. What a client says is read at once, whatever the way is like: when it was read is when it was
//!    said. It is passed on as the way allows.
//! 2. A stalled way keeps what it was given and delivers it later, also for a client that has left,
//!    as networks do. A way that has lost bytes breaks its connections when it is well again.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use daypass::base::lifecycle::Lifecycle;

/// How a way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything passes.
    Open,
    /// Connections are reset, old and new.
    Reset,
    /// Nobody listens.
    Refused,
    /// Nothing passes for now.
    Stalled,
    /// What clients say is lost.
    LosesQuestions,
    /// What the server says is lost.
    LosesAnswers,
    /// Both.
    LosesAll,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Question,
    Answer,
}

/// What happens on one connection.
#[derive(Debug)]
pub(crate) enum Event<'b> {
    /// This was read from one side.
    Read(Direction, &'b [u8]),
    /// This was handed to the other side.
    Passed(Direction, &'b [u8]),
    /// The connection is over.
    Ended,
}

/// Sees what happens on one connection.
pub(crate) trait Witness: Send {
    fn sees(&mut self, event: Event<'_>);
}

/// Makes a witness for each connection.
pub(crate) type Witnesses = Arc<dyn Fn() -> Box<dyn Witness> + Send + Sync>;

/// A way to a port of this machine.
pub(crate) struct Way {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
}

/// Sees nothing.
struct Blind;

impl Witness for Blind {
    fn sees(&mut self, _event: Event<'_>) {}
}

/// A witness that sees nothing, for ways that only break.
pub(crate) fn nobody() -> Witnesses {
    Arc::new(|| Box::new(Blind))
}

// === impl Mode ===

impl Mode {
    const fn loses(self, direction: Direction) -> bool {
        match direction {
            Direction::Question => matches!(self, Self::LosesQuestions | Self::LosesAll),
            Direction::Answer => matches!(self, Self::LosesAnswers | Self::LosesAll),
        }
    }

    const fn breaks(self) -> bool {
        matches!(self, Self::Reset | Self::Refused)
    }
}

// === impl Way ===

impl Way {
    /// Opens a way to `port`, which ends with the lifecycle.
    pub(crate) async fn to(port: u16, lifecycle: &Lifecycle, witnesses: Witnesses) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let way = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            mode: watch::Sender::new(Mode::Open),
        });
        let (mode, own) = (way.mode.subscribe(), way.port);
        let tasks = lifecycle.clone();
        lifecycle.spawn_unwatched(async move {
            let mut listener = Some(listener);
            let mut changed = mode.clone();
            loop {
                let now = *changed.borrow_and_update();
                if now == Mode::Refused {
                    listener = None;
                } else if listener.is_none() {
                    listener = TcpListener::bind(("127.0.0.1", own)).await.ok();
                }
                let accepted = async {
                    match &listener {
                        Some(listener) => listener.accept().await.ok(),
                        None if now == Mode::Refused => std::future::pending().await,
                        // Somebody else's connection still has the port.
                        None => {
                            sleep(Duration::from_millis(20)).await;
                            None
                        }
                    }
                };
                tokio::select! {
                    _changed = changed.changed() => {}
                    accepted = accepted => if let Some((client, _)) = accepted {
                        tasks.spawn_unwatched(pass(client, port, mode.clone(), witnesses()));
                    }
                }
            }
        });
        way
    }

    /// Changes how the way is, from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// What the two directions of a connection share.
struct Shared {
    witness: Mutex<Box<dyn Witness>>,
    has_lost: AtomicBool,
}

impl Shared {
    fn sees(&self, event: Event<'_>) {
        self.witness.lock().sees(event);
    }
}

async fn pass(
    mut client: TcpStream,
    port: u16,
    mut mode: watch::Receiver<Mode>,
    witness: Box<dyn Witness>,
) {
    let shared = Shared {
        witness: Mutex::new(witness),
        has_lost: AtomicBool::new(false),
    };
    let well = if mode.borrow_and_update().breaks() {
        false
    } else if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let question = Direction::Question;
        let questions = carry(from_client, to_server, question, mode.clone(), &shared);
        let answers = carry(from_server, to_client, Direction::Answer, mode, &shared);
        let well = tokio::try_join!(questions, answers).is_ok();
        if !well {
            let _gone = server.set_zero_linger();
        }
        well
    } else {
        false
    };
    if !well {
        let _gone = client.set_zero_linger();
    }
    drop(client);
    shared.sees(Event::Ended);
}

/// Carries one direction to its end; fails if the connection is to be broken.
async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mode: watch::Receiver<Mode>,
    shared: &Shared,
) -> io::Result<()> {
    let mut bytes = vec![0; 32 * 1024];
    let work = async {
        let mut mode = mode.clone();
        loop {
            let length = from.read(&mut bytes).await?;
            let read = &bytes[..length];
            shared.sees(Event::Read(direction, read));
            if !is_passing(direction, &mut mode).await {
                shared.has_lost.store(true, Ordering::SeqCst);
                if length == 0 {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            if length == 0 {
                return to.shutdown().await;
            }
            to.write_all(read).await?;
            shared.sees(Event::Passed(direction, read));
        }
    };
    let mut watched = mode.clone();
    let broken = async {
        let is_over = |mode: &Mode| {
            mode.breaks() || (*mode == Mode::Open && shared.has_lost.load(Ordering::SeqCst))
        };
        drop(watched.wait_for(is_over).await);
    };
    tokio::select! {
        biased;
        () = broken => Err(io::ErrorKind::ConnectionReset.into()),
        done = work => done,
    }
}

/// Waits while nothing passes; then whether it passes, or is lost.
async fn is_passing(direction: Direction, mode: &mut watch::Receiver<Mode>) -> bool {
    let now = mode.wait_for(|mode| *mode != Mode::Stalled).await;
    now.is_ok_and(|now| !now.loses(direction))
}
