//! A client that speaks for itself: raw packets, raw memory, no checks.

use crate::daemon::Daemon;
use crate::lane::Lane;
use crate::patience::PATIENCE;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use vkmps::Ticket;
use vkmps_ipc::memory::{Region, memfd_with};
use vkmps_ipc::ring::SessionRegion;
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_ipc::wake;
use vkmps_protocol::handle::{BufferId, ProgramId, SessionId};
use vkmps_protocol::message::{ClientMessage, DaemonMessage, Hello, MemoryClass, Priority};
use vkmps_protocol::program::{Interface, Specialization};
use vkmps_protocol::quota::Wish;
use vkmps_protocol::ring::{REGION_BYTES, Record, record_offset, session, stream, stream_offset};
use vkmps_protocol::sharing::{ShareName, Token};
use vkmps_protocol::{ErrorCode, MAGIC, VERSION_MAJOR, decode, encode};
use zerocopy::IntoBytes;

/// A connection that has said nothing yet.
#[derive(Debug)]
pub struct Connection(Seqpacket);

/// What came over a connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and gone at once")]
pub enum Reply {
    /// A message with its descriptors.
    Message(DaemonMessage, Vec<OwnedFd>),
    /// The other side hung up.
    HungUp,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn open(socket: &Path) -> Self {
        Self(Seqpacket::connect(socket).unwrap_or_else(|error| panic!("connecting: {error}")))
    }

    /// Sends any bytes. A daemon that has hung up already is no error.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let _ = self.0.send(bytes, descriptors);
    }

    /// Sends a message.
    pub fn say(&self, message: &ClientMessage, descriptors: &[BorrowedFd<'_>]) {
        self.send(
            &encode(message).expect("a message within the limits"),
            descriptors,
        );
    }

    /// What comes next.
    ///
    /// # Panics
    /// When nothing comes, or what no daemon may send.
    pub fn receive(&self) -> Reply {
        let timeout = PollTimeout::try_from(PATIENCE).expect("it fits");
        let mut set = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        assert_ne!(
            poll(&mut set, timeout),
            Ok(0),
            "no answer within {PATIENCE:?}"
        );
        let mut buffer = message_buffer();
        let Ok(Some(packet)) = self.0.receive(&mut *buffer) else {
            return Reply::HungUp;
        };
        let message: DaemonMessage =
            decode(&buffer[..packet.bytes]).expect("the daemon sends messages");
        assert_eq!(
            packet.descriptors.len(),
            message.descriptors(),
            "{message:?}"
        );
        Reply::Message(message, packet.descriptors)
    }

    /// Reads to the end of the connection and returns the error it was ended with, if one was sent.
    pub fn verdict(&self) -> Option<ErrorCode> {
        let mut verdict = None;
        while let Reply::Message(message, _) = self.receive() {
            if let DaemonMessage::Refused { code, .. } | DaemonMessage::Failed { code, .. } =
                message
            {
                verdict = Some(code);
            }
        }
        verdict
    }
}

/// A session whose client obeys nothing.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    region: Region,
    rings: SessionRegion,
    doorbell: OwnedFd,
    /// Its number.
    pub id: u64,
}

impl Session {
    /// Says a proper hello.
    ///
    /// # Panics
    /// When there is no welcome.
    pub fn open(daemon: &Daemon, name: &str) -> Self {
        match Self::try_open(daemon.socket(), name) {
            Ok(session) => session,
            Err(code) => panic!("{name} is not welcome: {code:?}"),
        }
    }

    /// Says a proper hello; the error is the daemon's, or `None` when it only hung up.
    ///
    /// # Errors
    /// The refusal.
    pub fn try_open(socket: &Path, name: &str) -> Result<Self, Option<ErrorCode>> {
        let connection = Connection::open(socket);
        connection.say(&hello(name), &[]);
        Self::welcomed(connection)
    }

    /// Waits for the answer to a hello that was sent.
    ///
    /// # Errors
    /// The refusal.
    pub fn welcomed(connection: Connection) -> Result<Self, Option<ErrorCode>> {
        match connection.receive() {
            Reply::Message(DaemonMessage::Welcome { session, .. }, descriptors) => {
                let [region, doorbell] = <[OwnedFd; 2]>::try_from(descriptors)
                    .expect("a welcome carries two descriptors");
                let rings = SessionRegion::map(&region).expect("a region of the right size");
                let region =
                    Region::map(&region, 0, REGION_BYTES).expect("a region of the right size");
                Ok(Self {
                    connection,
                    region,
                    rings,
                    doorbell,
                    id: session.0,
                })
            }
            Reply::Message(DaemonMessage::Refused { code, .. }, _) => Err(Some(code)),
            Reply::Message(other, _) => panic!("no answer to a hello: {other:?}"),
            Reply::HungUp => Err(None),
        }
    }

