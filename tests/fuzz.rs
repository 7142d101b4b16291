//! Fuzzing on the stable toolchain: everything that decodes what another process wrote, on mutations of the golden
//! samples. Runs for a minute; `VKMPS_FUZZ_SECONDS` and `VKMPS_FUZZ_SEED` say otherwise.
#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vkmps_ipc::memory::{Region, sealed_memfd};
use vkmps_ipc::ring::SessionRegion;
use vkmps_protocol::command::{self, Command};
use vkmps_protocol::engine::{FromCompiler, FromEngine, ToCompiler, ToEngine};
use vkmps_protocol::limits::{
    MAX_BINDINGS, MAX_MESSAGE_BYTES, MAX_PUSH_BYTES, MAX_STREAMS, MAX_UPDATE_BYTES,
};
use vkmps_protocol::limits::{RING_PAYLOAD_BYTES, RING_RECORDS};
use vkmps_protocol::message::{ClientMessage, DaemonMessage};
use vkmps_protocol::ring::{REGION_BYTES, Record, record_offset, stream, stream_offset};
use vkmps_protocol::{decode, encode};
use vkmps_tests::samples::{self, Kind, Sample};
use zerocopy::IntoBytes;

#[test]
fn no_packet_makes_a_decoder_panic_or_decodes_to_what_encodes_differently() {
    let seeds: Vec<Sample> = samples::all()
        .into_iter()
        .filter(|sample| !matches!(sample.kind, Kind::Record | Kind::Commands))
        .collect();
    let mut decoded = 0_u64;
    fuzz("messages", &seeds, MAX_MESSAGE_BYTES + 2, |packet| {
        // Every decoder gets every packet: a peer may be confused about who it talks to.
        decoded += u64::from(round_trip::<ClientMessage>(packet));
        decoded += u64::from(round_trip::<DaemonMessage>(packet));
        decoded += u64::from(round_trip::<ToEngine>(packet));
        decoded += u64::from(round_trip::<FromEngine>(packet));
        decoded += u64::from(round_trip::<ToCompiler>(packet));
        decoded += u64::from(round_trip::<FromCompiler>(packet));
    });
    assert!(
        decoded > 0,
        "mutations are so wild that nothing was ever decoded"
    );
}

#[test]
fn no_payload_makes_the_command_decoder_panic_or_leave_its_bounds() {
    let seeds: Vec<Sample> = samples::all()
        .into_iter()
        .filter(|sample| sample.kind == Kind::Commands)
        .collect();
    let mut decoded = 0_u64;
    fuzz("commands", &seeds, 4096, |bytes| {
        // As the engine holds it: whole words, aligned.
        let words: Vec<u64> = bytes.chunks(8).map(word).collect();
        let mut rest = words.as_bytes();
        while let Ok((command, left)) = command::decode(rest) {
            assert!(left.len() < rest.len(), "a command of no length");
            let taken = rest.len() - left.len();
            match command {
                Command::Dispatch { push, bindings, .. } => {
                    assert!(push.len() <= MAX_PUSH_BYTES && bindings.len() <= MAX_BINDINGS);
                    assert!(taken >= 48 + push.len() + bindings.len() * 32);
                }
                Command::Update { data, .. } => {
                    assert!(data.len() <= MAX_UPDATE_BYTES && taken >= 48 + data.len())
                }
                Command::Copy(_) | Command::Fill(_) | Command::Barrier => {}
            }
            decoded += 1;
            rest = left;
        }
    });
    assert!(
        decoded > 0,
        "mutations are so wild that nothing was ever decoded"
    );
}

