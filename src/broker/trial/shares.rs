//! What the engine hears of how its time is shared.

use super::world::{World, config};
use crate::*;
use vkmps_protocol::engine::FromEngine;
use vkmps_protocol::share::Mode;

fn told_mode(world: &World) -> Option<Mode> {
    match world.engine.as_ref()?.policy {
        Some(ToEngine::SetPolicy { mode, .. }) => Some(mode),
        _ => None,
    }
}

#[test]
fn an_engine_knows_the_policy_from_its_start_and_of_every_change() {
    let mut world = World::with_engine();
    assert_eq!(told_mode(&world), Some(Mode::ExclusiveThroughput));
    let policy = Policy {
        mode: Mode::CooperativeFairshare,
        ..config().policy
    };
    world.input(Input::Configure(Config { policy, ..config() }));
    assert_eq!(told_mode(&world), Some(Mode::CooperativeFairshare));
    world.kill_engine(&[]);
    world.start_engine();
    assert_eq!(told_mode(&world), Some(Mode::CooperativeFairshare));
}

#[test]
fn a_demotion_is_seen_until_the_budget_is_there_again() {
    let mut world = World::with_engine();
    let conn = world.client(0);
    let session = world.links[&conn].session.expect("a session");
    for demoted in [true, false] {
        world.input(Input::Engine(FromEngine::Demoted { session, demoted }));
        assert_eq!(world.broker.session(session).unwrap().demoted, demoted);
    }
    world.close(conn);
    let demoted = true;
    world.input(Input::Engine(FromEngine::Demoted { session, demoted }));
    assert_eq!(world.broker.session(session), None);
}
