//! `org.freedesktop.DBus.Introspectable` of the objects that have clients below them. Not zbus's: that describes all that
//! is below in full, so that its answer grows with the clients, and it may be asked for any number of them at once.

use super::objects::Objects;
use super::port::Port;
use super::served::{Calls, Current, Served};
use crate::control::Request;
use std::fmt::Write;
use vkmps_bus::{CLIENTS, Error, ROOT};
use zbus::object_server::Interface;
use zbus::{ObjectServer, interface};

/// An object that names what is below it.
#[derive(Clone)]
struct Branch {
    port: Port,
    below: Below,
}

#[derive(Clone)]
enum Below {
    /// One that is always there.
    One(&'static str),
    /// The daemon's objects. Also the only ones with an interface of their own to describe.
    Daemon(Box<Objects>),
    /// A client each.
    Clients,
}

/// Replaces zbus's answers above the clients, once `objects` is served.
pub(super) async fn plant(
    server: &ObjectServer,
    port: &Port,
    objects: &Objects,
    calls: &Calls,
) -> zbus::Result<()> {
    server.at(CLIENTS, Ground).await?;
    let branches = [
        ("/", Below::One("org")),
        ("/org", Below::One("vkmps")),
        (ROOT, Below::Daemon(Box::new(objects.clone()))),
        (CLIENTS, Below::Clients),
    ];
    for (path, below) in branches {
        let port = port.clone();
        let branch = Served::new(Branch { port, below }, calls.clone());
        server.remove_named(path, Branch::name()).await?;
        server.at(path, branch).await?;
    }
    Ok(())
}

impl Branch {
    /// Names of the objects below.
    async fn names(&self) -> Result<Vec<String>, Error> {
        match self.below {
            Below::One(name) => Ok(vec![name.to_owned()]),
            Below::Daemon(_) => {
                let device = self.port.ask(Request::Device).await?;
                let names = ["Manager", "client"].into_iter();
                let names = names.chain(device.map(|_| "device"));
                Ok(names.map(str::to_owned).collect())
            }
            Below::Clients => {
                let clients = self.port.ask(Request::Clients).await?;
                Ok(clients
                    .iter()
                    .map(|client| client.id.0.to_string())
                    .collect())
            }
        }
    }
}

impl Current for Branch {
    const IN_TREE: bool = true;

    async fn now(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }
}

#[interface(
    name = "org.freedesktop.DBus.Introspectable",
    introspection_docs = false
)]
impl Branch {
    #[zbus(out_args("xml_data"))]
    async fn introspect(&self) -> Result<String, Error> {
        let names = self.names().await?;
        let mut xml = HEAD.to_owned();
        self.introspect_to_writer(&mut xml, LEVEL);
        if let Below::Daemon(objects) = &self.below {
            objects.introspect_to_writer(&mut xml, LEVEL);
        }
        for name in names {
            // Writing to a string cannot fail.
            let _ = writeln!(xml, "  <node name=\"{name}\"/>");
        }
        xml += "</node>\n";
        Ok(xml)
    }
}

/// zbus forgets an object that has standard interfaces only as soon as nothing is below it, and ours with it.
struct Ground;

#[interface(name = "org.vkmps.Clients", introspection_docs = false)]
impl Ground {}

/// Interfaces stand inside of the node.
const LEVEL: usize = 2;
/// What every object of zbus has.
const HEAD: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg type="v" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg type="a{sv}" direction="out"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"#;
