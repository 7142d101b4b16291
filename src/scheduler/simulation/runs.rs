//! Runs, and what must come of them.

use super::*;
use crate::Realtime;
use proptest::prelude::*;
use vkmps_protocol::share::Mode;

pub(super) const fn us(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// From 1 us to 100 ms, every magnitude as likely as any other.
fn kernels() -> impl Strategy<Value = Vec<Kernel>> {
    let units = prop_oneof![Just(1), 2..10_u64, 256..5000_u64];
    let kernel =
        (0..5_u32, 1..=10_u64, 1..=16_u32, units).prop_map(|(magnitude, digit, width, units)| {
            Kernel {
                time: us(digit * 10_u64.pow(magnitude)),
                width,
                units,
            }
        });
    prop::collection::vec(kernel, 1..4)
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let shape = (
        1..4_usize,
        1..6_usize,
        any::<bool>(),
        any::<bool>(),
        0..4_u8,
        0..3_u32,
    );
    let pool = prop::option::weighted(0.2, (0..2_u64, 5..=100_u8));
    let times = (0..200_u64, 0..50_u64, prop::option::of(1..100_u64));
    (shape, times, kernels(), pool).prop_map(|(shape, times, kernels, pool)| {
        let (streams, depth, bursts, chained, rank, uid) = shape;
        let (think, joins, leaves) = times;
        Behaviour {
            uid,
            priority: Rank(rank).priority(),
            share: Share::default(),
            pool,
            streams,
            depth,
            pattern: if bursts {
                Pattern::Bursts
            } else {
                Pattern::Steady
            },
            think: us(think * 5),
            kernels,
            chained,
            joins: ms(joins),
            leaves: leaves.map(|after| ms(joins + after)),
        }
    })
}

fn share() -> impl Strategy<Value = Share> {
    (1..10_000_u16, prop::option::of(10..=100_u8), 0..50_u8).prop_map(|(weight, cap, reserve)| {
        Share {
            weight,
            cap,
            reserve,
        }
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let realtime = prop::option::of((1..20_u64, 20..60_u64));
    (0..2_usize, realtime).prop_map(|(mode, realtime)| Policy {
        mode: Mode::ALL[mode],
        realtime: realtime.map(|(budget, period)| Realtime {
            budget: ms(budget),
            period: ms(period),
        }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_clients_do_nothing_is_lost_and_the_device_never_rests(
        queues in 1..9_usize,
        width in 1..65_u32,
        clients in prop::collection::vec(behaviour(), 1..24),
        changes in prop::collection::vec((0..100_u64, any::<prop::sample::Index>(), 0..4_u8), 0..16),
        caps in prop::collection::vec((0..100_u64, any::<prop::sample::Index>(), prop::option::of(5..=100_u8)), 0..6),
        users in prop::collection::vec((0..4_u32, share()), 0..3),
        policy in policy(),
    ) {
        let count = clients.len();
        let mut simulation = Simulation::new(queues, width, clients);
        for (at, client, rank) in changes {
            simulation.plan(ms(at), Event::SetPriority(client.index(count), Rank(rank)));
        }
        for (at, client, cap) in caps {
            simulation.plan(ms(at), Event::SetShare(client.index(count), cap));
        }
        for (uid, share) in users {
            simulation.set_user(uid, share);
        }
        simulation.set_policy(policy);
        simulation.run_until(ms(150));
        simulation.drain();
    }
}

#[test]
fn one_client_has_the_device_for_itself() {
    let mut simulation = Simulation::new(1, 1, [Behaviour::busy(ms(1), 4)]);
    simulation.run_until(ms(1000));
    let work = simulation.clients[0].work;
    assert!(work > ms(980), "{work:?} of 1 s");
    assert!(simulation.device.busy > ms(990));
    simulation.drain();
}

#[test]
fn ten_thousand_clients_are_all_served() {
    let clients = (0..10_000).map(|_| Behaviour::waiting(us(20)));
    let mut simulation = Simulation::new(8, 256, clients);
    simulation.run_until(ms(100));
    let served = simulation
        .clients
        .iter()
        .filter(|client| client.work > us(0));
    assert_eq!(served.count(), 10_000);
    simulation.drain();
}

#[test]
fn a_low_priority_progresses_under_a_flood_of_a_high_one() {
    for queues in [1, 8] {
        let flood = (0..32).map(|_| Behaviour::busy(us(500), 8).with(Priority::High));
        let low = Behaviour::waiting(us(500)).with(Priority::Low);
        let mut simulation = Simulation::new(queues, 8, flood.chain([low]));
        simulation.run_until(ms(2000));
        let low = &simulation.clients[32];
        assert!(low.work > ms(1), "{:?} on {queues} queues", low.work);
        simulation.drain();
    }
}
