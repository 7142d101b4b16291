//! `dbus/*.xml` is the contract: what is served, what callers see of it, and what polkit knows must agree with it.

use super::rig::PrivateBus;
use super::samples::{device, view};
use crate::bus::CALLS;
use crate::bus::action::Action;
use crate::bus::client::Client;
use crate::bus::device::Device;
use crate::bus::manager::Manager;
use crate::bus::served::{Calls, Served};
use std::collections::{BTreeMap, BTreeSet};
use zbus::object_server::Interface;

const MANAGER: &str = include_str!("../../../../dbus/org.vkmps.Manager.xml");
const CLIENT: &str = include_str!("../../../../dbus/org.vkmps.Client.xml");
const DEVICE: &str = include_str!("../../../../dbus/org.vkmps.Device.xml");
const PROXIES: &str = include_str!("../../../bus/proxy.rs");
const POLICY: &str = include_str!("../../../../polkit/org.vkmps.Manager.policy");

/// The tags of an XML text, without comments: name and attributes; a closing tag has a slash before its name.
fn tags(xml: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut rest = xml.to_owned();
    while let Some(start) = rest.find("<!--") {
        let length = rest[start..].find("-->").expect("the comment ends") + "-->".len();
        rest.replace_range(start..start + length, "");
    }
    let tags = rest.split('<').skip(1).filter_map(|tag| {
        let (tag, _) = tag.split_once('>')?;
        let (name, attributes) = tag
            .trim_end_matches('/')
            .split_once(' ')
            .unwrap_or((tag, ""));
        let mut parts = attributes.split('"');
        let mut found = BTreeMap::new();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            found.insert(
                name.trim_matches([' ', '=', '\n']).to_owned(),
                value.to_owned(),
            );
        }
        Some((name.to_owned(), found))
    });
    tags.collect()
}

/// Every member of an interface in a line of its own, with all that callers rely on.
fn members(xml: &str) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    let mut member = String::new();
    for (tag, attributes) in tags(xml) {
        let of = |name: &str| attributes.get(name).cloned().unwrap_or_default();
        match tag.as_str() {
            "method" | "signal" => {
                members.insert(std::mem::take(&mut member));
                member = format!("{tag} {}", of("name"));
            }
            "property" => {
                members.insert(std::mem::take(&mut member));
                member = format!("property {} {} {}", of("name"), of("type"), of("access"));
            }
            "arg" => {
                let direction = of("direction");
                let direction = match direction.is_empty() {
                    true => "out".to_owned(),
                    false => direction,
                };
                member += &format!(" {direction} {} {}", of("name"), of("type"));
            }
            "annotation" => member += &format!(" {}={}", of("name"), of("value")),
            _ => {}
        }
    }
    members.insert(member);
    members.remove("");
    members
}

fn served<I: Interface>(interface: &I) -> BTreeSet<String> {
    let mut xml = String::new();
    interface.introspect_to_writer(&mut xml, 0);
    members(&xml)
}

/// The kind and name of every member, and how its changes are told.
fn outline(members: &BTreeSet<String>) -> BTreeSet<String> {
    let outline = members.iter().map(|member| {
        let words: Vec<&str> = member.split(' ').collect();
        let told = member.rsplit_once("EmitsChangedSignal=");
        match told {
            Some((_, told)) => format!("{} {} {told}", words[0], words[1]),
            None => format!("{} {}", words[0], words[1]),
        }
    });
    outline.collect()
}

/// The same of a proxy, from its source: it describes itself nowhere else.
fn proxy(interface: &str) -> BTreeSet<String> {
    let head = format!("pub trait {interface} {{");
    let (_, body) = PROXIES.split_once(&head).expect("there is such a proxy");
    let (body, _) = body.split_once("\n}").expect("the trait ends");
    let mut outline = BTreeSet::new();
    let mut attribute = "";
    for line in body.lines().map(str::trim) {
        if line.starts_with("#[zbus(") {
            attribute = line;
        }
        let Some(name) = line
            .strip_prefix("fn ")
            .and_then(|line| line.split('(').next())
        else {
            continue;
        };
        let quoted = |key: &str| {
            let (_, value) = attribute.split_once(&format!("{key} = \""))?;
            value.split('"').next()
        };
        let camel = || {
            let words = name
                .split('_')
                .map(|word| word[..1].to_uppercase() + &word[1..]);
            words.collect::<String>()
        };
        let name = quoted(" name").map_or_else(camel, str::to_owned);
        let kind = match attribute {
            "#[zbus(signal)]" => "signal",
            property if property.starts_with("#[zbus(property") => "property",
            _ => "method",
        };
        outline.insert(match quoted("emits_changed_signal") {
            Some(told) => format!("{kind} {name} {told}"),
            None => format!("{kind} {name}"),
        });
        attribute = "";
    }
    outline
}

/// What the daemon serves, without a daemon.
async fn interfaces() -> (Manager, Client, Device) {
    use crate::bus::authority::{Authority, Patience};
    let bus = PrivateBus::start();
    let connection = bus.connect().await;
    let (happenings, _) = tokio::sync::mpsc::channel(1);
    let port = crate::bus::Port::new(happenings);
    let authority = Authority::new(&connection, port.clone(), Patience::default()).await;
    let authority = std::sync::Arc::new(authority.expect("nobody is asked"));
    let outbox = crate::bus::Outbox::new();
    (
        Manager::new(port.clone(), authority, outbox.clone()),
        Client::new(port.clone(), outbox, view(1, 0)),
        Device::new(port, device()),
    )
}

#[tokio::test]
async fn what_is_served_is_what_the_contract_says() {
    let (manager, client, device) = interfaces().await;
    assert_eq!(served(&manager), members(MANAGER));
    assert_eq!(served(&client), members(CLIENT));
    assert_eq!(served(&device), members(DEVICE));
}

#[test]
fn callers_see_what_the_contract_says() {
    assert_eq!(proxy("Manager"), outline(&members(MANAGER)));
    assert_eq!(proxy("Client"), outline(&members(CLIENT)));
    assert_eq!(proxy("Device"), outline(&members(DEVICE)));
}

#[test]
fn polkit_knows_every_action_and_no_other() {
    let known = tags(POLICY).into_iter().filter(|(tag, _)| tag == "action");
    let known: Vec<String> = known.map(|(_, of)| of["id"].clone()).collect();
    assert_eq!(known, Action::ALL.map(Action::id));
}

#[test]
fn the_contract_names_no_action_that_polkit_does_not_know() {
    let words = MANAGER.split(|letter: char| letter.is_whitespace() || "\";,:".contains(letter));
    let named = words.map(|word| word.trim_end_matches('.'));
    let named: BTreeSet<&str> = named
        .filter(|word| word.starts_with("org.vkmps.Manager."))
        .collect();
    assert_eq!(named, BTreeSet::from(Action::ALL.map(Action::id)));
}

#[tokio::test]
async fn a_tree_of_many_clients_is_described_without_describing_each() {
    let (_, client, _) = interfaces().await;
    let served = Served::new(client, Calls::new(CALLS));
    let (mut own, mut below) = (String::new(), String::new());
    served.introspect_to_writer(&mut own, 2);
    served.introspect_to_writer(&mut below, 4);
    assert_eq!(members(&own), members(CLIENT));
    assert_eq!(below, "");
}
