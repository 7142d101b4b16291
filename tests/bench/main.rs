//! `vkmps-bench`, through its command line: the demo, and what the scenarios report. How fast anything is, is not tested.
#![forbid(unsafe_code)]

mod demo;
mod scenarios;

use std::process::Command;
use vkmps_tests::binaries::built;
use vkmps_tests::daemon::choose_driver;

/// `vkmps-bench` on the software device; it starts a `vkmpsd` with its engine itself.
fn bench(arguments: &[&str]) -> Command {
    // It finds them beside itself; here they are refused when out of date.
    for sibling in ["vkmpsd", "vkmps-engine"] {
        let _path = built(sibling);
    }
    let mut command = Command::new(built("vkmps-bench"));
    command.args(arguments).env_remove("VKMPS_SOCKET");
    choose_driver(&mut command);
    command
}
