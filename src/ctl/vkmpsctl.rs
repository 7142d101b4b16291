//! `vkmpsctl`: looks at vkmpsd and tells it what to do.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vkmps_ctl::vkmpsctl()
}
