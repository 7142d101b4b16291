//! An opened device: what all other objects hold.

use crate::desk;
use crate::error::{self, Error};
use crate::info::DeviceInfo;
use crate::queue::Queue;
use crate::standing::{self, GlobalPriority, Links, Ranking, Share, Standing};
use ash::{ext, khr, vk};
use std::fmt;
use std::sync::Arc;

/// A logical device. It is destroyed when the last object made from it is gone.
pub struct Device {
    pub(crate) raw: ash::Device,
    pub(crate) info: DeviceInfo,
    pub(crate) push: Option<khr::push_descriptor::Device>,
    pub(crate) host: Option<ext::external_memory_host::Device>,
    pub(crate) export: Option<Export>,
    /// Of descriptor set 1, see desk.rs.
    pub(crate) desk_layout: vk::DescriptorSetLayout,
    /// The families of its queues.
    pub(crate) families: Vec<u32>,
    refusals: Vec<String>,
}

/// How a device is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most queues to take.
    pub queues: u32,
    /// Ask for robustBufferAccess and robustBufferAccess2 where present.
    pub robust: bool,
    /// Use descriptor sets even where the device can push descriptors.
    pub force_descriptor_sets: bool,
    /// How its queues are ranked.
    pub ranking: Ranking,
    /// Shader cores that only the first queues may use, where the device has [`DeviceInfo::shader_cores`] and a second
    /// family of compute queues.
    pub reserved_cores: u32,
}

/// How device-local memory is exported.
pub(crate) struct Export {
    pub(crate) calls: khr::external_memory_fd::Device,
    /// The driver wants one allocation per buffer to be declared.
    pub(crate) dedicated: bool,
}

impl Device {
    /// Opens a device with all its features and up to `options.queues` queues, of one family or two. The first queues stand
    /// highest, as far as they were to be ranked.
    ///
    /// # Errors
    /// `InvalidUse` for zero queues or an unsuitable device, else what the driver reports.
    pub fn open(info: &DeviceInfo, options: &Options) -> Result<(Arc<Self>, Vec<Queue>), Error> {
        if info.unsuitable.is_some() {
            return Err(Error::InvalidUse("this device is not suitable"));
        }
        if info.compute_queues.min(options.queues) == 0 {
            return Err(Error::InvalidUse("a device needs a queue"));
        }
        let mut info = info.clone();
        if !options.robust {
            info.features = info.features.without_robustness();
        }
        let (mut device, plan) = Self::create(info, options)?;
        device.desk_layout = desk::create_layout(&device.raw)?;
        let device = Arc::new(device);
        let mut queues = Vec::new();
        for share in &plan {
            for (index, priority) in (0u32..).zip(&share.priorities) {
                // SAFETY: the device was just created with this many queues of this family.
                let raw = unsafe { device.raw.get_device_queue(share.family.index, index) };
                let standing = Standing {
                    priority: *priority,
                    global: share.global,
                    cores: share.cores,
                };
                queues.push(Queue::new(&device, raw, &share.family, standing)?);
            }
        }
        Ok((device, queues))
    }

    /// What is known about the device; `features` are those enabled.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Whether device-local memory can be exported.
    pub fn exports(&self) -> bool {
        self.export.is_some()
    }

    /// What the driver did not grant of what was asked for in vain, in words; the device was opened without it.
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// By the best plan that the driver grants.
    fn create(info: DeviceInfo, options: &Options) -> Result<(Self, Vec<Share>), Error> {
        let mut refusals = Vec::new();
        let mut plans = standing::plans(&info.families, info.shader_cores, options);
        let plain = plans
            .pop()
            .ok_or(Error::InvalidUse("this device has no queue"))?;
        for plan in plans {
            match create_raw(&info, &plan) {
                Ok(raw) => return Ok((Self::around(raw, info, options, &plan, refusals), plan)),
                Err(result) => refusals.push(refusal(&plan, result)),
            }
        }
        let raw = create_raw(&info, &plain).map_err(error::open("vkCreateDevice"))?;
        Ok((Self::around(raw, info, options, &plain, refusals), plain))
    }

