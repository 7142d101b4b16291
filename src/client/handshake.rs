//! Opening a session: connect, say hello, take what the daemon hands over.

use crate::environment;
use crate::error::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use vkmps_ipc::ring::SessionRegion;
use vkmps_ipc::socket::{Packet, Seqpacket, message_buffer};
use vkmps_protocol::group::{NewGroup, OpenGroup};
use vkmps_protocol::message::{ClientMessage, DaemonMessage, DeviceDescription, Hello, Priority};
use vkmps_protocol::quota::{Quota, Wish};
use vkmps_protocol::token::{Pass, Token};
use vkmps_protocol::{ErrorCode, MAGIC, VERSION_MAJOR, decode, encode};

/// What a daemon granted.
pub(crate) struct Opened {
    pub(crate) socket: Seqpacket,
    pub(crate) region: SessionRegion,
    pub(crate) doorbell: OwnedFd,
    pub(crate) session: u64,
    pub(crate) priority: Priority,
    pub(crate) device: DeviceDescription,
    pub(crate) quota: Quota,
}

/// What a client says of itself.
pub(crate) struct Greeting {
    pub(crate) name: String,
    pub(crate) priority: Priority,
    pub(crate) wish: Wish,
    pub(crate) group: Option<Token>,
    pub(crate) pass: Option<Pass>,
}

/// Opens a session with the daemon that listens at `path`.
pub(crate) fn open(path: &Path, greeting: Greeting) -> Result<Opened, Error> {
    let socket = connect(path)?;
    let hello = Hello {
        magic: MAGIC,
        version: VERSION_MAJOR,
        features: 0,
        priority: greeting.priority,
        name: greeting.name,
        wish: greeting.wish,
        group: greeting.group,
        pass: greeting.pass,
    };
    let (message, descriptors) = greet(&socket, &ClientMessage::Hello(hello))?;
    match message {
        DaemonMessage::Welcome {
            session,
            priority,
            device,
            quota,
            ..
        } => {
            let [region, doorbell]: [OwnedFd; 2] = descriptors
                .try_into()
                .map_err(|_| Error::new(ErrorCode::Protocol, "welcome without its descriptors"))?;
            let region = SessionRegion::map(&region)
                .map_err(|e| Error::new(ErrorCode::Protocol, e.to_string()))?;
            Ok(Opened {
                socket,
                region,
                doorbell,
                session: session.0,
                priority,
                device,
                quota,
            })
        }
        DaemonMessage::Refused { code, text } => Err(Error::new(code, text)),
        _ => Err(unexpected()),
    }
}

/// Opens a group with the daemon that listens at `path`; its number.
pub(crate) fn open_group(path: &Path, group: NewGroup) -> Result<(Seqpacket, u64), Error> {
    let pass = environment::pass(None)?;
    let socket = connect(path)?;
    let open = OpenGroup {
        magic: MAGIC,
        version: VERSION_MAJOR,
        pass,
        group,
    };
    match greet(&socket, &ClientMessage::OpenGroup(open))? {
        (DaemonMessage::GroupOpened { group }, _) => Ok((socket, group.0)),
        (DaemonMessage::Refused { code, text }, _) => Err(Error::new(code, text)),
        _ => Err(unexpected()),
    }
}

/// The last message of a daemon, if it has come, or that it has gone without one.
pub(crate) fn farewell(socket: &Seqpacket) -> Option<Error> {
    let lost = || Error::from(ErrorCode::DaemonLost);
    match poll(
        &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
        PollTimeout::ZERO,
    ) {
        Ok(0) | Err(Errno::EINTR) => return None,
        Ok(_) => {}
        Err(_) => return Some(lost()),
    }
    let mut buffer = message_buffer();
    let packet = socket.receive(&mut *buffer).ok().flatten();
    Some(match packet.map(|packet| read_message(&*buffer, packet)) {
        Some(Ok((DaemonMessage::Refused { code, text }, _))) => Error::new(code, text),
        Some(_) => unexpected(),
        None => lost(),
    })
}

fn connect(path: &Path) -> Result<Seqpacket, Error> {
    Seqpacket::connect(path).map_err(|error| {
        let code = match error.errno {
            Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR => ErrorCode::NoDaemon,
            Errno::EACCES | Errno::EPERM => ErrorCode::PermissionDenied,
            Errno::ENAMETOOLONG | Errno::EINVAL => ErrorCode::InvalidArgument,
            _ => ErrorCode::System,
        };
        Error::new(code, format!("{}: {error}", path.display()))
    })
}

/// Sends the first message, and receives its answer.
fn greet(
    socket: &Seqpacket,
    message: &ClientMessage,
) -> Result<(DaemonMessage, Vec<OwnedFd>), Error> {
    let message =
        encode(message).map_err(|e| Error::new(ErrorCode::InvalidArgument, e.to_string()))?;
    // A daemon that is full refuses before it reads: then sending fails, and its reason waits to be received.
    let _ = socket.send(&message, &[]);
    first_message(socket)
}

fn unexpected() -> Error {
    Error::new(ErrorCode::Protocol, "the answer is none to what was asked")
}

/// The daemon's answer to a hello, or why there is none.
fn first_message(socket: &Seqpacket) -> Result<(DaemonMessage, Vec<OwnedFd>), Error> {
    let deadline = Instant::now() + WELCOME_TIMEOUT;
    let mut buffer = message_buffer();
    // The kernel reports a peer that closed with our hello unread as a reset, once, before what the peer had sent.
    for _ in 0..2 {
        await_packet(socket, deadline)?;
        if let Some(packet) = socket.receive(&mut *buffer).map_err(Error::system)? {
            return read_message(&*buffer, packet);
        }
    }
    Err(Error::new(
        ErrorCode::DaemonLost,
        "it closed the connection instead of a welcome",
    ))
}

/// The message of a packet and what rode along.
pub(crate) fn read_message(
    buffer: &[u8],
    packet: Packet,
) -> Result<(DaemonMessage, Vec<OwnedFd>), Error> {
    if packet.truncated {
        return Err(Error::new(
            ErrorCode::Protocol,
            "a packet longer than any message",
        ));
    }
    let message: DaemonMessage = decode(&buffer[..packet.bytes])
        .map_err(|error| Error::new(ErrorCode::Protocol, error.to_string()))?;
    if packet.descriptors.len() != message.descriptors() {
        return Err(Error::new(
            ErrorCode::Protocol,
            "a message with a wrong number of descriptors",
        ));
    }
    Ok((message, packet.descriptors))
}

fn await_packet(socket: &Seqpacket, deadline: Instant) -> Result<(), Error> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(0) => return Err(Error::new(ErrorCode::Timeout, "no welcome from the daemon")),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Error::system(vkmps_ipc::SystemError {
                    call: "poll",
                    errno,
                }));
            }
        }
    }
}

/// A daemon that says nothing for so long is not going to: accepting takes it microseconds.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