#[test]
fn no_region_makes_the_rings_consumer_panic_or_believe_what_it_read() {
    let memory = sealed_memfd("hostile", REGION_BYTES as u64).unwrap();
    let rings = SessionRegion::map(&memory).unwrap();
    let region = Region::map(&memory, 0, REGION_BYTES).unwrap();
    let stop = AtomicBool::new(false);
    let mut taken = 0_u64;
    std::thread::scope(|scope| {
        // Another writer at the same time, as a client's threads may be.
        scope.spawn(|| {
            let mut random = Random(fresh_seed());
            while !stop.load(Ordering::Relaxed) {
                let base = stream_offset(random.below(4));
                let at = [stream::TAIL, stream::RECORDS, stream::PAYLOAD][random.below(3)]
                    + random.below(256) * 4;
                region
                    .u32(base + at)
                    .store(random.word32(), Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        fuzz_with("rings", |random| taken += one_ring(random, &rings, &region));
        stop.store(true, Ordering::Relaxed);
    });
    assert!(taken > 0, "no record was ever taken");
}

/// Some records in one stream, mostly right, read by a fresh consumer; how many it took.
fn one_ring(random: &mut Random, rings: &SessionRegion, region: &Region) -> u64 {
    let index = if random.one_in(4) {
        random.below(4)
    } else {
        4 + random.below(MAX_STREAMS - 4)
    };
    let base = stream_offset(index);
    let mut consumer = rings.consumer(index);
    let (mut offset, mut taken, mut bytes_taken) = (0_u32, 0, 0);
    let count = 1 + u32::try_from(random.below(200)).expect("it is small");
    let mut ends = std::collections::VecDeque::new();
    for number in 0..count {
        let length = u32::try_from(random.below(600)).expect("it is small") * 8;
        let mut record = Record {
            kind: 1,
            commands: 1,
            value: u64::from(number) + 1,
            payload_offset: offset,
            payload_bytes: length,
            ..Record::default()
        };
        if random.one_in(50) {
            record.payload_offset = random.word32();
        }
        if random.one_in(50) {
            record.payload_bytes = random.word32();
        }
        offset = offset.wrapping_add(length);
        region.write(base + record_offset(number), record.as_bytes());
        let tail = if random.one_in(100) {
            random.word32()
        } else {
            number + 1
        };
        region
            .u32(base + stream::TAIL)
            .store(tail, Ordering::Release);
        let mut payload = Vec::new();
        match consumer.next(&mut payload) {
            Ok(Some((record, end))) => {
                assert_eq!(payload.len() * 8, record.payload_bytes as usize);
                taken += 1;
                bytes_taken += payload.len() * 8;
                ends.push_back((end, payload.len() * 8));
                assert!(
                    ends.len() <= RING_RECORDS as usize,
                    "more records than the ring has"
                );
                assert!(
                    bytes_taken <= RING_PAYLOAD_BYTES as usize,
                    "more payload than the ring has"
                );
            }
            Ok(None) => {}
            // The session would end here.
            Err(_) => break,
        }
        while ends.len() > 3 || (bytes_taken > 20_000 && !ends.is_empty()) {
            let Some((end, bytes)) = ends.pop_front() else {
                break;
            };
            consumer.retire(end);
            bytes_taken -= bytes;
        }
    }
    taken
}

fn round_trip<M: packet::Message>(packet: &[u8]) -> bool {
    let Ok(message) = M::decoded(packet) else {
        return false;
    };
    let bytes = message.encoded();
    assert_eq!(
        M::decoded(&bytes).as_ref(),
        Ok(&message),
        "{message:?} does not survive its own encoding"
    );
    true
}

/// What all messages can do, without naming serde here.
mod packet {
    use super::{
        ClientMessage, DaemonMessage, Debug, FromCompiler, FromEngine, ToCompiler, ToEngine,
        decode, encode,
    };
    use vkmps_protocol::DecodeError;

    /// A message of any kind.
    pub(super) trait Message: Debug + PartialEq + Sized {
        /// Decodes a packet.
        fn decoded(packet: &[u8]) -> Result<Self, DecodeError>;
        /// Encodes it.
        fn encoded(&self) -> Vec<u8>;
    }

    macro_rules! messages {
        ($($message:ty),*) => {$(
            impl Message for $message {
                fn decoded(packet: &[u8]) -> Result<Self, DecodeError> {
                    decode(packet)
                }

                fn encoded(&self) -> Vec<u8> {
                    encode(self).expect("what came in one packet fits into one")
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

/// Feeds the samples and their mutations to a target.
fn fuzz(name: &str, seeds: &[Sample], most_bytes: usize, mut target: impl FnMut(&[u8])) {
    seeds.iter().for_each(|seed| target(&seed.bytes));
    let mut input = Vec::new();
    fuzz_with(name, |random| {
        input.clone_from(&seeds[random.below(seeds.len())].bytes);
        let other = &seeds[random.below(seeds.len())].bytes;
        for _ in 0..=random.below(6) {
            mutate(&mut input, other, random);
        }
        input.truncate(most_bytes);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            eprintln!(
                "the input was {:?}",
                input
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            );
            resume_unwind(panic);
        }
    });
}

/// Runs a target for its third of the time.
fn fuzz_with(name: &str, mut target: impl FnMut(&mut Random)) {
    let seed = fresh_seed();
    let mut random = Random(seed);
    let seconds = std::env::var("VKMPS_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .unwrap_or(60.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds / 3.0);
    let mut runs = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            target(&mut random);
        }
        runs += 100;
    }
    println!("{name}: {runs} inputs, VKMPS_FUZZ_SEED={seed}");
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let byte = input.get_mut(at);
    match (random.below(9), byte) {
        (0, Some(byte)) => *byte ^= 1 << random.below(8),
        (1, Some(byte)) => *byte = random.byte(),
        (2, Some(byte)) => *byte = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        (3, Some(_)) => drop(input.remove(at)),
        (4, _) => input.insert(at, random.byte()),
        (5, _) => input.truncate(at),
        // The largest numbers that varints of 16, 32 and 64 bits can be, and one that is too long.
        (6, _) => {
            let length = [3, 5, 10, 12][random.below(4)];
            let varint = (0..length).map(|index| if index + 1 == length { 0x01 } else { 0xff });
            input.splice(at..at, varint);
        }
        (7, _) => {
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let copy = input[at..].to_vec();
            input.extend(copy);
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn fresh_seed() -> u64 {
    let given = std::env::var("VKMPS_FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| u64::from(time.subsec_nanos()))
    };
    given.unwrap_or_else(clock)
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn word32(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).expect("the upper half")
    }
}
