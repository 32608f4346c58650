//! A request body that streams while a copy of it is kept, so that it can be sent once more.
//!
//! 1. The copy is made of the chunks themselves (`Bytes` clones), never of their bytes.
//! 2. At most `limit` bytes are kept. A body that is, or turns out, longer is streamed and forgotten.
//! 3. An empty body costs nothing and can always be replayed.
//! 4. A replay takes the stream over: what was kept comes first, then whatever the caller has still
//!    to send. The first body then fails, should anybody still be reading it.
//! 5. So does a [`Rewind`], which does not use the replay up: it is for an attempt that nobody looked at.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use thiserror::Error;
use tower::BoxError;

use super::body::Body;

/// What is sent to a provider; see the [module docs](self).
#[derive(Debug)]
pub struct ReplayBody {
    /// `None` for an empty body.
    shared: Option<Arc<Mutex<Shared>>>,
    /// How many of the kept frames this reader has had.
    read: usize,
    /// Which one it is, of all that have read the stream.
    reader: u32,
}

/// Makes the replay of a [`ReplayBody`].
#[derive(Debug)]
pub struct Replay(Option<Arc<Mutex<Shared>>>);

/// Makes a [`ReplayBody`] begin anew.
#[derive(Debug)]
pub struct Rewind {
    shared: Option<Arc<Mutex<Shared>>>,
    reader: u32,
}

/// Tells whether a request body moved, for a timeout that must not count the time of an upload.
#[derive(Clone, Debug)]
pub struct Progress(Option<Arc<Mutex<Shared>>>);

/// A body was polled after its replay had taken the stream over.
#[derive(Debug, Error)]
#[error("the request body was taken over by its replay")]
pub struct TakenOver(());

struct Shared {
    inner: Body,
    kept: Option<Vec<Kept>>,
    /// Bytes that may still be kept.
    room: usize,
    ended: bool,
    frames: u64,
    /// Whose turn it is.
    reader: u32,
    /// Whether that is the replay, so that nothing more need be kept.
    is_replay: bool,
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

// === impl ReplayBody ===

impl ReplayBody {
    /// Streams `inner` and keeps up to `limit` bytes of it.
    pub fn new(inner: Body, limit: usize) -> (Self, Replay) {
        let shared = (!inner.is_end_stream()).then(|| {
            let fits = HttpBody::size_hint(&inner).lower() <= limit as u64;
            Arc::new(Mutex::new(Shared {
                inner,
                kept: fits.then(Vec::new),
                room: limit,
                ended: false,
                frames: 0,
                reader: 0,
                is_replay: false,
            }))
        });
        let replay = Replay(shared.clone());
        let body = Self {
            shared,
            read: 0,
            reader: 0,
        };
        (body, replay)
    }

    /// For watching this body move.
    pub fn progress(&self) -> Progress {
        Progress(self.shared.clone())
    }

    /// For sending this body from its beginning once more.
    pub fn rewind(&self) -> Rewind {
        Rewind {
            shared: self.shared.clone(),
            reader: self.reader,
        }
    }
}

impl HttpBody for ReplayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(shared) = &this.shared else {
            return Poll::Ready(None);
        };
        let mut shared = shared.lock();
        if shared.reader != this.reader {
            return Poll::Ready(Some(Err(TakenOver(()).into())));
        }
        if let Some(frame) = shared.kept.as_ref().and_then(|kept| kept.get(this.read)) {
            this.read += 1;
            return Poll::Ready(Some(Ok(frame.clone().into())));
        }
        let polled = shared.poll_inner(cx);
        this.read = shared.kept.as_ref().map_or(0, Vec::len);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| {
            let shared = shared.lock();
            shared.reader == self.reader && shared.unread(self.read).is_empty() && shared.at_end()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else {
            return SizeHint::with_exact(0);
        };
        let shared = shared.lock();
        let unread = shared.unread(self.read).iter().map(Kept::len).sum();
        let mut hint = SizeHint::new();
        let rest = if shared.at_end() {
            SizeHint::with_exact(0)
        } else {
            HttpBody::size_hint(&shared.inner)
        };
        hint.set_lower(rest.lower().saturating_add(unread));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(unread));
        }
        hint
    }
}

// === impl Replay ===

