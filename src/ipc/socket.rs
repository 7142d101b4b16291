//! SEQPACKET sockets whose packets may carry descriptors.

use crate::SystemError;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, socket, socketpair,
    sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use vkmps_protocol::limits::MAX_MESSAGE_BYTES;

/// One end of a packet connection, or a listener.
#[derive(Debug)]
pub struct Seqpacket(OwnedFd);

/// Who is at the other end, as the kernel saw it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Process; may be dead by now.
    pub pid: i32,
}

/// A packet that was received.
#[derive(Debug)]
pub struct Packet {
    /// Bytes of it in the buffer.
    pub bytes: usize,
    /// Whether it was longer than the buffer.
    pub truncated: bool,
    /// What rode along; closed on drop.
    pub descriptors: Vec<OwnedFd>,
}

impl Seqpacket {
    /// Connects to a listener.
    pub fn connect(path: &Path) -> Result<Self, SystemError> {
        let socket = Self::unconnected(SockFlag::SOCK_CLOEXEC)?;
        let address = UnixAddr::new(path).map_err(SystemError::of("socket address"))?;
        loop {
            match connect(socket.0.as_raw_fd(), &address) {
                Ok(()) => return Ok(socket),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(SystemError {
                        call: "connect",
                        errno,
                    });
                }
            }
        }
    }

    /// Listens at a path that does not exist yet; accepting does not block.
    pub fn bind(path: &Path) -> Result<Self, SystemError> {
        let socket = Self::unconnected(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        let address = UnixAddr::new(path).map_err(SystemError::of("socket address"))?;
        bind(socket.0.as_raw_fd(), &address).map_err(SystemError::of("bind"))?;
        listen(&socket.0, Backlog::MAXALLOWABLE).map_err(SystemError::of("listen"))?;
        Ok(socket)
    }

    /// Two connected ends; both block.
    pub fn pair() -> Result<(Self, Self), SystemError> {
        let (one, two) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(SystemError::of("socketpair"))?;
        Ok((Self(one), Self(two)))
    }

    /// The next connection, non-blocking; `EAGAIN` when there is none.
    pub fn accept(&self) -> Result<Self, SystemError> {
        let fd = accept4(
            self.0.as_raw_fd(),
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )
        .map_err(SystemError::of("accept4"))?;
        // SAFETY: accept4 returned a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes reads and writes return `EAGAIN` instead of blocking, or the other way round.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), SystemError> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let flags = if nonblocking {
            OFlag::O_NONBLOCK
        } else {
            OFlag::empty()
        };
        fcntl(&self.0, FcntlArg::F_SETFL(flags))
            .map_err(SystemError::of("fcntl(F_SETFL)"))
            .map(drop)
    }

    /// Who connected.
    pub fn peer_credentials(&self) -> Result<Credentials, SystemError> {
        let peer = getsockopt(&self.0, sockopt::PeerCredentials)
            .map_err(SystemError::of("getsockopt(SO_PEERCRED)"))?;
        Ok(Credentials {
            uid: peer.uid(),
            gid: peer.gid(),
            pid: peer.pid(),
        })
    }

    /// The groups of who connected, all of them.
    pub fn peer_groups(&self) -> Result<Vec<u32>, SystemError> {
        let mut groups = vec![0_u32; GROUPS];
        loop {
            let mut length =
                libc::socklen_t::try_from(size_of_val(&*groups)).map_err(|_| SystemError {
                    call: "getsockopt(SO_PEERGROUPS)",
                    errno: Errno::ERANGE,
                })?;
            // SAFETY: `groups` is `length` bytes of writable memory without padding, and the socket is open.
            let result = unsafe {
                libc::getsockopt(
                    self.0.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_PEERGROUPS,
                    groups.as_mut_ptr().cast(),
                    &raw mut length,
                )
            };
            let count = usize::try_from(length).unwrap_or(0) / size_of::<u32>();
            match Errno::result(result) {
                Ok(_) => {
                    groups.truncate(count);
                    return Ok(groups);
                }
                // The kernel says how many there are.
                Err(Errno::ERANGE) if count > groups.len() => groups.resize(count, 0),
                Err(errno) => {
                    return Err(SystemError {
                        call: "getsockopt(SO_PEERGROUPS)",
                        errno,
                    });
                }
            }
        }
    }

    /// Sends one packet, whole or not at all.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SystemError> {
        let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
        let control = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &control[..0]
        } else {
            &control[..]
        };
        loop {
            match sendmsg::<UnixAddr>(
                self.0.as_raw_fd(),
                &[IoSlice::new(bytes)],
                control,
                MsgFlags::MSG_NOSIGNAL,
                None,
            ) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(SystemError {
                        call: "sendmsg",
                        errno,
                    });
                }
            }
        }
    }

    /// Receives one packet into a buffer of [`MAX_MESSAGE_BYTES`]; `None` when the peer has hung up.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<Packet>, SystemError> {
        // Room for as many as one packet can carry: of those that do not fit, nix would leak what the kernel installed.
        let mut control = cmsg_space!([RawFd; SCM_MAX_FD]);
        let mut vector = [IoSliceMut::new(buffer)];
        let message = loop {
            match recvmsg::<UnixAddr>(
                self.0.as_raw_fd(),
                &mut vector,
                Some(&mut control),
                MsgFlags::MSG_CMSG_CLOEXEC,
            ) {
                Ok(message) => break message,
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(None),
                Err(errno) => {
                    return Err(SystemError {
                        call: "recvmsg",
                        errno,
                    });
                }
            }
        };
        let mut descriptors = Vec::new();
        // Descriptors beyond the space were closed by the kernel, which then sets MSG_CTRUNC.
        let truncated = message
            .flags
            .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        if let Ok(headers) = message.cmsgs() {
            for header in headers {
                if let ControlMessageOwned::ScmRights(raw) = header {
                    // SAFETY: the kernel made these descriptors for this call; nobody else owns them.
                    descriptors.extend(
                        raw.into_iter()
                            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                    );
                }
            }
        }
        let bytes = message.bytes;
        if bytes == 0 && descriptors.is_empty() && !truncated {
            return Ok(None);
        }
        Ok(Some(Packet {
            bytes,
            truncated,
            descriptors,
        }))
    }

    /// Whether the next packet is there and carries descriptors. Never blocks, receives nothing.
    pub fn descriptors_ahead(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let mut byte = [0];
        let mut vector = [IoSliceMut::new(&mut byte)];
        // For lack of room for them the kernel installs none, and says so.
        recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut vector, None, flags)
            .is_ok_and(|message| message.flags.contains(MsgFlags::MSG_CTRUNC))
    }

    /// Whether the peer has gone. Never blocks.
    pub fn hung_up(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut set = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        poll(&mut set, PollTimeout::ZERO).is_ok()
            && set[0]
                .revents()
                .is_some_and(|events| events.intersects(gone))
    }

    fn unconnected(flags: SockFlag) -> Result<Self, SystemError> {
        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .map(Self)
            .map_err(SystemError::of("socket"))
    }
}

