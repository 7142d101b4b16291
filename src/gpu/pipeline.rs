//! Compute pipelines: one module, bindings in set 0, push constants.

use crate::cache::PipelineCache;
use crate::device::Device;
use crate::error::{self, Error};
use crate::module;
use ash::vk;
use std::sync::Arc;

/// A compute pipeline with its layout.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) device: Arc<Device>,
    pub(crate) raw: vk::Pipeline,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) set_layout: vk::DescriptorSetLayout,
    /// Writes an array of all buffer infos in slot order; null without slots.
    pub(crate) template: vk::DescriptorUpdateTemplate,
    /// Descriptors are pushed; otherwise a set is allocated per dispatch.
    pub(crate) pushed: bool,
    pub(crate) slots: Vec<Slot>,
    /// Per slot the place of its element 0 among all descriptors.
    pub(crate) firsts: Vec<u32>,
    pub(crate) storage_count: u32,
    pub(crate) uniform_count: u32,
    pub(crate) push_bytes: u32,
    /// The module uses descriptor set 1.
    pub(crate) desk: bool,
}

/// What a pipeline is made of.
#[derive(Clone, Copy, Debug)]
pub struct PipelineDesc<'a> {
    /// A validated SPIR-V module; its interface agrees with the other fields.
    pub words: &'a [u32],
    /// The name of its compute entry point.
    pub entry: &'a str,
    /// The bindings of set 0; the index is the binding's number. Set 1 is the batch's.
    pub slots: &'a [Slot],
    /// The length of the push constants, a multiple of 4.
    pub push_bytes: u32,
    /// The specialization constants.
    pub constants: &'a [Constant],
}

/// One binding: `count` buffers of one kind; 0 leaves the number unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What the shader sees.
    pub kind: SlotKind,
    /// The length of the array of buffers.
    pub count: u32,
}

/// How a shader sees a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// As a storage buffer.
    Storage,
    /// As a uniform buffer.
    Uniform,
}

/// The value of a specialization constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Its SpecId.
    pub id: u32,
    /// Its bits; the lowest `size` bytes count.
    pub value: u64,
    /// Its size: 1, 2, 4 or 8 bytes; a boolean has 4.
    pub size: u8,
}

impl Pipeline {
    /// Compiles a pipeline; it may be dispatched with a base. Some drivers compile only at the first dispatch: see
    /// [`Pipeline::warm_up`].
    ///
    /// # Errors
    /// `InvalidUse` for a description that is wrong in itself or beyond the limits; `CompileFailed`.
    pub fn new(
        device: &Arc<Device>,
        desc: &PipelineDesc<'_>,
        cache: Option<&PipelineCache>,
    ) -> Result<Arc<Self>, Error> {
        module::check(desc.words, desc.entry)?;
        let mut new = Self::described(device, desc)?;
        if cache.is_some_and(|cache| !cache.is_of(device)) {
            return Err(Error::InvalidUse("the cache is of another device"));
        }
        new.create_layouts()?;
        new.create_template()?;
        new.compile(desc, cache)?;
        Ok(Arc::new(new))
    }

    /// Whether its module uses descriptor set 1: it may have loops with a budget.
    pub fn uses_desk(&self) -> bool {
        self.desk
    }

    /// The number of descriptors in all slots.
    pub(crate) fn descriptors(&self) -> u32 {
        self.storage_count + self.uniform_count
    }

    /// The checked description, with no Vulkan object yet. From here on Drop cleans up whatever step fails.
    fn described(device: &Arc<Device>, desc: &PipelineDesc<'_>) -> Result<Self, Error> {
        let limits = &device.info.limits;
        if !desc.push_bytes.is_multiple_of(4) || desc.push_bytes > limits.max_push_bytes {
            return Err(Error::InvalidUse("the length of the push constants"));
        }
        let (mut storage, mut uniform) = (0u32, 0u32);
        let mut firsts = Vec::with_capacity(desc.slots.len());
        for slot in desc.slots {
            firsts.push(storage.saturating_add(uniform));
            let count = match slot.kind {
                SlotKind::Storage => &mut storage,
                SlotKind::Uniform => &mut uniform,
            };
            *count = count.saturating_add(slot.count);
        }
        let desk = module::uses_desk(desc.words);
        let (own_storage, own_uniform) = (2 * u32::from(desk), u32::from(desk));
        if storage.saturating_add(own_storage) > limits.max_storage_buffers
            || uniform.saturating_add(own_uniform) > limits.max_uniform_buffers
            || storage
                .saturating_add(uniform)
                .saturating_add(own_storage + own_uniform)
                > limits.max_buffers
        {
            return Err(Error::InvalidUse("too many buffers in a pipeline"));
        }
        let total = storage.saturating_add(uniform);
        Ok(Self {
            device: Arc::clone(device),
            raw: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            template: vk::DescriptorUpdateTemplate::null(),
            pushed: device.push.is_some() && total <= limits.max_push_descriptors,
            slots: desc.slots.to_vec(),
            firsts,
            storage_count: storage,
            uniform_count: uniform,
            push_bytes: desc.push_bytes,
            desk,
        })
    }

