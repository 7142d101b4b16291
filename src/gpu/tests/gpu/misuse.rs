//! What breaks a rule is refused, with nothing done.

use crate::rig::{ADD, Rig, memfd, storage, whole, words};
use nix::fcntl::SealFlag;
use std::os::fd::AsFd;
use vkmps_gpu::{
    Batch, Bind, Constant, Device, Error, Kind, MAX_BATCHES_PER_SUBMIT, Memory, Options, Pipeline,
    PipelineDesc, Wait, wait_any,
};

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "reads best around the call")]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::InvalidUse(_))), "{result:?}");
}

fn recording(rig: &Rig) -> Batch {
    let mut batch = rig.batch();
    batch.begin().expect("begin");
    batch
}

#[test]
fn dispatches_with_wrong_arguments_are_refused() {
    let Some(rig) = Rig::default() else { return };
    let (a, b, c) = (
        rig.visible(&[0; 1024]),
        rig.visible(&[0; 1024]),
        rig.visible(&[0; 1024]),
    );
    let add = rig.add();
    let (push, one) = ([0; 4], [1, 1, 1]);
    let good = [whole(0, &a), whole(1, &b), whole(2, &c)];
    let mut batch = recording(&rig);
    let mut third =
        |bind: Bind<'_>| batch.dispatch(&add, &[good[0], good[1], bind], &push, [0; 3], one);
    refused(third(whole(1, &c)));
    refused(third(whole(3, &c)));
    refused(third(Bind {
        element: 1,
        ..good[2]
    }));
    refused(third(Bind {
        offset: 4096,
        ..good[2]
    }));
    refused(third(Bind {
        offset: u64::MAX,
        ..good[2]
    }));
    refused(third(Bind {
        range: 0,
        ..good[2]
    }));
    if rig.device.info().limits.storage_alignment > 1 {
        refused(third(Bind {
            offset: 1,
            range: 4,
            ..good[2]
        }));
    }
    refused(batch.dispatch(&add, &good[..2], &push, [0; 3], one));
    refused(batch.dispatch(&add, &good, &push[..3], [0; 3], one));
    let max = rig.device.info().limits.max_groups[0];
    refused(batch.dispatch(&add, &good, &push, [1, 0, 0], [max, 1, 1]));
    refused(batch.dispatch(&add, &good, &push, [max, 0, 0], [0, 1, 1]));
    batch
        .dispatch(&add, &good, &push, [0; 3], one)
        .expect("the good one");
}

#[test]
fn transfers_with_wrong_ranges_are_refused() {
    let Some(rig) = Rig::default() else { return };
    let (a, b) = (rig.visible(&[0; 16]), rig.visible(&[0; 32_768]));
    let mut batch = recording(&rig);
    refused(batch.copy(&a, 0, &b, 0, 0));
    refused(batch.copy(&a, 0, &b, 0, 65));
    refused(batch.copy(&b, 0, &a, 1, 64));
    refused(batch.copy(&a, 8, &a, 0, 9));
    refused(batch.copy(&a, u64::MAX, &b, 0, 2));
    refused(batch.fill(&a, 2, 4, 0));
    refused(batch.fill(&a, 0, 6, 0));
    refused(batch.fill(&a, 64, 4, 0));
    refused(batch.update(&b, 0, &vec![0; 65_540]));
    refused(batch.update(&a, 0, &[]));
    refused(batch.update(&a, 0, &[1, 2, 3]));
    refused(a.read(60, &mut [0; 5]));
    refused(a.write(u64::MAX, &[0]));
    let local = Memory::allocate(&rig.device, 64, Kind::DeviceLocal).expect("memory");
    refused(local.read(0, &mut [0]));
    refused(Memory::allocate(&rig.device, 0, Kind::HostVisible));
    batch
        .copy(&a, 0, &a, 32, 32)
        .expect("neighbours do not overlap");
}

#[test]
fn a_batch_out_of_order_is_refused() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let memory = rig.visible(&[0]);
    let mut batch = rig.batch();
    refused(batch.fill(&memory, 0, 4, 0));
    refused(batch.barrier());
    refused(batch.end());
    refused(rig.queues[0].submit(&mut [&mut batch]));
    refused(rig.queues[0].submit(&mut []));
    refused(rig.queues[0].submit_and_wait(&mut batch, Wait::Block));
    batch.begin().expect("begin");
    refused(rig.queues[0].submit(&mut [&mut batch]));
    batch.end().expect("end");
    rig.queues[0]
        .submit_and_wait(&mut batch, Wait::Block)
        .expect("submit");
    refused(rig.queues[0].submit(&mut [&mut batch]));
    let mut many: Vec<_> = (0..=MAX_BATCHES_PER_SUBMIT)
        .map(|_| recording(&rig))
        .collect();
    many.iter_mut().for_each(|batch| batch.end().expect("end"));
    let mut many: Vec<_> = many.iter_mut().collect();
    refused(rig.queues[0].submit(&mut many));
    rig.queues[0]
        .submit(&mut many[1..])
        .expect("as many as allowed");
}