/// Descriptors that the kernel lets one packet carry.
const SCM_MAX_FD: usize = 253;

/// A buffer that every message fits into.
pub fn message_buffer() -> Box<[u8; MAX_MESSAGE_BYTES]> {
    Box::new([0; MAX_MESSAGE_BYTES])
}

impl From<OwnedFd> for Seqpacket {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Seqpacket> for OwnedFd {
    fn from(socket: Seqpacket) -> Self {
        socket.0
    }
}

impl AsFd for Seqpacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Seqpacket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Groups that are asked for at first; few have more.
const GROUPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel_and_a_closed_peer_reads_as_none() {
        let (one, two) = Seqpacket::pair().unwrap();
        let memory = crate::memory::memfd_with("travels", b"abc").unwrap();
        one.send(b"hello", &[memory.as_fd()]).unwrap();
        let mut buffer = message_buffer();
        let packet = two.receive(&mut *buffer).unwrap().unwrap();
        assert_eq!(&buffer[..packet.bytes], b"hello");
        assert_eq!(
            crate::memory::read_exactly(&packet.descriptors[0], 3).unwrap(),
            b"abc"
        );
        assert!(!two.hung_up());
        drop(one);
        assert!(two.hung_up());
        assert!(two.receive(&mut *buffer).unwrap().is_none());
    }

    #[test]
    fn descriptors_are_seen_before_they_are_received() {
        let (one, two) = Seqpacket::pair().unwrap();
        assert!(!two.descriptors_ahead());
        one.send(b"without", &[]).unwrap();
        one.send(b"with", &[one.as_fd()]).unwrap();
        assert!(!two.descriptors_ahead());
        let mut buffer = message_buffer();
        two.receive(&mut *buffer).unwrap().unwrap();
        assert!(two.descriptors_ahead());
        let packet = two.receive(&mut *buffer).unwrap().unwrap();
        assert_eq!(packet.descriptors.len(), 1);
        drop(one);
        assert!(!two.descriptors_ahead());
    }

    #[test]
    fn the_groups_of_a_peer_are_those_of_its_process() {
        let (one, _two) = Seqpacket::pair().unwrap();
        let mut groups = one.peer_groups().unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(nix::unistd::Gid::as_raw)
            .collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
    }

    #[test]
    fn a_packet_longer_than_any_message_is_marked() {
        let (one, two) = Seqpacket::pair().unwrap();
        one.send(&[7; MAX_MESSAGE_BYTES + 1], &[]).unwrap();
        let packet = two.receive(&mut *message_buffer()).unwrap().unwrap();
        assert!(packet.truncated);
    }
}
