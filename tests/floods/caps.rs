//! Caps of every value.

use crate::expect_progress;
use crate::grids::huge;
use vkmps::{Client, ErrorCode};
use vkmps_protocol::message::{ClientMessage, Hello};
use vkmps_protocol::quota::Wish;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::flood::Flood;
use vkmps_tests::hostile::{self, Connection, Session};
use vkmps_tests::witness::Witness;

#[test]
fn caps_that_are_none_are_refused_by_the_client_and_by_the_daemon() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    for percent in [0, 101, 255] {
        let builder = Client::builder().socket(daemon.socket());
        let error = builder
            .active_thread_percentage(percent)
            .connect()
            .unwrap_err();
        assert_eq!(
            error.code(),
            ErrorCode::InvalidArgument,
            "{percent}: {error}"
        );
        // The same by somebody who does not ask the client library.
        let connection = Connection::open(daemon.socket());
        connection.say(&hello(percent), &[]);
        let refused = Session::welcomed(connection);
        assert!(refused.is_err(), "{percent} is welcome");
    }
    witness.goes_on();
}

#[test]
fn a_flood_under_caps_goes_on_and_keeps_nobody_waiting() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let capped = (0..3).map(|_| {
        let builder = Client::builder().socket(daemon.socket());
        let client = builder.active_thread_percentage(10).connect();
        client.unwrap_or_else(|error| panic!("connecting: {error}"))
    });
    let flood = Flood::of(capped, 2, |client| vec![huge(client)]);
    expect_progress(&witness, &flood, 20, 20 * 6);
}

fn hello(percent: u8) -> ClientMessage {
    let wish = Wish {
        cap_percent: Some(percent),
        ..Wish::default()
    };
    match hostile::hello("capped") {
        ClientMessage::Hello(hello) => ClientMessage::Hello(Hello { wish, ..hello }),
        other => other,
    }
}
