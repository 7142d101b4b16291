//! Who gets which part of the device's time.

use super::runs::{ms, us};
use super::*;

/// Jain's index: 1 where all are equal, 1/n where one has all.
fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    sum * sum / (values.len() as f64 * squares)
}

/// Time that each client's work would have taken on a device of its own.
fn work(simulation: &Simulation) -> Vec<f64> {
    let work = simulation.clients.iter().map(|client| client.work);
    work.map(|work| work.as_secs_f64()).collect()
}

/// Lengths from 50 us to 6.4 ms.
fn lengths(clients: usize) -> impl Iterator<Item = Duration> {
    (0..clients).map(|index| us(50 << (index % 8)))
}

fn run(queues: usize, width: u32, clients: impl IntoIterator<Item = Behaviour>) -> Simulation {
    let mut simulation = Simulation::new(queues, width, clients);
    simulation.run_until(ms(3000));
    simulation
}

#[test]
fn equal_clients_with_unequal_kernels_have_equal_shares() {
    for clients in [2, 8, 32] {
        let simulation = run(1, 1, lengths(clients).map(|time| Behaviour::busy(time, 4)));
        let index = jain(&work(&simulation));
        assert!(
            index >= 0.98,
            "{index} of {clients} clients: {:?}",
            work(&simulation)
        );
    }
}

#[test]
fn clients_that_submit_and_wait_have_equal_shares_too() {
    for clients in [2, 8, 32] {
        let simulation = run(1, 1, lengths(clients).map(Behaviour::waiting));
        let index = jain(&work(&simulation));
        assert!(
            index >= 0.98,
            "{index} of {clients} clients: {:?}",
            work(&simulation)
        );
        let busy = simulation.device.busy.as_secs_f64() / simulation.now.as_secs_f64();
        assert!(busy >= 0.8, "busy {busy} with {clients} clients");
    }
}

#[test]
fn users_have_equal_shares_however_many_clients_they_have() {
    for times in [[us(500), us(500)], [us(100), us(3000)], [us(3000), us(100)]] {
        let one = Behaviour::busy(times[0], 8).of_user(1);
        let seven = (0..7).map(|_| Behaviour::busy(times[1], 8).of_user(2));
        let simulation = run(1, 1, [one].into_iter().chain(seven));
        let work = work(&simulation);
        let share = work[0] / work.iter().sum::<f64>();
        assert!((0.48..=0.52).contains(&share), "{share} with {times:?}");
        assert!(jain(&work[1..]) > 0.98, "{work:?}");
    }
}

#[test]
fn users_have_equal_shares_when_their_clients_submit_and_wait() {
    let one = Behaviour::waiting(us(1000)).of_user(1);
    let seven = (0..7).map(|_| Behaviour::waiting(us(1000)).of_user(2));
    let simulation = run(1, 1, [one].into_iter().chain(seven));
    let work = work(&simulation);
    let share = work[0] / work.iter().sum::<f64>();
    assert!((0.48..=0.52).contains(&share), "{share}");
}

#[test]
fn the_shares_hold_on_several_queues() {
    // Each client alone fills the device.
    let wide = |time| Behaviour {
        kernels: vec![Kernel::new(time, 64)],
        ..Behaviour::busy(time, 8)
    };
    let simulation = run(8, 64, lengths(8).map(wide));
    let index = jain(&work(&simulation));
    assert!(index >= 0.9, "{index}: {:?}", work(&simulation));
}

#[test]
fn who_comes_late_claims_nothing_of_the_past() {
    let late = Behaviour {
        joins: ms(1000),
        ..Behaviour::busy(ms(1), 4)
    };
    let mut simulation = Simulation::new(1, 1, [Behaviour::busy(ms(1), 4), late]);
    simulation.run_until(ms(1000));
    let before = simulation.clients[0].work;
    simulation.run_until(ms(2000));
    let share = (simulation.clients[0].work - before).as_secs_f64();
    assert!((0.47..0.53).contains(&share), "{share}");
}

#[test]
fn work_that_leaves_the_queue_is_not_charged() {
    // It queues a second of work and goes, again and again; its user's other client has its share all the same.
    let guest = (0..20).map(|turn| Behaviour {
        joins: ms(turn * 100),
        leaves: Some(ms(turn * 100 + 50)),
        depth: 64,
        ..Behaviour::busy(ms(1), 16).of_user(1)
    });
    let pair = [1, 2].map(|uid| Behaviour::busy(ms(1), 4).of_user(uid));
    let mut simulation = Simulation::new(1, 1, pair.into_iter().chain(guest));
    simulation.run_until(ms(2000));
    let user: f64 = work(&simulation).iter().sum::<f64>() - work(&simulation)[1];
    assert!((0.95..1.05).contains(&user), "{user} of 2 s");
    assert!(simulation.clients[0].work > ms(700));
}

#[test]
fn a_flood_of_tiny_or_huge_kernels_takes_nothing_from_others() {
    let tiny = Behaviour {
        depth: 16,
        ..Behaviour::busy(us(2), 32)
    };
    let huge = Behaviour::busy(ms(50), 16);
    let both = Behaviour {
        kernels: [us(5), ms(20)].map(|time| Kernel::new(time, 1)).to_vec(),
        ..Behaviour::busy(ms(1), 8)
    };
    for hostile in [tiny, huge, both] {
        let honest = Behaviour::busy(us(500), 4).of_user(1);
        let simulation = run(1, 1, [honest, hostile.clone().of_user(2)]);
        let share = simulation.clients[0].work.as_secs_f64() / 3.0;
        assert!(share >= 0.46, "{share} beside {:?}", hostile.kernels);
    }
}

#[test]
fn nobody_is_held_up_by_those_who_seldom_work() {
    // A short kernel every millisecond, of the same priority and of a higher one.
    for priority in [Priority::Medium, Priority::High] {
        let seldom = Behaviour {
            think: us(900),
            ..Behaviour::waiting(us(75)).with(priority)
        };
        let simulation = run(1, 1, [seldom, Behaviour::busy(us(1600), 4)]);
        let share = simulation.clients[1].work.as_secs_f64() / 3.0;
        assert!(share >= 0.9, "{share} beside {priority:?}");
    }
}

#[test]
fn a_low_priority_has_its_floor_and_no_more() {
    let flood = (0..4).map(|_| Behaviour::busy(us(500), 8).with(Priority::High));
    let low = Behaviour::busy(ms(20), 4).with(Priority::Low);
    let simulation = run(1, 1, flood.chain([low]));
    let share = simulation.clients[4].work.as_secs_f64() / 3.0;
    assert!((0.02..0.08).contains(&share), "{share}");
}
