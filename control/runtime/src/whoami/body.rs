//! Bodies of responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Interval};

/// Bytes of a `/bytes` response that are handed over at once.
const PIECE: &[u8] = &[b'x'; 16 * 1024];

/// What a response carries.
#[derive(Debug)]
pub enum Content {
    /// This text.
    Text(Bytes),
    /// So many bytes, all the same.
    Filler(u64),
    /// Numbered lines, one at each tick, until a time.
    Ticks {
        /// When the next line is due.
        interval: Interval,
        /// When it is over.
        until: Instant,
        /// Lines so far.
        count: u64,
    },
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Text(text) => std::mem::take(text),
            Self::Filler(left) => {
                let length = usize::try_from(*left).unwrap_or(PIECE.len()).min(PIECE.len());
                *left -= u64::try_from(length).unwrap_or(*left);
                Bytes::from_static(&PIECE[..length])
            }
            Self::Ticks { interval, until, count } => {
                if ready!(interval.poll_tick(context)) < *until {
                    *count += 1;
                    Bytes::from(format!("n={count}\n"))
                } else {
                    Bytes::new()
                }
            }
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(u64::try_from(text.len()).unwrap_or(u64::MAX)),
            Self::Filler(left) => SizeHint::with_exact(*left),
            Self::Ticks { .. } => SizeHint::default(),
        }
    }
}
