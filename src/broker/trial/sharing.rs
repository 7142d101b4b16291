//! Shared buffers: who may attach, and what becomes of them.

use super::world::{World, code_of};
use crate::*;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::BufferId;
use vkmps_protocol::limits::{MAX_ATTACHMENTS, MAX_OFFERS, MAX_SHARES_PER_UID};
use vkmps_protocol::sharing::{Audience, Grant, Token};

/// An owner of user 1000 and its shareable buffer.
fn owner(world: &mut World) -> (ConnectionId, ShareName) {
    let conn = world.client(1000);
    let buffer = handle(&world.asked(conn, ClientMessage::AllocateShareable { bytes: 100 }));
    let session = world.links[&conn].session.unwrap();
    (conn, ShareName { session, buffer })
}

fn handle(message: &DaemonMessage) -> BufferId {
    match message {
        DaemonMessage::ShareReady { buffer, .. } => *buffer,
        other => panic!("{other:?}"),
    }
}

fn offer(world: &mut World, owner: (ConnectionId, ShareName), audience: Audience, grant: Grant) {
    let buffer = owner.1.buffer;
    let message = ClientMessage::OfferBuffer {
        buffer,
        audience,
        grant,
    };
    assert_eq!(world.asked_at_once(owner.0, message), DaemonMessage::Done);
}

fn attach(
    world: &mut World,
    conn: ConnectionId,
    name: ShareName,
    token: Option<Token>,
) -> Result<Grant, ErrorCode> {
    let answer = world.asked_at_once(conn, ClientMessage::AttachBuffer { name, token });
    match answer {
        DaemonMessage::ShareReady { grant, bytes, .. } => {
            assert_eq!(bytes, 100);
            Ok(grant)
        }
        other => Err(code_of(&other).expect("a refusal")),
    }
}

#[test]
fn only_the_user_it_was_offered_to_attaches_and_only_as_offered() {
    let mut world = World::with_engine();
    let owner = owner(&mut world);
    let (friend, stranger) = (world.client(1001), world.client(1002));
    let denied = Err(ErrorCode::PermissionDenied);
    assert_eq!(attach(&mut world, friend, owner.1, None), denied);
    offer(&mut world, owner, Audience::User(1001), Grant::ReadOnly);
    assert_eq!(attach(&mut world, stranger, owner.1, None), denied);
    let token = Some(Token([0; 32]));
    assert_eq!(attach(&mut world, friend, owner.1, token), denied);
    let granted = attach(&mut world, friend, owner.1, None);
    assert_eq!(granted, Ok(Grant::ReadOnly));
    // The newer word counts for newcomers.
    offer(&mut world, owner, Audience::User(1001), Grant::ReadWrite);
    let granted = attach(&mut world, friend, owner.1, None);
    assert_eq!(granted, Ok(Grant::ReadWrite));
}

#[test]
fn a_token_opens_once_and_a_wrong_one_never() {
    let mut world = World::with_engine();
    let owner = owner(&mut world);
    let (one, two) = (world.client(1001), world.client(1001));
    let token = Token([3; 32]);
    offer(&mut world, owner, Audience::Holder(token), Grant::ReadWrite);
    let denied = Err(ErrorCode::PermissionDenied);
    assert_eq!(
        attach(&mut world, one, owner.1, Some(Token([4; 32]))),
        denied
    );
    assert_eq!(attach(&mut world, one, owner.1, None), denied);
    let granted = attach(&mut world, one, owner.1, Some(token));
    assert_eq!(granted, Ok(Grant::ReadWrite));
    assert_eq!(attach(&mut world, two, owner.1, Some(token)), denied);
}

#[test]
fn what_is_not_there_and_what_is_not_for_me_are_refused_alike() {
    let mut world = World::with_engine();
    let owner = owner(&mut world);
    let stranger = world.client(1001);
    let mut ask = |name| {
        let request = ClientMessage::AttachBuffer { name, token: None };
        world.asked_at_once(stranger, request)
    };
    let there = ask(owner.1);
    let not_there = ask(ShareName {
        session: SessionId(4711),
        ..owner.1
    });
    assert_eq!(there, not_there);
}

