//! The C client library, `libvkmps.so.1`. Its contract is `include/vkmps/client.h`.
//!
//! Every export crosses one [`boundary`]: pointers are checked, panics stop there, a failure leaves its code and text
//! in the calling thread. Buffers and programs are numbers that are looked up in their client, unique in the process:
//! one that was freed or belongs to another client is an error and never another object.
#![allow(
    unsafe_code,
    reason = "C passes raw pointers, and exports need no_mangle"
)]

mod boundary;
mod buffer;
mod client;
mod failure;
mod handle;
mod program;
mod sharing;
mod submit;
