//! Client connections: accepting them, reading them one request at a time, writing without ever waiting for them.

use crate::foreign::{self, Foreign};
use crate::happening::{Happening, Happenings};
use crate::journal;
use crate::watched::watch;
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::sync::{Notify, watch as watched};
use tokio::task::{AbortHandle, JoinHandle};
use vkmps_broker::{ConnectionId, Peer};
use vkmps_ipc::SystemError;
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::limits::{MAX_MESSAGE_BYTES, MAX_TEXT_BYTES};
use vkmps_protocol::message::{ClientMessage, DaemonMessage};
use vkmps_protocol::{DecodeError, ErrorCode, decode, encode};

/// A client's socket and the task that reads it. Dropping closes both; what was sent before still arrives.
#[derive(Debug)]
pub(crate) struct ClientLink {
    socket: Arc<AsyncFd<ClientSocket>>,
    /// The reader goes on to the next request only after an answer.
    answered: Arc<Notify>,
    reader: JoinHandle<()>,
    /// What the client's session is, once it was welcomed.
    pub(crate) session: Option<SessionId>,
    /// What came with the last message.
    pub(crate) descriptor: Option<Foreign>,
    /// The task that copies it: a client that leaves must not leave work behind.
    pub(crate) copying: Option<AbortHandle>,
    /// The daemon's copy of it.
    pub(crate) module: Option<OwnedFd>,
}

/// The socket, and whose process is at its other end. What its queue holds is foreign.
#[derive(Debug)]
struct ClientSocket {
    socket: Option<Seqpacket>,
    uid: u32,
}

/// The client's socket is full: it does not read what it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stalled;

impl ClientLink {
    /// Starts to read a connection.
    pub(crate) fn new(
        conn: ConnectionId,
        socket: Seqpacket,
        happenings: Happenings,
    ) -> std::io::Result<Self> {
        let uid = socket
            .peer_credentials()
            .map_err(std::io::Error::other)?
            .uid;
        let socket = ClientSocket::new(socket, uid);
        let socket = Arc::new(watch(socket, Interest::READABLE)?);
        let answered = Arc::new(Notify::new());
        let reader = tokio::spawn(read(conn, socket.clone(), answered.clone(), happenings));
        Ok(Self {
            socket,
            answered,
            reader,
            session: None,
            descriptor: None,
            copying: None,
            module: None,
        })
    }

