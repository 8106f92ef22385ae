//! Open sockets sent from process to process over a unix socket (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// How many descriptors go over: the UDP and the TCP socket.
const COUNT: usize = 2;

/// Sends the sockets with one byte.
pub async fn send(stream: &UnixStream, sockets: [BorrowedFd<'_>; COUNT]) -> io::Result<()> {
    let attempt = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&sockets));
        sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL).map_err(io::Error::from)
    };
    stream.async_io(Interest::WRITABLE, attempt).await.map(drop)
}

/// Receives the byte and the sockets that come with it; `None` when there is none with it.
pub async fn receive(stream: &UnixStream) -> io::Result<Option<[OwnedFd; COUNT]>> {
    let attempt = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        Ok(rights.flatten().collect::<Vec<_>>())
    };
    let descriptors = stream.async_io(Interest::READABLE, attempt).await?;
    Ok(descriptors.try_into().ok())
}
