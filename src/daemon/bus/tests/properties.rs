//! Every property, through the proxies that tools use.

use super::others::Systemd;
use super::rig::{Rig, next, uid};
use super::samples::view;
use crate::control::Change;
use vkmps_bus::{ClientProxy, DEVICE, DeviceProxy, MANAGER, ManagerProxy, SERVICE, client_path};
use vkmps_protocol::handle::SessionId;
use zbus::names::InterfaceName;
use zbus::proxy::CacheProperties;
use zbus::{ObjectPath, Variant, fdo};

async fn client(rig: &Rig, id: u64) -> ClientProxy<'static> {
    let proxy = ClientProxy::builder(&rig.caller)
        .path(client_path(id))
        .cache_properties(CacheProperties::No);
    proxy.build().await.expect("the name is owned")
}

async fn properties(rig: &Rig, path: &'static str) -> fdo::PropertiesProxy<'static> {
    let proxy = fdo::PropertiesProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path(ObjectPath::try_from(path).expect("it is a path"));
    proxy.build().await.expect("the name is owned")
}

#[tokio::test]
async fn the_manager_s_properties_are_the_daemon_s() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let manager = ManagerProxy::builder(&rig.caller).cache_properties(CacheProperties::No);
    let manager = manager.build().await?;
    assert_eq!(manager.version().await?, env!("CARGO_PKG_VERSION"));
    assert_eq!(manager.state().await?, "serving");
    assert_eq!(manager.log_level().await?, "info");
    assert_eq!(manager.device_name().await?, "llvmpipe");
    assert_eq!(manager.driver_info().await?, "Mesa");
    assert_eq!(
        manager.device_uuid().await?,
        "abababab-abab-abab-abab-abababababab"
    );
    assert_eq!(manager.scheduling_mode().await?, "exclusive-throughput");
    assert_eq!(manager.loop_slice_quota().await?, 100_000);
    assert_eq!(manager.default_active_thread_percentage().await?, 100);
    assert_eq!(manager.default_memory_limit().await?, 1 << 34);
    assert_eq!(manager.realtime_budget_us().await?, 20_000);
    assert_eq!(manager.realtime_period_us().await?, 100_000);
    assert_eq!(manager.client_count().await?, 2);
    assert_eq!(
        manager.memory_total().await?,
        1 << 34,
        "a software driver uses the host's"
    );
    assert_eq!(manager.memory_used().await?, 1 << 21);
    assert_eq!(manager.queue_depth().await?, 2);
    assert_eq!(manager.dispatches_total().await?, 80);
    assert_eq!(manager.uptime().await?, 9_000_000);
    Ok(())
}

#[tokio::test]
async fn a_client_s_properties_are_as_of_now() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let client = client(&rig, 1).await;
    assert_eq!(client.id().await?, 1);
    assert_eq!(client.uid().await?, uid());
    assert_eq!(client.pid().await?, 1);
    assert_eq!(client.name().await?, "client\u{fffd}1");
    assert_eq!(client.unit().await?, "");
    assert_eq!(client.device().await?.as_str(), DEVICE);
    assert_eq!(client.connected_since().await?, 1_000_000);
    assert_eq!(client.priority().await?, "medium");
    assert_eq!(client.memory_limit().await?, 1 << 33);
    assert!(!client.demoted().await?);
    assert_eq!(client.max_priority().await?, "high");
    assert_eq!(client.active_thread_percentage().await?, 30);
    assert_eq!(client.weight().await?, 200);
    assert_eq!(client.buffers_limit().await?, 1000);
    assert_eq!(client.programs_limit().await?, 100);
    assert_eq!(client.streams_limit().await?, 16);
    assert_eq!(client.submits_limit().await?, 500);
    assert_eq!(client.memory_used().await?, 1 << 20);
    assert_eq!((client.buffers().await?, client.programs().await?), (3, 2));
    assert_eq!(client.queue_depth().await?, 1);
    assert_eq!(client.dispatches().await?, 40);
    assert_eq!(client.device_time_ns().await?, 5_000);
    assert_eq!(client.share().await?, 0.25);
    assert_eq!(
        (client.submits().await?, client.wait_time_ns().await?),
        (30, 600_000)
    );
    assert_eq!(
        (client.slices().await?, client.preemptions().await?),
        (33, 2)
    );
    if let Some(view) = rig.main_loop.world().clients.get_mut(&SessionId(1)) {
        view.dispatches = 41;
    }
    assert_eq!(client.dispatches().await?, 41);
    Ok(())
}

