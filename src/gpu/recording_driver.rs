//! A Vulkan driver for tests that does nothing but remember: what devices, buffers and command pools it was asked for.
//!
//! It stands for devices that are not at hand: with two families of compute queues, global priorities and shader cores
//! that can be shared out. Its calls work on what the test's own thread set up.

use crate::instance::Instance;
use crate::standing::GlobalPriority;
use ash::vk;
use ash::vk::Handle;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

/// The driver of this thread.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    /// Queues of each family.
    pub(crate) families: Vec<u32>,
    /// The highest priority that it grants; above it, a device is not permitted.
    pub(crate) grants: GlobalPriority,
    /// 0: it has no such extension.
    pub(crate) shader_cores: u32,
    /// Whether it has global priorities at all.
    pub(crate) has_global_priority: bool,
    pub(crate) devices: Vec<Vec<QueueInfo>>,
    /// Families that buffers are shared by; none if exclusive.
    pub(crate) buffers: Vec<Vec<u32>>,
    /// The family of each command pool.
    pub(crate) pools: Vec<u32>,
}

/// What was asked for of one family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueInfo {
    pub(crate) family: u32,
    pub(crate) priorities: Vec<f32>,
    /// A `VkQueueGlobalPriorityKHR`; ash prints none.
    pub(crate) global: Option<i32>,
    pub(crate) cores: Option<u32>,
}

impl Driver {
    /// An instance on this driver.
    pub(crate) fn load(self) -> Arc<Instance> {
        DRIVER.set(Some(self));
        let get_instance_proc_addr = instance_proc_addr;
        // SAFETY: the functions of this module are those that ash calls for the little that the tests do, and take what
        // Vulkan says; all others end the process.
        let entry = unsafe {
            ash::Entry::from_static_fn(ash::StaticFn {
                get_instance_proc_addr,
            })
        };
        Instance::of_loader(entry).expect("the driver of the tests loads")
    }

    /// What it remembers by now.
    pub(crate) fn memory() -> Self {
        DRIVER.with_borrow(|driver| driver.clone().expect("loaded in this thread"))
    }
}

impl Default for Driver {
    fn default() -> Self {
        Self {
            families: vec![8, 16],
            grants: GlobalPriority::Realtime,
            shader_cores: 0,
            has_global_priority: true,
            devices: Vec::new(),
            buffers: Vec::new(),
            pools: Vec::new(),
        }
    }
}

fn with<T>(look: impl FnOnce(&mut Driver) -> T) -> T {
    DRIVER.with_borrow_mut(|driver| look(driver.as_mut().expect("loaded in this thread")))
}

/// The structure of this type in a chain.
///
/// # Safety
/// `first` is null or the start of a chain of live structures, which nobody else uses.
unsafe fn find<'a, T: vk::TaggedStructure>(first: *mut c_void) -> Option<&'a mut T> {
    let mut next = first.cast::<vk::BaseOutStructure<'_>>();
    while !next.is_null() {
        // SAFETY: the caller promises a live structure, which begins like all of them.
        let head = unsafe { next.read() };
        if head.s_type == T::STRUCTURE_TYPE {
            // SAFETY: as above, and its type says what it is.
            return Some(unsafe { &mut *next.cast() });
        }
        next = head.p_next;
    }
    None
}

extern "system" fn instance_proc_addr(
    _: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: Vulkan's names end with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    let function: *const () = match name.to_str().unwrap_or_default() {
        "vkEnumerateInstanceVersion" => instance_version as *const (),
        "vkCreateInstance" => create_instance as *const (),
        "vkGetDeviceProcAddr" => device_proc_addr as *const (),
        "vkEnumeratePhysicalDevices" => physical_devices as *const (),
        "vkGetPhysicalDeviceProperties" => properties as *const (),
        "vkGetPhysicalDeviceProperties2" => properties2 as *const (),
        "vkGetPhysicalDeviceFeatures2" => features2 as *const (),
        "vkGetPhysicalDeviceMemoryProperties" => memory_properties as *const (),
        "vkGetPhysicalDeviceQueueFamilyProperties2" => families as *const (),
        "vkEnumerateDeviceExtensionProperties" => extensions as *const (),
        "vkCreateDevice" => create_device as *const (),
        "vkDestroyInstance" => destroy as *const (),
        _ => return None,
    };
    // SAFETY: a function pointer, as an untyped one.
    Some(unsafe { std::mem::transmute::<*const (), unsafe extern "system" fn()>(function) })
}

