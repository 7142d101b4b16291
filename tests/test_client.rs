//! A client for the end-to-end tests in a process of its own: `vkmps-test-client ROLE [ARGUMENT]`.
//!
//! It says on standard output how far it is, one line a step, and its parent acts on that.
#![forbid(unsafe_code)]

use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsRawFd;
use std::time::Instant;
use vkmps::{Client, Error, Grant, Memory, Submission};
use vkmps_ipc::socket::Seqpacket;
use vkmps_tests::hostile::Session;
use vkmps_tests::kernels::{Adder, LONG, affine, affine_over, buffer_of, busy, program};
use vkmps_tests::patience::eventually;
use zbus::message::Flags;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["add", rounds] => add(rounds.parse()?),
        ["session", name] => session(name),
        ["hostile-name"] => session(HOSTILE_NAME),
        ["refused"] => refused(),
        ["refused-over-and-over", times] => refused_over_and_over(times.parse()?),
        ["flood-bus", calls] => runtime()?.block_on(flood_bus(calls.parse()?)),
        ["vanish-in-call"] => runtime()?.block_on(vanish_in_call()),
        ["wait"] => wait(),
        ["hold", bytes] => hold(bytes.parse()?),
        ["owner", uid] => owner(uid.parse()?),
        ["reader", ticket] => reader(ticket),
        ["hoard", seed] => hoard(seed.parse()?),
        ["spy", ref processes @ ..] => spy(processes),
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

/// Has memory until its session is over, and says why that is.
fn hold(bytes: u64) -> Outcome {
    let client = match Client::connect() {
        Ok(client) => client,
        Err(error) => return say(&format!("refused {:?}", error.code())),
    };
    let kept = match client.alloc(bytes, Memory::Shared) {
        Ok(kept) => kept,
        Err(error) => return say(&format!("refused {:?} {:?}", error.code(), error.excess())),
    };
    say("holds")?;
    let mut end = None;
    eventually("the session is over", || {
        end = client.quota().err();
        end.is_some()
    });
    drop(kept);
    say(&format!("over {:?}", end.map(|error| error.code())))
}

/// Opens a session and does what its parent says, one line an order, one line an answer: `add` adds vectors and checks
/// the result, `id` is the session's number, `quota` its memory, its cap and its priority.
fn session(name: &str) -> Outcome {
    let client = match Client::builder().name(name).connect() {
        Ok(client) => client,
        Err(error) => return say(&format!("refused {:?}", error.code())),
    };
    say(&format!("session {}", client.session()))?;
    let mut adder = None;
    for (round, order) in (0..).zip(stdin().lines()) {
        match order?.as_str() {
            "add" => say(&match added(&client, &mut adder, round) {
                Ok(()) => "right".to_owned(),
                Err(error) => format!("failed {:?}", error.code()),
            })?,
            "id" => say(&client.session().to_string())?,
            "quota" => {
                let quota = client.quota()?;
                let (memory, cap) = (quota.shared_bytes.1, quota.cap_percent);
                say(&format!("quota {memory} {cap} {}", quota.priority.name()))?;
            }
            order => return Err(format!("unknown order {order:?}").into()),
        }
    }
    Ok(())
}

