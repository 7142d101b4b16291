//! An opened device: what all other objects hold.

use crate::desk;
use crate::error::{self, Error};
use crate::info::DeviceInfo;
use crate::queue::Queue;
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
}

/// How device-local memory is exported.
pub(crate) struct Export {
    pub(crate) calls: khr::external_memory_fd::Device,
    /// The driver wants one allocation per buffer to be declared.
    pub(crate) dedicated: bool,
}

impl Device {
    /// Opens a device with all its features and up to `options.queues` queues of one family.
    ///
    /// # Errors
    /// `InvalidUse` for zero queues or an unsuitable device, else what the driver reports.
    pub fn open(info: &DeviceInfo, options: &Options) -> Result<(Arc<Self>, Vec<Queue>), Error> {
        if info.unsuitable.is_some() {
            return Err(Error::InvalidUse("this device is not suitable"));
        }
        let count = info.compute_queues.min(options.queues);
        if count == 0 {
            return Err(Error::InvalidUse("a device needs a queue"));
        }
        let mut info = info.clone();
        if !options.robust {
            info.features = info.features.without_robustness();
        }
        let mut device = Self::create(info, options, count)?;
        device.desk_layout = desk::create_layout(&device.raw)?;
        let device = Arc::new(device);
        let queues = (0..count)
            .map(|index| {
                // SAFETY: the device was just created with `count` queues of this family.
                let raw = unsafe { device.raw.get_device_queue(device.info.family, index) };
                Queue::new(&device, raw)
            })
            .collect::<Result<_, _>>()?;
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

    fn create(info: DeviceInfo, options: &Options, count: u32) -> Result<Self, Error> {
        let instance = &info.instance.raw;
        let priorities = vec![1.0; count as usize];
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(info.family)
            .queue_priorities(&priorities)];
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
        // SAFETY: `physical` belongs to this instance, which `info` keeps; features and extensions are those it reported,
        // the family has at least `count` queues, and all that `create` points to lives through the call.
        let raw = unsafe { instance.create_device(info.physical, &create, None) }
            .map_err(error::open("vkCreateDevice"))?;
        let push = (info.extensions.push_descriptor && !options.force_descriptor_sets)
            .then(|| khr::push_descriptor::Device::new(instance, &raw));
        let host = info
            .extensions
            .external_memory_host
            .then(|| ext::external_memory_host::Device::new(instance, &raw));
        let export = export_of(&info, &raw);
        Ok(Self {
            raw,
            push,
            host,
            export,
            desk_layout: vk::DescriptorSetLayout::null(),
            info,
        })
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
