//! The fake daemon: listens at a path of its own, opens sessions and answers requests.

use crate::engine::{self, Memory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use vkmps::{
    Access, BindingInfo, BindingKind, Client, DeviceDescription, ErrorCode, Interface, Priority,
};
use vkmps_ipc::memory::{Region, read_exactly, sealed_memfd};
use vkmps_ipc::ring::SessionRegion;
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_protocol::handle::{BufferId, ChunkId, ProgramId, SessionId};
use vkmps_protocol::message::{ClientMessage, DaemonMessage, MemoryClass, SharedMapping};
use vkmps_protocol::quota::Quota;
use vkmps_protocol::ring::{REGION_BYTES, Record};

/// What a test can do to a session, and what it can see of it.
#[derive(Default)]
pub(crate) struct Switches {
    /// The engine takes no more records.
    pub(crate) hold: AtomicBool,
    /// Daemon and engine stop, as if killed.
    pub(crate) over: AtomicBool,
    /// Device memory is handed out as used before, and dirty.
    pub(crate) dirty: AtomicBool,
    /// Records that the engine took, with their streams.
    pub(crate) records: Mutex<Vec<(usize, Record)>>,
    /// Requests that the daemon answered, after hello.
    pub(crate) requests: Mutex<Vec<ClientMessage>>,
    /// The region of the last session.
    pub(crate) region: Mutex<Option<SessionRegion>>,
}

/// A daemon that serves one client after the other.
pub(crate) struct Fake {
    pub(crate) path: PathBuf,
    pub(crate) switches: Arc<Switches>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// A daemon that opens sessions.
    pub(crate) fn start() -> Self {
        Self::serving(|socket, switches| serve(&socket, switches))
    }

    /// A daemon that does something else with its connections.
    pub(crate) fn serving(serve: impl Fn(Seqpacket, &Arc<Switches>) + Send + 'static) -> Self {
        let path = unused_path();
        let listener = Seqpacket::bind(&path).unwrap();
        let switches = Arc::<Switches>::default();
        let shared = switches.clone();
        let thread = std::thread::spawn(move || {
            while !shared.over.load(SeqCst) {
                if readable(&listener) {
                    let socket = listener.accept().unwrap();
                    socket.set_nonblocking(false).unwrap();
                    serve(socket, &shared);
                }
            }
        });
        Self {
            path,
            switches,
            thread: Some(thread),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder()
            .socket(&self.path)
            .name("test")
            .connect()
            .unwrap()
    }

    /// Daemon and engine die at once.
    pub(crate) fn die(&self) {
        self.switches.over.store(true, SeqCst);
    }

    pub(crate) fn hold(&self, hold: bool) {
        self.switches.hold.store(hold, SeqCst);
    }

    pub(crate) fn records(&self) -> Vec<(usize, Record)> {
        self.switches.records.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<ClientMessage> {
        self.switches.requests.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.die();
        let result = self.thread.take().unwrap().join();
        let _ = std::fs::remove_file(&self.path);
        if !std::thread::panicking() {
            result.unwrap();
        }
    }
}

/// A path that nobody listens at.
pub(crate) fn unused_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    std::env::temp_dir().join(format!(
        "vkmps-fake-{}-{}.sock",
        std::process::id(),
        NEXT.fetch_add(1, SeqCst)
    ))
}

pub(crate) fn send(socket: &Seqpacket, message: &DaemonMessage, descriptors: &[&OwnedFd]) {
    let descriptors: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    // The client may have gone: that is its right.
    let _ = socket.send(&vkmps_protocol::encode(message).unwrap(), &descriptors);
}

pub(crate) fn welcome() -> DaemonMessage {
    let device = DeviceDescription {
        name: "fake".to_owned(),
        max_groups: [65_535; 3],
        max_push_bytes: 128,
        storage_alignment: 16,
        max_storage_range: 1 << 27,
        ..DeviceDescription::default()
    };
    DaemonMessage::Welcome {
        session: SessionId(7),
        features: 0,
        priority: Priority::Medium,
        device,
        quota: Quota {
            streams: 256,
            ..Quota::default()
        },
    }
}

fn readable(socket: &Seqpacket) -> bool {
    let mut set = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut set, PollTimeout::from(5_u16)).is_ok_and(|count| count > 0)
}

fn serve(socket: &Seqpacket, switches: &Arc<Switches>) {
    let region_fd = sealed_memfd("region", REGION_BYTES as u64).unwrap();
    let region = SessionRegion::map(&region_fd).unwrap();
    let bell = vkmps_ipc::wake::eventfd().unwrap();
    let arena = sealed_memfd("arena", ARENA_BYTES).unwrap();
    let memory = Memory {
        arena: Region::map(&arena, 0, usize::try_from(ARENA_BYTES).unwrap()).unwrap(),
        buffers: Mutex::default(),
    };
    *switches.region.lock().unwrap() = Some(region.clone());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| engine::run(&region, &bell, &memory, switches, &ended));
        let mut daemon = Daemon {
            memory: &memory,
            arena: Some(&arena),
            used: 0,
            handles: 0,
        };
        let mut buffer = message_buffer();
        while !switches.over.load(SeqCst) {
            if !readable(socket) {
                continue;
            }
            let Some(packet) = socket.receive(&mut *buffer).unwrap() else {
                break;
            };
            let message: ClientMessage = vkmps_protocol::decode(&buffer[..packet.bytes]).unwrap();
            assert_eq!(packet.descriptors.len(), message.descriptors());
            if matches!(message, ClientMessage::Hello(_)) {
                send(socket, &welcome(), &[&region_fd, &bell]);
                continue;
            }
            let (answer, with_arena) = daemon.answer(&message, &packet.descriptors, switches);
            switches.requests.lock().unwrap().push(message);
            send(socket, &answer, with_arena.as_slice());
        }
        ended.store(true, SeqCst);
    });
}

