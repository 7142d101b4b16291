//! Sessions that callers hold.

use super::rig::{Rig, uid};
use crate::control::SessionView;
use std::collections::HashMap;
use vkmps_bus::{Error, ManagerProxy};
use vkmps_protocol::message::Priority;
use vkmps_protocol::quota::Amount;
use vkmps_protocol::token::Token;
use zbus::{Connection, Variant};

async fn manager(caller: &Connection) -> ManagerProxy<'static> {
    let proxy = ManagerProxy::new(caller).await;
    proxy.expect("the name is owned")
}

fn limits() -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([
        ("memory", "2G".into()),
        ("active-thread-percentage", 30_u8.into()),
        ("priority", "low".into()),
        ("clients", 4_u32.into()),
    ])
}

#[tokio::test]
async fn a_session_is_opened_listed_and_released() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig.caller).await;
    let opened = manager.create_session("job", limits(), 1500).await;
    let (id, token) = opened.expect("it may");
    assert!(token.parse::<Token>().is_ok());
    let view: SessionView = rig.main_loop.world().sessions[0].clone();
    assert_eq!((view.uid, &*view.name), (uid(), "job"));
    assert_eq!(
        view.pid,
        i32::try_from(std::process::id()).expect("it is a pid")
    );
    assert_eq!(view.limits.memory, Some(Amount::Bytes(2 << 30)));
    assert_eq!(view.limits.cap_percent, Some(30));
    assert_eq!(view.limits.max_priority, Some(Priority::Low));
    assert_eq!(view.limits.clients, Some(4));
    let asked = rig.main_loop.world().asked.join("\n");
    assert!(!asked.contains(&token), "a token prints nowhere");
    let listed = manager.list_sessions().await.expect("it may");
    assert_eq!(listed.len(), 1);
    let session = &listed[0];
    assert_eq!((session.id, &session.clients[..]), (id, &[1, 2][..]));
    assert_eq!(
        (session.active_thread_percentage, &*session.priority),
        (30, "low")
    );
    assert_eq!(session.ends_us, 1_002_000, "rounded up to milliseconds");
    manager.release_session(id).await.expect("it may");
    let again = manager.release_session(id).await;
    assert!(matches!(again, Err(Error::NoSuchSession(_))), "{again:?}");
    let actions = rig.polkit.actions();
    let actions: Vec<&str> = actions
        .iter()
        .map(|id| id.trim_start_matches("org.vkmps.Manager."))
        .collect();
    assert_eq!(actions, ["create-session", "read", "release-own-session"]);
}

#[tokio::test]
async fn a_session_is_released_when_its_holder_leaves_the_bus_and_only_then() {
    let rig = Rig::start().await;
    let (one, two) = (rig.bus.connect().await, rig.bus.connect().await);
    for caller in [&one, &two] {
        let opened = manager(caller)
            .await
            .create_session("job", limits(), 0)
            .await;
        opened.expect("it may");
    }
    one.close().await.expect("it is open");
    let released = |id: u64| format!("release-session {id}");
    rig.main_loop
        .until(|world| world.asked.contains(&released(1)))
        .await;
    assert!(!rig.main_loop.world().asked.contains(&released(2)));
    // One that is over needs nobody any more.
    rig.main_loop.world().ends.clear();
    two.close().await.expect("it is open");
    let listed = manager(&rig.caller)
        .await
        .list_sessions()
        .await
        .expect("it may");
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_opens_nothing() {
    let rig = Rig::start().await;
    let manager = manager(&rig.caller).await;
    let year_us = 367 * 24 * 3600 * 1_000_000;
    let long = "x".repeat(65);
    let with = |name: &'static str, value: Variant<'static>| HashMap::from([(name, value)]);
    for (name, limits, ttl_us) in [
        (&*long, HashMap::new(), 0),
        ("job", HashMap::new(), year_us),
        ("job", HashMap::new(), u64::MAX),
        ("job", with("active-thread-percentage", 0_u8.into()), 0),
        ("job", with("memory", "0".into()), 0),
        ("job", with("priority", "urgent".into()), 0),
        ("job", with("priority", 1_u8.into()), 0),
        ("job", with("clients", 0_u32.into()), 0),
        ("job", with("weight", 5_u16.into()), 0),
    ] {
        let refused = manager.create_session(name, limits, ttl_us).await;
        assert!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{refused:?}"
        );
    }
    assert!(rig.main_loop.world().sessions.is_empty());
}

#[tokio::test]
async fn a_session_of_somebody_else_is_for_administrators() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig.caller).await;
    let opened = manager.create_session("job", HashMap::new(), 0).await;
    let (id, _) = opened.expect("it may");
    rig.main_loop.world().sessions[0].uid = uid() + 1;
    manager.release_session(id).await.expect("it may");
    assert_eq!(
        rig.polkit.actions().last().map(String::as_str),
        Some("org.vkmps.Manager.release-session")
    );
}
