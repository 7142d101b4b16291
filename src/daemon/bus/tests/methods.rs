//! Every method, and every error it may answer with.

use super::others::Verdict;
use super::rig::{RECORDER, Rig, uid};
use vkmps_bus::{Error, ManagerProxy, client_path};
use vkmps_ipc::memory::read_exactly;

async fn manager(rig: &Rig) -> ManagerProxy<'static> {
    let proxy = ManagerProxy::new(&rig.caller).await;
    proxy.expect("the name is owned")
}

#[tokio::test]
async fn clients_are_listed_with_all_that_is_known() {
    let rig = Rig::start().await;
    let clients = manager(&rig).await.list_clients().await.expect("it may");
    assert_eq!(clients.len(), 2);
    let first = &clients[0];
    assert_eq!((first.id, first.uid, first.pid), (1, uid(), 1));
    assert_eq!(first.name, "client\u{fffd}1", "a NUL cannot travel");
    assert_eq!(first.unit, "");
    assert_eq!(first.priority, "medium");
    assert_eq!(first.memory_used_bytes, 1 << 20);
    assert_eq!((first.dispatches, first.queue_depth), (40, 1));
    assert_eq!(first.device_time_ns, 5_000);
    assert_eq!(first.connected_since_us, 1_000_000);
    assert_eq!(first.object, client_path(1));
}

#[tokio::test]
async fn the_status_says_how_daemon_and_engine_are() {
    let rig = Rig::start().await;
    let manager = manager(&rig).await;
    let status = manager.get_status().await.expect("it may");
    let (state, engine, detail, engine_pid, restarts, warnings) = status;
    assert_eq!((state.as_str(), engine.as_str()), ("serving", "ready"));
    assert_eq!((detail.as_str(), engine_pid, restarts), ("", 77, 1));
    assert_eq!(warnings, ["landlock"]);
    rig.main_loop.world().device = None;
    assert_eq!(manager.get_status().await.expect("it may").1, "starting");
    rig.main_loop.world().status.state = crate::control::State::Failed;
    assert_eq!(manager.get_status().await.expect("it may").1, "failed");
}

#[tokio::test]
async fn statistics_have_names() {
    let rig = Rig::start().await;
    let counters = manager(&rig).await.get_statistics().await.expect("it may");
    assert_eq!(counters["dispatches"], 7);
    assert_eq!(counters["clients"], 2);
}

#[tokio::test]
async fn who_traces_gets_a_descriptor() {
    let mut rig = Rig::start().await;
    let recorder = manager(&rig).await.trace().await.expect("it may");
    let bytes = read_exactly(&recorder, RECORDER.len()).expect("it is open");
    assert_eq!(bytes, RECORDER);
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.trace"]);
}

#[tokio::test]
async fn a_priority_that_is_granted_to_all_is_one_s_own_affair() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager.set_priority(1, "high").await.expect("it may");
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.set-own-priority"]);
    let asked = rig.main_loop.world().asked.clone();
    assert!(asked.contains(&"set-priority 1 High".to_owned()));
}

#[tokio::test]
async fn what_is_not_granted_any_more_once_the_caller_was_authorised_is_refused() {
    let rig = Rig::start().await;
    rig.main_loop.world().grants_less = true;
    let refused = manager(&rig).await.set_priority(1, "high").await;
    assert!(
        matches!(refused, Err(Error::NotAuthorized(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_higher_priority_and_others_clients_are_an_administrator_s() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager.set_priority(1, "realtime").await.expect("it may");
    manager.set_priority(2, "low").await.expect("it may");
    let action = "org.vkmps.Manager.set-priority";
    assert_eq!(rig.polkit.actions(), [action, action]);
}

#[tokio::test]
async fn one_s_own_client_is_ended_by_another_right_than_others() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager.terminate_client(1).await.expect("it may");
    manager.terminate_client(2).await.expect("it may");
    let own = "org.vkmps.Manager.terminate-own-client";
    assert_eq!(
        rig.polkit.actions(),
        [own, "org.vkmps.Manager.terminate-client"]
    );
    assert!(rig.main_loop.world().clients.is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_an_invalid_argument() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    let bad = manager.set_priority(1, "urgent").await;
    assert!(matches!(bad, Err(Error::InvalidArgument(text)) if text.contains("realtime")));
    let bad = manager.set_log_level("loud").await;
    assert!(matches!(bad, Err(Error::InvalidArgument(text)) if text.contains("trace")));
    assert!(
        rig.polkit.actions().is_empty(),
        "nobody is asked for a password for it"
    );
}

#[tokio::test]
async fn a_client_that_is_not_there_has_an_error_of_its_own() {
    let rig = Rig::start().await;
    let manager = manager(&rig).await;
    let none = manager.set_priority(9, "low").await;
    assert!(matches!(none, Err(Error::NoSuchClient(text)) if text.contains('9')));
    let none = manager.terminate_client(u64::MAX).await;
    assert!(matches!(none, Err(Error::NoSuchClient(_))));
}

#[tokio::test]
async fn a_client_that_leaves_while_polkit_thinks_is_not_there_either() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    rig.main_loop.world().hold = false;
    rig.polkit
        .says("org.vkmps.Manager.terminate-client", Verdict::Yes);
    manager.terminate_client(2).await.expect("it may");
    let again = manager.terminate_client(2).await;
    assert!(matches!(again, Err(Error::NoSuchClient(_))));
    assert_eq!(rig.polkit.actions().len(), 1);
}

#[tokio::test]
async fn newcomers_are_refused_and_let_in_again() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager.drain().await.expect("it may");
    manager.resume().await.expect("it may");
    let action = "org.vkmps.Manager.drain";
    assert_eq!(rig.polkit.actions(), [action, action]);
    rig.main_loop.world().stopping = true;
    assert!(matches!(manager.drain().await, Err(Error::Draining(_))));
    assert!(matches!(manager.resume().await, Err(Error::Draining(_))));
}

#[tokio::test]
async fn a_reload_says_what_needs_a_restart_or_what_is_wrong() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    assert_eq!(
        manager.reload().await.expect("it is good"),
        ["device.queues"]
    );
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.reload"]);
    rig.main_loop.world().reload = Err("line 3: no such key".to_owned());
    let bad = manager.reload().await;
    assert!(matches!(bad, Err(Error::BadConfiguration(text)) if text == "line 3: no such key"));
}

#[tokio::test]
async fn the_log_level_is_set() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager.set_log_level("debug").await.expect("it may");
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.set-log-level"]);
    let asked = rig.main_loop.world().asked.clone();
    assert!(asked.contains(&"log-level debug".to_owned()));
}

#[tokio::test]
async fn an_unknown_method_and_absurd_arguments_are_errors_of_the_bus() {
    let rig = Rig::start().await;
    let call = async |method: &'static str, body: &'static str| {
        let called = rig.caller.call_method(
            Some(vkmps_bus::SERVICE),
            vkmps_bus::MANAGER,
            Some("org.vkmps.Manager"),
            method,
            &body,
        );
        called.await.expect_err("it is refused")
    };
    let unknown = call("Explode", "now").await;
    assert!(matches!(unknown, zbus::Error::FDO(error) if format!("{error}").contains("Explode")));
    let wrong = call("TerminateClient", "all of them").await;
    assert!(matches!(
        wrong,
        zbus::Error::FDO(_) | zbus::Error::MethodError(..)
    ));
    manager(&rig)
        .await
        .list_clients()
        .await
        .expect("it goes on");
}
