//! One of every message, record and command: the subjects of the golden vectors and the seeds of the fuzzer.

mod engine;

use vkmps_protocol::command::{Encoder, binding};
use vkmps_protocol::engine::{FromCompiler, FromEngine, ToCompiler, ToEngine};
use vkmps_protocol::group::{GroupId, GroupLimits, NewGroup, OpenGroup};
use vkmps_protocol::handle::{BufferId, ChunkId, ProgramHash, ProgramId, SessionId, pack};
use vkmps_protocol::message::{
    ClientMessage, DaemonMessage, DeviceDescription, Hello, MemoryClass, Priority, SharedMapping,
};
use vkmps_protocol::program::{Access, BindingInfo, BindingKind, Interface, Specialization};
use vkmps_protocol::quota::{Amount, Excess, Limit, Quota, Scope, Wish};
use vkmps_protocol::ring::{FLAG_EXPLICIT, Record, RecordKind};
use vkmps_protocol::sharing::{Audience, Grant, ShareName};
use vkmps_protocol::token::{Pass, Token};
use vkmps_protocol::{ErrorCode, MAGIC, VERSION_MAJOR, encode};
use zerocopy::IntoBytes;

/// What the bytes of a sample are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A [`ClientMessage`].
    Client,
    /// A [`DaemonMessage`].
    Daemon,
    /// A [`ToEngine`].
    ToEngine,
    /// A [`FromEngine`].
    FromEngine,
    /// A [`ToCompiler`].
    ToCompiler,
    /// A [`FromCompiler`].
    FromCompiler,
    /// A [`Record`].
    Record,
    /// Commands.
    Commands,
}

/// A name and the bytes.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Name of the vector.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// All of them, in an order that never changes.
pub fn all() -> Vec<Sample> {
    let mut samples = Vec::new();
    client(&mut samples);
    daemon(&mut samples);
    engine::to_engine(&mut samples);
    engine::from_engine(&mut samples);
    engine::compiler(&mut samples);
    records(&mut samples);
    commands(&mut samples);
    samples
}

fn add<M: packet::Message>(samples: &mut Vec<Sample>, kind: Kind, name: &'static str, message: &M) {
    samples.push(Sample {
        name,
        kind,
        bytes: message.bytes(),
    });
}

fn client(samples: &mut Vec<Sample>) {
    let mut add = |name, message: &ClientMessage| add(samples, Kind::Client, name, message);
    let hello = Hello {
        magic: MAGIC,
        version: VERSION_MAJOR,
        features: 5,
        priority: Priority::Realtime,
        name: "görl".to_owned(),
        wish: Wish {
            memory_bytes: Some(2 << 30),
            memory_percent: Some(25),
            cap_percent: Some(30),
        },
        group: None,
        pass: None,
    };
    let member = Hello {
        group: Some(Token([0xa7; 32])),
        pass: Some(Pass(b"sesame".to_vec())),
        ..hello.clone()
    };
    add("client_hello", &ClientMessage::Hello(hello));
    add("client_hello_of_group", &ClientMessage::Hello(member));
    let open = OpenGroup {
        magic: MAGIC,
        version: VERSION_MAJOR,
        pass: None,
        group: NewGroup {
            name: "job".to_owned(),
            token: Token([0xa7; 32]),
            limits: GroupLimits {
                memory: Some(Amount::Bytes(2 << 30)),
                cap_percent: Some(30),
                max_priority: Some(Priority::Low),
                clients: Some(4),
            },
            ttl_ms: 120_000,
        },
    };
    add("client_open_group", &ClientMessage::OpenGroup(open));
    let register = ClientMessage::RegisterProgram {
        entry: "main".into(),
        module_bytes: 1492,
        specialization: constants(),
    };
    add("client_register_program", &register);
    add(
        "client_release_program",
        &ClientMessage::ReleaseProgram {
            program: ProgramId(pack(3, 1)),
        },
    );
    add(
        "client_allocate_buffer",
        &ClientMessage::AllocateBuffer {
            bytes: 1 << 33,
            class: MemoryClass::Device,
        },
    );
    add(
        "client_free_buffer",
        &ClientMessage::FreeBuffer {
            buffer: BufferId(pack(70_000, 9)),
        },
    );
    add("client_query_quota", &ClientMessage::QueryQuota);
    let buffer = BufferId(pack(1, 2));
    add(
        "client_allocate_shareable",
        &ClientMessage::AllocateShareable { bytes: 4097 },
    );
    let offer = |audience, grant| ClientMessage::OfferBuffer {
        buffer,
        audience,
        grant,
    };
    add(
        "client_offer_buffer_to_user",
        &offer(Audience::User(1000), Grant::ReadOnly),
    );
    let token = Token([0xa7; 32]);
    add(
        "client_offer_buffer_to_holder",
        &offer(Audience::Holder(token), Grant::ReadWrite),
    );
    let session = SessionId(77);
    let attach = |token| ClientMessage::AttachBuffer {
        name: ShareName { session, buffer },
        token,
    };
    add("client_attach_buffer", &attach(None));
    add("client_attach_buffer_by_token", &attach(Some(token)));
}

