//! Descriptor set 1: what shaders are told beside their client's bindings, and what they answer.
//!
//! A module that the `spirv` crate rewrote may use it; its layout is that crate's `daemon_set.rs`. Binding 0 is a uniform
//! buffer at a dynamic offset, one block per dispatch: the workgroups of the whole grid, and the place of a word.
//! Binding 1 is a storage buffer of words, each a budget of loop iterations, which a shader that used it up sets to 0;
//! it says so in the same place of binding 2 as well. A batch writes all of them while it is recorded. What shaders read
//! lies with the device, what the host reads with the host: either would wait a microsecond for the other's.

use crate::batch::Batch;
use crate::device::Device;
use crate::error::{self, Error};
use crate::memory::{Kind, Memory};
use ash::vk;
use std::sync::Arc;

/// A word on the desk of a batch; it is the batch's until that is begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u32);

impl Word {
    /// The word of all who do not ask for one; its budget is the greatest.
    pub const COMMON: Word = Word(0);
}

impl Batch {
    /// A word that shaders find as their budget of loop iterations.
    ///
    /// # Errors
    /// `InvalidUse` for a budget of nothing or beyond [`MAX_BUDGET`], or if the batch has no word left; else what the
    /// driver reports.
    pub fn budget(&mut self, iterations: u32) -> Result<Word, Error> {
        self.check_recording()?;
        if iterations == 0 || iterations > MAX_BUDGET {
            return Err(Error::InvalidUse("a budget of loop iterations"));
        }
        let device = Arc::clone(&self.device);
        self.desk.budget(&device, iterations)
    }

    /// Whether a shader has used up the budget; known once the batch is complete, until it is begun again.
    ///
    /// # Errors
    /// `InvalidUse` for a word that this batch did not give.
    pub fn is_used_up(&self, word: Word) -> Result<bool, Error> {
        self.desk.is_used_up(word)
    }
}

/// The desk of one batch; nothing is allocated before it is needed.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pages: Vec<Page>,
    /// Blocks written so far, over all pages.
    written: u64,
    /// What the last block says.
    last: Option<Block>,
    words: Option<Words>,
    taken: u32,
}

/// What one dispatch is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) groups: [u32; 3],
    pub(crate) word: Word,
}

/// Budgets, and what became of them.
#[derive(Debug, Clone)]
struct Words {
    budgets: Arc<Memory>,
    reports: Arc<Memory>,
}

/// Room for some blocks, with the set that binds it.
#[derive(Debug)]
struct Page {
    memory: Arc<Memory>,
    pool: vk::DescriptorPool,
    set: vk::DescriptorSet,
}

impl Desk {
    /// Forgets all blocks and words.
    pub(crate) fn clear(&mut self) {
        self.written = 0;
        self.last = None;
        self.taken = 0;
    }

    /// Writes a block; the set and the dynamic offset to bind. Repeated blocks are written once.
    pub(crate) fn write(
        &mut self,
        device: &Arc<Device>,
        block: Block,
    ) -> Result<(vk::DescriptorSet, u32), Error> {
        if self.last != Some(block) {
            self.words(device)?;
            self.append(device, block)?;
        }
        let stride = stride(device);
        let place = self.written - 1;
        let page = place / (PAGE_BYTES / stride);
        let offset = place % (PAGE_BYTES / stride) * stride;
        let page = usize::try_from(page).ok().and_then(|at| self.pages.get(at));
        let page = page.ok_or(Error::InvalidUse("the desk is full"))?;
        Ok((page.set, u32::try_from(offset).unwrap_or(0)))
    }

    fn append(&mut self, device: &Arc<Device>, block: Block) -> Result<(), Error> {
        let stride = stride(device);
        let blocks = PAGE_BYTES / stride;
        let page = usize::try_from(self.written / blocks).unwrap_or(usize::MAX);
        if page >= self.pages.len() {
            let new = self.page(device)?;
            self.pages.push(new);
        }
        let page = self
            .pages
            .get(page)
            .ok_or(Error::InvalidUse("the desk is full"))?;
        let [x, y, z] = block.groups;
        let mut bytes = [0; 16];
        for (to, word) in bytes.chunks_exact_mut(4).zip([x, y, z, block.word.0]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        page.memory.write(self.written % blocks * stride, &bytes)?;
        self.written += 1;
        self.last = Some(block);
        Ok(())
    }

    fn budget(&mut self, device: &Arc<Device>, iterations: u32) -> Result<Word, Error> {
        let words = self.words(device)?.clone();
        if u64::from(self.taken) >= PAGE_BYTES / 4 {
            return Err(Error::InvalidUse("the batch has no word left"));
        }
        words.set(u64::from(self.taken), iterations)?;
        self.taken += 1;
        Ok(Word(self.taken - 1))
    }

    fn is_used_up(&self, word: Word) -> Result<bool, Error> {
        let words = self.words.as_ref().filter(|_| word.0 < self.taken);
        let words = words.ok_or(Error::InvalidUse("the batch did not give this word"))?;
        let mut bytes = [0; 4];
        words.reports.read(u64::from(word.0) * 4, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes) != 0)
    }

