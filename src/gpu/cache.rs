//! The driver's cache of compiled pipelines, and its bytes.

use crate::device::Device;
use crate::error::{self, Error};
use ash::vk;
use std::sync::Arc;

/// A pipeline cache; several threads may use it.
#[derive(Debug)]
pub struct PipelineCache {
    device: Arc<Device>,
    pub(crate) raw: vk::PipelineCache,
}

impl PipelineCache {
    /// A cache filled from the bytes of an earlier one. Bytes of another device or driver are ignored; those with the
    /// right header must be what [`PipelineCache::data`] returned: drivers do not check more.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn new(device: &Arc<Device>, data: &[u8]) -> Result<Arc<Self>, Error> {
        let data = if is_ours(device, data) { data } else { &[] };
        let create = vk::PipelineCacheCreateInfo::default().initial_data(data);
        // SAFETY: the device is alive and the data lives through the call.
        let raw = unsafe { device.raw.create_pipeline_cache(&create, None) }
            .map_err(error::object("vkCreatePipelineCache"))?;
        Ok(Arc::new(Self {
            device: Arc::clone(device),
            raw,
        }))
    }

    /// Its bytes, for the next process.
    ///
    /// # Errors
    /// What the driver reports.
    pub fn data(&self) -> Result<Vec<u8>, Error> {
        // SAFETY: the cache is alive; vkGetPipelineCacheData needs no synchronisation.
        unsafe { self.device.raw.get_pipeline_cache_data(self.raw) }
            .map_err(error::object("vkGetPipelineCacheData"))
    }

    pub(crate) fn is_of(&self, device: &Arc<Device>) -> bool {
        Arc::ptr_eq(&self.device, device)
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        // SAFETY: a pipeline needs the cache during its creation only.
        unsafe { self.device.raw.destroy_pipeline_cache(self.raw, None) };
    }
}

/// Whether the bytes start with the header that this device writes (VkPipelineCacheHeaderVersionOne).
fn is_ours(device: &Device, data: &[u8]) -> bool {
    let info = &device.info;
    let word = |at: usize| {
        data.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_le_bytes)
    };
    word(0) == Some(HEADER_BYTES)
        && word(4).and_then(|v| i32::try_from(v).ok())
            == Some(vk::PipelineCacheHeaderVersion::ONE.as_raw())
        && word(8) == Some(info.vendor_id)
        && word(12) == Some(info.device_id)
        && data.get(16..32) == Some(&info.cache_uuid[..])
}

const HEADER_BYTES: u32 = 32;