fn daemon(samples: &mut Vec<Sample>) {
    let mut add = |name, message: &DaemonMessage| add(samples, Kind::Daemon, name, message);
    let welcome = DaemonMessage::Welcome {
        session: SessionId(77),
        features: 0,
        priority: Priority::High,
        device: device(),
        quota: quota(),
    };
    add("daemon_welcome", &welcome);
    add("daemon_quota", &DaemonMessage::Quota(quota()));
    let text = || "no".to_owned();
    add(
        "daemon_refused",
        &DaemonMessage::Refused {
            code: ErrorCode::VersionMismatch,
            text: text(),
        },
    );
    add(
        "daemon_failed",
        &DaemonMessage::Failed {
            code: ErrorCode::System,
            text: text(),
            excess: None,
        },
    );
    let excess = Excess {
        limit: Limit::Memory,
        scope: Scope::User,
        asked: 4096,
        used: 3 << 20,
        most: 3 << 20,
    };
    add(
        "daemon_failed_excess",
        &DaemonMessage::Failed {
            code: ErrorCode::LimitReached,
            text: text(),
            excess: Some(excess),
        },
    );
    add("daemon_done", &DaemonMessage::Done);
    add(
        "daemon_group_opened",
        &DaemonMessage::GroupOpened { group: GroupId(3) },
    );
    let ready = DaemonMessage::ProgramReady {
        program: ProgramId(pack(3, 1)),
        interface: interface(),
    };
    add("daemon_program_ready", &ready);
    let mapping = SharedMapping {
        chunk: ChunkId(4),
        chunk_offset: 65_536,
        chunk_bytes: 4 << 20,
        offset: 256,
        coherent: true,
        reused: false,
    };
    let buffer = BufferId(pack(1, 2));
    let shared = DaemonMessage::BufferReady {
        buffer,
        mapping: Some(mapping),
        with_arena: true,
        reused: false,
    };
    add("daemon_buffer_ready_shared", &shared);
    let device = DaemonMessage::BufferReady {
        buffer,
        mapping: None,
        with_arena: false,
        reused: true,
    };
    add("daemon_buffer_ready_device", &device);
    let share = DaemonMessage::ShareReady {
        buffer,
        bytes: 4097,
        grant: Grant::ReadOnly,
    };
    add("daemon_share_ready", &share);
}

fn records(samples: &mut Vec<Sample>) {
    let mut add = |name, kind: RecordKind, flags| {
        let record = Record {
            kind: kind.number(),
            flags,
            commands: 2,
            value: 0x0102_0304_0506_0708,
            payload_offset: 0xffff_fff8,
            payload_bytes: 64,
            ..Record::default()
        };
        samples.push(Sample {
            name,
            kind: Kind::Record,
            bytes: record.as_bytes().to_vec(),
        });
    };
    add("record_submit", RecordKind::Submit, 0);
    add("record_submit_explicit", RecordKind::Submit, FLAG_EXPLICIT);
    add("record_chunk", RecordKind::Chunk, 0);
    add("record_last", RecordKind::Last, 0);
    add("record_acknowledge", RecordKind::Acknowledge, 0);
}