#[tokio::test]
async fn the_device_has_an_object() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let device = DeviceProxy::builder(&rig.caller).cache_properties(CacheProperties::No);
    let device = device.build().await?;
    assert_eq!(device.name().await?, "llvmpipe");
    assert_eq!(device.driver_info().await?, "Mesa");
    assert_eq!(device.uuid().await?, "abababab-abab-abab-abab-abababababab");
    assert!(device.software().await?);
    assert_eq!(device.queues().await?, 1);
    assert_eq!(device.extensions().await?, ["VK_KHR_maintenance3"]);
    assert_eq!(device.global_priorities().await?, ["realtime"]);
    assert_eq!(device.engine_pid().await?, 77);
    assert_eq!(device.device_memory_total().await?, 0);
    assert_eq!(device.device_memory_used().await?, 0);
    assert_eq!(device.host_memory_total().await?, 1 << 34);
    assert_eq!(device.host_memory_used().await?, 1 << 21);
    Ok(())
}

#[tokio::test]
async fn all_properties_come_from_one_answer_of_the_main_loop() {
    let rig = Rig::start().await;
    rig.main_loop.world().asked.clear();
    let properties = properties(&rig, "/org/vkmps/client/1").await;
    let interface = InterfaceName::from_static_str_unchecked("org.vkmps.Client");
    let all = properties.get_all(interface).await.expect("it is there");
    assert_eq!(all.len(), 30);
    assert_eq!(rig.main_loop.world().asked, ["client 1"]);
}

#[tokio::test]
async fn nothing_can_be_set() {
    let rig = Rig::start().await;
    let properties = properties(&rig, MANAGER).await;
    for name in ["State", "Nonsense"] {
        let interface = InterfaceName::from_static_str_unchecked("org.vkmps.Manager");
        let set = properties
            .set(interface, name, &Variant::from("failed"))
            .await;
        assert!(matches!(set, Err(fdo::Error::PropertyReadOnly(_))));
    }
}

#[tokio::test]
async fn a_property_that_there_is_not_is_not_repeated() {
    let rig = Rig::start().await;
    let properties = properties(&rig, MANAGER).await;
    for name in ["Nonsense".to_owned(), "N".repeat(1 << 20)] {
        let interface = InterfaceName::from_static_str_unchecked("org.vkmps.Manager");
        let got = properties.get(interface, &name).await;
        let Err(fdo::Error::UnknownProperty(text)) = got else {
            panic!("it is there: {got:?}");
        };
        assert!(!text.contains("NN") && !text.contains(&name), "{text}");
    }
}

#[tokio::test]
async fn all_objects_are_in_one_answer() {
    let rig = Rig::start().await;
    let tree = fdo::ObjectManagerProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path(vkmps_bus::ROOT);
    let tree = tree.build().await.expect("the name is owned");
    let objects = tree.get_managed_objects().await.expect("it is there");
    let mut paths: Vec<&str> = objects.keys().map(|path| path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            MANAGER,
            "/org/vkmps/client/1",
            "/org/vkmps/client/2",
            DEVICE
        ]
    );
    let first = &objects[&client_path(1)];
    assert_eq!(first["org.vkmps.Client"].len(), 30);
}

#[tokio::test]
async fn a_client_s_unit_is_asked_of_systemd() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let _systemd = Systemd::start(&rig.bus).await;
    let properties = fdo::PropertiesProxy::builder(&rig.caller)
        .destination(SERVICE)
        .path("/org/vkmps/client/3000");
    let mut changes = properties
        .build()
        .await?
        .receive_properties_changed()
        .await?;
    rig.add(view(3000, uid()));
    let signal = next(&mut changes).await;
    let changed = &signal.args()?.changed_properties;
    assert_eq!(changed["Unit"], Variant::from("a.service"));
    assert_eq!(client(&rig, 3000).await.unit().await?, "a.service");
    Ok(())
}

#[tokio::test]
async fn a_pid_that_may_be_another_s_by_now_names_no_unit() -> zbus::Result<()> {
    let rig = Rig::start().await;
    let _systemd = Systemd::start(&rig.bus).await;
    // The first has gone without the bus side having heard of it; the second shows that it was looked up.
    rig.outbox.push(Change::ClientAdded(view(3000, uid())));
    rig.add(view(3001, uid()));
    rig.main_loop
        .until(|world| world.asked.contains(&"client 3001".to_owned()))
        .await;
    assert_eq!(rig.outbox.unit(SessionId(3000)), "");
    Ok(())
}
