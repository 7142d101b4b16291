//! The Vulkan loader and the choice among its devices.

use crate::error::{self, Error, Skipped, Wanted};
use crate::info::{DeviceInfo, DeviceKind};
use ash::vk;
use std::fmt;
use std::sync::Arc;

/// The Vulkan loader, opened, with an instance.
pub struct Instance {
    pub(crate) raw: ash::Instance,
    /// The Vulkan version that this program speaks, at most 1.3.
    pub(crate) version: u32,
    /// Keeps the loader's library open; must be dropped after `raw` was destroyed.
    _entry: ash::Entry,
}

impl Instance {
    /// Opens `libvulkan.so.1` and makes an instance of Vulkan 1.2 or 1.3.
    ///
    /// # Errors
    /// `LoaderMissing`; `NoDevice` if no driver is installed; `Unsupported` if the loader is older than 1.2.
    pub fn load() -> Result<Arc<Self>, Error> {
        // SAFETY: libvulkan.so.1 is the system's Vulkan loader; its constructors have no preconditions.
        let entry = unsafe { ash::Entry::load() }.map_err(Error::LoaderMissing)?;
        Self::of_loader(entry)
    }

    /// Makes an instance with this loader.
    pub(crate) fn of_loader(entry: ash::Entry) -> Result<Arc<Self>, Error> {
        // SAFETY: the entry points are loaded and their library is open.
        let loader = unsafe { entry.try_enumerate_instance_version() }
            .map_err(error::open("vkEnumerateInstanceVersion"))?
            .unwrap_or(vk::API_VERSION_1_0);
        if loader < vk::API_VERSION_1_2 {
            return Err(Error::Unsupported("a Vulkan loader older than 1.2"));
        }
        let version = loader.min(vk::API_VERSION_1_3);
        let application = vk::ApplicationInfo::default()
            .application_name(c"vkmps")
            .engine_name(c"vkmps")
            .api_version(version);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `create` and all it points to live through the call; no layer or extension is asked for.
        let raw = unsafe { entry.create_instance(&create, None) }
            .map_err(error::open("vkCreateInstance"))?;
        Ok(Arc::new(Self {
            raw,
            version,
            _entry: entry,
        }))
    }

    /// All devices in the driver's order, also those that [`Instance::choose`] would refuse.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn devices(self: &Arc<Self>) -> Result<Vec<DeviceInfo>, Error> {
        // SAFETY: the instance is alive: it is destroyed only by Drop.
        let physical = unsafe { self.raw.enumerate_physical_devices() }
            .map_err(error::open("vkEnumeratePhysicalDevices"))?;
        physical
            .into_iter()
            .enumerate()
            .map(|(index, physical)| DeviceInfo::query(self, index, physical))
            .collect()
    }

    /// The device with this index, or without one the best: discrete, integrated, virtual, then CPU.
    ///
    /// # Errors
    /// `NoDevice` with the reason of each device that was passed over.
    pub fn choose(self: &Arc<Self>, index: Option<usize>) -> Result<DeviceInfo, Error> {
        let wanted = index.map_or(Wanted::Any, Wanted::Index);
        let mut best: Option<DeviceInfo> = None;
        let mut skipped = Vec::new();
        for info in self.devices()? {
            let reason = match (info.unsuitable, index) {
                (_, Some(index)) if index != info.index => "not the index asked for",
                (Some(reason), _) => reason,
                (None, _) => {
                    let better = best
                        .as_ref()
                        .is_none_or(|best| rank(info.kind) < rank(best.kind));
                    best = if better { Some(info) } else { best };
                    continue;
                }
            };
            skipped.push(Skipped {
                name: info.name,
                reason,
            });
        }
        best.ok_or(Error::NoDevice { wanted, skipped })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: every Device holds this Instance, so none is left; nothing else was created from it.
        unsafe { self.raw.destroy_instance(None) };
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").finish_non_exhaustive()
    }
}

fn rank(kind: DeviceKind) -> u8 {
    match kind {
        DeviceKind::Discrete => 0,
        DeviceKind::Integrated => 1,
        DeviceKind::Virtual => 2,
        DeviceKind::Cpu => 3,
        DeviceKind::Other => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discrete_device_is_better_than_an_integrated_one_and_that_than_a_cpu() {
        let mut kinds = [
            DeviceKind::Other,
            DeviceKind::Cpu,
            DeviceKind::Virtual,
            DeviceKind::Integrated,
            DeviceKind::Discrete,
        ];
        kinds.sort_by_key(|kind| rank(*kind));
        let best_first = [
            DeviceKind::Discrete,
            DeviceKind::Integrated,
            DeviceKind::Virtual,
            DeviceKind::Cpu,
            DeviceKind::Other,
        ];
        assert_eq!(kinds, best_first);
    }
}
