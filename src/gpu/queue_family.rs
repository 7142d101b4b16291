//! The families of compute queues that a device has.

use crate::features::{Extensions, Features};
use crate::standing::{Family, GlobalPriority};
use ash::vk;

/// All with compute; the one for most work first: without graphics if there is one, then with most queues.
pub(crate) fn query(
    instance: &ash::Instance,
    physical: vk::PhysicalDevice,
    extensions: &Extensions,
    features: &Features,
) -> Vec<Family> {
    // SAFETY: `physical` belongs to this live instance (DeviceInfo::query).
    let count = unsafe { instance.get_physical_device_queue_family_properties2_len(physical) };
    let asks = extensions.has_global_priority() && features.global_priority_query;
    let mut priorities = vec![vk::QueueFamilyGlobalPriorityPropertiesKHR::default(); count];
    let mut properties: Vec<_> = priorities
        .iter_mut()
        .map(|priorities| match asks {
            true => vk::QueueFamilyProperties2::default().push_next(priorities),
            false => vk::QueueFamilyProperties2::default(),
        })
        .collect();
    // SAFETY: as above; the chains are live, exclusively borrowed, and of extensions that the device has.
    unsafe { instance.get_physical_device_queue_family_properties2(physical, &mut properties) };
    let properties: Vec<_> = properties
        .iter()
        .map(|properties| properties.queue_family_properties)
        .collect();
    let mut families: Vec<_> = (0u32..)
        .zip(properties.iter().zip(&priorities))
        .filter(|(_, (properties, _))| {
            properties.queue_flags.contains(vk::QueueFlags::COMPUTE) && properties.queue_count > 0
        })
        .map(|(index, (properties, priorities))| Family {
            index,
            queues: properties.queue_count,
            graphics: properties.queue_flags.contains(vk::QueueFlags::GRAPHICS),
            timestamp_bits: properties.timestamp_valid_bits,
            global: match (extensions.has_global_priority(), asks) {
                (true, true) => listed(priorities),
                // Only trying tells.
                (true, false) => ALL.to_vec(),
                (false, _) => Vec::new(),
            },
        })
        .collect();
    families.sort_by_key(|family| (family.graphics, std::cmp::Reverse(family.queues)));
    families
}

fn listed(properties: &vk::QueueFamilyGlobalPriorityPropertiesKHR<'_>) -> Vec<GlobalPriority> {
    let count = properties.priority_count as usize;
    let listed = properties.priorities.get(..count).unwrap_or_default();
    ALL.into_iter()
        .filter(|priority| listed.contains(&(*priority).into()))
        .collect()
}

const ALL: [GlobalPriority; 3] = [
    GlobalPriority::Medium,
    GlobalPriority::High,
    GlobalPriority::Realtime,
];
