//! Coming on the bus, losing it, and leaving it.

use super::others::Polkit;
use super::rig::{LONG, PrivateBus, Rig, daemon, named, times, uid};
use super::samples::view;
use crate::bus::{BusAddress, Outbox, Times, start};
use crate::control::Change;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;
use vkmps_bus::{ManagerProxy, SERVICE};
use vkmps_protocol::handle::SessionId;

#[tokio::test]
async fn the_name_is_owned_when_the_start_returns() {
    let rig = Rig::start().await;
    let manager = ManagerProxy::new(&rig.caller)
        .await
        .expect("the name is owned");
    manager.list_clients().await.expect("it may");
}

#[tokio::test]
async fn without_a_bus_the_start_returns_as_well() {
    let (happenings, _happened) = mpsc::channel(1);
    let address = BusAddress::At("unix:path=/nonexistent/bus".to_owned());
    let bus = timeout(LONG, start(address, happenings, Outbox::new())).await;
    let bus = bus.expect("it does not wait for ever");
    timeout(LONG, bus.leave()).await.expect("it leaves at once");
}

#[tokio::test]
async fn a_bus_that_comes_back_finds_who_is_there_by_then() {
    let mut rig = Rig::start().await;
    rig.bus.stop();
    rig.main_loop.world().clients.remove(&SessionId(1));
    rig.outbox.push(Change::ClientRemoved {
        client: SessionId(1),
        reason: "gone".to_owned(),
    });
    rig.add(view(3, uid()));
    rig.bus.restart();
    let _polkit = Polkit::start(&rig.bus).await;
    let caller = rig.bus.connect().await;
    named(&caller).await;
    let tree = zbus::fdo::IntrospectableProxy::builder(&caller)
        .destination(SERVICE)
        .path("/org/vkmps/client");
    let tree = tree.build().await.expect("the name is owned");
    let xml = tree.introspect().await.expect("it is there");
    for (id, there) in [("1", false), ("2", true), ("3", true)] {
        assert_eq!(
            xml.contains(&format!("<node name=\"{id}\"/>")),
            there,
            "{xml}"
        );
    }
    let manager = ManagerProxy::new(&caller).await.expect("the name is owned");
    let clients = manager.list_clients().await.expect("it may");
    assert_eq!(clients.len(), 2);
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_waited_for() {
    let bus = PrivateBus::start();
    let _polkit = Polkit::start(&bus).await;
    let thief = bus.connect().await;
    let _ = thief.object_server();
    thief.request_name(SERVICE).await.expect("the name is free");
    let (_main_loop, _outbox, _daemon) = daemon(&bus, times()).await;
    thief.close().await.expect("it was open");
    let caller = bus.connect().await;
    named(&caller).await;
    let manager = ManagerProxy::new(&caller).await.expect("the name is owned");
    manager.list_clients().await.expect("it may");
}

#[tokio::test]
async fn who_called_before_the_daemon_leaves_is_answered() {
    let rig = Rig::start().await;
    rig.main_loop.world().hold = true;
    let manager = ManagerProxy::new(&rig.caller)
        .await
        .expect("the name is owned");
    let calling = tokio::spawn(async move { manager.list_clients().await });
    rig.main_loop.until(|world| !world.held.is_empty()).await;
    let leaving = tokio::spawn(rig.daemon.leave());
    rig.main_loop.release();
    let answer = timeout(LONG, calling).await.expect("it is answered");
    let clients = answer.expect("nothing panics").expect("it may");
    assert_eq!(clients.len(), 2);
    let left = timeout(LONG, leaving).await.expect("it leaves");
    left.expect("nothing panics");
    let bus = zbus::fdo::DBusProxy::new(&rig.caller)
        .await
        .expect("the bus is there");
    let name = zbus::names::BusName::try_from(SERVICE).expect("it is a name");
    assert!(!bus.name_has_owner(name).await.expect("the bus is there"));
}

#[tokio::test]
async fn an_unanswered_call_does_not_keep_the_daemon() {
    let rig = Rig::start().await;
    rig.main_loop.world().hold = true;
    let manager = ManagerProxy::new(&rig.caller)
        .await
        .expect("the name is owned");
    let calling = tokio::spawn(async move { manager.list_clients().await });
    rig.main_loop.until(|world| !world.held.is_empty()).await;
    timeout(LONG, rig.daemon.leave()).await.expect("it leaves");
    let answer = timeout(LONG, calling)
        .await
        .expect("the bus answers for it");
    answer
        .expect("nothing panics")
        .expect_err("nobody answered it");
}

#[tokio::test]
async fn a_bus_that_hangs_holds_up_neither_changes_nor_the_end() {
    let bus = PrivateBus::start();
    let times = Times {
        farewell: Duration::from_millis(10),
        ..times()
    };
    let (main_loop, outbox, daemon) = daemon(&bus, times).await;
    bus.hang();
    // More than fits into a socket, with turns for the D-Bus side to get stuck in.
    for id in 10..3_000 {
        let view = view(id, uid());
        main_loop.world().clients.insert(view.id, view.clone());
        outbox.push(Change::ClientAdded(view));
        yield_now().await;
    }
    timeout(LONG, daemon.leave()).await.expect("it leaves");
}
