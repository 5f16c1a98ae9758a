//! Programs that meet at a path: who is let in, what is refused and why, and what is left behind.

#![expect(unsafe_code, reason = "drops a value twice, once in a forked child")]

mod meet_support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use gristmill::{Client, Connection, Listener, MeetError, PathUser, Process};

use meet_support::Place;

/// More than any machine takes, and less than a test may hang.
const LONG: Duration = Duration::from_secs(60);
const NOW: Duration = Duration::from_millis(1);

/// Both ends, in this process.
fn meet(place: &Place) -> (Listener, Connection, Connection) {
    let listener = Listener::bind(place.path()).unwrap();
    let path = place.path();
    let client = thread::spawn(move || Client::builder().connect_timeout(path, LONG).unwrap());
    let accepted = listener.accept_timeout(LONG).unwrap();
    (listener, accepted, client.join().unwrap())
}

#[test]
fn aio_listener_and_aio_client_meet_and_speak() {
    let place = Place::new();
    let (listener, here, there) = meet(&place);
    assert_eq!(listener.path(), place.path());
    there.send(b"ping").unwrap();
    assert_eq!(here.recv_timeout(LONG).unwrap(), b"ping");
    assert!(here.try_send(b"").unwrap());
    assert_eq!(there.recv().unwrap(), b"");
    assert_eq!(there.try_recv().unwrap(), None);
    assert_eq!(there.recv_timeout(NOW), Err(MeetError::TimedOut));
    let own = std::process::id();
    assert_eq!(
        (here.peer().pid(), there.peer().pid()),
        (Some(own), Some(own))
    );
    assert!(here.peer().is_alive());
    drop(here);
    assert_eq!(there.recv_timeout(LONG), Err(MeetError::Closed));
    assert_eq!(there.send(b"x"), Err(MeetError::Closed));
}

#[test]
fn it_is_another_process_and_its_death_is_the_end() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let path = place.path().to_str().unwrap().to_owned();
    let other = Process::spawn(path, |path| {
        let connection = Client::connect(path.as_str()).unwrap();
        connection.send(b"last words").unwrap();
        connection.recv().unwrap();
        std::process::abort()
    })
    .unwrap();
    let connection = listener.accept_timeout(LONG).unwrap();
    assert_eq!(connection.peer().pid(), Some(other.pid()));
    connection.send(b"die").unwrap();
    assert!(other.wait().is_err());
    assert!(!connection.peer().is_alive());
    assert_eq!(connection.recv().unwrap(), b"last words");
    assert_eq!(connection.recv(), Err(MeetError::Closed));
}

#[test]
fn many_messages_arrive_whole_and_in_order_and_a_full_way_holds_them_back() {
    let place = Place::new();
    let (_listener, here, there) = meet(&place);
    let long = vec![7; Connection::MOST_BYTES];
    let sent = (0..)
        .find(|_| !here.try_send(&long).unwrap())
        .expect("it is full at some time");
    assert_eq!(here.send_timeout(b"more", NOW), Err(MeetError::TimedOut));
    let sender = thread::spawn(move || {
        for number in 0_u32..1000 {
            here.send(&number.to_le_bytes()).unwrap();
        }
    });
    for _ in 0..sent {
        assert_eq!(there.recv().unwrap(), long);
    }
    for number in 0_u32..1000 {
        assert_eq!(there.recv().unwrap(), number.to_le_bytes());
    }
    sender.join().unwrap();
}

#[test]
fn too_long_a_message_is_refused_and_nothing_of_it_is_sent() {
    let place = Place::new();
    let (_listener, here, there) = meet(&place);
    let found = Connection::MOST_BYTES + 1;
    let limit = Connection::MOST_BYTES;
    assert_eq!(
        here.send(&vec![0; found]),
        Err(MeetError::TooLong { found, limit })
    );
    here.send(b"next").unwrap();
    assert_eq!(there.recv().unwrap(), b"next");
}

#[test]
fn a_descriptor_crosses_and_is_the_receivers_own() {
    let place = Place::new();
    let (_listener, here, there) = meet(&place);
    let (mut reading, writing) = std::io::pipe().unwrap();
    here.send_descriptor(b"write here", &writing).unwrap();
    drop(writing);
    let (what, descriptor) = there.recv_descriptor_timeout(LONG).unwrap();
    assert_eq!(what, b"write here");
    let mut file = fs::File::from(descriptor);
    std::io::Write::write_all(&mut file, b"crossed").unwrap();
    drop(file);
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut reading, &mut heard).unwrap();
    assert_eq!(heard, "crossed");
    // What was not asked for is told, and closed.
    let (mut reading, writing) = std::io::pipe().unwrap();
    assert!(here.try_send_descriptor(b"", &writing).unwrap());
    drop(writing);
    assert!(matches!(there.recv(), Err(MeetError::Unexpected { .. })));
    std::io::Read::read_to_string(&mut reading, &mut heard).unwrap();
    here.send(b"plain").unwrap();
    assert!(matches!(
        there.recv_descriptor(),
        Err(MeetError::Unexpected { .. })
    ));
    assert!(there.try_recv_descriptor().unwrap().is_none());
}

