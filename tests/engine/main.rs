//! The engine alone, driven as vkmpsd drives it: by its control socket, its ledger and one client's rings.

mod blocks;
mod process;

use process::{Engine, Worker};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::{FromEngine, ToEngine};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;
use vkmps_protocol::recorder::{Entry, Event};
use vkmps_tests::patience::eventually;

#[test]
fn an_engine_that_sleeps_answers_every_ping() {
    let engine = Engine::start();
    for nonce in 0..100 {
        engine.ping(nonce);
    }
}

#[test]
fn an_engine_answers_pings_while_the_device_works() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    let values: Vec<u64> = (0..4).map(|_| worker.submit(1)).collect();
    let mut pings = 0;
    while worker.completed() < values[3] {
        engine.ping(pings);
        pings += 1;
    }
    assert!(pings > values.len() as u64, "{pings}");
}

#[test]
fn a_session_is_counted_before_its_client_hears_of_a_completion() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    for round in 1..=3 {
        let value = worker.submit(2);
        worker.wait(value);
        let counters = engine.counters(SLOT);
        assert_eq!(counters.session, worker.session.0);
        assert_eq!(counters.dispatches, round * 2);
        assert_eq!(counters.queued, 0);
    }
}

#[test]
fn what_waits_is_counted_and_the_device_s_time_is_charged() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    let begun = std::time::Instant::now();
    let values: Vec<u64> = (0..4).map(|_| worker.submit(1)).collect();
    eventually("the engine has taken the submits", || {
        engine.counters(SLOT).queued > 1
    });
    worker.wait(values[3]);
    let counters = engine.counters(SLOT);
    assert_eq!((counters.queued, counters.dispatches), (0, 4));
    // One stream, one level at a time: the parts add up to no more than has passed.
    let passed = u64::try_from(begun.elapsed().as_nanos()).unwrap();
    assert!(
        (1..=passed).contains(&counters.device_time_ns),
        "{counters:?} in {passed} ns"
    );
    // What is long over may have been forgotten.
    assert!(
        counters.recent_ns <= counters.device_time_ns,
        "{counters:?}"
    );
    assert_eq!((counters.submits, counters.slices), (4, 4));
    assert_eq!(counters.preemptions, 0);
    // Each waited for those before it, none for longer than the test.
    assert!(
        (1..=4 * passed).contains(&counters.wait_ns),
        "{counters:?} in {passed} ns"
    );
}

#[test]
fn what_the_device_is_given_is_recorded() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    let values: Vec<u64> = (0..3).map(|_| worker.submit(2)).collect();
    worker.wait(values[2]);
    let records = engine.recorded();
    assert!(
        matches!(records[0], Entry::Started { queues: 1.., .. }),
        "{records:?}"
    );
    let mut jobs = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let Entry::Submitted {
            level,
            at_ns: submitted_ns,
            pieces,
        } = record
        else {
            continue;
        };
        let before = &records[place - *pieces as usize..place];
        for piece in before {
            let Entry::Piece {
                level: of,
                session,
                stream: 0,
                job,
                ..
            } = piece
            else {
                panic!("no piece: {piece:?}");
            };
            assert_eq!((of, *session), (level, worker.session));
            jobs.push(*job);
        }
        let over = records[place..].iter().find_map(|record| match record {
            Entry::Completed {
                level: over,
                at_ns,
                took_ns,
            } if over == level => Some((*at_ns, *took_ns)),
            _ => None,
        });
        let (at_ns, took_ns) = over.expect("every level was over before the client heard of it");
        assert!(
            at_ns >= submitted_ns + took_ns,
            "{took_ns} ns do not fit between {submitted_ns} and {at_ns}"
        );
    }
    assert_eq!(jobs, values, "each job is in one level, in order");
}

#[test]
fn the_end_of_a_session_is_recorded() {
    let engine = Engine::start();
    let worker = Worker::of(&engine, SLOT);
    let session = worker.session;
    engine.say(&ToEngine::RemoveSession { session }, &[]);
    let (gone, _) = engine.hear();
    assert_eq!(gone, FromEngine::SessionRemoved { session });
    let last = engine.recorded().pop();
    assert!(
        matches!(last, Some(Entry::Mark { session: of, event: Event::Ended, .. }) if of == session),
        "{last:?}"
    );
}

#[test]
fn name_and_counters_stand_until_the_slot_has_another_owner() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    let value = worker.submit(3);
    worker.wait(value);
    let session = worker.session;
    engine.say(&ToEngine::RemoveSession { session }, &[]);
    let (gone, _) = engine.hear();
    assert_eq!(gone, FromEngine::SessionRemoved { session });
    let counters = engine.counters(SLOT);
    assert_eq!((counters.session, counters.dispatches), (session.0, 3));
    let next = Worker::of(&engine, SLOT);
    let counters = engine.counters(SLOT);
    assert_eq!(counters.session, next.session.0);
    assert_eq!((counters.dispatches, counters.device_time_ns), (0, 0));
}

#[test]
fn a_refused_submit_is_no_dispatch_and_waits_for_nobody() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    let value = worker.submit_nonsense();
    worker.wait(value);
    assert_eq!(worker.failure(), Some(ErrorCode::InvalidHandle));
    let counters = engine.counters(SLOT);
    assert_eq!((counters.queued, counters.dispatches), (0, 0));
}

#[test]
fn a_priority_changes_under_work_that_is_queued() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    let mut last = 0;
    for (round, priority) in [Priority::Realtime, Priority::Low, Priority::High]
        .into_iter()
        .enumerate()
    {
        last = worker.submit(1);
        let session = worker.session;
        engine.say(&ToEngine::SetPriority { session, priority }, &[]);
        // One that is gone, or never was, is nobody.
        let session = SessionId(4711);
        engine.say(&ToEngine::SetPriority { session, priority }, &[]);
        engine.ping(round as u64);
    }
    worker.wait(last);
    assert_eq!(worker.failure(), None);
    assert_eq!(engine.counters(SLOT).dispatches, 3);
}

#[test]
fn a_chunk_is_gone_when_no_work_uses_it_and_reads_as_zeros_then() {
    let engine = Engine::start();
    let mut worker = Worker::of(&engine, SLOT);
    worker.arena.write(100_000, &[7; 4096]);
    let values: Vec<u64> = (0..4).map(|_| worker.submit(1)).collect();
    eventually("the engine has taken the submits", || {
        engine.counters(SLOT).queued > 1
    });
    worker.give_up_memory(&engine);
    let session = worker.session;
    let (gone, _) = engine.hear();
    assert!(matches!(gone, FromEngine::ChunkRemoved { session: of, .. } if of == session));
    assert_eq!(worker.completed(), values[3]);
    assert_eq!(worker.failure(), None);
    let mut bytes = vec![1; worker.arena.len()];
    worker.arena.read(0, &mut bytes);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

/// Any but the first.
const SLOT: u32 = 7;