/// Offers a buffer full of ones to a user to be read, says its ticket, and keeps it while its parent lives.
fn owner(uid: u32) -> Outcome {
    let client = Client::connect()?;
    let buffer = client.alloc_shareable(SHARED_BYTES as u64)?;
    buffer.write(0, &[1; SHARED_BYTES])?;
    say(&format!(
        "ticket {}",
        buffer.offer_to_user(uid, Grant::ReadOnly)?
    ))?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Attaches to a buffer, says its first byte, and tries to get at it as a writer.
fn reader(ticket: &str) -> Outcome {
    let client = Client::connect()?;
    let buffer = match client.attach(&ticket.parse()?) {
        Ok(buffer) => buffer,
        Err(error) => return say(&format!("refused {:?}", error.code())),
    };
    let mut byte = [0];
    buffer.read(0, &mut byte)?;
    say(&format!("read {}", byte[0]))?;
    let written = buffer.write(0, &[2]).map_err(|error| error.code());
    say(&format!("written {written:?}"))?;
    // As one that obeys nothing: its descriptor leads to the file.
    let socket = std::env::var_os("VKMPS_SOCKET").ok_or("no socket")?;
    let session = Session::try_open(socket.as_ref(), "reader").map_err(|_| "no session")?;
    let (_, file) = session.attach(&ticket.parse()?);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let reopened = std::fs::File::options().write(true).open(path);
    let reopened = reopened.map(drop).map_err(|error| error.kind());
    say(&format!("reopened {reopened:?}"))
}

/// Allocates, fills, computes with and frees memory of random sizes, for ever.
fn hoard(seed: u64) -> Outcome {
    let client = Client::connect()?;
    let program = affine(&client, 3, 1);
    let mut held = Vec::new();
    // xorshift64
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for round in 0_u64.. {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let memory = [Memory::Shared, Memory::Device][usize::from(random & 1 == 0)];
        let words = vec![1; usize::try_from(random % 100_000)? + 1];
        let buffer = buffer_of(&client, memory, &words);
        let submission = client.submit(affine_over(&program, &buffer))?;
        held.push(buffer);
        if random.is_multiple_of(3) {
            submission.wait()?;
            held.clear();
        }
        if round == 3 {
            say("hoarding")?;
        }
    }
    Ok(())
}

/// Tries to look into processes of somebody else.
fn spy(processes: &[&str]) -> Outcome {
    let files = [
        "auxv",
        "environ",
        "io",
        "maps",
        "mem",
        "numa_maps",
        "pagemap",
        "personality",
        "smaps",
        "stack",
        "syscall",
    ];
    let folders = ["fd", "fdinfo", "map_files", "ns"];
    let mut found = false;
    for process in processes {
        for name in files {
            let path = format!("/proc/{process}/{name}");
            let read = std::fs::File::open(&path).and_then(|mut file| file.read(&mut [0]));
            if read.is_ok() {
                found = true;
                say(&format!("read {path}"))?;
            }
        }
        for name in folders {
            let path = format!("/proc/{process}/{name}");
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            for entry in entries {
                if std::fs::File::open(entry.path()).is_ok() {
                    found = true;
                    say(&format!("opened {}", entry.path().display()))?;
                }
            }
        }
    }
    say(if found { "that is all" } else { "nothing" })
}

/// One round, with what it needs from the rounds before.
fn added(client: &Client, adder: &mut Option<Adder>, round: u32) -> Result<(), Error> {
    let adder = match adder {
        Some(adder) => adder,
        None => adder.insert(Adder::new(client, 5000)?),
    };
    adder.round(client, round)
}

/// Asks for what cannot be had, once each, and says how that was refused.
fn refused() -> Outcome {
    let client = Client::connect()?;
    let program = client.program(&[7; 64]).register();
    say(&program.map_or_else(
        |error| format!("{:?}", error.code()),
        |_| "registered".into(),
    ))?;
    let buffer = client.alloc(1 << 62, Memory::Device);
    say(&buffer.map_or_else(
        |error| format!("{:?}", error.code()),
        |_| "allocated".into(),
    ))
}

/// Asks for more memory than there is, over and over.
fn refused_over_and_over(times: u32) -> Outcome {
    let client = Client::connect()?;
    for _ in 0..times {
        if client.alloc(1 << 62, Memory::Device).is_ok() {
            return say("allocated");
        }
    }
    say("over")
}

/// Calls the manager over and over and waits for no answer, then for the answer to one last call.
async fn flood_bus(calls: u32) -> Outcome {
    let bus = zbus::Connection::system().await?;
    say("flooding")?;
    for number in 0..calls {
        let (method, flags) = match number % 3 {
            0 => ("GetStatus", Flags::NO_REPLY_EXPECTED),
            1 => ("Drain", Flags::NO_REPLY_EXPECTED),
            // The bus itself answers those that are too many at a time.
            _ => ("ListClients", Flags::empty()),
        };
        bus.send(&call(method, flags)?).await?;
    }
    let last = bus.call_method(
        Some(MANAGER),
        "/org/vkmps/Manager",
        Some(MANAGER),
        "GetStatus",
        &(),
    );
    match last.await {
        Ok(_) => say("answered with the status"),
        Err(error) => say(&format!("answered with {error}")),
    }
}

/// Is gone from the bus before its calls are answered.
async fn vanish_in_call() -> Outcome {
    let bus = zbus::Connection::system().await?;
    for method in ["ListClients", "GetStatus", "Drain", "Reload"] {
        bus.send(&call(method, Flags::empty())?).await?;
    }
    say("called")
}

fn call(method: &str, flags: Flags) -> zbus::Result<zbus::Message> {
    let message = zbus::Message::method_call("/org/vkmps/Manager", method)
        .destination(MANAGER)
        .interface(MANAGER);
    message.with_flags(flags).build(&())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
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

const MANAGER: &str = "org.vkmps.Manager";
/// Would forge a field of the journal, colour a terminal and end a line.
const HOSTILE_NAME: &str = "evil\nVKMPS_UID=0\nMESSAGE=forged\n\u{1b}[31m\u{7}";
/// More than a page.
const SHARED_BYTES: usize = 5000;
