//! What comes after what: streams, automatic ordering, batches, rings.

use vkmps::{Dispatch, ErrorCode, Memory, Submission};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::{affine, affine_over, buffer_of, program, read_words};

#[test]
fn streams_of_one_client_each_keep_their_own_order() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let step = affine(&client, 3, 1);
    let streams: Vec<_> = (0..8).map(|_| client.stream().unwrap()).collect();
    let buffers: Vec<_> = (0..8)
        .map(|start| buffer_of(&client, Memory::Shared, &vec![start; 500]))
        .collect();
    for _ in 0..50 {
        for (stream, buffer) in streams.iter().zip(&buffers) {
            let _submission = stream.submit(affine_over(&step, buffer)).unwrap();
        }
    }
    for (start, buffer) in (0..).zip(&buffers) {
        // Reading waits for the submits that write the buffer.
        assert_eq!(
            read_words(buffer),
            vec![times(50, start, 3, 1); 500],
            "stream {start}"
        );
    }
}

#[test]
fn at_most_256_streams_and_a_returned_one_can_be_had_again() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let mut streams = Vec::new();
    let error = loop {
        match client.stream() {
            Ok(stream) => streams.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (streams.len(), error.code()),
        (255, ErrorCode::LimitReached),
        "the default stream is the 256th"
    );
    let (step, buffer) = (
        affine(&client, 2, 1),
        buffer_of(&client, Memory::Shared, &[1; 64]),
    );
    for stream in &streams {
        let _submission = stream
            .submit(affine_over(&step, &buffer.clone()))
            .unwrap()
            .wait();
    }
    assert_eq!(read_words(&buffer), vec![times(255, 1, 2, 1); 64]);
    streams.pop();
    client.stream().unwrap();
}

#[test]
fn a_chain_of_dependent_submits_takes_effect_in_order_without_barriers_of_the_client() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let (triple, add) = (affine(&client, 3, 0), affine(&client, 1, 5));
    let buffer = buffer_of(&client, Memory::Shared, &[1; 300]);
    let mut expected = 1_u32;
    let mut last = None;
    for round in 0..300 {
        let program = if round % 2 == 0 { &triple } else { &add };
        expected = if round % 2 == 0 {
            expected.wrapping_mul(3)
        } else {
            expected.wrapping_add(5)
        };
        last = Some(client.submit(affine_over(program, &buffer)).unwrap());
    }
    last.unwrap().wait().unwrap();
    assert_eq!(read_words(&buffer), vec![expected; 300]);
}

#[test]
fn a_chain_through_several_buffers_is_ordered_by_what_it_touches() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let add = program(&client, "vector_add");
    let words = |value: f32| value.to_bits();
    let mut buffers = vec![
        buffer_of(&client, Memory::Shared, &[words(1.0); 64]),
        buffer_of(&client, Memory::Shared, &[words(1.0); 64]),
    ];
    buffers.extend((0..14).map(|_| buffer_of(&client, Memory::Shared, &[0; 64])));
    let add = |a: usize, b: usize, c: usize| {
        Dispatch::new(&add, [1, 1, 1])
            .push(&64_u32.to_le_bytes())
            .read(&buffers[a])
            .read(&buffers[b])
            .write(&buffers[c])
    };
    for round in 0..20 {
        for at in 2..buffers.len() {
            let _submission = client.submit(add(at - 2, at - 1, at)).unwrap();
        }
        // 16 Fibonacci numbers, each from the two before it, whatever was in the buffers of the last round.
        assert_eq!(
            read_words(buffers.last().unwrap()),
            vec![words(987.0); 64],
            "round {round}"
        );
    }
}

#[test]
fn a_batch_copies_fills_updates_and_dispatches_in_order() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let step = affine(&client, 10, 1);
    for memory in [Memory::Shared, Memory::Device] {
        let (one, two) = (
            client.alloc(1024, memory).unwrap(),
            client.alloc(1024, memory).unwrap(),
        );
        let batch = client.default_stream().batch();
        batch
            .fill(&one, 7)
            .update(one.slice(8, 4), &99_u32.to_le_bytes())
            .dispatch(affine_over(&step, &one))
            .copy(one.slice(0, 512), two.slice(512, 512))
            .barrier()
            .fill(two.slice(0, 256), 5)
            .copy(two.slice(0, 4), two.slice(256, 4))
            .submit()
            .unwrap()
            .wait()
            .unwrap();
        let (one, two) = (read_words(&one), read_words(&two));
        assert_eq!((one[0], one[2], one[255]), (71, 991, 71), "{memory:?}");
        assert_eq!(
            (two[0], two[63], two[64], two[65]),
            (5, 5, 5, 0),
            "{memory:?}"
        );
        assert_eq!((two[128], two[130], two[255]), (71, 991, 71), "{memory:?}");
    }
    client
        .default_stream()
        .batch()
        .submit()
        .unwrap()
        .wait()
        .unwrap();
}

#[test]
fn a_submit_that_is_larger_than_the_ring_takes_effect_whole() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let buffer = client.alloc(1 << 20, Memory::Shared).unwrap();
    let data: Vec<u8> = (0..1_u32 << 18)
        .flat_map(|word| word.wrapping_mul(77).to_le_bytes())
        .collect();
    client
        .default_stream()
        .batch()
        .update(&buffer, &data)
        .submit()
        .unwrap()
        .wait()
        .unwrap();
    let mut found = vec![0; 1 << 20];
    buffer.read(0, &mut found).unwrap();
    assert!(found == data, "a megabyte of literal data");

    let mut batch = client.default_stream().batch();
    for word in 0..20_000_u32 {
        batch = batch.fill(buffer.slice(u64::from(word) * 4, 4), word ^ 0xffff);
    }
    batch.submit().unwrap().wait().unwrap();
    let words = read_words(&buffer);
    assert!(
        (0..20_000_u32).all(|word| words[word as usize] == word ^ 0xffff),
        "20 000 commands"
    );

    let too_many = (0..65_537).fold(client.default_stream().batch(), |batch, _| batch.barrier());
    assert_eq!(
        too_many.submit().unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
    let step = affine(&client, 1, 1);
    client
        .submit(affine_over(&step, &buffer))
        .unwrap()
        .wait()
        .unwrap();
}

#[test]
fn more_submits_than_the_ring_has_records_are_taken_in_turn() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let step = affine(&client, 1, 1);
    let buffer = buffer_of(&client, Memory::Shared, &[0; 64]);
    let dispatch = affine_over(&step, &buffer);
    let submissions: Vec<Submission> = (0..2000)
        .map(|_| client.submit(&dispatch).unwrap())
        .collect();
    assert_eq!(submissions.last().unwrap().value(), 2000);
    assert_eq!(read_words(&buffer), vec![2000; 64]);
    assert!(
        submissions
            .iter()
            .all(|submission| submission.is_done().unwrap())
    );
}

/// `rounds` times `x * factor + offset`.
fn times(rounds: u32, start: u32, factor: u32, offset: u32) -> u32 {
    (0..rounds).fold(start, |value, _| {
        value.wrapping_mul(factor).wrapping_add(offset)
    })
}
