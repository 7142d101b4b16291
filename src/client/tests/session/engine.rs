//! The fake engine: runs fills, copies, updates and one kind of dispatch (`c = a + b` in `f32`) in host memory.

use crate::fake::Switches;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use vkmps_ipc::memory::Region;
use vkmps_ipc::ring::{Consumer, SessionRegion};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::{self, Command};
use vkmps_protocol::handle::BufferId;
use vkmps_protocol::ring::{Record, RecordKind, session::DIRTY_WORDS};
use zerocopy::IntoBytes;

/// A fill with this word fails.
pub(crate) const BAD_WORD: u32 = 0xbad0_bad0;
/// What it fails with.
pub(crate) const BAD_CODE: ErrorCode = ErrorCode::Interrupted;

/// Memory of a session, shared with the fake daemon that hands it out.
pub(crate) struct Memory {
    pub(crate) arena: Region,
    pub(crate) buffers: Mutex<HashMap<BufferId, u64>>,
}

struct Stream {
    consumer: Consumer,
    payload: Vec<u64>,
    failed: bool,
}

/// Serves a session until its switches say that it is over.
pub(crate) fn run(
    region: &SessionRegion,
    bell: &OwnedFd,
    memory: &Memory,
    switches: &Switches,
    ended: &AtomicBool,
) {
    let mut streams: HashMap<usize, Stream> = HashMap::new();
    let mut held = [0_u64; DIRTY_WORDS];
    while !switches.over.load(SeqCst) && !ended.load(SeqCst) {
        vkmps_ipc::wake::silence(bell);
        for (word, held) in held.iter_mut().enumerate() {
            *held |= region.take_dirty(word);
            if switches.hold.load(SeqCst) {
                continue;
            }
            let ready = std::mem::take(held);
            for bit in (0..64).filter(|bit| ready >> bit & 1 == 1) {
                let index = word * 64 + bit;
                let fresh = || Stream {
                    consumer: region.consumer(index),
                    payload: Vec::new(),
                    failed: false,
                };
                let stream = streams.entry(index).or_insert_with(fresh);
                drain(stream, index, memory, switches);
                region.announce();
            }
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}

fn drain(stream: &mut Stream, index: usize, memory: &Memory, switches: &Switches) {
    while let Some((record, end)) = stream.consumer.next(&mut stream.payload).unwrap() {
        switches.records.lock().unwrap().push((index, record));
        match RecordKind::try_from(record.kind).unwrap() {
            RecordKind::Chunk => {}
            RecordKind::Acknowledge => {
                stream.failed = false;
                stream.consumer.set_failure(None);
            }
            RecordKind::Submit | RecordKind::Last => submit(stream, &record, memory),
        }
        stream.consumer.retire(end);
        stream.consumer.announce();
    }
}

fn submit(stream: &mut Stream, record: &Record, memory: &Memory) {
    let payload = std::mem::take(&mut stream.payload);
    let result = if stream.failed {
        Ok(())
    } else {
        execute(payload.as_bytes(), memory)
    };
    if let Err(code) = result {
        stream.failed = true;
        stream.consumer.set_failure(Some((record.value, code)));
    }
    stream.consumer.complete(record.value);
}

fn execute(mut payload: &[u8], memory: &Memory) -> Result<(), ErrorCode> {
    let buffers = memory.buffers.lock().unwrap();
    let at = |buffer: u64, offset: u64| -> Result<usize, ErrorCode> {
        let base = buffers
            .get(&BufferId(buffer))
            .ok_or(ErrorCode::InvalidHandle)?;
        Ok(usize::try_from(base + offset).unwrap())
    };
    while !payload.is_empty() {
        let (command, rest) = command::decode(payload).unwrap();
        match command {
            Command::Dispatch { bindings, push, .. } => {
                let words = u32::from_le_bytes(push.try_into().unwrap()) as usize;
                for word in 0..words {
                    let place = |binding: usize| {
                        Ok(at(bindings[binding].buffer, bindings[binding].offset)? + word * 4)
                    };
                    let value = |at: usize| f32::from_bits(memory.arena.u32(at).load(SeqCst));
                    let sum = value(place(0)?) + value(place(1)?);
                    memory.arena.u32(place(2)?).store(sum.to_bits(), SeqCst);
                }
            }
            Command::Copy(body) => {
                let mut bytes = vec![0; usize::try_from(body.bytes).unwrap()];
                memory
                    .arena
                    .read(at(body.source, body.source_offset)?, &mut bytes);
                memory
                    .arena
                    .write(at(body.target, body.target_offset)?, &bytes);
            }
            Command::Fill(body) if body.word == BAD_WORD => return Err(BAD_CODE),
            Command::Fill(body) => {
                let start = at(body.target, body.offset)?;
                (0..usize::try_from(body.bytes / 4).unwrap())
                    .for_each(|word| memory.arena.u32(start + word * 4).store(body.word, SeqCst));
            }
            Command::Update { body, data } => {
                memory.arena.write(at(body.target, body.offset)?, data)
            }
            Command::Barrier => {}
        }
        payload = rest;
    }
    Ok(())
}
