//! What the files have in them.

use super::picture::draw;
use super::timeline::Timeline;
use super::timeline::tests::{completed, level, piece, submitted, timeline};
use super::{Client, Clients, Summary, chrome, seconds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::recorder::{Entry, Event};

pub(super) fn clients() -> Clients {
    let client = |name: &str| Client {
        name: name.to_owned(),
        uid: 1000,
        pid: 4242,
    };
    let known = [(1, client("solver")), (3, client("<script>\x1b[2J"))];
    Clients {
        known: known.into(),
    }
}

fn events(timeline: &Timeline) -> Vec<Value> {
    let mut text = Vec::new();
    chrome::write(&mut text, timeline, &clients(), &json!({"lost": 0})).unwrap();
    let trace: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(trace["otherData"]["lost"], 0);
    trace["traceEvents"].as_array().unwrap().clone()
}

/// Begin, end and name of a slice.
type Interval = (i64, i64, String);

/// Slices by track, as begin and end in nanoseconds, in the order of the file.
fn tracks(events: &[Value]) -> BTreeMap<(u64, u64), Vec<Interval>> {
    let mut tracks: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let number = |key: &str| event[key].as_u64().unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let ns = |key: &str| (event[key].as_f64().unwrap() * 1e3).round() as i64;
        let name = event["name"].as_str().unwrap().to_owned();
        tracks
            .entry((number("pid"), number("tid")))
            .or_default()
            .push((ns("ts"), ns("ts") + ns("dur"), name));
    }
    tracks
}

/// Each slice lies inside of the one that is open, or begins when that is over.
fn assert_nested(slices: &[Interval]) {
    let mut open: Vec<(i64, i64)> = Vec::new();
    let mut last = 0;
    for (begin, end, name) in slices {
        assert!(begin <= end && last <= *begin, "{name}: {slices:?}");
        last = *begin;
        while open
            .last()
            .is_some_and(|(_, outer)| outer <= begin && begin < end)
        {
            open.pop();
        }
        if let Some((outer_begin, outer_end)) = open.last() {
            assert!(
                outer_begin <= begin && end <= outer_end,
                "{name}: {slices:?}"
            );
        }
        open.push((*begin, *end));
    }
}

/// Two queues, two clients on each, levels behind levels.
fn busy() -> Timeline {
    let mut entries = vec![Entry::Started {
        at_ns: 100,
        queues: 2,
    }];
    for number in 0..50 {
        for queue in 0..2 {
            let at = level(queue, number);
            let at_ns = 1_000 + u64::from(number) * 700;
            entries.push(piece(at, 1 + u64::from(queue), u64::from(number)));
            entries.push(piece(at, 1 + u64::from(queue), u64::from(number) + 100));
            entries.push(piece(at, 3 + u64::from(queue), u64::from(number)));
            entries.push(submitted(at, at_ns, 3));
            // They come one behind the other without a gap, or with one.
            entries.push(completed(at, at_ns + 700, 700 - u64::from(number)));
        }
    }
    entries.push(Entry::Mark {
        session: SessionId(3),
        at_ns: 5_000,
        event: Event::Demoted,
    });
    timeline(entries, 50_000)
}

#[test]
fn slices_of_a_track_are_in_order_and_inside_of_each_other() {
    let events = events(&busy());
    let tracks = tracks(&events);
    // Two queues of the device, and a stream of each client.
    let keys: Vec<_> = tracks.keys().copied().collect();
    assert_eq!(keys, [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]);
    tracks.values().for_each(|slices| assert_nested(slices));
    assert_eq!(tracks[&(1, 1)].len(), 50, "a batch each");
    let names: Vec<&str> = tracks[&(2, 1)]
        .iter()
        .map(|slice| &*slice.2)
        .take(4)
        .collect();
    assert_eq!(names, ["queue 0", "job 0 part", "job 100 part", "queue 0"]);
}

#[test]
fn tracks_have_names_and_slices_say_what_they_are() {
    let events = events(&busy());
    let named = |kind: &str, pid: u64, tid: u64| {
        let event = events
            .iter()
            .find(|event| event["name"] == kind && event["pid"] == pid && event["tid"] == tid);
        event.map(|event| event["args"]["name"].as_str().unwrap().to_owned())
    };
    let of = |name: &str| Some(name.to_owned());
    assert_eq!(named("process_name", 1, 0), of("device"));
    assert_eq!(named("thread_name", 1, 2), of("queue 1"));
    assert_eq!(named("process_name", 2, 0), of("solver (1)"));
    assert_eq!(named("process_name", 3, 0), of("client 2"));
    assert_eq!(named("process_name", 4, 0), of("<script>\\u{1b}[2J (3)"));
    assert_eq!(named("thread_name", 2, 1), of("stream 0"));
    let first = |cat: &str| events.iter().find(|event| event["cat"] == cat).unwrap();
    assert_eq!(
        first("piece")["args"],
        json!({"job": 0, "program": "0000000000000abc", "from": 0, "to": 64, "total": 128})
    );
    assert_eq!(
        first("batch")["args"],
        json!({"batch": 0, "pieces": 3, "clients": [1, 3]})
    );
    let marks: Vec<&Value> = events.iter().filter(|event| event["ph"] == "i").collect();
    assert_eq!(marks.len(), 2);
    assert_eq!(
        (&marks[0]["name"], &marks[0]["pid"]),
        (&json!("demoted"), &json!(4))
    );
}

#[test]
fn nothing_is_a_trace_as_well() {
    let events = events(&timeline(Vec::new(), 200));
    assert!(events.iter().all(|event| event["ph"] == "M"), "{events:?}");
}

#[test]
fn records_of_an_engine_gone_mad_make_some_trace() {
    // Whoever breaks into an engine writes what it likes; a generator of Lehmer's plays it.
    let mut state = 1_u64;
    let mut any = || {
        state = state.wrapping_mul(0xda94_2042_e4dd_58b5).rotate_left(17);
        match state % 4 {
            0 => state,
            1 => u64::MAX - state % 3,
            _ => state % 4,
        }
    };
    for _ in 0..50 {
        let mut timeline = Timeline::new(any());
        for number in 0..100_u32 {
            let words = [
                number.into(),
                1 + any() % 5,
                any(),
                any(),
                any(),
                any(),
                any(),
                any(),
            ];
            let entry = Entry::decode(&words, number.into()).or_else(|| {
                let place = any().to_le_bytes()[0] % 4;
                Some(completed(level(place, number), any(), any()))
            });
            entry.into_iter().for_each(|entry| timeline.add(entry));
        }
        timeline.finish(any());
        assert!(timeline.begin_ns <= timeline.end_ns);
        events(&timeline);
        let picture = draw(&timeline, &clients(), "t", any());
        assert!(picture.ends_with("</svg>\n"));
    }
}

#[test]
fn what_was_seen_is_told_in_a_line() {
    let summary = |lost, full| Summary {
        duration_us: 5_000_123,
        batches: 1,
        pieces: 2,
        clients: 1,
        lost,
        full,
        output: None,
        svg: None,
    };
    assert_eq!(
        summary(0, false).text(),
        "5.00 s: 1 batch with 2 pieces of 1 client\n"
    );
    assert!(
        summary(3, true)
            .text()
            .contains("; 3 records lost; stopped early")
    );
}

#[test]
fn a_trace_takes_some_time_but_not_for_ever() {
    assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    for text in ["0", "-1", "NaN", "inf", "3601", "x", ""] {
        assert!(seconds(text).is_err(), "{text}");
    }
}
