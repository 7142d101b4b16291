//! What the commands do.

use crate::rig::{ADD, Rig, bytes, contents, memfd, storage, whole, words};
use nix::fcntl::SealFlag;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use vkmps_gpu::{
    Bind, Kind, Memory, Options, Pipeline, PipelineCache, PipelineDesc, Ranking, Wait,
};

const SETS: Options = Options {
    queues: 1,
    robust: true,
    force_descriptor_sets: true,
    ranking: Ranking::Descending,
    reserved_cores: 0,
};

#[test]
fn vectors_in_host_visible_memory_are_added() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let (a, b, c) = (
        rig.visible(&[7; 1000]),
        rig.visible(&[5; 1000]),
        rig.visible(&[1; 1000]),
    );
    let add = rig.add();
    let bindings = [whole(0, &a), whole(1, &b), whole(2, &c)];
    rig.run(|batch| batch.dispatch(&add, &bindings, &999u32.to_le_bytes(), [0; 3], [16, 1, 1]))
        .expect("run");
    assert_eq!(contents(&c)[..999], [12; 999]);
    assert_eq!(contents(&c)[999], 1);
}

#[test]
fn vectors_in_an_imported_memfd_are_added_in_place() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    if !rig.device.info().extensions.external_memory_host {
        eprintln!("SKIPPED, the device does not import host memory");
        return;
    }
    let file = memfd(4 << 16, SealFlag::F_SEAL_SHRINK);
    file.write_all_at(&bytes(&[3; 4096]), 1 << 16)
        .expect("write a");
    file.write_all_at(&bytes(&[4; 4096]), 2 << 16)
        .expect("write b");
    let memory = Memory::import(&rig.device, file.as_fd(), 1 << 16, 3 << 16).expect("import");
    let add = rig.add();
    let bind = |slot: u32| Bind {
        slot,
        element: 0,
        memory: &memory,
        offset: u64::from(slot) << 16,
        range: 1 << 16,
    };
    let bindings = [bind(0), bind(1), bind(2)];
    rig.run(|batch| batch.dispatch(&add, &bindings, &4096u32.to_le_bytes(), [0; 3], [64, 1, 1]))
        .expect("run");
    let mut sums = vec![0; 4 * 4096];
    file.read_exact_at(&mut sums, 3 << 16).expect("read c");
    assert_eq!(words(&sums), [7; 4096]);
}

#[test]
fn copies_fills_and_updates_take_effect_in_order() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let seen = rig.visible(&[0; 16]);
    let local = Memory::allocate(&rig.device, 64, Kind::DeviceLocal).expect("device-local");
    let batch = rig.run(|batch| {
        batch.fill(&local, 0, 64, 0x1111)?;
        batch.barrier()?;
        batch.update(&local, 16, &bytes(&[1, 2, 3]))?;
        batch.barrier()?;
        batch.copy(&local, 0, &seen, 0, 64)?;
        batch.barrier()?;
        batch.copy(&seen, 16, &seen, 48, 12)
    });
    let mut expected = [0x1111; 16];
    expected[4..7].copy_from_slice(&[1, 2, 3]);
    expected[12..15].copy_from_slice(&[1, 2, 3]);
    assert_eq!(contents(&seen), expected);
    let time = batch.expect("run").device_ns();
    assert_eq!(time.is_some(), rig.device.info().limits.timestamp_bits > 0);
}

#[test]
fn arrays_uniforms_constants_and_bases_work_on_both_descriptor_paths() {
    for options in [Options::default(), SETS] {
        let Some(mut rig) = Rig::open(&options) else {
            return;
        };
        let (x, y, bias) = (
            rig.visible(&[1; 8]),
            rig.visible(&[2; 8]),
            rig.visible(&[100; 4]),
        );
        let affine = rig.affine(10);
        let bindings = [
            whole(1, &bias),
            Bind {
                element: 1,
                ..whole(0, &y)
            },
            whole(0, &x),
        ];
        rig.run(|batch| batch.dispatch(&affine, &bindings, &[], [2, 0, 0], [3, 1, 1]))
            .expect("run");
        assert_eq!(contents(&x), [1, 1, 110, 110, 110, 1, 1, 1]);
        assert_eq!(contents(&y), [2, 2, 120, 120, 120, 2, 2, 2]);
    }
}