    fn around(
        raw: ash::Device,
        info: DeviceInfo,
        options: &Options,
        plan: &[Share],
        refusals: Vec<String>,
    ) -> Self {
        let instance = &info.instance.raw;
        let push = (info.extensions.push_descriptor && !options.force_descriptor_sets)
            .then(|| khr::push_descriptor::Device::new(instance, &raw));
        let host = info
            .extensions
            .external_memory_host
            .then(|| ext::external_memory_host::Device::new(instance, &raw));
        let export = export_of(&info, &raw);
        Self {
            raw,
            push,
            host,
            export,
            desk_layout: vk::DescriptorSetLayout::null(),
            families: plan.iter().map(|share| share.family.index).collect(),
            refusals,
            info,
        }
    }

    /// The first memory type among `bits` with all of `flags`.
    pub(crate) fn memory_type(&self, bits: u32, flags: vk::MemoryPropertyFlags) -> Option<u32> {
        (0u32..)
            .zip(&self.info.memory_types)
            .find(|(index, has)| bits >> index & 1 == 1 && **has & flags.as_raw() == flags.as_raw())
            .map(|(index, _)| index)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: u32::MAX,
            robust: true,
            force_descriptor_sets: false,
            ranking: Ranking::Equal,
            reserved_cores: 0,
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: every object of the device holds its Arc, so all are destroyed; a Queue waits for its work before it
        // lets go of that Arc.
        unsafe {
            self.raw
                .destroy_descriptor_set_layout(self.desk_layout, None);
        };
        // SAFETY: as above, and the layout was the last of its objects.
        unsafe { self.raw.destroy_device(None) };
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.info.name)
            .finish_non_exhaustive()
    }
}

fn create_raw(info: &DeviceInfo, plan: &[Share]) -> Result<ash::Device, vk::Result> {
    let mut links: Vec<Links> = plan.iter().map(|_| Links::default()).collect();
    let queues = standing::create_infos(plan, &mut links);
    let names: Vec<_> = info
        .extensions
        .names()
        .iter()
        .map(|name| name.as_ptr())
        .collect();
    let mut chain = info.features.to_chain();
    let mut features = chain.link(info.version, &info.extensions);
    let create = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .push_next(&mut features);
    // SAFETY: `physical` belongs to this instance, which `info` keeps; features and extensions are those it reported, the
    // families are its own, differ and have that many queues, and all that `create` points to lives through the call.
    unsafe {
        info.instance
            .raw
            .create_device(info.physical, &create, None)
    }
}

/// What the driver said to a plan that is not the last.
fn refusal(plan: &[Share], result: vk::Result) -> String {
    let wanted: Vec<String> = plan
        .iter()
        .flat_map(|share| {
            let global = (share.global != GlobalPriority::Medium)
                .then(|| format!("global priority {:?}", share.global).to_lowercase());
            let cores = share.cores.map(|cores| format!("{cores} shader cores"));
            global.into_iter().chain(cores)
        })
        .collect();
    let reason = match result {
        vk::Result::ERROR_NOT_PERMITTED_KHR => "it is not permitted to this process".to_owned(),
        other => format!("vkCreateDevice returned VkResult {}", other.as_raw()),
    };
    format!("hardware queues have no {}: {reason}", wanted.join(" and "))
}

