//! Which device is chosen, and what is said when there is none.

use crate::rig::Rig;
use std::error::Error as _;
use vkmps_gpu::{DeviceKind, Error, Instance, Skipped, Wanted};

#[test]
fn the_chosen_device_has_what_compute_needs() {
    let Some(rig) = Rig::default() else { return };
    let info = rig.device.info();
    eprintln!("{info:#?}");
    assert_eq!(info.unsuitable, None);
    assert!(info.features.timeline_semaphore);
    assert!(info.api_version >= (1, 2, 0));
    assert_eq!(rig.queues.len(), info.compute_queues as usize);
    assert!(
        info.limits.storage_alignment.is_power_of_two()
            && info.limits.uniform_alignment.is_power_of_two()
    );
    if info.kind == DeviceKind::Cpu {
        assert!(info.unified_memory);
    }
    let same = Instance::load()
        .expect("load")
        .choose(Some(info.index))
        .expect("by index");
    assert_eq!((same.uuid, &same.name), (info.uuid, &info.name));
}

#[test]
fn an_index_without_a_device_is_an_error_that_says_what_there_is() {
    let Some(rig) = Rig::default() else { return };
    let error = Instance::load()
        .expect("load")
        .choose(Some(99))
        .expect_err("no device 99");
    let text = error.to_string();
    assert!(
        text.contains("device 99") && text.contains(&rig.device.info().name),
        "{text}"
    );
    assert!(text.contains("mesa-vulkan-drivers"), "{text}");
}

#[test]
fn errors_are_one_sentence_and_carry_the_reasons() {
    let skipped = vec![Skipped {
        name: "Old card".into(),
        reason: "Vulkan older than 1.2",
    }];
    let error = Error::NoDevice {
        wanted: Wanted::Any,
        skipped,
    };
    let text = error.to_string();
    assert!(
        text.contains("any device") && text.contains("Old card (Vulkan older than 1.2)"),
        "{text}"
    );
    assert!(error.source().is_none());
}
