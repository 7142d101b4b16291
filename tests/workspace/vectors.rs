//! Golden vectors of the wire.

use crate::sources::files;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use vkmps_protocol::decode;
use vkmps_protocol::engine::{FromCompiler, FromEngine, ToCompiler, ToEngine};
use vkmps_protocol::message::{ClientMessage, DaemonMessage};
use vkmps_tests::binaries::workspace;
use vkmps_tests::samples::{self, Kind};

/// Guards each version of the wire. `VKMPS_WRITE_VECTORS=1` writes them anew: a deliberate change of the protocol.
#[test]
fn the_bytes_of_every_message_are_those_of_the_golden_vectors() {
    let folder = workspace().join("tests/vectors");
    let write = std::env::var_os("VKMPS_WRITE_VECTORS").is_some();
    if write {
        fs::create_dir_all(&folder).unwrap();
    }
    let mut names = BTreeSet::new();
    for sample in samples::all() {
        let path = folder.join(sample.name).with_extension("hex");
        assert!(names.insert(path.clone()), "{} is there twice", sample.name);
        let text = hex(&sample.bytes);
        if write {
            fs::write(&path, &text).unwrap();
        }
        let golden =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            text, golden,
            "{} is encoded differently: old peers will not understand it",
            sample.name
        );
    }
    let there: BTreeSet<PathBuf> = files(&folder, &["hex"]).into_iter().collect();
    assert_eq!(there, names, "vectors without a message");
}

#[test]
fn there_is_a_golden_vector_of_every_kind_of_message() {
    assert_eq!(kinds(Kind::Client, client_kind), 11);
    assert_eq!(kinds(Kind::Daemon, daemon_kind), 10);
    assert_eq!(kinds(Kind::ToEngine, to_engine_kind), 22);
    assert_eq!(kinds(Kind::FromEngine, from_engine_kind), 18);
    assert_eq!(kinds(Kind::ToCompiler, to_compiler_kind), 2);
    assert_eq!(kinds(Kind::FromCompiler, from_compiler_kind), 4);
}

/// The number of an enum's variants and which of them a message is. A new variant does not compile until it is here.
macro_rules! kind {
    ($name:ident, $message:ident: $($variant:ident),*) => {
        fn $name(packet: &[u8]) -> (&'static [&'static str], &'static str) {
            const ALL: &[&str] = &[$(stringify!($variant)),*];
            let name = match decode::<$message>(packet).expect("samples decode") {
                $($message::$variant { .. } => stringify!($variant),)*
            };
            (ALL, name)
        }
    };
}

kind!(
    client_kind, ClientMessage: Reserved, Hello, OpenGroup, RegisterProgram, ReleaseProgram, AllocateBuffer, FreeBuffer,
    AllocateShareable, OfferBuffer, AttachBuffer, QueryQuota
);

kind!(
    daemon_kind, DaemonMessage: Reserved, Welcome, GroupOpened, Refused, Failed, Done, ProgramReady, BufferReady, ShareReady,
    Quota);

kind!(
    to_engine_kind, ToEngine: Reserved, Start, AddSession, RemoveSession, AddChunk, RemoveChunk, AddBuffer, RemoveBuffer,
    AddPipeline, RemovePipeline, AddProgram, RemoveProgram, Stop, SetPriority, Ping,
    SetClientShare, SetUserShare, SetPolicy, SetSessionLimits, AddBlock, RemoveBlock, JoinGroup
);

kind!(
    from_engine_kind, FromEngine: Reserved, Ready, StartFailed, SessionRemoved, ChunkReady, ChunkFailed, PipelineReady,
    PipelineFailed, SessionFault, SubmitRefused, DeviceLost, Pong, Demoted, ChunkRemoved, BlockReady, BlockFailed, BlockRemoved,
    Scrubbed
);

kind!(to_compiler_kind, ToCompiler: Reserved, Compile);

kind!(from_compiler_kind, FromCompiler: Reserved, Compiled, Refused, Taken);

/// Checks that the samples of a kind cover all variants but the reserved one; their number.
fn kinds(kind: Kind, name: fn(&[u8]) -> (&'static [&'static str], &'static str)) -> usize {
    let samples: Vec<_> = samples::all()
        .into_iter()
        .filter(|sample| sample.kind == kind)
        .collect();
    let seen: BTreeSet<&str> = samples
        .iter()
        .map(|sample| name(&sample.bytes).1)
        .chain(["Reserved"])
        .collect();
    let (all, _) = name(&samples[0].bytes);
    assert_eq!(seen, all.iter().copied().collect(), "{kind:?}");
    all.len()
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| {
        line.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            + "\n"
    });
    lines.collect()
}
