//! What Vulkan drivers read and which devices they open.
//!
//! Tried: Mesa's lavapipe, from the first group alone. What the others need is from their sources and traces published
//! by others, or from the places where distributions install them. Missing paths cost nothing.

use crate::reach::Reach;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything that a driver may reach, except where it caches.
pub(crate) fn reach() -> Reach {
    let reach = LIBRARIES
        .iter()
        .chain(&MANIFESTS)
        .chain(&SETTINGS)
        .chain(&SYSTEM)
        .fold(Reach::nothing(), Reach::read);
    let reach = places_by_environment().into_iter().fold(reach, Reach::read);
    let reach = DEVICES.iter().fold(reach, Reach::device);
    numbered_devices().into_iter().fold(reach, Reach::device)
}

/// The loader, drivers, and what they are linked to. Reading is enough: Landlock's right to execute is about execve.
const LIBRARIES: [&str; 8] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    // NVIDIA's container runtime and GKE put the whole driver there.
    "/usr/local/nvidia",
];

/// Which drivers and layers there are.
const MANIFESTS: [&str; 6] = [
    "/etc/glvnd",
    "/etc/vulkan",
    "/usr/local/etc/vulkan",
    "/usr/local/share/vulkan",
    "/usr/share/glvnd",
    "/usr/share/vulkan",
];

/// Per-application settings and tables of devices.
const SETTINGS: [&str; 7] = [
    "/etc/drirc",
    "/etc/nvidia",
    "/usr/share/drirc.d",
    // amdgpu.ids
    "/usr/share/libdrm",
    "/usr/share/egl",
    // Application profiles.
    "/usr/share/nvidia",
    "/usr/local/share/nvidia",
];

/// Processors, buses and the devices on them, kernel modules; NVIDIA's driver also reads /proc/driver and its own maps.
/// What belongs to other processes is refused even in /proc: Landlock keeps whom it confines from tracing outsiders.
const SYSTEM: [&str; 8] = [
    "/proc",
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/dev/char",
    "/sys/devices",
    // How many processors the unit may use.
    "/sys/fs/cgroup",
    "/sys/module",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices of fixed name, and folders of them.
const DEVICES: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/dev/dri",
    // AMD's compute device.
    "/dev/kfd",
    // Shares memfds with a GPU.
    "/dev/udmabuf",
    "/dev/nvidia-caps",
    // The GPU of Windows, in WSL.
    "/dev/dxg",
];

/// Devices with numbers in their names: /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm; Arm's and Qualcomm's own drivers.
fn numbered_devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let named = |name: &OsString| {
        let name = name.to_string_lossy();
        ["nvidia", "mali", "kgsl-3d"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    entries
        .filter(|entry| named(&entry.file_name()))
        .map(|entry| entry.path())
        .collect()
}

/// Places that the environment adds: library folders, manifests and the libraries that they name. Where no variable
/// names the manifests, the loader also looks below the home directory.
fn places_by_environment() -> Vec<PathBuf> {
    let listed = |name: &str| -> Vec<PathBuf> {
        let value = std::env::var_os(name).unwrap_or_default();
        std::env::split_paths(&value)
            .filter(|path| path.is_absolute())
            .collect()
    };
    let mut places = listed("LD_LIBRARY_PATH");
    let mut manifests: Vec<PathBuf> =
        ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"]
            .into_iter()
            .flat_map(listed)
            .collect();
    let folders = manifests
        .iter()
        .flat_map(|manifest| fs::read_dir(manifest).into_iter().flatten().flatten());
    let inside: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    places.extend(manifests.iter().cloned());
    manifests.extend(inside);
    places.extend(manifests.iter().filter_map(|manifest| library_of(manifest)));
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(home) = home.filter(|home| home.is_absolute()) {
        places.extend([".config/vulkan", ".local/share/vulkan"].map(|folder| home.join(folder)));
    }
    // Backtraces name lines by what the executable says of itself.
    places.extend(std::env::current_exe().ok());
    places
}

/// The folder of the library that a manifest names by path; one named without is searched where all libraries are.
fn library_of(manifest: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(manifest).ok()?;
    let (_, behind) = text.split_once("\"library_path\"")?;
    let library = Path::new(behind.split('"').nth(1)?);
    let by_path = library.components().count() > 1;
    let folder = by_path.then(|| {
        manifest
            .parent()?
            .join(library)
            .parent()
            .map(Path::to_owned)
    })??;
    folder.is_absolute().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_tells_where_its_library_is() {
        let folder = std::env::temp_dir().join(format!("vkmps-manifest-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let manifest = folder.join("icd.json");
        let cases = [
            (
                "/opt/driver/libvulkan_x.so",
                Some(PathBuf::from("/opt/driver")),
            ),
            ("./libvulkan_x.so", Some(folder.join("."))),
            ("lib/libvulkan_x.so", Some(folder.join("lib"))),
            ("libvulkan_x.so", None),
        ];
        for (library, expected) in cases {
            let text = format!(
                "{{\"ICD\": {{\"api_version\": \"1.3\", \"library_path\" : \"{library}\"}}}}"
            );
            fs::write(&manifest, text).unwrap();
            assert_eq!(library_of(&manifest), expected, "{library}");
        }
        fs::write(&manifest, "no manifest").unwrap();
        assert_eq!(library_of(&manifest), None);
        fs::remove_dir_all(&folder).unwrap();
    }
}
