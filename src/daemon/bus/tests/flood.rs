//! Whoever calls too often is told so, and costs nobody else anything.

use super::others::{Asked, Verdict};
use super::rig::{LONG, Rig};
use tokio::task::JoinSet;
use tokio::time::timeout;
use vkmps_bus::{Error, ManagerProxy};
use zbus::proxy::CacheProperties;

async fn manager(caller: &zbus::Connection) -> ManagerProxy<'static> {
    let proxy = ManagerProxy::builder(caller).cache_properties(CacheProperties::No);
    proxy.build().await.expect("the name is owned")
}

#[tokio::test]
async fn a_question_that_polkit_ponders_holds_up_nobody_else() {
    let mut rig = Rig::start().await;
    rig.polkit.says("org.vkmps.Manager.drain", Verdict::Never);
    let pondered = manager(&rig.caller).await;
    let _calling = tokio::spawn(async move { pondered.drain().await });
    assert!(matches!(rig.polkit.next().await, Asked::Check { .. }));
    let other = manager(&rig.bus.connect().await).await;
    other.list_clients().await.expect("it may");
    other.state().await.expect("it is there");
    // The same caller, and the same interface, too.
    let same = manager(&rig.caller).await;
    same.list_clients().await.expect("it may");
}

#[tokio::test]
async fn one_connection_may_have_sixteen_calls_unanswered() {
    let mut rig = Rig::start().await;
    rig.polkit.says("org.vkmps.Manager.drain", Verdict::Never);
    let proxy = manager(&rig.caller).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let proxy = proxy.clone();
        calls.spawn(async move { proxy.drain().await });
        assert!(matches!(rig.polkit.next().await, Asked::Check { .. }));
    }
    assert!(matches!(proxy.list_clients().await, Err(Error::Busy(_))));
    proxy
        .state()
        .await
        .expect_err("reading a property is a call, too");
    assert!(
        rig.polkit.actions().is_empty(),
        "polkit is not asked about it"
    );
    let other = manager(&rig.bus.connect().await).await;
    other.list_clients().await.expect("it may");
}

#[tokio::test]
async fn one_user_s_many_connections_leave_room_for_others() {
    let mut rig = Rig::start().await;
    rig.polkit.says("org.vkmps.Manager.drain", Verdict::Never);
    let mut calls = JoinSet::new();
    let mut connections = vec![];
    for _ in 0..5 {
        let connection = rig.bus.connect().await;
        let proxy = manager(&connection).await;
        connections.push(connection);
        for _ in 0..16 {
            let proxy = proxy.clone();
            calls.spawn(async move { proxy.drain().await });
        }
    }
    for _ in 0..16 {
        let refused = timeout(LONG, calls.join_next()).await;
        let refused = refused
            .expect("sixteen are refused")
            .expect("there are more");
        assert!(matches!(refused, Ok(Err(Error::Busy(_)))), "{refused:?}");
    }
    let mut asked = 0;
    while asked < 64 {
        asked += usize::from(matches!(rig.polkit.next().await, Asked::Check { .. }));
    }
    assert_eq!(calls.len(), 64);
}

#[tokio::test]
async fn a_flood_of_everything_is_survived() {
    let rig = Rig::start().await;
    let proxy = manager(&rig.caller).await;
    let mut calls = JoinSet::new();
    for _ in 0..500 {
        let proxy = proxy.clone();
        calls.spawn(async move {
            let _ = proxy.list_clients().await;
            let _ = proxy.state().await;
            let _ = proxy.set_priority(1, "low").await;
        });
    }
    timeout(LONG, calls.join_all())
        .await
        .expect("all are answered");
    proxy.list_clients().await.expect("it may");
}

#[tokio::test]
async fn a_main_loop_that_is_busy_is_not_asked_without_end() {
    let rig = Rig::start().await;
    rig.main_loop.world().hold = true;
    let proxy = manager(&rig.caller).await;
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let proxy = proxy.clone();
        calls.spawn(async move { proxy.state().await });
    }
    for _ in 0..24 {
        let refused = timeout(LONG, calls.join_next()).await;
        let refused = refused.expect("24 are refused").expect("there are more");
        assert!(matches!(refused, Ok(Err(_))), "{refused:?}");
    }
    rig.main_loop.release();
    let answered = timeout(LONG, calls.join_all())
        .await
        .expect("all are answered");
    assert_eq!(answered.into_iter().filter(Result::is_ok).count(), 16);
}

#[tokio::test]
async fn arguments_that_nobody_needs_are_not_kept() {
    let rig = Rig::start().await;
    let drain = async |ballast: &str| {
        let called = rig.caller.call_method(
            Some(vkmps_bus::SERVICE),
            vkmps_bus::MANAGER,
            Some("org.vkmps.Manager"),
            "Drain",
            &ballast,
        );
        called.await
    };
    let error = drain(&"x".repeat(1 << 20))
        .await
        .expect_err("it is refused");
    let zbus::Error::MethodError(name, ..) = error else {
        panic!("it has no name: {error}");
    };
    assert_eq!(name.as_str(), "org.vkmps.Error.InvalidArgument");
    assert!(!rig.main_loop.world().asked.contains(&"drain".to_owned()));
}

#[tokio::test]
async fn a_tree_of_many_clients_is_described_by_their_names() {
    let rig = Rig::start().await;
    let introspect = async |path: &'static str| {
        let proxy = zbus::fdo::IntrospectableProxy::builder(&rig.caller)
            .destination(vkmps_bus::SERVICE)
            .path(path);
        let proxy = proxy.build().await.expect("the name is owned");
        proxy.introspect().await.expect("it is there")
    };
    let few = introspect("/").await.len();
    for id in 10..300 {
        rig.add(super::samples::view(id, 0));
    }
    let clients = introspect("/org/vkmps/client").await;
    assert_eq!(clients.matches("<node name=").count(), 292);
    assert_eq!(introspect("/").await.len(), few);
    let daemon = introspect("/org/vkmps").await;
    assert_eq!(daemon.matches("<node name=").count(), 3);
    assert!(daemon.contains("GetManagedObjects"), "{daemon}");
    assert!(
        introspect("/org/vkmps/client/2")
            .await
            .contains("DeviceTimeNSec")
    );
}