    fn create_layouts(&mut self) -> Result<(), Error> {
        let bindings: Vec<_> = self
            .used_slots()
            .map(|(binding, slot, _)| layout_binding(binding, slot))
            .collect();
        let flags = if self.pushed {
            vk::DescriptorSetLayoutCreateFlags::PUSH_DESCRIPTOR_KHR
        } else {
            vk::DescriptorSetLayoutCreateFlags::empty()
        };
        let create = vk::DescriptorSetLayoutCreateInfo::default()
            .flags(flags)
            .bindings(&bindings);
        let raw = &self.device.raw;
        // SAFETY: the device is alive, the bindings live through the call and their counts are within the limits.
        self.set_layout = unsafe { raw.create_descriptor_set_layout(&create, None) }
            .map_err(error::object("vkCreateDescriptorSetLayout"))?;
        let sets = [self.set_layout, self.device.desk_layout];
        let sets = if self.desk { &sets[..] } else { &sets[..1] };
        let push = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .size(self.push_bytes)];
        let push = if self.push_bytes == 0 { &[] } else { &push[..] };
        let create = vk::PipelineLayoutCreateInfo::default()
            .set_layouts(sets)
            .push_constant_ranges(push);
        // SAFETY: the set layout was just created; the range is within the limits (`described`).
        self.layout = unsafe { raw.create_pipeline_layout(&create, None) }
            .map_err(error::object("vkCreatePipelineLayout"))?;
        Ok(())
    }

    fn create_template(&mut self) -> Result<(), Error> {
        let entries: Vec<_> = self
            .used_slots()
            .map(|(binding, slot, first)| template_entry(binding, slot, first))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let create = vk::DescriptorUpdateTemplateCreateInfo::default()
            .descriptor_update_entries(&entries)
            .pipeline_bind_point(vk::PipelineBindPoint::COMPUTE);
        let create = if self.pushed {
            create
                .template_type(vk::DescriptorUpdateTemplateType::PUSH_DESCRIPTORS_KHR)
                .pipeline_layout(self.layout)
                .set(0)
        } else {
            create
                .template_type(vk::DescriptorUpdateTemplateType::DESCRIPTOR_SET)
                .descriptor_set_layout(self.set_layout)
        };
        // SAFETY: both layouts are alive and their bindings are those of the entries.
        self.template = unsafe {
            self.device
                .raw
                .create_descriptor_update_template(&create, None)
        }
        .map_err(error::object("vkCreateDescriptorUpdateTemplate"))?;
        Ok(())
    }

    /// Number, description and first descriptor of each slot that is not empty.
    fn used_slots(&self) -> impl Iterator<Item = (u32, Slot, u32)> {
        let slots = self.slots.iter().zip(&self.firsts);
        (0u32..)
            .zip(slots)
            .filter(|(_, (slot, _))| slot.count > 0)
            .map(|(binding, (slot, first))| (binding, *slot, *first))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let raw = &self.device.raw;
        // SAFETY: a batch in flight holds an Arc of this pipeline, so no work uses it; null is allowed.
        unsafe { raw.destroy_pipeline(self.raw, None) };
        // SAFETY: as above; sets written by it live in batches, which hold the Arc.
        unsafe { raw.destroy_descriptor_update_template(self.template, None) };
        // SAFETY: as above.
        unsafe { raw.destroy_pipeline_layout(self.layout, None) };
        // SAFETY: as above.
        unsafe { raw.destroy_descriptor_set_layout(self.set_layout, None) };
    }
}

impl SlotKind {
    fn descriptor_type(self) -> vk::DescriptorType {
        match self {
            Self::Storage => vk::DescriptorType::STORAGE_BUFFER,
            Self::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
        }
    }
}

fn layout_binding(binding: u32, slot: Slot) -> vk::DescriptorSetLayoutBinding<'static> {
    vk::DescriptorSetLayoutBinding::default()
        .binding(binding)
        .descriptor_type(slot.kind.descriptor_type())
        .descriptor_count(slot.count)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
}

fn template_entry(binding: u32, slot: Slot, first: u32) -> vk::DescriptorUpdateTemplateEntry {
    let stride = size_of::<vk::DescriptorBufferInfo>();
    vk::DescriptorUpdateTemplateEntry::default()
        .dst_binding(binding)
        .descriptor_count(slot.count)
        .descriptor_type(slot.kind.descriptor_type())
        .offset(first as usize * stride)
        .stride(stride)
}
