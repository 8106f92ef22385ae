//! What the daemon and the DNS server say to each other over the server's unix socket.
//!
//! A frame is its length (4 bytes, big endian, the rest of the frame), the protocol that its body is in (2
//! bytes, big endian) and the body in postcard. Protocol [`LIFECYCLE`] never changes, so that any two
//! releases can find out who they are, hand over the sockets and end; everything else is in [`PROTOCOL`].

use std::io;
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::stats::Stats;
use crate::table::Table;

/// Protocol of [`Lifecycle`] and [`LifecycleReply`], the same for ever.
pub const LIFECYCLE: u16 = 0;
/// Protocol of [`Command`] and [`CommandReply`]; a change of these or of [`Table`] takes the next number.
pub const PROTOCOL: u16 = 1;
/// The longest frame: a table of some 500,000 tasks.
pub const FRAME_MAX: usize = 64 << 20;

const PROTOCOL_LENGTH: usize = size_of::<u16>();

/// What can be said to a server of any release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// Who are you?
    Hello,
    /// Write the table to the state file and answer with [`LifecycleReply::Sockets`]; one byte follows that
    /// carries the UDP and the TCP socket.
    HandOver,
    /// Answer what is under way and end, without a last word to the state file.
    Exit,
}

/// What a server of any release answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifecycleReply {
    /// I am.
    Hello(Identity),
    /// The sockets follow.
    Sockets,
    /// I end.
    Exiting,
    /// I do not understand this frame's protocol, or its body.
    Unsupported,
}

/// Who a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The protocol that it speaks beside [`LIFECYCLE`].
    pub protocol: u16,
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Inode number of the network namespace that it listens in.
    pub netns: u64,
}

/// What can be said to a server of this release.
#[derive(Debug, Deserialize)]
pub enum Command {
    /// Answer from this table from now on.
    Publish(Table),
    /// How are you?
    Stats,
}

/// [`Command`] as it is sent, in the same encoding.
#[derive(Debug, Serialize)]
pub enum CommandRef<'a> {
    /// See [`Command::Publish`].
    Publish(&'a Table),
    /// See [`Command::Stats`].
    Stats,
}

/// What a server of this release answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandReply {
    /// Every question that comes from now on is answered from the table.
    Published(Published),
    /// The numbers.
    Stats(Stats),
}

/// Acknowledgement of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The table's version.
    pub version: u64,
    /// Names in it that are no DNS names and were left out; the server's log tells them.
    pub unusable: u32,
}

/// A frame that cannot be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    /// The length is out of bounds.
    #[error("a frame of {length} bytes; 2 to {FRAME_MAX} are allowed")]
    Length {
        /// Bytes announced, or to be sent.
        length: usize,
    },
    /// The body is not what its protocol says, or cannot be written.
    #[error("malformed frame: {0}")]
    Body(#[from] postcard::Error),
}

/// One frame as it came.
#[derive(Debug)]
pub struct Frame {
    /// The protocol of the body.
    pub protocol: u16,
    body: Vec<u8>,
}

impl Frame {
    /// Reads the next frame; `None` when the other side has closed between two.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>, FrameError> {
        let mut length = [0; 4];
        if from.read(&mut length[..1]).await? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut length[1..]).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(PROTOCOL_LENGTH..=FRAME_MAX).contains(&length) {
            return Err(FrameError::Length { length });
        }
        let protocol = from.read_u16().await?;
        let announced = length - PROTOCOL_LENGTH;
        // Grows with what comes, so that a length alone takes no memory.
        let mut body = Vec::new();
        from.take(announced as u64).read_to_end(&mut body).await?;
        if body.len() < announced {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Some(Self { protocol, body }))
    }

    /// The body, all of it, as a value of the frame's protocol.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let (value, rest) = postcard::take_from_bytes(&self.body)?;
        if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding.into()) }
    }

    /// The bytes of a frame.
    pub fn encode<T: Serialize>(protocol: u16, body: &T) -> Result<Vec<u8>, FrameError> {
        let head = [&[0; 4][..], &protocol.to_be_bytes()].concat();
        let mut bytes = postcard::to_extend(body, head)?;
        let length = bytes.len() - 4;
        let announced = u32::try_from(length).ok().filter(|_| length <= FRAME_MAX);
        bytes[..4].copy_from_slice(&announced.ok_or(FrameError::Length { length })?.to_be_bytes());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(mut bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Frame::read(&mut bytes))
    }

    #[test]
    fn frames_read_back() {
        let bytes = Frame::encode(LIFECYCLE, &Lifecycle::HandOver).unwrap();
        assert_eq!(bytes, [0, 0, 0, 3, 0, 0, 1], "the lifecycle protocol never changes");
        let frame = read(&bytes).unwrap().unwrap();
        assert_eq!(frame.protocol, LIFECYCLE);
        assert_eq!(frame.decode::<Lifecycle>().unwrap(), Lifecycle::HandOver);
        let table = Table { version: 3, ..Table::default() };
        let bytes = Frame::encode(PROTOCOL, &CommandRef::Publish(&table)).unwrap();
        let Command::Publish(back) = read(&bytes).unwrap().unwrap().decode().unwrap() else {
            panic!("no table")
        };
        assert_eq!(back, table);
    }

    #[test]
    fn bad_frames_are_refused() {
        assert!(read(&[]).unwrap().is_none());
        assert!(matches!(read(&[0, 0]), Err(FrameError::Io(_))));
        assert!(matches!(read(&[0, 0, 0, 1, 0]), Err(FrameError::Length { length: 1 })));
        assert!(matches!(read(&[0xff; 8]), Err(FrameError::Length { .. })));
        assert!(matches!(read(&[0, 0, 1, 0, 0, 0, 1]), Err(FrameError::Io(_))));
        let trailing = read(&[0, 0, 0, 4, 0, 0, 0, 0]).unwrap().unwrap();
        assert!(matches!(trailing.decode::<Lifecycle>(), Err(FrameError::Body(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes: Vec<u8>) {
            if let Ok(Some(frame)) = read(&bytes) {
                let _ = frame.decode::<Command>();
                let _ = frame.decode::<Lifecycle>();
            }
        }
    }
}
