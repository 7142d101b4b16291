//! Limits and the policy of sharing, over the bus.

use super::others::Verdict;
use super::rig::{Rig, next, uid};
use super::samples::view;
use crate::control::Change;
use std::collections::HashMap;
use vkmps_bus::{Error, ManagerProxy, SERVICE};
use zbus::{Variant, fdo};

async fn manager(rig: &Rig) -> ManagerProxy<'static> {
    let proxy = ManagerProxy::new(&rig.caller).await;
    proxy.expect("the name is owned")
}

fn cap(percent: u8) -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([("active-thread-percentage", percent.into())])
}

#[tokio::test]
async fn one_s_own_limits_are_tightened_without_an_administrator() {
    let mut rig = Rig::start().await;
    let exceeded = manager(&rig).await.set_limits(1, cap(5)).await;
    assert_eq!(exceeded.expect("it may"), ["memory"]);
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.set-own-limits"]);
    let asked = rig.main_loop.world().asked.clone();
    assert!(
        asked.contains(&"set-limits 1 true Set(5)".to_owned()),
        "{asked:?}"
    );
}

#[tokio::test]
async fn wider_limits_and_those_of_others_take_an_administrator() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager.set_limits(1, cap(99)).await.expect("it may");
    let actions = [
        "org.vkmps.Manager.set-own-limits",
        "org.vkmps.Manager.set-limits",
    ];
    assert_eq!(rig.polkit.actions(), actions);
    manager.set_limits(2, cap(5)).await.expect("it may");
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.set-limits"]);
    rig.polkit.says("org.vkmps.Manager.set-limits", Verdict::No);
    rig.main_loop.world().asked.clear();
    let refused = manager.set_limits(1, cap(99)).await;
    assert!(
        matches!(refused, Err(Error::NotAuthorized(_))),
        "{refused:?}"
    );
    let asked = rig.main_loop.world().asked.clone();
    assert!(
        !asked.iter().any(|asked| asked.contains("false")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn limits_of_users_and_of_all_are_passed_on() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    let reserve = |percent: u8| HashMap::from([("reserved-percentage", Variant::from(percent))]);
    manager
        .set_user_limits(1000, reserve(30))
        .await
        .expect("it may");
    let overbooked = manager.set_user_limits(1000, reserve(90)).await;
    let Err(Error::LimitExceeded(text)) = overbooked else {
        panic!("{overbooked:?}");
    };
    assert!(text.contains("120 percent"), "{text}");
    let memory = HashMap::from([("memory", Variant::from("25%"))]);
    manager.set_default_limits(memory).await.expect("it may");
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.set-limits"; 3]);
    let limits = manager.get_user_limits(uid()).await.expect("it may");
    let number = |name: &str| limits[name].clone();
    assert_eq!(*number("memory"), Variant::from(8_u64));
    assert_eq!(*number("memory-used"), Variant::from(7_u64));
    assert_eq!(*number("reserved-percentage"), Variant::from(10_u8));
    let asked = rig.main_loop.world().asked.clone();
    for wanted in [
        "set-user-limits 1000 Set(30)",
        "set-default-limits Set(Percent(25))",
    ] {
        assert!(asked.contains(&wanted.to_owned()), "{asked:?}");
    }
}

#[tokio::test]
async fn the_policy_is_an_administrator_s() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    manager
        .set_scheduling_mode("cooperative-fairshare")
        .await
        .expect("it may");
    manager.set_loop_slice_quota(7).await.expect("it may");
    assert_eq!(rig.polkit.actions(), ["org.vkmps.Manager.set-policy"; 2]);
    let asked = rig.main_loop.world().asked.clone();
    assert!(asked.contains(&"set-mode cooperative-fairshare".to_owned()));
    assert!(asked.contains(&"set-loop-slice-quota 7".to_owned()));
}

#[tokio::test]
async fn nonsense_is_refused_before_anybody_is_asked() {
    let mut rig = Rig::start().await;
    let manager = manager(&rig).await;
    rig.main_loop.world().asked.clear();
    let refused = [
        manager.set_limits(1, cap(0)).await.map(drop),
        manager.set_limits(1, cap(101)).await.map(drop),
        manager.set_user_limits(1, cap(0)).await.map(drop),
        manager.set_default_limits(cap(101)).await,
        manager.set_scheduling_mode("fastest").await,
        manager.set_loop_slice_quota(0).await,
        manager.set_loop_slice_quota(u64::MAX).await,
    ];
    for refused in refused {
        assert!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{refused:?}"
        );
    }
    assert!(rig.polkit.actions().is_empty());
    assert!(rig.main_loop.world().asked.is_empty());
}

#[tokio::test]
async fn changed_limits_are_announced() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let properties = fdo::PropertiesProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path("/org/vkmps/client/1");
    let mut changes = properties
        .build()
        .await?
        .receive_properties_changed()
        .await?;
    let mut changed = view(1, uid());
    changed.demoted = true;
    changed.limits.cap_percent = 7;
    changed.memory_limit_bytes = 1 << 20;
    rig.outbox.push(Change::Limits(changed));
    let signal = next(&mut changes).await;
    let changed = &signal.args()?.changed_properties;
    assert_eq!(changed["Demoted"], Variant::from(true));
    assert_eq!(changed["ActiveThreadPercentage"], Variant::from(7_u8));
    assert_eq!(changed["MemoryLimit"], Variant::from(1_u64 << 20));
    assert_eq!(changed["StreamsLimit"], Variant::from(16_u32));
    Ok(())
}
