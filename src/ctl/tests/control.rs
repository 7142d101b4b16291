//! `vkmps-control`, as scripts for NVIDIA's use it.

use crate::bus::Bus;
use crate::fake::{Act, Fake, World, client};
use crate::program::{Ended, command, run};
use std::process::Stdio;
use vkmps_bus::ClientEntry;

fn control(bus: &Bus, arguments: &[&str], input: &str) -> Ended {
    let mut control = command(env!("CARGO_BIN_EXE_vkmps-control"), bus);
    run(control.args(arguments), input)
}

/// A client of a process that there is not.
fn gone(id: u64, pid: u32) -> ClientEntry {
    ClientEntry {
        pid,
        ..client(id, "a\x1bb")
    }
}

#[test]
fn commands_come_by_lines_or_as_arguments() {
    let bus = Bus::start();
    let _fake = Fake::start(
        &bus,
        World::with(vec![gone(1, 99_999_999), gone(2, 99_999_999)]),
    );
    let lines = "get_server_list\n\nget_server_status 4711\nget_client_list 4711\nquit_not\n";
    let ended = control(&bus, &[], lines);
    let expected = "4711\nACTIVE\n99999999\nUnknown command \"quit_not\"\n";
    assert_eq!(
        (ended.exit, ended.output.as_str(), ended.errors.as_str()),
        (1, expected, "")
    );
    for (arguments, output) in [
        (&["get_server_list"][..], "4711\n"),
        (&["get_server_status", "4711"], "ACTIVE\n"),
        (&["get_client_list 4711"], "99999999\n"),
        (
            &["get_device_client_list"],
            "[0] N/A, Test, device\\u{1b}[2J\n99999999.1\n99999999.2\n",
        ),
        (
            &["ps", "-p", "4711"],
            "PID       ID        SERVER         DEVICE                    NAMESPACE      COMMAND        \n\
             99999999  1         4711           GPU-138fb9bd-ceed-2c35    N/A            a\\u{1b}b       \n\
             99999999  2         4711           GPU-138fb9bd-ceed-2c35    N/A            a\\u{1b}b       \n",
        ),
        (
            &["device_query", "4711", "--csv"],
            "Default\n\
             Device Ordinal,PCI IDs,UUID,Name,Attributes\n\
             0,N/A,GPU-138fb9bd-ceed-2c35-2db4-47ddd10ee8db,\"Test, device\\u{1b}[2J\",SOFTWARE\n\n\
             Server 4711\n\
             Device Ordinal,PCI IDs,UUID,Name,Attributes\n\
             0,N/A,GPU-138fb9bd-ceed-2c35-2db4-47ddd10ee8db,\"Test, device\\u{1b}[2J\",SOFTWARE\n",
        ),
        (&["start_server", "-uid", "1000"], ""),
        (&["-d"], ""),
    ] {
        assert_eq!(control(&bus, arguments, "").well(), output, "{arguments:?}");
    }
}

#[test]
fn a_client_is_terminated_with_all_its_sessions() {
    let bus = Bus::start();
    let world = World::with(vec![gone(1, 70), gone(2, 71), gone(3, 70)]);
    let fake = Fake::start(&bus, world);
    assert_eq!(
        control(&bus, &["terminate_client", "4711", "70"], "").well(),
        "0\n"
    );
    let asked = fake.asked();
    assert!(
        asked.contains(&"!TerminateClient 1".to_owned()),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"!TerminateClient 3".to_owned()),
        "{asked:?}"
    );
    assert!(
        !asked.contains(&"!TerminateClient 2".to_owned()),
        "{asked:?}"
    );
    let unknown = control(&bus, &["terminate_client", "4711", "70"], "");
    assert_eq!((unknown.exit, unknown.output.as_str()), (5, "201\n"));
    let unknown = control(&bus, &["terminate_client", "1", "71"], "");
    let text = "Server 1 not found\nServer 1 not found!\n1\n";
    assert_eq!((unknown.exit, unknown.output.as_str()), (1, text));
}

#[test]
fn what_this_version_lacks_says_so_and_fails() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(Vec::new()));
    let ended = control(&bus, &[], "sm_partition 50\nget_server_list\n");
    let text = "sm_partition is not in this version of vkmpsd\n4711\n";
    assert_eq!((ended.exit, ended.output.as_str()), (1, text));
    let ended = control(&bus, &["start_server"], "");
    let text = "A user id (UID) is required to start a new server\n";
    assert_eq!((ended.exit, ended.output.as_str()), (1, text));
}

