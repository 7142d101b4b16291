//! Submits can be awaited in any executor; here in the smallest one.

use crate::engine::{BAD_CODE, BAD_WORD};
use crate::fake::Fake;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

#[test]
fn many_submits_are_awaited() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(16, Memory::Shared).unwrap();
    block_on(async {
        for round in 0..200 {
            let submit = |word| {
                client
                    .default_stream()
                    .batch()
                    .fill(&buffer, word)
                    .submit()
                    .unwrap()
            };
            let (one, two) = (submit(round), submit(round + 1));
            two.await.unwrap();
            one.await.unwrap();
        }
    });
}

#[test]
fn an_awaited_submit_wakes_its_task_soon_after_it_is_over() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(16, Memory::Shared).unwrap();
    fake.hold(true);
    let submission = client
        .default_stream()
        .batch()
        .fill(&buffer, 1)
        .submit()
        .unwrap();
    let task = std::thread::spawn(move || (block_on(submission), Instant::now()));
    std::thread::sleep(Duration::from_millis(120));
    let released = Instant::now();
    fake.hold(false);
    let (result, woken) = task.join().unwrap();
    result.unwrap();
    assert!(
        woken - released < Duration::from_millis(40),
        "{:?}",
        woken - released
    );
}

#[test]
fn an_awaited_failure_is_an_error_and_acknowledged() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(16, Memory::Shared).unwrap();
    let submit = |word| {
        client
            .default_stream()
            .batch()
            .fill(&buffer, word)
            .submit()
            .unwrap()
    };
    assert_eq!(block_on(submit(BAD_WORD)).unwrap_err().code(), BAD_CODE);
    assert_eq!(block_on(submit(1)), Ok(()));
}

#[test]
fn the_loss_of_the_daemon_wakes_every_task() {
    let fake = Fake::start();
    let client = fake.client();
    let buffer = client.alloc(16, Memory::Shared).unwrap();
    fake.hold(true);
    let submission = client
        .default_stream()
        .batch()
        .fill(&buffer, 1)
        .submit()
        .unwrap();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn({
                let submission = submission.clone();
                move || block_on(submission)
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(30));
    fake.die();
    let died = Instant::now();
    for task in tasks {
        assert_eq!(
            task.join().unwrap().unwrap_err().code(),
            ErrorCode::DaemonLost
        );
    }
    assert!(died.elapsed() < Duration::from_millis(200));
}