#[test]
fn objects_of_another_device_are_refused() {
    let Some(mut rig) = Rig::default() else {
        return;
    };
    let other = Rig::beside(&Options::default()).expect("a second device");
    let (mine, foreign) = (rig.visible(&[0]), other.visible(&[0]));
    let mut batch = recording(&rig);
    refused(batch.fill(&foreign, 0, 4, 0));
    refused(batch.copy(&mine, 0, &foreign, 0, 4));
    refused(batch.dispatch(&other.nothing(), &[], &[], [0; 3], [1, 1, 1]));
    let mut strange = recording(&other);
    strange.end().expect("end");
    refused(rig.queues[0].submit(&mut [&mut strange]));
    refused(wait_any(
        &rig.device,
        &[(&other.queues[0].timeline(), 1)],
        std::time::Duration::ZERO,
    ));
}

#[test]
fn memory_that_could_vanish_or_is_not_aligned_is_not_imported() {
    let Some(rig) = Rig::default() else { return };
    if !rig.device.info().extensions.external_memory_host {
        eprintln!("SKIPPED, the device does not import host memory");
        return;
    }
    let sealed = memfd(1 << 20, SealFlag::F_SEAL_SHRINK);
    refused(Memory::import(&rig.device, sealed.as_fd(), 0, 2 << 20));
    refused(Memory::import(&rig.device, sealed.as_fd(), 16, 1 << 16));
    refused(Memory::import(&rig.device, sealed.as_fd(), 0, 100));
    refused(Memory::import(&rig.device, sealed.as_fd(), 0, 0));
    refused(Memory::import(
        &rig.device,
        sealed.as_fd(),
        u64::MAX - 65_535,
        1 << 16,
    ));
    let loose = memfd(1 << 20, SealFlag::F_SEAL_GROW);
    refused(Memory::import(&rig.device, loose.as_fd(), 0, 1 << 16));
    let null = std::fs::File::open("/dev/null").expect("open");
    refused(Memory::import(&rig.device, null.as_fd(), 0, 1 << 16));

    let twice =
        |offset| Memory::import(&rig.device, sealed.as_fd(), offset, 2 << 16).expect("import");
    let (low, high) = (twice(0), twice(1 << 16));
    let mut batch = recording(&rig);
    refused(batch.copy(&low, 1 << 16, &high, 0, 16));
    batch
        .copy(&low, 0, &high, 0, 1 << 16)
        .expect("neighbours do not overlap");
}

#[test]
fn wrong_pipeline_descriptions_are_refused() {
    let Some(rig) = Rig::default() else { return };
    let words = words(ADD);
    let slots = [storage(1), storage(1), storage(1)];
    let good = PipelineDesc {
        words: &words,
        entry: "main",
        slots: &slots,
        push_bytes: 4,
        constants: &[],
    };
    let new = |desc: PipelineDesc<'_>| Pipeline::new(&rig.device, &desc, None);
    new(good).expect("the good one");
    refused(new(PipelineDesc {
        entry: "nain",
        ..good
    }));
    refused(new(PipelineDesc {
        words: &words[..20],
        ..good
    }));
    refused(new(PipelineDesc {
        push_bytes: 6,
        ..good
    }));
    refused(new(PipelineDesc {
        push_bytes: 1 << 20,
        ..good
    }));
    refused(new(PipelineDesc {
        slots: &[storage(u32::MAX), storage(u32::MAX)],
        ..good
    }));
    let constant = Constant {
        id: 1,
        value: 0,
        size: 4,
    };
    refused(new(PipelineDesc {
        constants: &[constant, constant],
        ..good
    }));
    refused(new(PipelineDesc {
        constants: &[Constant {
            size: 3,
            ..constant
        }],
        ..good
    }));
    refused(Device::open(
        rig.device.info(),
        &Options {
            queues: 0,
            ..Options::default()
        },
    ));
}
