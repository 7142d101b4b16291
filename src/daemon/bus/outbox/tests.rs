use super::*;
use crate::bus::tests::samples::{device, status, view};
use vkmps_protocol::message::Priority;

fn added(id: u64) -> Change {
    Change::ClientAdded(view(id, 7))
}

fn removed(id: u64) -> Change {
    Change::ClientRemoved {
        client: SessionId(id),
        reason: "gone".to_owned(),
    }
}

fn limit(client: u64, limit: &'static str) -> Limit {
    Limit {
        client: Some(SessionId(client)),
        uid: 7,
        limit,
    }
}

fn reach(outbox: &Outbox, limit: Limit, now: Instant) {
    outbox.inner.lock().limit(limit, now);
}

fn all(outbox: &Outbox) -> Vec<News> {
    std::iter::from_fn(|| outbox.next()).collect()
}

/// In short, of clients.
fn clients(outbox: &Outbox) -> Vec<String> {
    let news = all(outbox).into_iter().map(|news| match news {
        News::Added(view) => format!("+{}", view.id.0),
        News::Removed { client, .. } => format!("-{}", client.0),
        News::Changed { client, .. } => format!("~{}", client.0),
        other => format!("{other:?}"),
    });
    news.collect()
}

#[test]
fn a_client_that_came_and_went_unseen_is_not_told_of() {
    let outbox = Outbox::new();
    outbox.push(added(1));
    outbox.push(added(2));
    outbox.push(removed(1));
    assert_eq!(clients(&outbox), ["+2"]);
    outbox.push(removed(2));
    assert_eq!(clients(&outbox), ["-2"]);
    assert_eq!(outbox.clients(), 0);
}

#[test]
fn a_bus_that_is_slow_finds_one_thing_to_say_of_each_client() {
    let outbox = Outbox::new();
    outbox.push(added(1));
    for priority in [Priority::Low, Priority::High, Priority::Low] {
        let client = SessionId(1);
        outbox.push(Change::Priority { client, priority });
    }
    let mut view = view(1, 7);
    view.priority = Priority::Low;
    assert_eq!(all(&outbox), [News::Added(view)]);
    for priority in [Priority::High, Priority::Medium] {
        let client = SessionId(1);
        outbox.push(Change::Priority { client, priority });
    }
    outbox.found_unit(SessionId(1), "a.service".to_owned());
    let changed = News::Changed {
        client: SessionId(1),
        priority: Some(Priority::Medium),
        unit: Some("a.service".to_owned()),
        limits: None,
    };
    assert_eq!(all(&outbox), [changed]);
    assert_eq!(outbox.unit(SessionId(1)), "a.service");
}

#[test]
fn nothing_is_kept_of_clients_that_are_gone() {
    let outbox = Outbox::new();
    for id in 1..10_000 {
        outbox.push(added(id));
        outbox.push(Change::Priority {
            client: SessionId(id),
            priority: Priority::Low,
        });
        outbox.push(removed(id));
        outbox.found_unit(SessionId(id), "late.service".to_owned());
    }
    let pending = outbox.inner.lock();
    assert!(pending.clients.is_empty());
    assert!(pending.news.is_empty());
    assert!(pending.gone.is_empty());
    assert!(pending.unasked.is_empty());
}

#[test]
fn another_bus_hears_of_all_who_are_there_and_of_nobody_else() {
    let outbox = Outbox::new();
    outbox.push(Change::Status(status()));
    outbox.push(Change::Device(Some(device())));
    outbox.push(added(1));
    outbox.push(added(2));
    assert_eq!(all(&outbox).len(), 4);
    outbox.push(removed(1));
    reach(&outbox, limit(2, "memory"), Instant::now());
    outbox.rewind();
    let device = News::Device(Some(device()));
    let expected = [device, News::Status(status()), News::Added(view(2, 7))];
    assert_eq!(all(&outbox), expected);
}

#[test]
fn a_limit_is_told_once_per_client_and_kind_in_ten_seconds() {
    let outbox = Outbox::new();
    let start = Instant::now();
    for _ in 0..3 {
        reach(&outbox, limit(1, "memory"), start);
        reach(&outbox, limit(1, "buffers"), start);
        reach(&outbox, limit(2, "memory"), start);
    }
    assert_eq!(all(&outbox).len(), 3);
    let too_soon = start + LIMIT_PAUSE - Duration::from_millis(1);
    reach(&outbox, limit(1, "memory"), too_soon);
    assert_eq!(all(&outbox).len(), 0);
    reach(&outbox, limit(1, "memory"), start + LIMIT_PAUSE);
    assert_eq!(all(&outbox).len(), 1);
}

#[test]
fn limits_and_faults_that_nobody_takes_do_not_pile_up() {
    let outbox = Outbox::new();
    let start = Instant::now();
    for id in 1..5_000 {
        reach(&outbox, limit(id, "memory"), start);
        outbox.push(Change::DeviceFault {
            reason: id.to_string(),
            sessions: 1,
        });
    }
    let news = all(&outbox);
    assert_eq!(news.len(), MAX_LIMITS + MAX_FAULTS);
    let last = News::Fault {
        reason: "4999".to_owned(),
        sessions: 1,
    };
    assert!(news.contains(&last));
    reach(&outbox, limit(1, "memory"), start + LIMIT_PAUSE);
    assert_eq!(all(&outbox).len(), 1, "the next ones are told again");
}

#[tokio::test]
async fn who_waits_hears_of_a_change() {
    let outbox = Outbox::new();
    outbox.push(added(1));
    outbox.changed().await;
    outbox.unasked().await;
    assert_eq!(outbox.next_unasked(), Some((SessionId(1), 1)));
    assert_eq!(outbox.next_unasked(), None);
}
