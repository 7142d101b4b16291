//! What the daemon says unasked.

use super::rig::{Rig, next, uid};
use super::samples::{device, status, view};
use crate::control::{Change, State};
use vkmps_bus::{DEVICE, MANAGER, ManagerProxy, ROOT, SERVICE, client_path};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;
use zbus::proxy::CacheProperties;
use zbus::{MatchRule, MessageStream, Variant, fdo};

async fn manager(rig: &Rig) -> ManagerProxy<'static> {
    let proxy = ManagerProxy::builder(&rig.caller).cache_properties(CacheProperties::No);
    proxy.build().await.expect("the name is owned")
}

fn removed(client: u64) -> Change {
    Change::ClientRemoved {
        client: SessionId(client),
        reason: "it \0left".to_owned(),
    }
}

#[tokio::test]
async fn a_client_is_announced_with_its_object_and_leaves_after_it() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(SERVICE)
        .build()?;
    let mut signals = MessageStream::for_match_rule(rule, &rig.caller, None).await?;
    let mut member = async || loop {
        let message = next(&mut signals).await.expect("the bus is there");
        let header = message.header();
        let member = header.member().map(|member| member.to_string());
        // How many there are changes, too, at a moment of its own.
        match member.unwrap_or_default() {
            other if other == "PropertiesChanged" => {}
            member => return member,
        }
    };
    rig.add(view(3, uid()));
    assert_eq!(member().await, "InterfacesAdded");
    assert_eq!(member().await, "ClientAdded");
    rig.main_loop.world().clients.remove(&SessionId(3));
    rig.outbox.push(removed(3));
    assert_eq!(member().await, "InterfacesRemoved");
    assert_eq!(member().await, "ClientRemoved");
    Ok(())
}

#[tokio::test]
async fn signals_carry_what_the_contract_says() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let manager = manager(&rig).await;
    let mut added = manager.receive_client_added().await?;
    let mut gone = manager.receive_client_removed().await?;
    let mut faults = manager.receive_device_fault().await?;
    let mut limits = manager.receive_limit_reached().await?;
    rig.add(view(3, 1234));
    let signal = next(&mut added).await;
    let args = signal.args()?;
    assert_eq!(
        (args.client, &args.object, args.uid),
        (3, &client_path(3), 1234)
    );
    rig.outbox.push(removed(3));
    let signal = next(&mut gone).await;
    let args = signal.args()?;
    assert_eq!((args.client, &args.object), (3, &client_path(3)));
    assert_eq!(args.reason, "it \u{fffd}left");
    rig.outbox.push(Change::DeviceFault {
        reason: "lost".to_owned(),
        sessions: 2,
    });
    let signal = next(&mut faults).await;
    let args = signal.args()?;
    assert_eq!((args.reason.as_str(), args.sessions), ("lost", 2));
    rig.outbox.push(Change::LimitReached {
        client: None,
        uid: 1234,
        limit: "clients",
    });
    let signal = next(&mut limits).await;
    let args = signal.args()?;
    assert_eq!(
        (args.client, args.uid, args.limit.as_str()),
        (0, 1234, "clients")
    );
    Ok(())
}

#[tokio::test]
async fn an_object_that_appears_shows_what_it_has() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let tree = fdo::ObjectManagerProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path(ROOT);
    let tree = tree.build().await?;
    let mut added = tree.receive_interfaces_added().await?;
    let mut gone = tree.receive_interfaces_removed().await?;
    rig.add(view(3, 1234));
    let signal = next(&mut added).await;
    let args = signal.args()?;
    assert_eq!(args.object_path.as_str(), "/org/vkmps/client/3");
    let shown = &args.interfaces_and_properties["org.vkmps.Client"];
    assert_eq!(shown["Uid"], Variant::from(1234u32));
    assert_eq!(shown.len(), 30);
    rig.outbox.push(Change::Device(None));
    let signal = next(&mut gone).await;
    let args = signal.args()?;
    assert_eq!(args.object_path.as_str(), DEVICE);
    Ok(())
}

#[tokio::test]
async fn properties_that_change_seldom_are_told_when_they_do() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let properties = fdo::PropertiesProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path(MANAGER);
    let mut changes = properties
        .build()
        .await?
        .receive_properties_changed()
        .await?;
    let mut status = status();
    // A counter alone is not worth a word.
    status.dispatches += 1;
    rig.outbox.push(Change::Status(status.clone()));
    status.state = State::Draining;
    rig.outbox.push(Change::Status(status));
    let signal = next(&mut changes).await;
    let args = signal.args()?;
    assert_eq!(args.interface_name.as_str(), "org.vkmps.Manager");
    assert_eq!(args.changed_properties.len(), 1);
    assert_eq!(args.changed_properties["State"], Variant::from("draining"));
    let mut other = device();
    other.name = "another".to_owned();
    rig.outbox.push(Change::Device(Some(other)));
    let signal = next(&mut changes).await;
    let changed = &signal.args()?.changed_properties;
    assert_eq!(changed.len(), 1);
    assert_eq!(changed["DeviceName"], Variant::from("another"));
    rig.add(view(3, uid()));
    let signal = next(&mut changes).await;
    let changed = &signal.args()?.changed_properties;
    assert_eq!(changed["ClientCount"], Variant::from(3u32));
    Ok(())
}

#[tokio::test]
async fn a_client_s_new_priority_is_told() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let properties = fdo::PropertiesProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path("/org/vkmps/client/1");
    let mut changes = properties
        .build()
        .await?
        .receive_properties_changed()
        .await?;
    rig.outbox.push(Change::Priority {
        client: SessionId(1),
        priority: Priority::Realtime,
    });
    let signal = next(&mut changes).await;
    let args = signal.args()?;
    assert_eq!(args.interface_name.as_str(), "org.vkmps.Client");
    assert_eq!(
        args.changed_properties["Priority"],
        Variant::from("realtime")
    );
    Ok(())
}
