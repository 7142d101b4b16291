//! A client for the end-to-end tests in a process of its own: `vkmps-test-client ROLE [ARGUMENT]`.
//!
//! It says on standard output how far it is, one line a step, and its parent acts on that.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Read, Write, stdin, stdout};
use std::time::Instant;
use vkmps::{Client, Memory, Submission};
use vkmps_ipc::socket::Seqpacket;
use vkmps_tests::kernels::{Adder, LONG, affine, affine_over, buffer_of, busy, program};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["add", rounds] => add(rounds.parse()?),
        ["wait"] => wait(),
        ["connecting"] => connecting(),
        ["greeted"] => greeted(),
        ["registering"] => registering(),
        ["writing"] => writing(),
        ["submitting"] => submitting(),
        ["holding-a-batch"] => holding_a_batch(),
        _ => Err(format!("unknown role {arguments:?}").into()),
    }
}

/// Adds vectors and checks every result.
fn add(rounds: u32) -> Outcome {
    let client = Client::connect()?;
    let adder = Adder::new(&client, 5000)?;
    for round in 0..rounds {
        adder.round(&client, round)?;
    }
    say("right")
}

/// Waits for something long and says how that ended, and how long after the parent's word.
fn wait() -> Outcome {
    let client = Client::connect()?;
    let (slow, buffer) = (
        program(&client, "fma_loop"),
        client.alloc(LONG, Memory::Shared)?,
    );
    let submits: Result<Vec<Submission>, _> = (0..100)
        .map(|_| client.submit(busy(&slow, &buffer)))
        .collect();
    let submits = submits?;
    say("waiting")?;
    let last = submits.last().ok_or("no submit")?;
    let begun = Instant::now();
    match last.wait() {
        Ok(()) => say(&format!("done after {:?}", begun.elapsed())),
        Err(error) => say(&format!("ended with {:?}", error.code())),
    }
}

/// Connects and says nothing to the daemon.
fn connecting() -> Outcome {
    let path = std::env::var_os("VKMPS_SOCKET").ok_or("no VKMPS_SOCKET")?;
    let _socket = Seqpacket::connect(path.as_ref())?;
    say("ready")?;
    until_killed()
}

fn greeted() -> Outcome {
    let _client = Client::connect()?;
    say("ready")?;
    until_killed()
}

/// Registers one new program after another.
fn registering() -> Outcome {
    let client = Client::connect()?;
    say("ready")?;
    let mut factor = 2;
    loop {
        let _program = affine(&client, factor, 7);
        factor += 1;
    }
}

/// Writes and reads for ever.
fn writing() -> Outcome {
    let client = Client::connect()?;
    let buffer = client.alloc(8 << 20, Memory::Device)?;
    let mut data = vec![7; 8 << 20];
    say("ready")?;
    loop {
        buffer.write(0, &data)?;
        buffer.read(0, &mut data)?;
    }
}

/// Submits for ever, to several streams, and waits for nothing.
fn submitting() -> Outcome {
    let client = Client::connect()?;
    let add = affine(&client, 3, 1);
    let buffer = buffer_of(&client, Memory::Shared, &[1; 1024]);
    let streams: Result<Vec<_>, _> = (0..4).map(|_| client.stream()).collect();
    let streams = streams?;
    let dispatch = affine_over(&add, &buffer);
    for round in 0.. {
        for stream in &streams {
            let _submission = stream.submit(&dispatch)?;
        }
        if round == 100 {
            say("ready")?;
        }
    }
    Ok(())
}

/// Holds a batch of much work that is far from over.
fn holding_a_batch() -> Outcome {
    let client = Client::connect()?;
    let slow = program(&client, "fma_loop");
    let buffers: Result<Vec<_>, _> = (0..8)
        .map(|_| client.alloc(LONG / 16, Memory::Shared))
        .collect();
    let buffers = buffers?;
    let mut batch = client.default_stream().batch();
    for buffer in &buffers {
        batch = batch.dispatch(busy(&slow, buffer));
    }
    let _submission = batch.submit()?;
    let _behind: Result<Vec<Submission>, _> = (0..100)
        .map(|_| client.submit(busy(&slow, &buffers[0])))
        .collect();
    say("ready")?;
    until_killed()
}

fn until_killed() -> Outcome {
    // The parent holds the other end and writes nothing.
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn say(line: &str) -> Outcome {
    let mut output = stdout();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
