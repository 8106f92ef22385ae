//! The few words that servers and clients of all releases understand, from the asking side.

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::frame::{Frame, FrameError, Identity, LIFECYCLE, Lifecycle, LifecycleReply};

/// Why a server is not understood.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The connection or a frame is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// It said something else than was asked for.
    #[error("the server answered {0:?}")]
    Unexpected(LifecycleReply),
}

/// Says something and waits for the answer.
pub async fn say(stream: &mut UnixStream, what: &Lifecycle) -> Result<LifecycleReply, LifecycleError> {
    stream.write_all(&Frame::encode(LIFECYCLE, what)?).await.map_err(FrameError::from)?;
    let frame = Frame::read(stream).await?.ok_or(LifecycleError::Closed)?;
    Ok(frame.decode()?)
}

/// Asks the server who it is.
pub async fn hello(stream: &mut UnixStream) -> Result<Identity, LifecycleError> {
    match say(stream, &Lifecycle::Hello).await? {
        LifecycleReply::Hello(identity) => Ok(identity),
        other => Err(LifecycleError::Unexpected(other)),
    }
}
