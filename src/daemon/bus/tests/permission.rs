//! Who may do what: polkit decides, and nothing else allows anything.

use super::others::{Asked, Verdict};
use super::rig::{LONG, PrivateBus, Rig, daemon, times, uid};
use crate::bus::Times;
use crate::bus::authority::Patience;
use std::collections::HashMap;
use std::time::Duration;
use vkmps_bus::{Error, ManagerProxy};
use zbus::{Connection, Variant};

async fn manager(caller: &Connection) -> ManagerProxy<'static> {
    let proxy = ManagerProxy::new(caller).await;
    proxy.expect("the name is owned")
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::NotAuthorized(text)) => text,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[tokio::test]
async fn polkit_is_asked_about_the_sender_of_the_message() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig.caller).await;
    manager.list_clients().await.expect("it may");
    let name = rig
        .caller
        .unique_name()
        .expect("it is on a bus")
        .to_string();
    let asked = Asked::Check {
        subject: ("system-bus-name".to_owned(), name),
        action: "org.vkmps.Manager.read".to_owned(),
        details: 0,
        flags: 0,
    };
    assert_eq!(rig.polkit.next().await, asked);
}

#[tokio::test]
async fn who_changes_something_may_be_asked_for_a_password_and_who_looks_is_not() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig.caller).await;
    manager.list_clients().await.expect("it may");
    manager.drain().await.expect("it may");
    for interactive in [0, 1] {
        let asked = rig.polkit.next().await;
        assert!(
            matches!(asked, Asked::Check { flags, .. } if flags == interactive),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn who_is_denied_changes_nothing_and_is_reported() {
    let rig = Rig::start().await;
    for action in crate::bus::action::Action::ALL {
        rig.polkit.says(action.id(), Verdict::No);
    }
    let manager = manager(&rig.caller).await;
    rig.main_loop.world().asked.clear();
    refusal(manager.list_clients().await);
    refusal(manager.get_status().await);
    refusal(manager.get_statistics().await);
    refusal(manager.trace().await);
    refusal(manager.drain().await);
    refusal(manager.resume().await);
    refusal(manager.reload().await);
    refusal(manager.set_log_level("trace").await);
    refusal(manager.set_priority(1, "low").await);
    refusal(manager.set_priority(2, "low").await);
    let cap = || HashMap::from([("active-thread-percentage", Variant::from(5_u8))]);
    refusal(manager.set_limits(1, cap()).await);
    refusal(manager.set_limits(2, cap()).await);
    refusal(manager.set_user_limits(uid(), cap()).await);
    refusal(manager.get_user_limits(uid()).await);
    refusal(manager.set_default_limits(cap()).await);
    refusal(manager.set_scheduling_mode("cooperative-fairshare").await);
    refusal(manager.set_loop_slice_quota(5).await);
    refusal(manager.terminate_client(1).await);
    let text = refusal(manager.terminate_client(2).await);
    assert!(
        text.contains("org.vkmps.Manager.terminate-client"),
        "{text}"
    );
    let world = rig.main_loop.world();
    let denied = |action: &str| format!("denied Some({}) org.vkmps.Manager.{action}", uid());
    assert_eq!(world.asked.last(), Some(&denied("terminate-client")));
    let harmless = |asked: &String| {
        asked.starts_with("denied") || asked.starts_with("client ") || asked == "status"
    };
    assert!(world.asked.iter().all(harmless), "{:?}", world.asked);
}

#[tokio::test]
async fn a_password_that_nobody_is_asked_for_is_said_to_be_missing() {
    let rig = Rig::start().await;
    rig.polkit
        .says("org.vkmps.Manager.drain", Verdict::Challenge);
    let text = refusal(manager(&rig.caller).await.drain().await);
    assert!(text.contains("password"), "{text}");
}

#[tokio::test]
async fn without_polkit_nothing_is_allowed() {
    let bus = PrivateBus::start();
    let (main_loop, _outbox, _daemon) = daemon(&bus, times()).await;
    let caller = bus.connect().await;
    let manager = manager(&caller).await;
    let text = refusal(manager.list_clients().await);
    assert!(text.contains("polkit cannot be asked"), "{text}");
    refusal(manager.terminate_client(1).await);
    assert_eq!(main_loop.world().clients.len(), 2);
}

#[tokio::test]
async fn a_polkit_that_never_answers_has_not_allowed_anything() {
    let bus = PrivateBus::start();
    let polkit = super::others::Polkit::start(&bus).await;
    let impatient = Times {
        polkit: Patience {
            brief: Duration::from_millis(1),
            interactive: LONG,
        },
        ..times()
    };
    let (_main_loop, _outbox, _daemon) = daemon(&bus, impatient).await;
    polkit.says("org.vkmps.Manager.read", Verdict::Never);
    let caller = bus.connect().await;
    // Who the caller is may not be found out in so short a time either: then it is refused as well.
    refusal(manager(&caller).await.list_clients().await);
}

#[tokio::test]
async fn what_polkit_does_not_answer_in_time_is_cancelled() {
    let bus = PrivateBus::start();
    let mut polkit = super::others::Polkit::start(&bus).await;
    let impatient = Times {
        polkit: Patience {
            brief: LONG,
            interactive: Duration::from_millis(1),
        },
        ..times()
    };
    let (_main_loop, _outbox, _daemon) = daemon(&bus, impatient).await;
    polkit.says("org.vkmps.Manager.drain", Verdict::Never);
    let caller = bus.connect().await;
    let proxy = manager(&caller).await;
    let calling = tokio::spawn(async move { proxy.drain().await });
    let asked = polkit.next().await;
    assert!(matches!(asked, Asked::Check { .. }), "{asked:?}");
    assert_eq!(polkit.next().await, Asked::Cancelled);
    let text = refusal(calling.await.expect("nothing panics"));
    assert!(text.contains("does not answer"), "{text}");
}

#[tokio::test]
async fn a_caller_who_leaves_is_not_asked_about_any_more() {
    let mut rig = Rig::start().await;
    rig.polkit.says("org.vkmps.Manager.drain", Verdict::Never);
    let leaver = rig.bus.connect().await;
    let proxy = manager(&leaver).await;
    let calling = tokio::spawn(async move { proxy.drain().await });
    let asked = rig.polkit.next().await;
    assert!(matches!(asked, Asked::Check { .. }), "{asked:?}");
    calling.abort();
    leaver.close().await.expect("it was open");
    assert_eq!(rig.polkit.next().await, Asked::Cancelled);
}
