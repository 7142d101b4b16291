//! Gives the library its name: programs link against `libvkmps.so.1`, whatever Cargo calls the file.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libvkmps.so.1");
}
