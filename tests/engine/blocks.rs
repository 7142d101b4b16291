//! Blocks of device memory: nothing is in a piece that somebody else has left there, and no access leaves it.

use crate::SLOT;
use crate::process::{BUFFER_BYTES, Engine, Worker};
use vkmps_protocol::engine::{FromEngine, ToEngine};
use vkmps_protocol::handle::{BufferId, ChunkId};

#[test]
fn a_freed_piece_is_clean_when_no_work_uses_it_and_not_before() {
    let engine = Engine::start();
    let block = block(&engine);
    let mut one = Worker::of(&engine, SLOT);
    let mut two = Worker::of(&engine, SLOT + 1);
    let buffer = one.cut(&engine, 1, block, PIECE);
    assert!(
        one.words(buffer).iter().all(|word| *word == 0),
        "a new block"
    );
    one.run(|commands| commands.fill(buffer, 0, BUFFER_BYTES, PATTERN));
    assert!(one.words(buffer).iter().all(|word| *word == PATTERN));
    let last = one.submit_over(buffer, BUFFER_BYTES, GROUPS);
    vkmps_tests::patience::eventually("the engine has taken the submit", || {
        engine.counters(SLOT).queued > 0 || one.completed() == last
    });
    remove(&engine, &one, buffer);
    assert_eq!(engine.hear().0, scrubbed(block));
    assert_eq!((one.completed(), one.failure()), (last, None));
    let again = two.cut(&engine, 1, block, PIECE);
    assert!(two.words(again).iter().all(|word| *word == 0));
}

#[test]
fn what_a_session_leaves_in_a_block_is_cleaned_when_it_is_gone() {
    let engine = Engine::start();
    let block = block(&engine);
    let mut one = Worker::of(&engine, SLOT);
    let buffer = one.cut(&engine, 1, block, PIECE);
    one.run(|commands| commands.fill(buffer, 0, BUFFER_BYTES, PATTERN));
    let session = one.session;
    engine.say(&ToEngine::RemoveSession { session }, &[]);
    let mut heard = [engine.hear().0, engine.hear().0];
    heard.sort_by_key(|message| matches!(message, FromEngine::Scrubbed { .. }));
    let [gone, clean] = heard;
    assert_eq!(gone, FromEngine::SessionRemoved { session });
    assert_eq!(clean, scrubbed(block));
    let mut two = Worker::of(&engine, SLOT);
    let again = two.cut(&engine, 1, block, PIECE);
    assert!(two.words(again).iter().all(|word| *word == 0));
}

#[test]
fn a_kernel_that_goes_beyond_its_buffer_reaches_no_neighbour() {
    let engine = Engine::start();
    let block = block(&engine);
    let mut intruder = Worker::of(&engine, SLOT);
    let mut neighbour = Worker::of(&engine, SLOT + 1);
    let below = neighbour.cut(&engine, 1, block, 0);
    let own = intruder.cut(&engine, 1, block, PIECE);
    let above = neighbour.cut(&engine, 2, block, 2 * PIECE);
    for buffer in [below, above] {
        neighbour.run(|commands| commands.fill(buffer, 0, BUFFER_BYTES, PATTERN));
    }
    // The kernel works on every element that its grid has: here four times as many as there are.
    let value = intruder.submit_over(own, BUFFER_BYTES, 4 * GROUPS);
    intruder.wait(value);
    assert_eq!(intruder.failure(), None);
    assert!(intruder.words(own).iter().all(|word| *word != 0), "it ran");
    for buffer in [below, above] {
        let words = neighbour.words(buffer);
        assert!(
            words.iter().all(|word| *word == PATTERN),
            "bytes of a neighbour changed"
        );
    }
}

#[test]
fn a_block_is_gone_when_no_work_uses_it() {
    let engine = Engine::start();
    let chunk = block(&engine);
    let mut worker = Worker::of(&engine, SLOT);
    let buffer = worker.cut(&engine, 1, chunk, 0);
    let last = worker.submit_over(buffer, BUFFER_BYTES, GROUPS);
    vkmps_tests::patience::eventually("the engine has taken the submit", || {
        engine.counters(SLOT).queued > 0 || worker.completed() == last
    });
    remove(&engine, &worker, buffer);
    engine.say(&ToEngine::RemoveBlock { chunk }, &[]);
    assert_eq!(engine.hear().0, FromEngine::BlockRemoved { chunk });
    assert_eq!((worker.completed(), worker.failure()), (last, None));
}

#[test]
fn a_block_that_cannot_be_had_is_refused_and_the_engine_goes_on() {
    let engine = Engine::start();
    let (chunk, bytes) = (ChunkId(4711), 1 << 60);
    engine.say(&ToEngine::AddBlock { chunk, bytes }, &[]);
    let (refused, _) = engine.hear();
    assert!(
        matches!(
            refused,
            FromEngine::BlockFailed {
                chunk: ChunkId(4711),
                ..
            }
        ),
        "{refused:?}"
    );
    block(&engine);
}

fn block(engine: &Engine) -> ChunkId {
    let (chunk, bytes) = (ChunkId(1000), 16 << 20);
    engine.say(&ToEngine::AddBlock { chunk, bytes }, &[]);
    assert_eq!(engine.hear().0, FromEngine::BlockReady { chunk });
    chunk
}

fn remove(engine: &Engine, worker: &Worker, buffer: BufferId) {
    let session = worker.session;
    engine.say(&ToEngine::RemoveBuffer { session, buffer }, &[]);
}

fn scrubbed(chunk: ChunkId) -> FromEngine {
    let offsets = vec![PIECE];
    FromEngine::Scrubbed { chunk, offsets }
}

/// Buffers lie side by side.
const PIECE: u64 = BUFFER_BYTES;
/// Workgroups of the kernel that work on one buffer.
const GROUPS: u32 = 64;
const PATTERN: u32 = 0x5ec2_e75a;
