//! What vkmpsd, its engine and its compilers say to each other.

use super::{Kind, Sample, add, constants, device, hash, interface};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{
    ChunkSource, FromCompiler, FromEngine, GlobalPriority, Ranks, ToCompiler, ToEngine,
};
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::{BufferId, ChunkId, ProgramId, SessionId, pack};
use vkmps_protocol::message::Priority;
use vkmps_protocol::share::Mode;
use vkmps_protocol::sharing::Grant;

pub(super) fn to_engine(samples: &mut Vec<Sample>) {
    let mut add = |name, message: &ToEngine| add(samples, Kind::ToEngine, name, message);
    let (session, chunk, buffer) = (SessionId(77), ChunkId(4), BufferId(pack(1, 2)));
    let (program, hash) = (ProgramId(pack(3, 1)), hash());
    add("to_engine_start", &ToEngine::Start);
    add(
        "to_engine_add_session",
        &ToEngine::AddSession {
            session,
            slot: 12,
            uid: 1000,
            priority: Priority::Low,
            weight: 200,
            cap_percent: 30,
        },
    );
    add(
        "to_engine_remove_session",
        &ToEngine::RemoveSession { session },
    );
    let arena = ChunkSource::Arena { offset: 1 << 20 };
    add(
        "to_engine_add_chunk_arena",
        &ToEngine::AddChunk {
            session,
            chunk,
            bytes: 1 << 22,
            source: arena,
        },
    );
    let bytes = 1 << 24;
    add("to_engine_add_block", &ToEngine::AddBlock { chunk, bytes });
    add("to_engine_remove_block", &ToEngine::RemoveBlock { chunk });
    add(
        "to_engine_add_chunk_file",
        &ToEngine::AddChunk {
            session,
            chunk,
            bytes: 1 << 16,
            source: ChunkSource::File,
        },
    );
    add(
        "to_engine_remove_chunk",
        &ToEngine::RemoveChunk { session, chunk },
    );
    add(
        "to_engine_add_buffer",
        &ToEngine::AddBuffer {
            session,
            buffer,
            chunk,
            offset: 512,
            bytes: 300,
            grant: Grant::ReadOnly,
        },
    );
    add(
        "to_engine_remove_buffer",
        &ToEngine::RemoveBuffer { session, buffer },
    );
    let pipeline = ToEngine::AddPipeline {
        hash,
        entry: "main".into(),
        interface: interface(),
    };
    add("to_engine_add_pipeline", &pipeline);
    add(
        "to_engine_remove_pipeline",
        &ToEngine::RemovePipeline { hash },
    );
    add(
        "to_engine_add_program",
        &ToEngine::AddProgram {
            session,
            program,
            hash,
        },
    );
    add(
        "to_engine_remove_program",
        &ToEngine::RemoveProgram { session, program },
    );
    add("to_engine_stop", &ToEngine::Stop);
    let priority = Priority::High;
    let set_priority = ToEngine::SetPriority { session, priority };
    add("to_engine_set_priority", &set_priority);
    let nonce = 0x0102_0304_0506_0708;
    add("to_engine_ping", &ToEngine::Ping { nonce });
    let client_share = ToEngine::SetClientShare {
        session,
        weight: 10_000,
        cap_percent: 1,
    };
    add("to_engine_set_client_share", &client_share);
    let user_share = ToEngine::SetUserShare {
        uid: 1000,
        weight: 50,
        cap_percent: 100,
        reserve_percent: 25,
    };
    add("to_engine_set_user_share", &user_share);
    let policy = ToEngine::SetPolicy {
        mode: Mode::CooperativeFairshare,
        loop_slice_quota: 100_000,
        realtime_budget_us: 20_000,
        realtime_period_us: 100_000,
    };
    add("to_engine_set_policy", &policy);
    let limits = ToEngine::SetSessionLimits {
        session,
        streams: 4,
        submits: 1000,
    };
    add("to_engine_set_session_limits", &limits);
    let join = ToEngine::JoinGroup {
        session,
        group: GroupId(3),
        cap_percent: 30,
    };
    add("to_engine_join_group", &join);
}

