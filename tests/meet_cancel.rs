//! Programs that give up while they meet, send or receive: no connection, no message and no
//! descriptor is lost, and none is left behind.

mod cancel_support;
mod meet_support;

use std::future::Future;
use std::path::Path;
use std::{fs, thread};

use futures_util::FutureExt;
use gristmill::{Client, Connection, Listener, MeetError, Region, Value, Worker};

use cancel_support::{Random, soon};
use meet_support::{Place, block_on};

const ROUNDS: u64 = 200;

/// The same again and again until it gives something.
async fn insist<F: Future>(mut call: impl FnMut() -> F, random: &mut Random) -> F::Output {
    loop {
        if let Some(output) = soon(call(), random).await {
            return output;
        }
    }
}

/// What is open in this process.
fn descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.unwrap().path());
        target.map_or_else(|_| "gone".into(), |target| target.display().to_string())
    };
    let mut all: Vec<_> = entries.map(name).collect();
    all.sort();
    all
}

/// Both ends, one of them by another thread.
fn meet(listener: &Listener, path: &Path) -> (Connection, Connection) {
    thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(path).unwrap());
        (listener.accept().unwrap(), client.join().unwrap())
    })
}

/// Runs it in a process of its own, where nobody else opens descriptors, once to begin with and
/// once to see what is left behind.
fn leaves_nothing(name: &str, body: fn(&Path)) -> [Vec<String>; 2] {
    let path = std::env::temp_dir().join(format!("gristmill-{name}-{}", std::process::id()));
    // The first wait of a process opens what all others share.
    let listener = Listener::bind(&path).unwrap();
    assert!(listener.accept_async().now_or_never().is_none());
    drop(listener);
    body(&path);
    let before = descriptors();
    body(&path);
    [before, descriptors()]
}

fn assert_nothing_left(counting: Result<Worker<[Vec<String>; 2]>, gristmill::Error>) {
    let counts = counting.unwrap().wait().unwrap();
    assert_eq!(counts[0], counts[1], "what is open before and after");
}

/// Everybody who connects is accepted, by whichever attempt, and says who it is.
fn accept_and_give_up(path: &Path) {
    let listener = Listener::bind(path).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..ROUNDS {
                let connection = Client::connect(path).unwrap();
                connection.send(&number.to_le_bytes()).unwrap();
            }
        });
        let mut random = Random(1);
        for number in 0..ROUNDS {
            let accepted = block_on(insist(|| listener.accept_async(), &mut random));
            let connection = accepted.unwrap();
            assert_eq!(connection.recv().unwrap(), number.to_le_bytes());
        }
    });
    assert!(listener.try_accept().unwrap().is_none());
}

#[test]
fn an_accept_that_was_dropped_has_accepted_nobody() {
    assert_nothing_left(Worker::spawn((), |()| {
        leaves_nothing("accept", accept_and_give_up)
    }));
}

/// Who connects and gives up has hung up; the listener goes on, and those who stay are let in.
fn connect_and_give_up(path: &Path) {
    let listener = Listener::bind(path).unwrap();
    let mut stayed = 0;
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut random = Random(2);
            let mut connected = 0;
            for _ in 0..ROUNDS {
                let connect = Client::builder().connect_async(path);
                match block_on(soon(connect, &mut random)) {
                    Some(Ok(connection)) => {
                        connection.send(b"here").unwrap();
                        connected += 1;
                    }
                    // As many wait as may.
                    Some(Err(MeetError::Busy { .. })) | None => {}
                    Some(Err(error)) => panic!("{error}"),
                }
            }
            // The last, who ends it.
            Client::connect(path).unwrap().send(b"end").unwrap();
            connected
        });
        loop {
            let connection = listener.accept().unwrap();
            match connection.recv() {
                Ok(said) if said == b"end" => break,
                Ok(said) => {
                    assert_eq!(said, b"here");
                    stayed += 1;
                }
                Err(error) => assert_eq!(error, MeetError::Closed),
            }
        }
        assert_eq!(stayed, client.join().unwrap());
    });
    assert!(listener.try_accept().unwrap().is_none());
}

#[test]
fn a_connect_that_was_dropped_has_hung_up() {
    assert_nothing_left(Worker::spawn((), |()| {
        leaves_nothing("connect", connect_and_give_up)
    }));
}

/// Messages and descriptors, both ways at once, each side giving up again and again.
fn speak_and_give_up(path: &Path) {
    let listener = Listener::bind(path).unwrap();
    let (here, there) = meet(&listener, path);
    let file = fs::File::open("/dev/null").unwrap();
    thread::scope(|scope| {
        for (connection, seed) in [(&here, 3), (&there, 4)] {
            let file = &file;
            scope.spawn(move || {
                let mut random = Random(seed);
                for number in 0..ROUNDS {
                    let message = number.to_le_bytes();
                    let fd = std::os::fd::AsFd::as_fd(file);
                    let sent = match number % 2 {
                        0 => block_on(insist(|| connection.send_async(&message), &mut random)),
                        _ => block_on(insist(
                            || connection.send_descriptor_async(&message, fd),
                            &mut random,
                        )),
                    };
                    sent.unwrap();
                }
            });
            scope.spawn(move || {
                let mut random = Random(seed + 10);
                for number in 0..ROUNDS {
                    let message = match number % 2 {
                        0 => block_on(insist(|| connection.recv_async(), &mut random)).unwrap(),
                        _ => {
                            let received =
                                insist(|| connection.recv_descriptor_async(), &mut random);
                            block_on(received).unwrap().0
                        }
                    };
                    assert_eq!(message, number.to_le_bytes());
                }
            });
        }
    });
    assert_eq!((here.try_recv(), there.try_recv()), (Ok(None), Ok(None)));
}

#[test]
fn a_send_or_a_receive_that_was_dropped_has_moved_no_message_and_no_descriptor() {
    assert_nothing_left(Worker::spawn((), |()| {
        leaves_nothing("speak", speak_and_give_up)
    }));
}

#[test]
fn an_object_whose_receiver_gave_up_waits_for_the_next() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let (here, there) = meet(&listener, &place.path());
    let region = Region::new(2 << 20).unwrap();
    assert!(there.recv_region_async().now_or_never().is_none());
    here.send_region(&region).unwrap();
    for number in 0..20_u64 {
        assert!(number > 0 || there.try_recv_region().unwrap().is_some());
        assert!(
            there
                .recv_object_async::<Value<u64>>()
                .now_or_never()
                .is_none()
        );
        let value = Value::new(&region, number).unwrap();
        here.send_object(&region, &value).unwrap();
        let received: Value<u64> = block_on(there.recv_object_async()).unwrap();
        drop(value);
        assert_eq!(received.get().unwrap(), number);
    }
}
