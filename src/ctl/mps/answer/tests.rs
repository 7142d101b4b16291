use super::*;
use crate::status::Status;
use vkmps_bus::ClientEntry;

fn client(id: u64, pid: u32) -> ClientEntry {
    ClientEntry {
        id,
        uid: 1000,
        pid,
        name: "a\nb".into(),
        unit: String::new(),
        priority: "medium".into(),
        memory_used_bytes: 0,
        dispatches: 0,
        queue_depth: 0,
        device_time_ns: 0,
        connected_since_us: 0,
        object: vkmps_bus::client_path(id),
    }
}

fn server() -> Server {
    let device = Device {
        name: "NVIDIA H200".into(),
        driver: String::new(),
        uuid: "138fb9bd-ceed-2c35-2db4-47ddd10ee8db".into(),
        software: false,
        queues: 16,
        extensions: Vec::new(),
        global_priorities: Vec::new(),
        engine_pid: 457,
        device_memory_total_bytes: 0,
        device_memory_used_bytes: 0,
        host_memory_total_bytes: 0,
        host_memory_used_bytes: 0,
    };
    let status = Status {
        version: String::new(),
        state: "serving".into(),
        engine: "ready".into(),
        detail: String::new(),
        engine_pid: 457,
        restarts: 0,
        warnings: Vec::new(),
        log_level: String::new(),
        scheduling_mode: String::new(),
        loop_slice_quota: 0,
        clients: 3,
        memory_total_bytes: 0,
        memory_used_bytes: 0,
        queue_depth: 0,
        dispatches: 0,
        uptime_us: 0,
        device: Some(device),
    };
    Server {
        status,
        clients: vec![client(1, 470), client(2, 469), client(3, 470)],
    }
}

fn look(pid: u32) -> Process {
    match pid {
        470 => Process {
            namespace: Some(4_026_531_836),
            command: Some("python3".into()),
        },
        _ => Process::default(),
    }
}

#[test]
fn ps_has_the_columns_of_mps_and_a_line_per_session() {
    assert_eq!(
        ps(Some(&server()), None, look).text,
        "\
PID       ID        SERVER         DEVICE                    NAMESPACE      COMMAND        
470       1         457            GPU-138fb9bd-ceed-2c35    4026531836     python3        
469       2         457            GPU-138fb9bd-ceed-2c35    N/A            a\\nb           
470       3         457            GPU-138fb9bd-ceed-2c35    4026531836     python3        
"
    );
    assert_eq!(
        ps(Some(&server()), Some(457), look),
        ps(Some(&server()), None, look)
    );
}

#[test]
fn clients_are_listed_once_by_process_and_all_by_session() {
    let server = server();
    assert_eq!(client_list(Some(&server), 457).text, "470\n469\n");
    assert_eq!(
        device_client_list(Some(&server), None).text,
        "[0] N/A, NVIDIA H200\n470.1\n469.2\n470.3\n"
    );
}

#[test]
fn the_device_is_shown_as_a_table_and_as_values() {
    let mut server = server();
    assert_eq!(
        device_query(Some(&server), None, false).text,
        "\
Default
Device Ordinal  PCI IDs        UUID                                      Name                              Attributes
0               N/A            GPU-138fb9bd-ceed-2c35-2db4-47ddd10ee8db  NVIDIA H200                       N/A

Server 457
Device Ordinal  PCI IDs        UUID                                      Name                              Attributes
0               N/A            GPU-138fb9bd-ceed-2c35-2db4-47ddd10ee8db  NVIDIA H200                       N/A
"
    );
    if let Some(device) = &mut server.status.device {
        device.name = "llvmpipe (LLVM 15.0.6, 256 \"bits\")".into();
        device.software = true;
    }
    let text = device_query(Some(&server), Some(457), true).text;
    assert_eq!(
        text.lines().nth(2),
        Some(
            "0,N/A,GPU-138fb9bd-ceed-2c35-2db4-47ddd10ee8db,\"llvmpipe (LLVM 15.0.6, 256 \"\"bits\"\")\",SOFTWARE"
        )
    );
}

#[test]
fn the_engines_state_is_the_servers() {
    let mut server = server();
    for (engine, status) in [
        ("ready", "ACTIVE\n"),
        ("starting", "INITIALIZING\n"),
        ("failed", "FAULT\n"),
    ] {
        server.status.engine = engine.into();
        assert_eq!(
            server_status(Some(&server), Some(457)),
            Answer::success(status.into())
        );
    }
    assert_eq!(server_list(Some(&server)).text, "457\n");
}

#[test]
fn another_server_is_not_found() {
    let server = server();
    let answers = [
        server_status(Some(&server), Some(1)),
        client_list(Some(&server), 1),
        device_client_list(Some(&server), Some(1)),
        ps(Some(&server), Some(1), look),
        device_query(Some(&server), Some(1), false),
        client_list(None, 1),
        device_query(None, Some(1), true),
    ];
    for answer in answers {
        assert_eq!(answer, Answer::failure("Server 1 not found\n".into()));
    }
    let required = Answer::failure("A server PID is required\n".into());
    assert_eq!(server_status(Some(&server), None), required);
}

#[test]
fn without_a_server_there_is_nothing_to_list() {
    assert_eq!(server_list(None), Answer::default());
    assert_eq!(device_client_list(None, None), Answer::default());
    assert_eq!(
        ps(None, None, look),
        Answer::success("Server not found\n".into())
    );
    assert_eq!(
        device_query(None, None, true).text,
        "Default\nDevice Ordinal,PCI IDs,UUID,Name,Attributes\n"
    );
}

#[test]
fn terminate_answers_with_a_number() {
    assert_eq!(terminated(2), Answer::success("0\n".into()));
    assert_eq!(terminated(0).text, "201\n");
    let text = terminate_unknown_server(7).text;
    assert_eq!(text, "Server 7 not found\nServer 7 not found!\n1\n");
}
