//! When things are complete, and that nothing goes away before.

use crate::rig::{PATIENCE, Rig, contents, whole};
use std::time::{Duration, Instant};
use vkmps_gpu::{Batch, Error, Timing, Wait, wait_any};

/// About 0.2 s of a slow device.
const LONG: u32 = 100_000_000;
const SHORT: u32 = 1000;

fn spin(rig: &Rig, rounds: u32) -> (Batch, std::sync::Arc<vkmps_gpu::Memory>) {
    let memory = rig.visible(&[0]);
    let spin = rig.spin();
    let mut batch = rig.batch();
    batch.begin().expect("begin");
    batch
        .dispatch(
            &spin,
            &[whole(0, &memory)],
            &rounds.to_le_bytes(),
            [0; 3],
            [1, 1, 1],
        )
        .expect("dispatch");
    batch.end().expect("end");
    (batch, memory)
}

#[test]
fn two_levels_of_one_submit_complete_in_order_with_growing_values() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let out = rig.visible(&[0; 2]);
    let (mut first, mut second) = (rig.batch(), rig.batch());
    first.begin().expect("begin");
    first.fill(&out, 0, 4, 5).expect("fill");
    first.end().expect("end");
    second.begin().expect("begin");
    second.copy(&out, 0, &out, 4, 4).expect("copy");
    second.end().expect("end");
    let queue = &mut rig.queues[0];
    assert_eq!(
        queue
            .submit(&mut [&mut first, &mut second])
            .expect("submit"),
        2
    );
    assert!(queue.wait(1, PATIENCE).expect("wait"));
    assert!(queue.wait(2, PATIENCE).expect("wait"));
    assert_eq!(queue.completed().expect("completed"), 2);
    assert_eq!(queue.last_submitted(), 2);
    assert_eq!(contents(&out), [5, 5]);
    assert!(first.is_complete().expect("state"));
}

#[test]
fn a_batch_in_flight_is_busy_and_can_be_begun_after_its_completion() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let (mut batch, memory) = spin(&rig, LONG);
    let value = rig.queues[0].submit(&mut [&mut batch]).expect("submit");
    assert!(matches!(batch.begin(), Err(Error::Busy)));
    assert!(matches!(batch.release(), Err(Error::Busy)));
    assert_eq!(batch.device_ns(), None);
    assert!(!rig.queues[0].wait(value, Duration::ZERO).expect("wait"));
    assert!(rig.queues[0].wait(value, PATIENCE).expect("wait"));
    if rig.device.info().limits.timestamp_bits > 0 {
        assert!(batch.device_ns().expect("a time") > 0);
    }
    assert_eq!(contents(&memory)[0] & 1, 1);
    batch.begin().expect("begin again");
}

#[test]
fn a_batch_measures_what_it_was_told_to_measure_and_no_more_than_has_passed() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    if rig.device.info().limits.timestamp_bits == 0 {
        eprintln!("SKIPPED, the device has no timestamps");
        return;
    }
    let mut batch = rig.batch();
    let out = rig.visible(&[0; 2]);
    for timing in [Timing::On, Timing::Off, Timing::On] {
        batch.set_timing(timing);
        batch.begin().expect("begin");
        // Counts for the next recording only.
        batch.set_timing(Timing::Off);
        batch.fill(&out, 0, 4, 5).expect("fill");
        batch.end().expect("end");
        let begun = Instant::now();
        let value = rig.queues[0].submit(&mut [&mut batch]).expect("submit");
        assert!(rig.queues[0].wait(value, PATIENCE).expect("wait"));
        let passed = begun.elapsed();
        let time = batch.device_ns().map(Duration::from_nanos);
        assert_eq!(time.is_some(), timing == Timing::On);
        assert!(
            time.is_none_or(|time| time <= passed),
            "{time:?} of {passed:?}"
        );
    }
}

#[test]
fn dropping_everything_in_flight_waits() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let (mut batch, memory) = spin(&rig, LONG);
    rig.queues[0].submit(&mut [&mut batch]).expect("submit");
    drop(batch);
    assert_eq!(contents(&memory)[0] & 1, 1);

    let (mut batch, memory) = spin(&rig, LONG);
    rig.queues[0].submit(&mut [&mut batch]).expect("submit");
    rig.queues.clear();
    assert!(batch.is_complete().expect("state"), "the queue waited");
    assert_eq!(contents(&memory)[0] & 1, 1);
}

#[test]
fn released_batches_let_go_of_what_they_recorded() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let (mut batch, memory) = spin(&rig, SHORT);
    assert_eq!(std::sync::Arc::strong_count(&memory), 2);
    rig.queues[0]
        .submit_and_wait(&mut batch, Wait::Poll)
        .expect("submit");
    batch.release().expect("release");
    assert_eq!(std::sync::Arc::strong_count(&memory), 1);
}

#[test]
fn another_thread_waits_for_any_of_several_timelines() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let timelines: Vec<_> = rig.queues.iter().map(vkmps_gpu::Queue::timeline).collect();
    let device = rig.device.clone();
    let waiter = std::thread::spawn(move || {
        // The last queue is used; the others never get there.
        let points: Vec<_> = timelines.iter().map(|timeline| (timeline, 1)).collect();
        wait_any(&device, &points, PATIENCE)
    });
    let (mut batch, _memory) = spin(&rig, SHORT);
    rig.queues
        .last_mut()
        .expect("a queue")
        .submit(&mut [&mut batch])
        .expect("submit");
    assert!(waiter.join().expect("the waiter").expect("wait"));

    let timeline = rig.queues[0].timeline();
    assert!(!wait_any(&rig.device, &[(&timeline, 100)], Duration::from_millis(1)).expect("wait"));
    assert!(!wait_any(&rig.device, &[], PATIENCE).expect("wait"));
}

#[test]
fn both_ways_of_waiting_with_a_fence_work_repeatedly() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    for wait in [Wait::Block, Wait::Poll, Wait::Block] {
        let (mut batch, memory) = spin(&rig, SHORT);
        rig.queues[0]
            .submit_and_wait(&mut batch, wait)
            .expect("submit");
        assert_eq!(contents(&memory)[0] & 1, 1);
    }
}