    /// The socket, for what needs no session.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Asks and returns the answer.
    ///
    /// # Panics
    /// When the daemon hangs up instead.
    pub fn ask(&self, message: &ClientMessage, descriptors: &[BorrowedFd<'_>]) -> DaemonMessage {
        self.connection.say(message, descriptors);
        match self.connection.receive() {
            Reply::Message(answer, _) => answer,
            Reply::HungUp => panic!("the daemon hung up on {message:?}"),
        }
    }

    /// Asks for what must fail.
    ///
    /// # Panics
    /// When it does not.
    pub fn refused(&self, message: &ClientMessage, descriptors: &[BorrowedFd<'_>]) -> ErrorCode {
        match self.ask(message, descriptors) {
            DaemonMessage::Failed { code, .. } => code,
            other => panic!("{message:?} was answered by {other:?}"),
        }
    }

    /// Allocates shared memory.
    ///
    /// # Panics
    /// When there is none.
    pub fn buffer(&self, bytes: u64) -> BufferId {
        match self.ask(
            &ClientMessage::AllocateBuffer {
                bytes,
                class: MemoryClass::Shared,
            },
            &[],
        ) {
            DaemonMessage::BufferReady { buffer, .. } => buffer,
            other => panic!("no buffer but {other:?}"),
        }
    }

    /// Attaches to a buffer; its handle and file.
    ///
    /// # Panics
    /// When it is refused.
    pub fn attach(&self, ticket: &Ticket) -> (BufferId, OwnedFd) {
        let text = ticket.to_string();
        let mut parts = text.split('.');
        let mut number = || {
            let part = parts.next().expect("a ticket has two numbers");
            u64::from_str_radix(part, 16).expect("a number")
        };
        let name = ShareName {
            session: SessionId(number()),
            buffer: BufferId(number()),
        };
        let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16);
        let token = parts.next().map(|hex| {
            Token(std::array::from_fn(|at| {
                byte(hex, at).expect("hexadecimal digits")
            }))
        });
        let request = ClientMessage::AttachBuffer { name, token };
        self.connection.say(&request, &[]);
        match self.connection.receive() {
            Reply::Message(DaemonMessage::ShareReady { buffer, .. }, mut files) => {
                (buffer, files.remove(0))
            }
            other => panic!("no buffer but {other:?}"),
        }
    }

    /// Registers a module.
    ///
    /// # Errors
    /// The refusal.
    pub fn register(
        &self,
        module: &[u8],
        entry: &str,
    ) -> Result<(ProgramId, Interface), ErrorCode> {
        let descriptor = memfd_with("module", module).expect("memory for a module");
        match self.ask(
            &registration(module.len() as u64, entry),
            &[descriptor.as_fd()],
        ) {
            DaemonMessage::ProgramReady { program, interface } => Ok((program, interface)),
            DaemonMessage::Failed { code, .. } => Err(code),
            other => panic!("no program but {other:?}"),
        }
    }

    /// A stream used by the rules of the ring, whatever the payload says.
    pub fn lane(&self, index: usize) -> Lane<'_> {
        Lane::new(self, self.rings.clone(), index)
    }

    /// Writes a record into a slot, published or not.
    pub fn write_record(&self, lane: usize, slot: u32, record: &Record) {
        self.region
            .write(stream_offset(lane) + record_offset(slot), record.as_bytes());
    }

    /// Writes payload bytes at an offset in the stream's payload.
    pub fn write_payload(&self, lane: usize, offset: usize, bytes: &[u8]) {
        self.region
            .write(stream_offset(lane) + stream::PAYLOAD + offset, bytes);
    }

    /// Sets the tail and tells the engine.
    pub fn set_tail(&self, lane: usize, tail: u32) {
        self.region
            .u32(stream_offset(lane) + stream::TAIL)
            .store(tail, Ordering::Release);
        self.kick(lane);
    }

    /// Tells the engine of a stream, with the bell whether it wants that or not.
    pub fn kick(&self, lane: usize) {
        let word = session::DIRTY + lane / 64 * 8;
        self.region
            .u64(word)
            .fetch_or(1 << (lane % 64), Ordering::SeqCst);
        wake::ring(&self.doorbell);
    }

    /// The raw memory.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Waits for the end and returns why, as the region and, if it was said there, the socket tell.
    ///
    /// # Panics
    /// When they differ, or the session lives on.
    pub fn ended_with(&self) -> ErrorCode {
        let verdict = self.connection.verdict();
        let code = self
            .rings
            .ended()
            .unwrap_or_else(|| panic!("hung up ({verdict:?}) without a word in the region"));
        assert!(
            verdict.is_none_or(|verdict| verdict == code),
            "the socket says {verdict:?}, the region {code:?}"
        );
        code
    }
}

/// A proper hello.
pub fn hello(name: &str) -> ClientMessage {
    hello_with(MAGIC, VERSION_MAJOR, name)
}

/// A hello with any magic and version.
pub fn hello_with(magic: u32, version: u16, name: &str) -> ClientMessage {
    ClientMessage::Hello(Hello {
        magic,
        version,
        features: 0,
        priority: Priority::Medium,
        name: name.to_owned(),
        wish: Wish::default(),
        group: None,
        pass: None,
    })
}

/// A request to register a module of this length.
pub fn registration(module_bytes: u64, entry: &str) -> ClientMessage {
    ClientMessage::RegisterProgram {
        entry: entry.to_owned(),
        module_bytes,
        specialization: Vec::new(),
    }
}

/// As [`registration`], with a constant that makes it another program than every other registration.
pub fn specialized_registration(
    module_bytes: u64,
    entry: &str,
    id: u32,
    value: u64,
) -> ClientMessage {
    let specialization = vec![Specialization { id, value }];
    ClientMessage::RegisterProgram {
        entry: entry.to_owned(),
        module_bytes,
        specialization,
    }
}