#[test]
fn limits_of_all_clients_are_printed_and_set() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    let lines = "get_default_active_thread_percentage\nget_active_thread_percentage 4711\n\
                 set_default_active_thread_percentage 30\nset_active_thread_percentage 4711 12.5\n\
                 get_default_device_pinned_mem_limit 0\nget_device_pinned_mem_limit 4711 0\n\
                 set_default_device_pinned_mem_limit 0 1G\nset_device_pinned_mem_limit 4711 0 512M\n";
    assert_eq!(
        control(&bus, &[], lines).well(),
        "50.0\n50.0\n30.0\n12.0\n2G\n2G\n"
    );
    let asked = fake.asked();
    let set: Vec<&str> = asked
        .iter()
        .filter_map(|asked| asked.strip_prefix("!SetDefaultLimits "))
        .collect();
    assert_eq!(
        set,
        [
            "active-thread-percentage=30",
            "active-thread-percentage=12",
            "memory=1G",
            "memory=512M"
        ]
    );
    for (line, text) in [
        (
            "set_default_active_thread_percentage 0",
            "Invalid active thread percentage \"0\"\n",
        ),
        (
            "set_default_active_thread_percentage 101",
            "Invalid active thread percentage \"101\"\n",
        ),
        (
            "set_default_active_thread_percentage nan",
            "Invalid active thread percentage \"nan\"\n",
        ),
        (
            "set_default_active_thread_percentage",
            "Invalid active thread percentage \"\"\n",
        ),
        (
            "set_default_device_pinned_mem_limit 0 lots",
            "Invalid memory limit \"lots\"\n",
        ),
        (
            "set_default_device_pinned_mem_limit 1 2G",
            "Device 1 not found\n",
        ),
        ("get_active_thread_percentage 1", "Server 1 not found\n"),
    ] {
        let ended = control(&bus, &[line], "");
        assert_eq!((ended.exit, ended.output.as_str()), (1, text), "{line}");
    }
}

#[test]
fn looking_starts_no_service() {
    let bus = Bus::with_services(&[vkmps_bus::SERVICE]);
    let ended = control(&bus, &[], "get_server_list\nps\nget_device_client_list\n");
    assert_eq!(ended.well(), "Server not found\n");
    let ended = control(&bus, &["get_client_list", "1"], "");
    assert_eq!(
        (ended.exit, ended.output.as_str()),
        (1, "Server 1 not found\n")
    );
    // Its program fails.
    assert_eq!(control(&bus, &["start_server", "-uid", "0"], "").exit, 3);
}

#[test]
fn nobody_to_ask_is_told_as_mps_tells_it() {
    let bus = Bus::start();
    let ended = control(&bus, &[], "get_server_list\n");
    assert_eq!((ended.exit, ended.output.as_str()), (3, ""));
    assert!(
        ended
            .errors
            .contains("Cannot find MPS control daemon process"),
        "{}",
        ended.errors
    );
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
}

#[test]
fn who_is_not_authorised_cannot_quit() {
    let bus = Bus::start();
    let world = World {
        denies: true,
        ..World::with(Vec::new())
    };
    let fake = Fake::start_with_systemd(&bus, world);
    let ended = control(&bus, &["quit"], "");
    assert_eq!(ended.exit, 4, "{ended:?}");
    assert!(
        fake.asked()
            .iter()
            .all(|asked| !asked.starts_with("StopUnit"))
    );
}

#[test]
fn quit_waits_for_the_clients_and_stops_the_units() {
    let bus = Bus::start();
    let fake = Fake::start_with_systemd(&bus, World::with(vec![client(5, "a")]));
    let mut control = command(env!("CARGO_BIN_EXE_vkmps-control"), &bus);
    let mut quit = control.arg("quit").stdin(Stdio::null()).spawn().unwrap();
    fake.wait_until_asked("!Drain");
    fake.act(Act::Leave(5, "done"));
    assert_eq!(quit.wait().unwrap().code(), Some(0));
    let stopped: Vec<String> = fake
        .asked()
        .into_iter()
        .filter(|asked| asked != "State")
        .collect();
    assert_eq!(
        stopped,
        [
            "StopUnit vkmpsd.socket replace",
            "StopUnit vkmpsd.service replace"
        ]
    );
}

#[test]
fn quit_terminates_who_is_left_after_the_time_out_and_reads_no_further() {
    let bus = Bus::start();
    let world = World::with(vec![client(5, "a"), client(6, "b")]);
    let fake = Fake::start_with_systemd(&bus, world);
    assert_eq!(
        control(&bus, &[], "quit -t 0\nget_server_list\n").well(),
        ""
    );
    let asked = fake.asked();
    assert!(
        asked.contains(&"!TerminateClient 5".to_owned()),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"!TerminateClient 6".to_owned()),
        "{asked:?}"
    );
    assert_eq!(asked.last().unwrap(), "StopUnit vkmpsd.service replace");
}

#[test]
fn without_systemd_quit_drains_and_says_what_is_left_to_do() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    let ended = control(&bus, &["quit"], "");
    assert_eq!(ended.exit, 1);
    assert!(
        ended.errors.contains("end it where it was started"),
        "{}",
        ended.errors
    );
    assert!(fake.asked().contains(&"!Drain".to_owned()));
}