#[test]
fn a_private_buffer_cannot_be_offered_nor_attached() {
    let mut world = World::with_engine();
    let (one, two) = (world.client(1000), world.client(1000));
    let DaemonMessage::BufferReady { buffer, .. } = world.allocate(one, 1, MemoryClass::Shared)
    else {
        panic!();
    };
    let message = ClientMessage::OfferBuffer {
        buffer,
        audience: Audience::User(1000),
        grant: Grant::ReadOnly,
    };
    let refused = world.asked_at_once(one, message);
    assert_eq!(code_of(&refused), Some(ErrorCode::Unsupported));
    let session = world.links[&one].session.unwrap();
    let name = ShareName { session, buffer };
    let denied = Err(ErrorCode::PermissionDenied);
    assert_eq!(attach(&mut world, two, name, None), denied);
}

#[test]
fn it_counts_once_to_its_owner() {
    let mut world = World::with_engine();
    let owner = owner(&mut world);
    let used = world.broker.memory_used();
    offer(&mut world, owner, Audience::User(1001), Grant::ReadWrite);
    let user = world.client(1001);
    for _ in 0..3 {
        attach(&mut world, user, owner.1, None).unwrap();
    }
    assert_eq!(world.broker.memory_used(), used);
    let of = |conn| world.broker.session(world.links[&conn].session.unwrap());
    assert_eq!(of(owner.0).unwrap().memory_used, used);
    assert_eq!(of(user).unwrap().memory_used, MemoryBytes::default());
    let (owner, user) = (of(owner.0).unwrap(), of(user).unwrap());
    assert_eq!((owner.buffers, owner.shared, owner.attached), (1, 1, 0));
    assert_eq!((user.buffers, user.shared, user.attached), (3, 0, 3));
}

#[test]
fn it_ends_for_all_when_its_owner_frees_it_or_goes() {
    for frees in [true, false] {
        let mut world = World::with_engine();
        let owner = owner(&mut world);
        offer(&mut world, owner, Audience::User(1001), Grant::ReadWrite);
        let user = world.client(1001);
        attach(&mut world, user, owner.1, None).unwrap();
        let id = world.links[&user].session.unwrap();
        let attached = world.links[&user].buffers.first().copied().unwrap();
        let remove = ToEngine::RemoveBuffer {
            session: id,
            buffer: attached,
        };
        let buffer = owner.1.buffer;
        if frees {
            world.asked(owner.0, ClientMessage::FreeBuffer { buffer });
        } else {
            world.close(owner.0);
            world.work_off();
        }
        assert!(world.told.contains(&remove));
        assert!(world.files.is_empty());
        assert_eq!(world.broker.memory_used(), MemoryBytes::default());
        let denied = Err(ErrorCode::PermissionDenied);
        assert_eq!(attach(&mut world, user, owner.1, None), denied);
        let freed = world.asked(user, ClientMessage::FreeBuffer { buffer: attached });
        assert_eq!(code_of(&freed), Some(ErrorCode::InvalidHandle));
    }
}

#[test]
fn a_user_that_goes_leaves_the_owner_its_buffer() {
    let mut world = World::with_engine();
    let owner = owner(&mut world);
    offer(&mut world, owner, Audience::User(1001), Grant::ReadWrite);
    let user = world.client(1001);
    attach(&mut world, user, owner.1, None).unwrap();
    world.close(user);
    world.work_off();
    assert!(world.broker.shares[&owner.1].attached.is_empty());
    let next = world.client(1001);
    attach(&mut world, next, owner.1, None).unwrap();
}

#[test]
fn nobody_fills_the_daemon_with_shares_offers_or_attachments() {
    let mut world = World::with_engine();
    let owner = owner(&mut world);
    for n in 0..u32::try_from(MAX_OFFERS).unwrap() {
        offer(&mut world, owner, Audience::User(1001 + n), Grant::ReadOnly);
    }
    let message = ClientMessage::OfferBuffer {
        buffer: owner.1.buffer,
        audience: Audience::User(1),
        grant: Grant::ReadOnly,
    };
    let refused = world.asked_at_once(owner.0, message);
    assert_eq!(code_of(&refused), Some(ErrorCode::LimitReached));
    let user = world.client(1001);
    for _ in 0..MAX_ATTACHMENTS {
        attach(&mut world, user, owner.1, None).unwrap();
    }
    let full = Err(ErrorCode::LimitReached);
    assert_eq!(attach(&mut world, user, owner.1, None), full);
    let one_more = ClientMessage::AllocateShareable { bytes: 1 };
    for _ in 1..MAX_SHARES_PER_UID {
        handle(&world.asked(owner.0, one_more.clone()));
    }
    let refused = world.asked(owner.0, one_more.clone());
    assert_eq!(code_of(&refused), Some(ErrorCode::LimitReached));
    handle(&world.asked(user, one_more));
}