#[test]
fn whoever_says_nothing_holds_up_nobody() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    // It connects as this crate does, and never says a word; the listener keeps at most 64.
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let socket = meet_support::connect(&place.path());
            assert!(listener.try_accept().unwrap().is_none());
            socket
        })
        .collect();
    let path = place.path();
    let client = thread::spawn(move || Client::connect(path).unwrap());
    listener.accept_timeout(LONG).unwrap();
    drop((client.join().unwrap(), silent));
}

#[test]
fn words_of_something_else_are_a_stranger_and_the_listener_goes_on() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[255; 500]] {
        let socket = meet_support::connect(&place.path());
        meet_support::send(&socket, words);
        assert_eq!(
            listener.accept_timeout(LONG).unwrap_err(),
            MeetError::Stranger
        );
    }
    let path = place.path();
    let client = thread::spawn(move || Client::connect(path).unwrap());
    listener.accept_timeout(LONG).unwrap();
    client.join().unwrap();
}

#[test]
fn one_that_listens_and_hangs_keeps_nobody_for_longer_than_it_wants() {
    let place = Place::new();
    // It listens as this crate does, and neither accepts nor says a word.
    let _hangs = meet_support::listen(&place.path());
    let client = Client::builder().connect_timeout(place.path(), NOW);
    assert_eq!(client.unwrap_err(), MeetError::TimedOut);
    // One that hangs up instead.
    let silent = meet_support::listen(&place.directory().join("other"));
    let path = place.directory().join("other");
    let client = thread::spawn(move || Client::connect(path));
    drop(meet_support::accept(&silent));
    assert_eq!(client.join().unwrap().unwrap_err(), MeetError::Closed);
}

#[test]
fn words_of_something_else_after_the_greeting_are_a_stranger_and_all_are_closed() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    // It greets as this crate does, and then does not.
    let socket = meet_support::connect(&place.path());
    assert!(listener.try_accept().unwrap().is_none());
    let hello = meet_support::receive(&socket);
    meet_support::send(&socket, &hello);
    assert!(listener.try_accept().unwrap().is_none());
    let welcome = meet_support::receive(&socket);
    meet_support::send(&socket, &welcome);
    let connection = listener.accept_timeout(LONG).unwrap();
    for words in [&b"x"[..], &[0; 8], &[1; 100]] {
        meet_support::send(&socket, words);
        assert_eq!(connection.recv(), Err(MeetError::Stranger));
    }
    // More descriptors than one, beside a message that is one.
    let (mut reading, writing) = std::io::pipe().unwrap();
    let message = [&[2, 0, 0, 0, 1, 0, 0, 0][..], b"m"].concat();
    meet_support::send_descriptors(&socket, &message, &writing, 200);
    drop(writing);
    let (what, descriptor) = connection.recv_descriptor().unwrap();
    assert_eq!(what, b"m");
    drop(descriptor);
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut reading, &mut heard).unwrap();
    // And none, though the message says that there is one.
    meet_support::send(&socket, &message);
    assert_eq!(
        connection.recv_descriptor().unwrap_err(),
        MeetError::Stranger
    );
}