pub(super) fn from_engine(samples: &mut Vec<Sample>) {
    let mut add = |name, message: &FromEngine| add(samples, Kind::FromEngine, name, message);
    let (session, chunk, hash, text) = (SessionId(77), ChunkId(4), hash(), || "why".to_owned());
    let extensions = vec![
        "VK_KHR_push_descriptor".to_owned(),
        "VK_EXT_external_memory_host".to_owned(),
    ];
    add(
        "from_engine_ready",
        &FromEngine::Ready {
            device: device(),
            extensions,
            warnings: vec!["capabilities".to_owned()],
            max_allocations: 4096,
            ranks: Ranks {
                global: vec![
                    GlobalPriority::Realtime,
                    GlobalPriority::High,
                    GlobalPriority::Medium,
                ],
                refusals: vec!["because".to_owned()],
            },
        },
    );
    add(
        "from_engine_start_failed",
        &FromEngine::StartFailed { text: text() },
    );
    add(
        "from_engine_session_removed",
        &FromEngine::SessionRemoved { session },
    );
    add(
        "from_engine_chunk_ready",
        &FromEngine::ChunkReady {
            session,
            chunk,
            exported: true,
        },
    );
    let failed = FromEngine::ChunkFailed {
        session,
        chunk,
        code: ErrorCode::OutOfDeviceMemory,
        text: text(),
    };
    add("from_engine_chunk_failed", &failed);
    add(
        "from_engine_pipeline_ready",
        &FromEngine::PipelineReady { hash },
    );
    add(
        "from_engine_pipeline_failed",
        &FromEngine::PipelineFailed { hash, text: text() },
    );
    add(
        "from_engine_session_fault",
        &FromEngine::SessionFault {
            session,
            text: text(),
        },
    );
    let refused = FromEngine::SubmitRefused {
        session,
        stream: 255,
        value: 1 << 40,
        code: ErrorCode::GroupCount,
        suppressed: 3,
    };
    add("from_engine_submit_refused", &refused);
    add(
        "from_engine_device_lost",
        &FromEngine::DeviceLost { text: text() },
    );
    let nonce = 0x0102_0304_0506_0708;
    add("from_engine_pong", &FromEngine::Pong { nonce });
    let demoted = true;
    add(
        "from_engine_demoted",
        &FromEngine::Demoted { session, demoted },
    );
    add("from_engine_block_ready", &FromEngine::BlockReady { chunk });
    add(
        "from_engine_block_failed",
        &FromEngine::BlockFailed {
            chunk,
            code: ErrorCode::OutOfDeviceMemory,
            text: text(),
        },
    );
    add(
        "from_engine_block_removed",
        &FromEngine::BlockRemoved { chunk },
    );
    let offsets = vec![0, 256, 1 << 33];
    add(
        "from_engine_scrubbed",
        &FromEngine::Scrubbed { chunk, offsets },
    );
    add(
        "from_engine_chunk_removed",
        &FromEngine::ChunkRemoved { session, chunk },
    );
}

pub(super) fn compiler(samples: &mut Vec<Sample>) {
    let hash = hash();
    let compile = ToCompiler::Compile {
        hash,
        entry: "main".into(),
        module_bytes: 1492,
        specialization: constants(),
    };
    add(samples, Kind::ToCompiler, "to_compiler_compile", &compile);
    let compiled = FromCompiler::Compiled {
        hash,
        interface: interface(),
    };
    add(
        samples,
        Kind::FromCompiler,
        "from_compiler_compiled",
        &compiled,
    );
    let refused = FromCompiler::Refused {
        hash,
        code: ErrorCode::InvalidModule,
        text: "why".into(),
    };
    add(
        samples,
        Kind::FromCompiler,
        "from_compiler_refused",
        &refused,
    );
    let taken = FromCompiler::Taken { hash };
    add(samples, Kind::FromCompiler, "from_compiler_taken", &taken);
}