fn commands(samples: &mut Vec<Sample>) {
    let mut add = |name, write: &dyn Fn(&mut Encoder) -> Result<(), ErrorCode>| {
        let mut encoder = Encoder::default();
        write(&mut encoder).expect("a command within the limits");
        samples.push(Sample {
            name,
            kind: Kind::Commands,
            bytes: encoder.bytes().to_vec(),
        });
    };
    let (one, two) = (BufferId(pack(1, 2)), BufferId(pack(5, 1)));
    let bindings = [
        binding(0, one, 256, 64, Access::Read),
        binding(1, two, 0, 128, Access::ReadWrite),
    ];
    add("command_dispatch", &|encoder| {
        encoder.dispatch(
            ProgramId(pack(3, 1)),
            [1, 2, 3],
            [4, 5, 6],
            &[1, 2, 3, 4, 5],
            &bindings,
        )
    });
    add("command_copy", &|encoder| {
        encoder.copy(one, 4, two, 8, 1 << 32);
        Ok(())
    });
    add("command_fill", &|encoder| {
        encoder.fill(one, 4, 1024, 0xdead_beef);
        Ok(())
    });
    add("command_update", &|encoder| {
        encoder.update(one, 4, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    });
    add("command_barrier", &|encoder| {
        encoder.barrier();
        Ok(())
    });
    add("command_list", &|encoder| {
        encoder.fill(one, 0, 64, 1);
        encoder.dispatch(ProgramId(pack(3, 1)), [9, 1, 1], [0; 3], &[0; 4], &bindings)?;
        encoder.barrier();
        encoder.copy(two, 0, one, 0, 64);
        encoder.update(one, 0, &[7; 4])
    });
}

fn constants() -> Vec<Specialization> {
    vec![
        Specialization { id: 0, value: 3 },
        Specialization {
            id: 9,
            value: u64::MAX,
        },
    ]
}

fn hash() -> ProgramHash {
    ProgramHash(std::array::from_fn(|index| {
        u8::try_from(index * 7).unwrap_or(u8::MAX)
    }))
}

fn interface() -> Interface {
    let binding = |set, binding, count, kind, access, slot| BindingInfo {
        set,
        binding,
        count,
        kind,
        access,
        slot,
    };
    Interface {
        bindings: vec![
            binding(0, 0, 1, BindingKind::Storage, Access::Read, 0),
            binding(0, 7, 2, BindingKind::Storage, Access::Write, 1),
            binding(2, 1, 1, BindingKind::Uniform, Access::ReadWrite, 2),
        ],
        push_bytes: 12,
        workgroup_size: [64, 2, 1],
    }
}

fn quota() -> Quota {
    Quota {
        device_bytes: (1 << 20, 2 << 30),
        shared_bytes: (0, 8 << 30),
        buffers: (4, 65_536),
        programs: (1, 4096),
        streams: 256,
        submits: 1000,
        cap_percent: 30,
        weight: 100,
        priority: Priority::Realtime,
        demoted: true,
    }
}

fn device() -> DeviceDescription {
    DeviceDescription {
        name: "llvmpipe (LLVM 15.0.6, 256 bits)".to_owned(),
        driver: "llvmpipe Mesa 22.3.6".to_owned(),
        uuid: std::array::from_fn(|index| u8::try_from(index).unwrap_or(u8::MAX)),
        unified: true,
        cpu: true,
        max_groups: [65_535; 3],
        max_push_bytes: 128,
        storage_alignment: 16,
        max_storage_range: 1 << 27,
        max_uniform_range: 65_536,
        uniform_alignment: 16,
        device_memory_bytes: 8 << 30,
        host_memory_bytes: 8 << 30,
        queues: 1,
    }
}

/// The messages that `encode` takes, without naming serde here.
mod packet {
    use super::{
        ClientMessage, DaemonMessage, FromCompiler, FromEngine, ToCompiler, ToEngine, encode,
    };

    /// A message of any kind.
    pub(super) trait Message {
        /// Its packet.
        fn bytes(&self) -> Vec<u8>;
    }

    macro_rules! messages {
        ($($message:ty),*) => {$(
            impl Message for $message {
                fn bytes(&self) -> Vec<u8> {
                    encode(self).expect("a message within the limits")
                }
            }
        )*};
    }
    messages!(
        ClientMessage,
        DaemonMessage,
        ToEngine,
        FromEngine,
        ToCompiler,
        FromCompiler
    );
}
