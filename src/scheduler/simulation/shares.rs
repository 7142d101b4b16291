//! Caps, weights, reserves, budgets, and what higher priorities have to wait for.

use super::runs::{ms, us};
use super::*;
use crate::Realtime;
use vkmps_protocol::share::Mode;

/// Seconds of work of each client, on a device of its own.
fn work(simulation: &Simulation) -> Vec<f64> {
    let work = simulation.clients.iter().map(|client| client.work);
    work.map(|work| work.as_secs_f64()).collect()
}

fn capped(cap: u8, time: Duration) -> Behaviour {
    let share = Share {
        cap: Some(cap),
        ..Share::default()
    };
    Behaviour {
        share,
        ..Behaviour::busy(time, 4)
    }
}

#[test]
fn caps_are_exact_alone_and_together() {
    for time in [us(100), us(700), ms(2), ms(30)] {
        let mut simulation = Simulation::new(1, 1, [capped(30, time)]);
        simulation.run_until(ms(20_000));
        // A launch takes a part of every level.
        let solo = time.as_secs_f64() / (time + us(5)).as_secs_f64();
        let part = work(&simulation)[0] / 20.0 / solo;
        assert!((0.29..0.31).contains(&part), "{part} of {time:?}");
        let mut simulation = Simulation::new(1, 1, [10, 30, 60].map(|cap| capped(cap, time)));
        simulation.run_until(ms(20_000));
        let work = work(&simulation);
        for (work, cap) in work.iter().zip([0.1, 0.3, 0.6]) {
            let part = work / 20.0 / solo;
            assert!((part - cap).abs() < 0.02, "{part} for {cap} of {time:?}");
        }
    }
}

#[test]
fn caps_hold_for_users_and_change_while_they_run() {
    let clients = (0..4).map(|_| Behaviour::busy(us(500), 2).of_user(7));
    let mut simulation = Simulation::new(1, 1, clients);
    let cap = |cap| Share {
        cap,
        ..Share::default()
    };
    simulation.set_user(7, cap(Some(20)));
    simulation.run_until(ms(1000));
    let before: f64 = work(&simulation).iter().sum();
    assert!((0.18..0.22).contains(&before), "{before}");
    simulation.set_user(7, cap(Some(50)));
    simulation.run_until(ms(2000));
    let after = work(&simulation).iter().sum::<f64>() - before;
    assert!((0.46..0.53).contains(&after), "{after}");
    simulation.set_user(7, cap(None));
    simulation.run_until(ms(3000));
    let free = work(&simulation).iter().sum::<f64>() - before - after;
    assert!(free > 0.9, "{free}");
}

#[test]
fn clients_of_a_pool_have_its_cap_together_whoever_their_users_are() {
    let member = |uid| Behaviour {
        pool: Some((5, 30)),
        ..Behaviour::busy(us(500), 2).of_user(uid)
    };
    let mut late = member(1);
    late.joins = ms(5000);
    late.leaves = Some(ms(15_000));
    let free = Behaviour::busy(us(500), 2).of_user(3);
    let mut simulation = Simulation::new(1, 1, [member(1), member(2), late, free]);
    simulation.run_until(ms(20_000));
    let work = work(&simulation);
    let together = work[..3].iter().sum::<f64>() / 20.0;
    assert!((0.28..0.32).contains(&together), "{work:?}");
    assert!(work[..3].iter().all(|work| *work > 0.5), "{work:?}");
    assert!(work[3] / 20.0 > 0.66, "{work:?}");
}

#[test]
fn a_pool_of_one_keeps_it_to_the_tighter_of_two_caps() {
    for (own, pool) in [(10, 40), (40, 10)] {
        let client = Behaviour {
            pool: Some((1, pool)),
            ..capped(own, us(500))
        };
        let mut simulation = Simulation::new(1, 1, [client]);
        simulation.run_until(ms(10_000));
        let part = work(&simulation)[0] / 10.0;
        assert!((0.09..0.11).contains(&part), "{part} of {own} and {pool}");
    }
}