    /// Sends without waiting. A client that is gone is no error: its reader notices.
    pub(crate) fn send(
        &mut self,
        message: DaemonMessage,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Stalled> {
        self.descriptor = None;
        self.module = None;
        let bytes = encode(&clipped(message)).map_err(|_| Stalled)?;
        self.answered.notify_one();
        match self.socket.get_ref().get().send(&bytes, descriptors) {
            Err(SystemError {
                errno: Errno::EAGAIN | Errno::ETOOMANYREFS,
                ..
            }) => Err(Stalled),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for ClientLink {
    fn drop(&mut self) {
        self.reader.abort();
        if let Some(copying) = &self.copying {
            copying.abort();
        }
        // The reader may hold the socket for a moment longer.
        self.socket.get_ref().hang_up();
    }
}

impl ClientSocket {
    fn new(socket: Seqpacket, uid: u32) -> Self {
        let socket = Some(socket);
        Self { socket, uid }
    }

    fn get(&self) -> &Seqpacket {
        self.socket.as_ref().expect("taken by the drop only")
    }

    /// Ends the connection in both directions. What was sent before still arrives, what comes later does not.
    fn hang_up(&self) {
        let _ = shutdown(self.as_raw_fd(), Shutdown::Both);
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        self.hang_up();
        // A socket closed with packets unread resets its peer, which then loses what it was sent.
        while !(self.get().descriptors_ahead() && foreign::is_overdrawn(self.uid)) {
            match self.get().receive(&mut *message_buffer()) {
                Ok(Some(packet)) => packet
                    .descriptors
                    .into_iter()
                    .for_each(|fd| drop(Foreign::new(fd, self.uid))),
                Ok(None) | Err(_) => return,
            }
        }
        // Closing it closes what lies in its queue, and takes as long.
        if let Some(socket) = self.socket.take() {
            drop(Foreign::new(socket.into(), self.uid));
        }
    }
}

impl AsRawFd for ClientSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.get().as_raw_fd()
    }
}

/// Accepts until the doors are closed, and gives the socket back then. Errors are survived: with no descriptor left,
/// clients wait in the backlog.
pub(crate) async fn accept(
    listener: Seqpacket,
    happenings: Happenings,
    mut closed: watched::Receiver<bool>,
) -> Option<Seqpacket> {
    let listener = match watch(listener, Interest::READABLE) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot watch a listening socket");
            return None;
        }
    };
    while !*closed.borrow_and_update() {
        match listener.get_ref().accept() {
            Ok(socket) => {
                let Ok(who) = socket.peer_credentials() else {
                    continue;
                };
                let peer = Peer {
                    uid: who.uid,
                    pid: who.pid,
                };
                if foreign::is_overdrawn(who.uid) {
                    turn_away(&ClientSocket::new(socket, who.uid));
                    continue;
                }
                // Who cannot be asked is a member of none but its own.
                let mut groups = socket.peer_groups().unwrap_or_default();
                groups.push(who.gid);
                let accepted = Happening::Accepted {
                    socket,
                    peer,
                    groups,
                };
                happenings.send(accepted).await.ok()?;
            }
            Err(SystemError {
                errno: Errno::EAGAIN,
                ..
            }) => tokio::select! {
                guard = listener.readable() => guard.ok()?.clear_ready(),
                _ = closed.changed() => {}
            },
            Err(SystemError {
                errno: Errno::EINTR | Errno::ECONNABORTED,
                ..
            }) => {}
            Err(error) => {
                journal::not_accepted(&error);
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
    Some(listener.into_inner())
}

/// Says why, to a client that is already waiting for an answer; nobody waits for the others.
fn turn_away(socket: &ClientSocket) {
    let refusal = DaemonMessage::Refused {
        code: ErrorCode::DaemonFull,
        text: "too many descriptors of this user take long to close".to_owned(),
    };
    if let Ok(bytes) = encode(&refusal) {
        let _ = socket.get().send(&bytes, &[]);
    }
}

async fn read(
    conn: ConnectionId,
    socket: Arc<AsyncFd<ClientSocket>>,
    answered: Arc<Notify>,
    happenings: Happenings,
) {
    loop {
        tokio::select! {
            biased;
            () = foreign::caught_up(socket.get_ref().uid) => {}
            () = hang_up(&socket) => break,
        }
        let Some(packet) = next_packet(&socket).await else {
            break;
        };
        if happenings
            .send(Happening::Client { conn, packet })
            .await
            .is_err()
        {
            return;
        }
        tokio::select! {
            () = answered.notified() => {}
            () = hang_up(&socket) => break,
        }
    }
    let _ = happenings.send(Happening::ClientGone { conn }).await;
}

type ClientPacket = Result<(ClientMessage, Vec<Foreign>), DecodeError>;

/// The next packet; `None` when the client has hung up.
async fn next_packet(socket: &AsyncFd<ClientSocket>) -> Option<ClientPacket> {
    loop {
        // Before readiness is asked for: `hang_up` may have swallowed it.
        match receive(socket.get_ref()) {
            Err(SystemError {
                errno: Errno::EAGAIN,
                ..
            }) => {
                let mut guard = socket.readable().await.ok()?;
                guard.clear_ready_matching(Ready::READABLE);
            }
            Ok(packet) => return packet,
            Err(_) => return None,
        }
    }
}

/// The buffer lives for the call only: an idle client costs no memory for it.
fn receive(socket: &ClientSocket) -> Result<Option<ClientPacket>, SystemError> {
    let mut buffer = message_buffer();
    let Some(packet) = socket.get().receive(&mut *buffer)? else {
        return Ok(None);
    };
    let foreign = |fd| Foreign::new(fd, socket.uid);
    let descriptors: Vec<Foreign> = packet.descriptors.into_iter().map(foreign).collect();
    if packet.truncated && packet.bytes >= MAX_MESSAGE_BYTES {
        return Ok(Some(Err(DecodeError::TooLong(packet.bytes))));
    }
    // Else descriptors were cut off: more came than any message carries.
    let found = match packet.truncated {
        true => descriptors.len() + 1,
        false => descriptors.len(),
    };
    let message = decode::<ClientMessage>(&buffer[..packet.bytes]);
    Ok(Some(message.and_then(
        |message| match message.descriptors() {
            expected if expected != found => Err(DecodeError::Descriptors { expected, found }),
            _ => Ok((message, descriptors)),
        },
    )))
}

/// Returns when the client is gone, whatever it may have sent before.
async fn hang_up(socket: &AsyncFd<ClientSocket>) {
    while !socket.get_ref().get().hung_up() {
        match socket.readable().await {
            // Half closed counts: no request will come, and tokio would report it again and again.
            Ok(guard) if guard.ready().is_read_closed() => return,
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => return,
        }
    }
}

/// Texts may come from drivers and be of any length.
fn clipped(mut message: DaemonMessage) -> DaemonMessage {
    if let DaemonMessage::Failed { text, .. } | DaemonMessage::Refused { text, .. } = &mut message {
        while text.len() > MAX_TEXT_BYTES {
            text.pop();
        }
    }
    message
}

/// Out of descriptors or memory: both take a while to come back.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::tests::lingering;
    use nix::sys::socket::Shutdown;
    use std::os::fd::AsFd;
    use tokio::sync::mpsc;

    fn link() -> (ClientLink, Seqpacket, mpsc::Receiver<Happening>) {
        let (ours, theirs) = Seqpacket::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (happenings, happened) = mpsc::channel(16);
        let link = ClientLink::new(ConnectionId(1), ours, happenings).unwrap();
        (link, theirs, happened)
    }

    fn refusal() -> DaemonMessage {
        DaemonMessage::Refused {
            code: ErrorCode::Protocol,
            text: "x".repeat(100_000),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_client_is_not_read_before_it_has_its_answer() {
        let (mut link, client, mut happened) = link();
        let request = encode(&ClientMessage::Reserved).unwrap();
        client.send(&request, &[]).unwrap();
        client.send(&[0xff], &[]).unwrap();
        let first = happened.recv().await.unwrap();
        assert!(matches!(
            first,
            Happening::Client {
                packet: Ok((ClientMessage::Reserved, _)),
                ..
            }
        ));
        tokio::task::yield_now().await;
        assert!(happened.try_recv().is_err());
        link.send(DaemonMessage::Done, &[]).unwrap();
        let second = happened.recv().await.unwrap();
        assert!(matches!(second, Happening::Client { packet: Err(_), .. }));
        drop(client);
        assert!(matches!(
            happened.recv().await,
            Some(Happening::ClientGone { .. })
        ));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_half_closed_client_is_gone() {
        let (_link, client, mut happened) = link();
        client
            .send(&encode(&ClientMessage::Reserved).unwrap(), &[])
            .unwrap();
        assert!(matches!(
            happened.recv().await,
            Some(Happening::Client { .. })
        ));
        shutdown(client.as_raw_fd(), Shutdown::Write).unwrap();
        assert!(matches!(
            happened.recv().await,
            Some(Happening::ClientGone { .. })
        ));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_client_that_does_not_read_stalls_and_nobody_waits() {
        let (mut link, _client, _happened) = link();
        let stalled = (0..10_000).any(|_| link.send(refusal(), &[]).is_err());
        assert!(stalled);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_sent_arrives_although_the_client_wrote_on() {
        let (mut link, client, _happened) = link();
        client.send(&[0xff; 64], &[]).unwrap();
        link.send(refusal(), &[]).unwrap();
        drop(link);
        let mut buffer = message_buffer();
        let packet = client.receive(&mut *buffer).unwrap().unwrap();
        let message = decode::<DaemonMessage>(&buffer[..packet.bytes]).unwrap();
        assert!(matches!(message, DaemonMessage::Refused { text, .. } if text.len() == 4096));
        assert!(client.receive(&mut *buffer).unwrap().is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_descriptor_that_takes_long_to_close_delays_nobody() {
        let (_link, client, mut happened) = link();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let lingering = lingering(&listener);
        client.send(&[0xff], &[lingering.as_fd()]).unwrap();
        drop(lingering);
        let sent = std::time::Instant::now();
        let garbage = happened.recv().await.unwrap();
        assert!(matches!(garbage, Happening::Client { packet: Err(_), .. }));
        assert!(sent.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_client_that_leaves_takes_its_copy_along() {
        let (mut link, _client, _happened) = link();
        let copying = tokio::spawn(std::future::pending::<()>());
        link.copying = Some(copying.abort_handle());
        drop(link);
        assert!(copying.await.unwrap_err().is_cancelled());
    }
}