extern "system" fn device_proc_addr(_: vk::Device, name: *const c_char) -> vk::PFN_vkVoidFunction {
    // SAFETY: as in `instance_proc_addr`.
    let name = unsafe { CStr::from_ptr(name) };
    let function: *const () = match name.to_str().unwrap_or_default() {
        "vkGetDeviceQueue" => queue as *const (),
        "vkCreateBuffer" => create_buffer as *const (),
        "vkCreateCommandPool" => create_pool as *const (),
        "vkAllocateCommandBuffers" => command_buffers as *const (),
        "vkGetBufferMemoryRequirements" => requirements as *const (),
        "vkCreateDescriptorSetLayout"
        | "vkCreateSemaphore"
        | "vkCreateQueryPool"
        | "vkAllocateMemory" => create as *const (),
        "vkBindBufferMemory" => bind as *const (),
        "vkDestroyDevice" => destroy as *const (),
        "vkDestroyDescriptorSetLayout"
        | "vkDestroySemaphore"
        | "vkDestroyBuffer"
        | "vkDestroyCommandPool"
        | "vkDestroyFence"
        | "vkDestroyQueryPool"
        | "vkFreeMemory" => destroy_object as *const (),
        _ => return None,
    };
    // SAFETY: as in `instance_proc_addr`.
    Some(unsafe { std::mem::transmute::<*const (), unsafe extern "system" fn()>(function) })
}