/// Whether and how buffers of [`crate::Memory`]'s usage can be exported as an opaque fd.
fn export_of(info: &DeviceInfo, raw: &ash::Device) -> Option<Export> {
    if !info.extensions.external_memory_fd {
        return None;
    }
    let instance = &info.instance.raw;
    let buffer = vk::PhysicalDeviceExternalBufferInfo::default()
        .usage(crate::memory::USAGE)
        .handle_type(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: `physical` belongs to this live instance; both structures live through the call.
    unsafe {
        instance.get_physical_device_external_buffer_properties(
            info.physical,
            &buffer,
            &mut properties,
        );
    }
    let features = properties
        .external_memory_properties
        .external_memory_features;
    features
        .contains(vk::ExternalMemoryFeatureFlags::EXPORTABLE)
        .then(|| Export {
            calls: khr::external_memory_fd::Device::new(instance, raw),
            dedicated: features.contains(vk::ExternalMemoryFeatureFlags::DEDICATED_ONLY),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Timing};
    use crate::memory::{Kind, Memory};
    use crate::recording_driver::{Driver, QueueInfo};

    const RAISED: Options = Options {
        queues: 4,
        robust: true,
        force_descriptor_sets: false,
        ranking: Ranking::Raised,
        reserved_cores: 0,
    };

    #[test]
    fn the_highest_priority_that_the_driver_permits_is_used_and_the_rest_told() {
        let [high, realtime] = [
            vk::QueueGlobalPriorityKHR::HIGH,
            vk::QueueGlobalPriorityKHR::REALTIME,
        ]
        .map(|priority| Some(priority.as_raw()));
        for (grants, asked, refusals) in [
            (GlobalPriority::Realtime, vec![realtime], 0),
            (GlobalPriority::High, vec![realtime, high], 1),
            (GlobalPriority::Medium, vec![realtime, high, None], 2),
        ] {
            let driver = Driver {
                grants,
                ..Driver::default()
            };
            let (device, queues) = open(driver, &RAISED);
            let devices = Driver::memory().devices;
            let globals: Vec<_> = devices.iter().map(|infos| infos[0].global).collect();
            assert_eq!(globals, asked);
            assert_eq!(device.refusals().len(), refusals, "{:?}", device.refusals());
            assert_eq!(queues.len(), 4);
            assert_eq!(queues[0].standing().global, grants);
            assert_eq!(queues[3].standing().global, GlobalPriority::Medium);
        }
    }

    #[test]
    fn a_driver_without_global_priorities_is_not_asked_for_any() {
        let driver = Driver {
            has_global_priority: false,
            ..Driver::default()
        };
        let (device, queues) = open(driver, &RAISED);
        let info = QueueInfo {
            family: 0,
            priorities: vec![1.0, 0.75, 0.5, 0.5],
            global: None,
            cores: None,
        };
        assert_eq!(Driver::memory().devices, [[info]]);
        assert!(device.refusals().is_empty());
        let priorities: Vec<_> = queues.iter().map(|one| one.standing().priority).collect();
        assert_eq!(priorities, [1.0, 0.75, 0.5, 0.5]);
    }

    #[test]
    fn reserved_shader_cores_are_kept_from_the_lower_queues_of_an_arm_driver() {
        let driver = Driver {
            shader_cores: 16,
            has_global_priority: false,
            ..Driver::default()
        };
        let options = Options {
            ranking: Ranking::Descending,
            reserved_cores: 3,
            ..RAISED
        };
        let (_device, queues) = open(driver, &options);
        let infos = &Driver::memory().devices[0];
        let cores: Vec<_> = infos.iter().map(|info| (info.family, info.cores)).collect();
        assert_eq!(cores, [(1, None), (0, Some(13))]);
        let cores: Vec<_> = queues.iter().map(|one| one.standing().cores).collect();
        assert_eq!(cores, [None, None, Some(13), Some(13)]);
    }

    #[test]
    fn with_two_families_memory_is_for_both_and_each_batch_for_one() {
        let (device, mut queues) = open(Driver::default(), &RAISED);
        let memory = Memory::allocate(&device, 64, Kind::DeviceLocal).expect("memory");
        assert_eq!(Driver::memory().buffers, [[1, 0]]);
        for queue in &queues {
            Batch::for_queue(queue, Timing::On).expect("a batch");
        }
        assert_eq!(Driver::memory().pools, [1, 1, 0, 0]);
        let mut batch = Batch::for_queue(&queues[3], Timing::Off).expect("a batch");
        let refused = queues[0].submit(&mut [&mut batch]);
        let reason = "the batch is for other queues";
        assert!(matches!(refused, Err(Error::InvalidUse(text)) if text == reason));
        drop(memory);
    }

    #[test]
    fn with_one_family_memory_stays_its_own() {
        let options = Options {
            ranking: Ranking::Descending,
            ..RAISED
        };
        let (device, _queues) = open(Driver::default(), &options);
        Memory::allocate(&device, 64, Kind::DeviceLocal).expect("memory");
        assert_eq!(Driver::memory().buffers, [[0; 0]]);
    }

    fn open(driver: Driver, options: &Options) -> (Arc<Device>, Vec<Queue>) {
        let info = driver.load().choose(None).expect("the driver's device");
        Device::open(&info, options).expect("it opens")
    }
}