    /// The memory of the words, of which the common one is written.
    fn words(&mut self, device: &Arc<Device>) -> Result<&Words, Error> {
        let words = match self.words.take() {
            Some(words) => words,
            None => Words {
                budgets: Memory::allocate(device, PAGE_BYTES, Kind::Near)?,
                reports: Memory::allocate(device, PAGE_BYTES, Kind::HostVisible)?,
            },
        };
        if self.taken == 0 {
            words.set(0, MAX_BUDGET)?;
            self.taken = 1;
        }
        Ok(self.words.insert(words))
    }

    fn page(&mut self, device: &Arc<Device>) -> Result<Page, Error> {
        let words = self.words(device)?.clone();
        let memory = Memory::allocate(device, PAGE_BYTES, Kind::Near)?;
        let raw = &device.raw;
        let sizes = BINDINGS.map(|kind| {
            vk::DescriptorPoolSize::default()
                .ty(kind)
                .descriptor_count(1)
        });
        let create = vk::DescriptorPoolCreateInfo::default()
            .max_sets(1)
            .pool_sizes(&sizes);
        // SAFETY: the device is alive and the sizes live through the call.
        let pool = unsafe { raw.create_descriptor_pool(&create, None) }
            .map_err(error::object("vkCreateDescriptorPool"))?;
        let layouts = [device.desk_layout];
        let allocate = vk::DescriptorSetAllocateInfo::default()
            .descriptor_pool(pool)
            .set_layouts(&layouts);
        // SAFETY: pool and layout are alive and of this device; nobody else has the pool.
        let set = match unsafe { raw.allocate_descriptor_sets(&allocate) } {
            Ok(sets) => sets.first().copied().unwrap_or_default(),
            Err(result) => {
                // SAFETY: just created, and its set was not.
                unsafe { raw.destroy_descriptor_pool(pool, None) };
                return Err(error::object("vkAllocateDescriptorSets")(result));
            }
        };
        let constants = [vk::DescriptorBufferInfo {
            buffer: memory.buffer,
            offset: 0,
            range: BLOCK_BYTES,
        }];
        let [budgets, reports] = [&words.budgets, &words.reports].map(|memory| {
            [vk::DescriptorBufferInfo {
                buffer: memory.buffer,
                offset: 0,
                range: PAGE_BYTES,
            }]
        });
        let writes = [
            vk::WriteDescriptorSet::default()
                .dst_set(set)
                .dst_binding(0)
                .descriptor_type(BINDINGS[0])
                .buffer_info(&constants),
            vk::WriteDescriptorSet::default()
                .dst_set(set)
                .dst_binding(1)
                .descriptor_type(BINDINGS[1])
                .buffer_info(&budgets),
            vk::WriteDescriptorSet::default()
                .dst_set(set)
                .dst_binding(2)
                .descriptor_type(BINDINGS[2])
                .buffer_info(&reports),
        ];
        // SAFETY: the set is new, so unused; all buffers are of this device and as long as the ranges.
        unsafe { raw.update_descriptor_sets(&writes, &[]) };
        Ok(Page { memory, pool, set })
    }

    /// Destroys the sets.
    ///
    /// # Safety
    /// No submitted work that uses them is unfinished.
    pub(crate) unsafe fn destroy(&mut self, device: &Device) {
        for page in self.pages.drain(..) {
            // SAFETY: the pool is alive, and the caller promises that its set is unused.
            unsafe { device.raw.destroy_descriptor_pool(page.pool, None) };
        }
    }
}

impl Words {
    fn set(&self, place: u64, budget: u32) -> Result<(), Error> {
        self.budgets.write(place * 4, &budget.to_le_bytes())?;
        self.reports.write(place * 4, &[0; 4])
    }
}

/// The layout of set 1, the same for all pipelines of a device.
pub(crate) fn create_layout(raw: &ash::Device) -> Result<vk::DescriptorSetLayout, Error> {
    let [constants, budgets, reports] = BINDINGS.map(|kind| {
        vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    });
    let bindings = [constants.binding(0), budgets.binding(1), reports.binding(2)];
    let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    // SAFETY: the device is alive and the bindings live through the call.
    unsafe { raw.create_descriptor_set_layout(&create, None) }
        .map_err(error::object("vkCreateDescriptorSetLayout"))
}

fn stride(device: &Device) -> u64 {
    // Vulkan's alignments are powers of two, of 256 at most.
    device.info.limits.uniform_alignment.max(BLOCK_BYTES)
}

/// The greatest budget of loop iterations: shaders count in signed numbers.
pub const MAX_BUDGET: u32 = i32::MAX.unsigned_abs();
const BINDINGS: [vk::DescriptorType; 3] = [
    vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
    vk::DescriptorType::STORAGE_BUFFER,
    vk::DescriptorType::STORAGE_BUFFER,
];
/// Four words.
const BLOCK_BYTES: u64 = 16;
/// 256 blocks on most devices, and words for more jobs than a batch takes.
const PAGE_BYTES: u64 = 16 << 10;