/// # Safety
/// `out` is valid for a write, as in all that follow.
unsafe extern "system" fn instance_version(out: *mut u32) -> vk::Result {
    // SAFETY: the caller's promise.
    unsafe { out.write(vk::API_VERSION_1_3) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_instance(
    _: *const c_void,
    _: *const c_void,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: Vulkan's rules for this call; so below.
    unsafe { out.write(1) };
    vk::Result::SUCCESS
}

/// Any object of a device.
unsafe extern "system" fn create(
    _: vk::Device,
    _: *const c_void,
    _: *const c_void,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: as above.
    unsafe { out.write(1) };
    vk::Result::SUCCESS
}

extern "system" fn destroy(_: u64, _: *const c_void) {}

extern "system" fn destroy_object(_: vk::Device, _: u64, _: *const c_void) {}

extern "system" fn bind(_: vk::Device, _: u64, _: u64, _: u64) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn physical_devices(
    _: vk::Instance,
    count: *mut u32,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: as above.
    unsafe { count.write(1) };
    if !out.is_null() {
        // SAFETY: as above; there is room for one.
        unsafe { out.write(1) };
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn properties(
    _: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceProperties,
) {
    let properties = vk::PhysicalDeviceProperties {
        api_version: vk::API_VERSION_1_3,
        device_type: vk::PhysicalDeviceType::INTEGRATED_GPU,
        ..Default::default()
    };
    // SAFETY: as above.
    unsafe { out.write(properties) };
}

unsafe extern "system" fn properties2(
    _: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: as above.
    let v11 = unsafe { find::<vk::PhysicalDeviceVulkan11Properties<'_>>(out.cast()) };
    v11.expect("asked for").max_memory_allocation_size = 1 << 30;
    // SAFETY: as above.
    let cores =
        unsafe { find::<vk::PhysicalDeviceShaderCoreBuiltinsPropertiesARM<'_>>(out.cast()) };
    if let Some(cores) = cores {
        cores.shader_core_count = with(|driver| driver.shader_cores);
    }
    // SAFETY: as above.
    let controls =
        unsafe { find::<vk::PhysicalDeviceSchedulingControlsPropertiesARM<'_>>(out.cast()) };
    if let Some(controls) = controls {
        controls.scheduling_controls_flags =
            vk::PhysicalDeviceSchedulingControlsFlagsARM::SHADER_CORE_COUNT;
    }
}

unsafe extern "system" fn features2(
    _: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    // SAFETY: as above.
    let v12 = unsafe { find::<vk::PhysicalDeviceVulkan12Features<'_>>(out.cast()) };
    v12.expect("asked for").timeline_semaphore = vk::TRUE;
    // SAFETY: as above.
    let query = unsafe { find::<vk::PhysicalDeviceGlobalPriorityQueryFeaturesKHR<'_>>(out.cast()) };
    if let Some(query) = query {
        query.global_priority_query = vk::TRUE;
    }
    // SAFETY: as above.
    let controls =
        unsafe { find::<vk::PhysicalDeviceSchedulingControlsFeaturesARM<'_>>(out.cast()) };
    if let Some(controls) = controls {
        controls.scheduling_controls = vk::TRUE;
    }
}

unsafe extern "system" fn memory_properties(
    _: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceMemoryProperties,
) {
    let mut properties = vk::PhysicalDeviceMemoryProperties {
        memory_type_count: 1,
        memory_heap_count: 1,
        ..Default::default()
    };
    properties.memory_types[0].property_flags = vk::MemoryPropertyFlags::DEVICE_LOCAL;
    properties.memory_heaps[0].size = 1 << 30;
    // SAFETY: as above.
    unsafe { out.write(properties) };
}

unsafe extern "system" fn families(
    _: vk::PhysicalDevice,
    count: *mut u32,
    out: *mut vk::QueueFamilyProperties2<'_>,
) {
    let queues = with(|driver| driver.families.clone());
    // SAFETY: as above.
    unsafe { count.write(u32::try_from(queues.len()).expect("few families")) };
    if out.is_null() {
        return;
    }
    for (index, queues) in queues.into_iter().enumerate() {
        // SAFETY: Vulkan's rules: there is room for as many as were counted before.
        let family = unsafe { &mut *out.wrapping_add(index) };
        let graphics = match index {
            0 => vk::QueueFlags::empty(),
            _ => vk::QueueFlags::GRAPHICS,
        };
        family.queue_family_properties = vk::QueueFamilyProperties {
            queue_flags: vk::QueueFlags::COMPUTE | graphics,
            queue_count: queues,
            timestamp_valid_bits: 64,
            ..Default::default()
        };
        // SAFETY: as above.
        let global =
            unsafe { find::<vk::QueueFamilyGlobalPriorityPropertiesKHR<'_>>(family.p_next) };
        if let Some(global) = global {
            global.priority_count = 3;
            global.priorities[..3].copy_from_slice(&GLOBAL_PRIORITIES);
        }
    }
}

unsafe extern "system" fn extensions(
    _: vk::PhysicalDevice,
    _: *const c_char,
    count: *mut u32,
    out: *mut vk::ExtensionProperties,
) -> vk::Result {
    let (cores, global) = with(|driver| (driver.shader_cores, driver.has_global_priority));
    let mut names = Vec::new();
    if global {
        names.push(ash::khr::global_priority::NAME);
    }
    if cores > 0 {
        names.push(ash::arm::scheduling_controls::NAME);
        names.push(ash::arm::shader_core_builtins::NAME);
    }
    // SAFETY: as above.
    unsafe { count.write(u32::try_from(names.len()).expect("few extensions")) };
    if !out.is_null() {
        for (index, name) in names.into_iter().enumerate() {
            let properties = vk::ExtensionProperties::default().extension_name(name);
            let properties = properties.expect("the name of an extension is short");
            // SAFETY: Vulkan's rules: there is room for as many as were counted before.
            unsafe { out.wrapping_add(index).write(properties) };
        }
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_device(
    _: vk::PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    _: *const c_void,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: as above.
    let info = unsafe { &*info };
    // SAFETY: as above.
    let infos = unsafe {
        std::slice::from_raw_parts(
            info.p_queue_create_infos,
            info.queue_create_info_count as usize,
        )
    };
    // SAFETY: as above.
    let queues: Vec<QueueInfo> = infos
        .iter()
        .map(|info| unsafe { queue_info(info) })
        .collect();
    let most = queues.iter().filter_map(|queue| queue.global).max();
    let refused = with(|driver| {
        driver.devices.push(queues);
        most > Some(vk::QueueGlobalPriorityKHR::from(driver.grants).as_raw())
    });
    if refused {
        return vk::Result::ERROR_NOT_PERMITTED_KHR;
    }
    // SAFETY: as above.
    unsafe { out.write(1) };
    vk::Result::SUCCESS
}

/// # Safety
/// All that `info` points to is live.
unsafe fn queue_info(info: &vk::DeviceQueueCreateInfo<'_>) -> QueueInfo {
    let chain = info.p_next.cast_mut();
    // SAFETY: the caller's promise; it is only read.
    let global = unsafe { find::<vk::DeviceQueueGlobalPriorityCreateInfoKHR<'_>>(chain) };
    // SAFETY: as above.
    let cores = unsafe { find::<vk::DeviceQueueShaderCoreControlCreateInfoARM<'_>>(chain) };
    // SAFETY: the caller's promise.
    let priorities =
        unsafe { std::slice::from_raw_parts(info.p_queue_priorities, info.queue_count as usize) };
    QueueInfo {
        family: info.queue_family_index,
        priorities: priorities.to_vec(),
        global: global.map(|global| global.global_priority.as_raw()),
        cores: cores.map(|cores| cores.shader_core_count),
    }
}

unsafe extern "system" fn queue(_: vk::Device, family: u32, index: u32, out: *mut vk::Queue) {
    let name = (u64::from(family) << 32) + u64::from(index) + 1;
    // SAFETY: as above.
    unsafe { out.write(vk::Queue::from_raw(name)) };
}

unsafe extern "system" fn create_buffer(
    _: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    _: *const c_void,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: as above.
    let info = unsafe { &*info };
    let families = match info.sharing_mode {
        vk::SharingMode::CONCURRENT => {
            let count = info.queue_family_index_count as usize;
            // SAFETY: as above; they count in this mode.
            unsafe { std::slice::from_raw_parts(info.p_queue_family_indices, count) }
        }
        _ => &[],
    };
    with(|driver| driver.buffers.push(families.to_vec()));
    // SAFETY: as above.
    unsafe { out.write(1) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn requirements(
    _: vk::Device,
    _: vk::Buffer,
    out: *mut vk::MemoryRequirements,
) {
    let requirements = vk::MemoryRequirements {
        size: 64,
        alignment: 64,
        memory_type_bits: 1,
    };
    // SAFETY: as above.
    unsafe { out.write(requirements) };
}

unsafe extern "system" fn create_pool(
    _: vk::Device,
    info: *const vk::CommandPoolCreateInfo<'_>,
    _: *const c_void,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: as above.
    let family = unsafe { (*info).queue_family_index };
    with(|driver| driver.pools.push(family));
    // SAFETY: as above.
    unsafe { out.write(1) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn command_buffers(
    _: vk::Device,
    _: *const c_void,
    out: *mut u64,
) -> vk::Result {
    // SAFETY: as above; one was asked for.
    unsafe { out.write(1) };
    vk::Result::SUCCESS
}

thread_local! {
    static DRIVER: RefCell<Option<Driver>> = const { RefCell::new(None) };
}

const GLOBAL_PRIORITIES: [vk::QueueGlobalPriorityKHR; 3] = [
    vk::QueueGlobalPriorityKHR::MEDIUM,
    vk::QueueGlobalPriorityKHR::HIGH,
    vk::QueueGlobalPriorityKHR::REALTIME,
];