#[test]
fn many_dispatches_outgrow_one_descriptor_pool_and_pools_are_used_again() {
    let Some(mut rig) = Rig::open(&SETS) else {
        return;
    };
    let (a, b) = (rig.visible(&[1]), rig.visible(&[0]));
    let add = rig.add();
    let mut batch = rig.batch();
    for round in 1..=2u32 {
        batch.begin().expect("begin");
        for _ in 0..300 {
            let push = 1u32.to_le_bytes();
            batch
                .dispatch(
                    &add,
                    &[whole(0, &a), whole(1, &b), whole(2, &b)],
                    &push,
                    [0; 3],
                    [1, 1, 1],
                )
                .expect("dispatch");
            batch.barrier().expect("barrier");
        }
        batch.end().expect("end");
        rig.queues[0]
            .submit_and_wait(&mut batch, Wait::Block)
            .expect("submit");
        assert_eq!(contents(&b), [300 * round]);
    }
}

#[test]
fn a_pipeline_is_warmed_up_without_bindings_and_fills_a_cache() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let cache = PipelineCache::new(&rig.device, b"not a cache").expect("a cache");
    let words = words(ADD);
    let slots = [storage(1), storage(1), storage(1)];
    let desc = PipelineDesc {
        words: &words,
        entry: "main",
        slots: &slots,
        push_bytes: 4,
        constants: &[],
    };
    let pipeline = Pipeline::new(&rig.device, &desc, Some(&cache)).expect("compile");
    pipeline.warm_up(&mut rig.queues[0]).expect("warm up");
    rig.nothing().warm_up(&mut rig.queues[0]).expect("warm up");
    let data = cache.data().expect("data");
    PipelineCache::new(&rig.device, &data).expect("the next process takes it up");
}

#[test]
fn exported_memory_is_adopted_with_its_contents() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    if !rig.device.exports() {
        eprintln!("SKIPPED, the device does not export memory");
        return;
    }
    let fd = {
        let local = Memory::allocate(&rig.device, 4096, Kind::DeviceLocal).expect("device-local");
        rig.run(|batch| batch.fill(&local, 0, 4096, 42))
            .expect("run");
        local.export().expect("export")
    };
    let again = Memory::adopt(&rig.device, fd, 4096).expect("adopt");
    let seen = rig.visible(&[0; 1024]);
    rig.run(|batch| batch.copy(&again, 0, &seen, 0, 4096))
        .expect("run");
    assert_eq!(contents(&seen), [42; 1024]);

    let stranger = memfd(4096, SealFlag::F_SEAL_SHRINK);
    // Which error is up to the driver: lavapipe knows the fd is foreign, NVIDIA says out of device memory.
    Memory::adopt(&rig.device, stranger.into(), 4096).expect_err("a foreign fd");
}

#[test]
fn reads_and_writes_of_any_alignment_copy_exactly() {
    let Some(rig) = Rig::default() else { return };
    let memory = rig.visible(&[0; 16]);
    for start in 0..9u8 {
        for len in 0..20u8 {
            let pattern: Vec<u8> = (1..=len).collect();
            memory.write(0, &[0; 64]).expect("clear");
            memory.write(start.into(), &pattern).expect("write");
            let mut all = [0; 64];
            memory.read(0, &mut all).expect("read all");
            let (from, to) = (usize::from(start), usize::from(start + len));
            assert_eq!(all[from..to], pattern);
            assert!(all[..from].iter().chain(&all[to..]).all(|byte| *byte == 0));
            let mut part = vec![0; usize::from(len)];
            memory.read(start.into(), &mut part).expect("read part");
            assert_eq!(part, pattern);
        }
    }
}