#[test]
fn another_version_and_another_layout_are_told_to_both() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    for (at, what) in [(8, "protocol"), (16, "layout")] {
        let socket = meet_support::connect(&place.path());
        assert!(listener.try_accept().unwrap().is_none());
        let mut hello = meet_support::receive(&socket);
        hello[at] ^= 0x40;
        meet_support::send(&socket, &hello);
        match listener.accept_timeout(LONG) {
            Err(MeetError::OtherVersion { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
        assert_eq!(&meet_support::receive(&socket)[..5], b"verd\x04");
    }
}

#[test]
fn only_the_own_user_may_connect_unless_others_are_allowed() {
    let place = Place::new();
    let own = fs::metadata(place.directory()).unwrap().uid();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let listener = Listener::bind(place.path()).unwrap();
    assert_eq!(mode(place.path()), 0o600);
    drop(listener);
    let listener = Listener::builder()
        .allow_any_user()
        .bind(place.path())
        .unwrap();
    assert_eq!(mode(place.path()), 0o666);
    drop(listener);
    if own != 0 {
        eprintln!("skipped: acting as another user takes root");
        return;
    }
    place.open_to_all();
    // A client that acts as nobody, in a process of its own.
    let refused = |listener: &Listener, place: &Place| {
        let path = place.path().to_str().unwrap().to_owned();
        let other = Process::spawn(path, |path| {
            meet_support::become_user(65534);
            match Client::connect(path.as_str()) {
                Err(MeetError::System(_)) => std::process::exit(10),
                Err(MeetError::WrongUser { found: 0 }) => std::process::exit(11),
                Err(MeetError::Refused(_)) => std::process::exit(12),
                Ok(_) => std::process::exit(13),
                Err(_) => std::process::exit(14),
            }
        })
        .unwrap();
        let accepted = listener.accept_timeout(LONG);
        let code = match other.wait() {
            Err(gristmill::TaskError::WorkerDied(death)) => death.cause,
            other => panic!("{other:?}"),
        };
        (accepted.map(|_| ()), code)
    };
    let listener = Listener::builder()
        .allow_user(12345)
        .bind(place.path())
        .unwrap();
    let (accepted, code) = refused(&listener, &place);
    assert_eq!(accepted, Err(MeetError::WrongUser { found: 65534 }));
    // It does not trust root either, which it finds out first or second.
    assert!(matches!(code, gristmill::Cause::Exit(11 | 12)), "{code}");
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let place = Place::new();
    // What a dead process leaves: a socket to which nobody listens.
    let path = place.path().to_str().unwrap().to_owned();
    let dying = Process::spawn(path, |path| {
        std::mem::forget(Listener::bind(path.as_str()).unwrap());
        std::process::abort()
    })
    .unwrap();
    assert!(dying.wait().is_err());
    assert!(place.path().exists());
    let connected = Client::connect(place.path());
    assert!(matches!(connected, Err(MeetError::NoListener { .. })));
    let listener = Listener::bind(place.path()).unwrap();
    assert_in_use(&place, PathUser::Listener);
    drop(listener);
    assert!(!place.path().exists());
    // Of another kind, alive and dead.
    let stream = UnixListener::bind(place.path()).unwrap();
    assert_in_use(&place, PathUser::Listener);
    assert!(UnixStream::connect(place.path()).is_ok());
    drop(stream);
    drop(Listener::bind(place.path()).unwrap());
    // No socket at all.
    fs::write(place.path(), "precious").unwrap();
    assert_in_use(&place, PathUser::File);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "precious");
    fs::remove_file(place.path()).unwrap();
    // Not even where it would be followed.
    std::os::unix::fs::symlink("elsewhere", place.path()).unwrap();
    assert_in_use(&place, PathUser::File);
}

fn assert_in_use(place: &Place, expected: PathUser) {
    match Listener::bind(place.path()) {
        Err(MeetError::PathInUse { by, .. }) => assert_eq!(by, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_listener_never_removes_another_ones_path() {
    let place = Place::new();
    let first = Listener::bind(place.path()).unwrap();
    fs::remove_file(place.path()).unwrap();
    let second = Listener::bind(place.path()).unwrap();
    drop(first);
    assert!(place.path().exists());
    drop(second);
    assert!(!place.path().exists());
}

#[test]
fn of_many_that_find_a_dead_socket_one_listens() {
    let place = Place::new();
    for _ in 0..20 {
        drop(UnixListener::bind(place.path()).unwrap());
        let listening: Vec<Listener> = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| Listener::bind(place.path())));
            threads
                .into_iter()
                .filter_map(|each| each.join().unwrap().ok())
                .collect()
        });
        assert_eq!(listening.len(), 1);
        let path = place.path();
        let client = thread::spawn(move || Client::connect(path).unwrap());
        listening[0].accept_timeout(LONG).unwrap();
        client.join().unwrap();
    }
}

#[test]
fn bad_paths_are_refused_with_the_reason() {
    let place = Place::new();
    let long = place.directory().join("x".repeat(108));
    for path in [
        PathBuf::new(),
        PathBuf::from("a\0b"),
        long,
        PathBuf::from(".."),
    ] {
        let listened = Listener::bind(&path).unwrap_err();
        assert!(matches!(listened, MeetError::BadPath { .. }), "{listened}");
        let connected = Client::connect(&path).unwrap_err();
        assert!(
            matches!(connected, MeetError::BadPath { .. }),
            "{connected}"
        );
    }
    let nowhere = place.directory().join("no/such/place");
    assert!(matches!(
        Listener::bind(&nowhere),
        Err(MeetError::System(_))
    ));
    assert!(matches!(
        Client::connect(&nowhere),
        Err(MeetError::NoListener { .. })
    ));
}

#[test]
fn a_forked_child_accepts_nothing_and_removes_nothing() {
    let place = Place::new();
    let listener = Listener::bind(place.path()).unwrap();
    let code = meet_support::in_a_fork(|| {
        let refused = matches!(listener.try_accept(), Err(MeetError::Forked));
        // SAFETY: the child never uses it again, nor runs its parent's destructors.
        drop(unsafe { std::ptr::read(&raw const listener) });
        i32::from(!refused)
    });
    assert_eq!(code, 0);
    assert!(place.path().exists());
    let path = place.path();
    let client = thread::spawn(move || Client::connect(path).unwrap());
    listener.accept_timeout(LONG).unwrap();
    client.join().unwrap();
}

#[test]
fn refused_connections_leave_no_descriptor_behind() {
    let place = Place::new();
    let path = place.path().to_str().unwrap().to_owned();
    // In a process of its own, where nobody else opens any.
    let counting = gristmill::Worker::spawn(path, |path| {
        let path = std::path::Path::new(path.as_str());
        let listener = Listener::bind(path).unwrap();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let before = open();
        for _ in 0..10 {
            let socket = meet_support::connect(path);
            meet_support::send(&socket, b"no hello");
            assert!(listener.accept_timeout(LONG).is_err());
        }
        (before, open())
    });
    let counts = counting.unwrap().wait().unwrap();
    assert_eq!(counts.0, counts.1);
}