struct Daemon<'a> {
    memory: &'a Memory,
    arena: Option<&'a OwnedFd>,
    used: u64,
    handles: u64,
}

impl<'a> Daemon<'a> {
    fn answer(
        &mut self,
        message: &ClientMessage,
        descriptors: &[OwnedFd],
        switches: &Switches,
    ) -> (DaemonMessage, Option<&'a OwnedFd>) {
        self.handles += 1;
        let failed = |code, text: &str| {
            (
                DaemonMessage::Failed {
                    code,
                    text: text.to_owned(),
                    excess: None,
                },
                None,
            )
        };
        match message {
            ClientMessage::RegisterProgram { module_bytes, .. } => {
                let module =
                    read_exactly(&descriptors[0], usize::try_from(*module_bytes).unwrap()).unwrap();
                if module.starts_with(b"junk") {
                    return failed(ErrorCode::InvalidModule, "the magic number is wrong");
                }
                (
                    DaemonMessage::ProgramReady {
                        program: ProgramId(self.handles),
                        interface: interface(),
                    },
                    None,
                )
            }
            ClientMessage::AllocateBuffer { bytes, .. } if self.used + bytes > ARENA_BYTES => {
                failed(ErrorCode::OutOfDeviceMemory, "the arena is full")
            }
            ClientMessage::AllocateBuffer { bytes, class } => {
                self.allocate(*bytes, *class, switches.dirty.load(SeqCst))
            }
            ClientMessage::FreeBuffer { buffer } => {
                match self.memory.buffers.lock().unwrap().remove(buffer) {
                    Some(_) => (DaemonMessage::Done, None),
                    None => failed(ErrorCode::InvalidHandle, ""),
                }
            }
            _ => (DaemonMessage::Done, None),
        }
    }

    /// Every buffer gets a chunk of its own.
    fn allocate(
        &mut self,
        bytes: u64,
        class: MemoryClass,
        dirty: bool,
    ) -> (DaemonMessage, Option<&'a OwnedFd>) {
        let (buffer, chunk_offset) = (BufferId(self.handles), self.used);
        let chunk_bytes = (bytes + 256).next_multiple_of(CHUNK_ALIGNMENT);
        self.used += chunk_bytes;
        self.memory
            .buffers
            .lock()
            .unwrap()
            .insert(buffer, chunk_offset + 256);
        if dirty {
            let rubbish = vec![0x55; usize::try_from(bytes).unwrap()];
            self.memory
                .arena
                .write(usize::try_from(chunk_offset + 256).unwrap(), &rubbish);
        }
        let chunk = ChunkId(self.handles);
        let mapping = SharedMapping {
            chunk,
            chunk_offset,
            chunk_bytes,
            offset: 256,
            coherent: true,
            reused: dirty,
        };
        let mapping = (class == MemoryClass::Shared).then_some(mapping);
        let arena = mapping.and_then(|_| self.arena.take());
        (
            DaemonMessage::BufferReady {
                buffer,
                mapping,
                with_arena: arena.is_some(),
                reused: dirty,
            },
            arena,
        )
    }
}

/// Of every program: that of `vector_add`.
fn interface() -> Interface {
    let binding = |binding, access| BindingInfo {
        set: 0,
        binding,
        count: 1,
        kind: BindingKind::Storage,
        access,
        slot: binding,
    };
    let bindings = vec![
        binding(0, Access::Read),
        binding(1, Access::Read),
        binding(2, Access::Write),
    ];
    Interface {
        bindings,
        push_bytes: 4,
        workgroup_size: [64, 1, 1],
    }
}

const ARENA_BYTES: u64 = 64 << 20;
const CHUNK_ALIGNMENT: u64 = 64 * 1024;
