//! `vkmps-control`: the command language of NVIDIA's MPS control program, for scripts that were written for it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vkmps_ctl::vkmps_control()
}
