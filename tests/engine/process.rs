//! An engine's process, and a session of it with everything that a client has.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use vkmps_ipc::memory::{Region, memfd_with, sealed_memfd};
use vkmps_ipc::ring::{Completion, Producer, SessionRegion};
use vkmps_ipc::socket::{Seqpacket, message_buffer};
use vkmps_ipc::wake;
use vkmps_protocol::command::{Encoder, binding};
use vkmps_protocol::engine::{ChunkSource, FromCompiler, FromEngine, ToCompiler, ToEngine};
use vkmps_protocol::handle::{BufferId, ChunkId, ProgramHash, ProgramId, SessionId, pack};
use vkmps_protocol::ledger::{
    DEVICE_TIME_NS, DISPATCHES, LEDGER_BYTES, PREEMPTIONS, QUEUED, RECENT, SAID, SESSION, SLICES,
    SLOT_BYTES, SUBMITS, WAIT_NS,
};
use vkmps_protocol::message::Priority;
use vkmps_protocol::program::Access;
use vkmps_protocol::recorder::{Entry, RECORDER_BYTES, WRITTEN, Words, offset};
use vkmps_protocol::ring::{REGION_BYTES, Record, RecordKind};
use vkmps_protocol::share::{DEFAULT_WEIGHT, NO_CAP};
use vkmps_protocol::sharing::Grant;
use vkmps_protocol::{ErrorCode, decode, encode};
use vkmps_tests::binaries::built;
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::module;
use vkmps_tests::patience::{PATIENCE, eventually};

/// A process with a control socket as its standard input. Dropping it kills it.
struct Controlled {
    child: Child,
    control: Seqpacket,
    /// Of the driver's cache.
    _folder: Folder,
}

/// An engine that has found its device.
pub(crate) struct Engine {
    process: Controlled,
    ledger: Region,
    recorder: Region,
}

/// What the ledger says of a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) session: u64,
    pub(crate) dispatches: u64,
    pub(crate) device_time_ns: u64,
    pub(crate) queued: u32,
    pub(crate) submits: u64,
    pub(crate) wait_ns: u64,
    pub(crate) slices: u64,
    pub(crate) preemptions: u64,
    pub(crate) recent_ns: u64,
}