impl Replay {
    /// The body once more, if all that was sent of it has been kept.
    pub fn into_body(self) -> Option<ReplayBody> {
        let mut reader = 0;
        if let Some(shared) = &self.0 {
            let mut shared = shared.lock();
            shared.kept.as_ref()?;
            shared.is_replay = true;
            reader = shared.hand_over();
        }
        Some(ReplayBody {
            shared: self.0,
            read: 0,
            reader,
        })
    }
}

// === impl Rewind ===

impl Rewind {
    /// The body from its beginning, if nothing was read of it, or all that was read has been kept; `None`
    /// also if a replay has taken it over.
    pub fn into_body(self) -> Option<ReplayBody> {
        let mut reader = self.reader;
        if let Some(shared) = &self.shared {
            let mut shared = shared.lock();
            let is_untouched = shared.frames == 0 && !shared.ended;
            if shared.reader != self.reader || !(is_untouched || shared.kept.is_some()) {
                return None;
            }
            reader = shared.hand_over();
        }
        Some(ReplayBody {
            shared: self.shared,
            read: 0,
            reader,
        })
    }
}

// === impl Progress ===

impl Progress {
    /// How many frames have been sent; `None` once nothing more is to come.
    pub fn frames(&self) -> Option<u64> {
        let shared = self.0.as_ref()?.lock();
        (!shared.at_end()).then_some(shared.frames)
    }
}

// === impl Shared ===