#[test]
fn weights_divide_the_device() {
    let clients = [1, 2].map(|uid| Behaviour::busy(us(500), 4).of_user(uid));
    let mut simulation = Simulation::new(1, 1, clients);
    let share = Share {
        weight: 300,
        ..Share::default()
    };
    simulation.set_user(2, share);
    simulation.run_until(ms(1000));
    let work = work(&simulation);
    let ratio = work[1] / work[0];
    assert!((2.8..3.2).contains(&ratio), "{ratio}");
}

#[test]
fn a_reserve_holds_against_many_users_and_higher_priorities() {
    for priority in [Priority::Medium, Priority::High] {
        let others = (10..30).map(|uid| Behaviour::busy(us(500), 4).of_user(uid).with(priority));
        let owner = Behaviour::busy(us(500), 4).of_user(1);
        let mut simulation = Simulation::new(1, 1, others.chain([owner]));
        let share = Share {
            reserve: 30,
            ..Share::default()
        };
        simulation.set_user(1, share);
        simulation.run_until(ms(1000));
        let part = work(&simulation)[20];
        assert!((0.27..0.33).contains(&part), "{part} under {priority:?}");
    }
}

#[test]
fn a_realtime_user_beyond_its_budget_runs_as_high_and_is_told() {
    let greedy = Behaviour::busy(us(500), 4)
        .with(Priority::Realtime)
        .of_user(1);
    let high = Behaviour::busy(us(500), 4).with(Priority::High).of_user(2);
    let mut simulation = Simulation::new(1, 1, [greedy, high]);
    simulation.set_policy(Policy {
        realtime: Some(Realtime {
            budget: ms(20),
            period: ms(100),
        }),
        ..Policy::default()
    });
    simulation.run_until(ms(1000));
    let work = work(&simulation);
    // A fifth of the time, and half of the rest.
    assert!((0.5..0.68).contains(&work[0]), "{work:?}");
    simulation.run_until(ms(1050));
    assert_eq!(simulation.demoted.len(), 1);
}

/// The longest time that a short kernel of a priority takes while others keep the device busy.
fn delay(queues: usize, width: u32, priority: Priority, others: &[Behaviour]) -> Simulation {
    let short = Behaviour {
        think: us(700),
        ..Behaviour::waiting(us(20)).with(priority)
    };
    let clients = [short].into_iter().chain(others.iter().cloned());
    let mut simulation = Simulation::new(queues, width, clients);
    simulation.run_until(ms(1000));
    // What was unknown at first is known by now.
    simulation.clients[0].longest = Duration::ZERO;
    simulation.run_until(ms(2000));
    simulation
}

#[test]
fn a_high_priority_waits_for_two_slices_of_lower_ones_at_most() {
    for time in [us(1600), ms(20), ms(100)] {
        for queues in [1, 16] {
            let wide = Behaviour {
                kernels: vec![Kernel::new(time, 64)],
                ..Behaviour::busy(time, 4).with(Priority::Low)
            };
            let simulation = delay(queues, 64, Priority::High, &[wide]);
            let longest = simulation.clients[0].longest;
            assert!(
                longest < us(1200),
                "{longest:?} behind {time:?}, {queues} queues"
            );
            // Each stream has one job that is not at its end.
            let open = time.as_secs_f64() * 4.0;
            let kept = (work(&simulation)[1] + open) / 2.0;
            assert!(kept > 0.93, "{kept} of {time:?}, {queues} queues");
            assert!(simulation.pieces > 1000 && simulation.preempted > 100);
        }
    }
}

#[test]
fn with_nobody_else_nothing_is_cut() {
    let mut simulation = Simulation::new(1, 1, [Behaviour::busy(ms(20), 2)]);
    simulation.run_until(ms(1000));
    assert!(simulation.pieces <= 52, "{}", simulation.pieces);
}

#[test]
fn equals_are_cut_shorter_in_the_cooperative_mode() {
    let pieces = Mode::ALL.map(|mode| {
        let clients = [1, 2].map(|_| Behaviour::busy(ms(50), 4));
        let mut simulation = Simulation::new(1, 1, clients);
        simulation.set_policy(Policy {
            mode,
            ..Policy::default()
        });
        simulation.run_until(ms(2000));
        simulation.pieces
    });
    // 1 ms and 0.5 ms.
    assert!((1800..2400).contains(&pieces[0]), "{pieces:?}");
    assert!((3600..4600).contains(&pieces[1]), "{pieces:?}");
}