impl Controlled {
    fn start(role: &str) -> Self {
        let (control, theirs) = Seqpacket::pair().expect("a pair of sockets");
        let folder = Folder::new();
        let child = Command::new(built("vkmps-engine"))
            .arg(role)
            .env("MESA_SHADER_CACHE_DIR", &*folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("the engine can be started");
        Self {
            child,
            control,
            _folder: folder,
        }
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let sent = self.control.send(bytes, descriptors);
        sent.expect("the process lives");
    }

    fn hear(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let timeout = PollTimeout::try_from(PATIENCE).expect("it fits");
        let mut set = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        assert_ne!(poll(&mut set, timeout), Ok(0), "no word in {PATIENCE:?}");
        let mut buffer = message_buffer();
        let packet = self
            .control
            .receive(&mut *buffer)
            .expect("its socket works");
        let packet = packet.expect("the process lives");
        (buffer[..packet.bytes].to_vec(), packet.descriptors)
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    /// Starts one and waits for its device.
    pub(crate) fn start() -> Self {
        let process = Controlled::start("--control");
        let memory = sealed_memfd("ledger", LEDGER_BYTES as u64).expect("memory");
        let ledger = Region::map(&memory, 0, LEDGER_BYTES).expect("its memory");
        let records = sealed_memfd("recorder", RECORDER_BYTES as u64).expect("memory");
        let recorder = Region::map(&records, 0, RECORDER_BYTES).expect("its memory");
        let engine = Self {
            process,
            ledger,
            recorder,
        };
        engine.say(&ToEngine::Start, &[memory.as_fd(), records.as_fd()]);
        let (ready, _) = engine.hear();
        let FromEngine::Ready { device, ranks, .. } = &ready else {
            panic!("{ready:?}");
        };
        assert_eq!(ranks.global.len(), device.queues as usize, "{ready:?}");
        engine
    }

    pub(crate) fn say(&self, message: &ToEngine, descriptors: &[BorrowedFd<'_>]) {
        assert_eq!(message.descriptors(), descriptors.len());
        let bytes = encode(message).expect("within the limits");
        self.process.send(&bytes, descriptors);
        if !matches!(message, ToEngine::Start) {
            self.ledger.u64(SAID).fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn hear(&self) -> (FromEngine, Vec<OwnedFd>) {
        let (bytes, descriptors) = self.process.hear();
        (decode(&bytes).expect("a message"), descriptors)
    }

    /// Pings and waits for the answer.
    pub(crate) fn ping(&self, nonce: u64) {
        self.say(&ToEngine::Ping { nonce }, &[]);
        assert_eq!(self.hear().0, FromEngine::Pong { nonce });
    }

    pub(crate) fn counters(&self, slot: u32) -> Counters {
        let base = slot as usize * SLOT_BYTES;
        let word = |offset| self.ledger.u64(base + offset).load(Ordering::Acquire);
        Counters {
            session: word(SESSION),
            dispatches: word(DISPATCHES),
            device_time_ns: word(DEVICE_TIME_NS),
            queued: self.ledger.u32(base + QUEUED).load(Ordering::Acquire),
            submits: word(SUBMITS),
            wait_ns: word(WAIT_NS),
            slices: word(SLICES),
            preemptions: word(PREEMPTIONS),
            recent_ns: word(RECENT + 8) + word(RECENT + 16),
        }
    }

    /// Everything that was recorded; it must not be more than the ring holds.
    pub(crate) fn recorded(&self) -> Vec<Entry> {
        let written = self.recorder.u64(WRITTEN).load(Ordering::Acquire);
        let entry = |number| {
            let mut words = Words::default();
            self.recorder.read_words(offset(number), &mut words);
            Entry::decode(&words, number).expect("a record")
        };
        (0..written).map(entry).collect()
    }
}

/// A session with one stream, one buffer and one program that keeps the device busy.
pub(crate) struct Worker {
    pub(crate) session: SessionId,
    rings: SessionRegion,
    doorbell: OwnedFd,
    producer: Producer,
    completion: Completion,
    value: u64,
    /// Its chunk, as a client maps it.
    pub(crate) arena: Region,
}

impl Worker {
    /// A new session in a slot of the ledger.
    pub(crate) fn of(engine: &Engine, slot: u32) -> Self {
        let session = SessionId(NEXT_SESSION.fetch_add(1, Ordering::Relaxed));
        let region = sealed_memfd("rings", REGION_BYTES as u64).expect("memory");
        let rings = SessionRegion::map(&region).expect("its memory");
        let doorbell = wake::eventfd().expect("an eventfd");
        let add = ToEngine::AddSession {
            session,
            slot,
            uid: 1000,
            priority: Priority::Medium,
            weight: DEFAULT_WEIGHT,
            cap_percent: NO_CAP,
        };
        engine.say(&add, &[region.as_fd(), doorbell.as_fd()]);
        let arena = add_buffer(engine, session);
        add_program(engine, session);
        Self {
            session,
            producer: rings.producer(0),
            completion: rings.completion(0),
            rings,
            doorbell,
            value: 0,
            arena,
        }
    }

    /// Frees its buffer and gives its chunk up.
    pub(crate) fn give_up_memory(&self, engine: &Engine) {
        let (session, chunk) = (self.session, ChunkId(self.session.0));
        let buffer = BUFFER;
        engine.say(&ToEngine::RemoveBuffer { session, buffer }, &[]);
        engine.say(&ToEngine::RemoveChunk { session, chunk }, &[]);
    }

    /// Submits so many dispatches, which follow one another.
    pub(crate) fn submit(&mut self, dispatches: usize) -> u64 {
        let mut commands = Encoder::default();
        for _ in 0..dispatches {
            dispatch(&mut commands, PROGRAM);
            commands.barrier();
        }
        self.push(&commands)
    }

    /// Runs commands to their end.
    pub(crate) fn run(&mut self, build: impl FnOnce(&mut Encoder)) {
        let mut commands = Encoder::default();
        build(&mut commands);
        let value = self.push(&commands);
        self.wait(value);
    }

    /// Submits a dispatch over a buffer that may be shorter than what the dispatch works on.
    pub(crate) fn submit_over(&mut self, buffer: BufferId, bytes: u64, groups: u32) -> u64 {
        let mut commands = Encoder::default();
        let data = [binding(0, buffer, 0, bytes, Access::ReadWrite)];
        let push = ITERATIONS.to_le_bytes();
        let encoded = commands.dispatch(PROGRAM, [groups, 1, 1], [0; 3], &push, &data);
        encoded.expect("a command within the limits");
        self.push(&commands)
    }

    /// Tells the engine that a buffer lies in a block.
    pub(crate) fn cut(&self, engine: &Engine, index: u32, block: ChunkId, offset: u64) -> BufferId {
        let buffer = BufferId(pack(index, 1));
        let add = ToEngine::AddBuffer {
            session: self.session,
            buffer,
            chunk: block,
            offset,
            bytes: BUFFER_BYTES,
            grant: Grant::ReadWrite,
        };
        engine.say(&add, &[]);
        // Rings and control socket are read in no particular order.
        engine.ping(u64::from(index));
        buffer
    }

    /// What is in a buffer, fetched by the device.
    pub(crate) fn words(&mut self, buffer: BufferId) -> Vec<u32> {
        self.run(|commands| commands.copy(buffer, 0, BUFFER, 0, BUFFER_BYTES));
        let mut bytes = vec![0; usize::try_from(BUFFER_BYTES).expect("it fits")];
        self.arena.read(0, &mut bytes);
        let words = bytes.as_chunks::<4>().0.iter();
        words.map(|word| u32::from_le_bytes(*word)).collect()
    }

    /// Submits what the engine refuses.
    pub(crate) fn submit_nonsense(&mut self) -> u64 {
        let mut commands = Encoder::default();
        dispatch(&mut commands, ProgramId(pack(99, 99)));
        self.push(&commands)
    }

    fn push(&mut self, commands: &Encoder) -> u64 {
        self.value += 1;
        let record = Record {
            kind: RecordKind::Submit.number(),
            commands: commands.commands(),
            value: self.value,
            ..Record::default()
        };
        assert!(self.producer.push(record, commands.bytes()));
        if self.rings.mark_dirty(0) {
            wake::ring(&self.doorbell);
        }
        self.value
    }

    /// The last submit that is over.
    pub(crate) fn completed(&self) -> u64 {
        self.completion.completed()
    }

    pub(crate) fn wait(&self, value: u64) {
        eventually("the submit is over", || self.completed() >= value);
    }

    pub(crate) fn failure(&self) -> Option<ErrorCode> {
        self.completion.failure().map(|(_, code)| code)
    }
}

fn dispatch(commands: &mut Encoder, program: ProgramId) {
    let push = ITERATIONS.to_le_bytes();
    let data = [binding(0, BUFFER, 0, BUFFER_BYTES, Access::ReadWrite)];
    let groups = [u32::try_from(BUFFER_BYTES / 1024).expect("it fits"), 1, 1];
    commands
        .dispatch(program, groups, [0; 3], &push, &data)
        .expect("a command within the limits");
}

fn add_buffer(engine: &Engine, session: SessionId) -> Region {
    let (chunk, bytes) = (ChunkId(session.0), CHUNK_BYTES);
    let arena = sealed_memfd("arena", bytes).expect("memory");
    let source = ChunkSource::Arena { offset: 0 };
    let add = ToEngine::AddChunk {
        session,
        chunk,
        bytes,
        source,
    };
    engine.say(&add, &[arena.as_fd()]);
    let (ready, _) = engine.hear();
    assert!(matches!(ready, FromEngine::ChunkReady { .. }), "{ready:?}");
    let add = ToEngine::AddBuffer {
        session,
        buffer: BUFFER,
        chunk,
        offset: 0,
        bytes: BUFFER_BYTES,
        grant: Grant::ReadWrite,
    };
    engine.say(&add, &[]);
    Region::map(&arena, 0, usize::try_from(CHUNK_BYTES).expect("it fits")).expect("its memory")
}

/// As a compiler makes it.
fn add_program(engine: &Engine, session: SessionId) {
    let hash = ProgramHash([9; 32]);
    let compiler = Controlled::start("--compiler");
    let source = module("fma_loop");
    let compile = ToCompiler::Compile {
        hash,
        entry: "main".to_owned(),
        module_bytes: source.len() as u64,
        specialization: Vec::new(),
    };
    let source = memfd_with("module", &source).expect("memory");
    let bytes = encode(&compile).expect("within the limits");
    compiler.send(&bytes, &[source.as_fd()]);
    let (bytes, _) = compiler.hear();
    assert_eq!(decode(&bytes), Ok(FromCompiler::Taken { hash }));
    let (bytes, files) = compiler.hear();
    let FromCompiler::Compiled { interface, .. } = decode(&bytes).expect("a message") else {
        panic!("the module is refused");
    };
    let add = ToEngine::AddPipeline {
        hash,
        entry: "main".to_owned(),
        interface,
    };
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    engine.say(&add, &files);
    assert_eq!(engine.hear().0, FromEngine::PipelineReady { hash });
    let add = ToEngine::AddProgram {
        session,
        program: PROGRAM,
        hash,
    };
    engine.say(&add, &[]);
}

/// No two of a test's sessions are named alike.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);
/// The first entry of the table that a session's handles are in.
const PROGRAM: ProgramId = ProgramId(1 << 32);
const BUFFER: BufferId = BufferId(1 << 32);
pub(crate) const BUFFER_BYTES: u64 = 64 * 1024;
const CHUNK_BYTES: u64 = 256 * 1024;
/// A dispatch of so many takes milliseconds on lavapipe.
const ITERATIONS: u32 = 65_535;