impl Shared {
    /// Lets somebody else read: whoever has the number that it gives.
    const fn hand_over(&mut self) -> u32 {
        self.reader += 1;
        self.reader
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.frames += 1;
                self.keep(frame);
            }
            Poll::Ready(Some(Err(_))) => {
                // A body that broke off must not be replayed as if it were whole.
                self.ended = true;
                self.kept = None;
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else { return };
        if self.is_replay {
            // There is one replay; nothing will be read again.
            kept.clear();
            self.kept = None;
            return;
        }
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) if data.len() <= self.room => {
                self.room -= data.len();
                kept.push(Kept::Data(data.clone()));
            }
            (None, Some(trailers)) => kept.push(Kept::Trailers(trailers.clone())),
            _ => self.kept = None,
        }
    }

    fn unread(&self, read: usize) -> &[Kept] {
        let kept = self.kept.as_ref().and_then(|kept| kept.get(read..));
        kept.unwrap_or_default()
    }

    fn at_end(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("frames", &self.frames)
            .field("replayable", &self.kept.is_some())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

// === impl Kept ===

impl Kept {
    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl From<Kept> for Frame<Bytes> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Data(data) => Self::data(data),
            Kept::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn chunks(parts: &[&'static str]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> = parts
            .iter()
            .map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))))
            .collect();
        Body::boxed(StreamBody::new(stream::iter(frames)))
    }

    async fn text(body: ReplayBody) -> Vec<u8> {
        body.collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn the_replay_is_the_same_body() {
        let (first, replay) = ReplayBody::new(chunks(&["ab", "c", "def"]), 6);
        assert_eq!(text(first).await, b"abcdef");
        assert_eq!(text(replay.into_body().unwrap()).await, b"abcdef");
    }

    #[tokio::test]
    async fn one_byte_over_the_limit_is_not_kept() {
        let (first, replay) = ReplayBody::new(chunks(&["abc", "def"]), 5);
        assert_eq!(text(first).await, b"abcdef");
        assert!(replay.into_body().is_none());
    }

    #[tokio::test]
    async fn a_body_known_to_be_too_long_is_never_kept() {
        let (first, replay) = ReplayBody::new(Body::from(Bytes::from_static(b"abc")), 2);
        assert!(replay.into_body().is_none());
        drop(first);
    }

    #[tokio::test]
    async fn an_empty_body_can_be_replayed() {
        let (first, replay) = ReplayBody::new(Body::empty(), 0);
        assert!(first.is_end_stream());
        assert!(first.progress().frames().is_none());
        assert_eq!(text(replay.into_body().unwrap()).await, b"");
    }

    #[tokio::test]
    async fn a_replay_continues_where_the_caller_is() {
        let (mut first, replay) = ReplayBody::new(chunks(&["ab", "cd", "ef"]), 6);
        first.frame().await.unwrap().unwrap();
        let second = replay.into_body().unwrap();
        assert!(first.frame().await.unwrap().unwrap_err().is::<TakenOver>());
        assert_eq!(text(second).await, b"abcdef");
    }

    #[tokio::test]
    async fn what_was_rewound_can_still_be_replayed_and_rewound_again() {
        let (mut first, replay) = ReplayBody::new(chunks(&["ab", "cd", "ef"]), 6);
        let rewind = first.rewind();
        first.frame().await.unwrap().unwrap();
        let mut second = rewind.into_body().unwrap();
        assert!(first.frame().await.unwrap().unwrap_err().is::<TakenOver>());
        assert_eq!(second.size_hint().lower(), 2);
        second.frame().await.unwrap().unwrap();
        second.frame().await.unwrap().unwrap();
        let rewind = second.rewind();
        assert_eq!(text(rewind.into_body().unwrap()).await, b"abcdef");
        let replay = replay.into_body().unwrap();
        let rewind = replay.rewind();
        assert_eq!(text(replay).await, b"abcdef");
        assert_eq!(text(rewind.into_body().unwrap()).await, b"abcdef");
    }

    #[tokio::test]
    async fn what_was_not_kept_is_rewound_only_before_it_was_read() {
        let (first, _) = ReplayBody::new(Body::from(Bytes::from_static(b"abc")), 2);
        let mut second = first.rewind().into_body().unwrap();
        let rewind = second.rewind();
        second.frame().await.unwrap().unwrap();
        assert!(rewind.into_body().is_none());

        // All that a replay read is kept no more.
        let (mut first, replay) = ReplayBody::new(chunks(&["ab", "cd"]), 6);
        first.frame().await.unwrap().unwrap();
        let mut second = replay.into_body().unwrap();
        second.frame().await.unwrap().unwrap();
        let second = second.rewind().into_body().unwrap();
        let rewind = second.rewind();
        assert_eq!(second.collect().await.unwrap().to_bytes(), "abcd");
        assert!(rewind.into_body().is_none());
    }

    #[tokio::test]
    async fn a_body_that_a_replay_has_taken_over_is_not_rewound() {
        let (first, replay) = ReplayBody::new(chunks(&["ab"]), 6);
        let second = replay.into_body().unwrap();
        assert!(first.rewind().into_body().is_none());
        assert_eq!(text(second).await, b"ab");
    }

    #[tokio::test]
    async fn a_body_that_broke_off_is_not_replayed() {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> = vec![
            Ok(Frame::data(Bytes::from_static(b"a"))),
            Err("gone".into()),
        ];
        let broken = Body::boxed(StreamBody::new(stream::iter(frames)));
        let (first, replay) = ReplayBody::new(broken, 9);
        let rewind = first.rewind();
        assert!(first.collect().await.is_err());
        assert!(rewind.into_body().is_none());
        assert!(replay.into_body().is_none());
    }

    #[tokio::test]
    async fn trailers_are_replayed() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("7"));
        let frames: Vec<Result<Frame<Bytes>, BoxError>> = vec![
            Ok(Frame::data(Bytes::from_static(b"a"))),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let body = Body::boxed(StreamBody::new(stream::iter(frames)));
        let (first, replay) = ReplayBody::new(body, 9);
        assert_eq!(first.collect().await.unwrap().trailers(), Some(&trailers));
        let second = replay.into_body().unwrap().collect().await.unwrap();
        assert_eq!(second.trailers(), Some(&trailers));
    }

    proptest! {
        #[test]
        fn whenever_the_replay_starts_it_is_the_whole_body(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 1..9),
            read in 0_usize..9,
        ) {
            let whole = parts.concat();
            let frames: Vec<Result<Frame<Bytes>, BoxError>> =
                parts.iter().map(|part| Ok(Frame::data(part.clone().into()))).collect();
            let body = Body::boxed(StreamBody::new(stream::iter(frames)));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (mut first, replay) = ReplayBody::new(body, whole.len());
                for _ in 0..read {
                    first.frame().await;
                }
                let second = replay.into_body().unwrap();
                prop_assert!(second.size_hint().lower() <= whole.len() as u64);
                prop_assert_eq!(text(second).await, whole);
                Ok(())
            })?;
        }
    }
}
