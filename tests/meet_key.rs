//! A key that both programs have to have, and prove that they have.

mod meet_support;

use std::thread;
use std::time::Duration;

use gristmill::{Client, Listener, MeetError, MeetRefusal};

use meet_support::Place;

/// More than any machine takes, and less than a test may hang.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn coro_deliver_and_coro_answer_challenge_both_ends_prove_the_key() {
    let place = Place::new();
    let listener = Listener::builder()
        .key(b"secret")
        .bind(place.path())
        .unwrap();
    let path = place.path();
    let client = thread::spawn(move || Client::builder().key("secret").connect(path).unwrap());
    let here = listener.accept_timeout(LONG).unwrap();
    client.join().unwrap().send(b"in").unwrap();
    assert_eq!(here.recv().unwrap(), b"in");
}

#[test]
fn a_wrong_key_a_missing_one_and_one_too_many_are_told_apart() {
    let place = Place::new();
    let try_both = |listener: Option<&'static str>, client: Option<&'static str>| {
        let mut terms = Listener::builder();
        if let Some(key) = listener {
            terms = terms.key(key);
        }
        let listener = terms.bind(place.path()).unwrap();
        let path = place.path();
        let client = thread::spawn(move || {
            let mut terms = Client::builder();
            if let Some(key) = client {
                terms = terms.key(key);
            }
            terms.connect(path).unwrap_err()
        });
        let here = listener.accept_timeout(LONG).unwrap_err();
        (here, client.join().unwrap())
    };
    let (here, there) = try_both(Some("a"), Some("b"));
    let refused = MeetError::Refused(MeetRefusal::Key);
    assert!(
        [MeetError::WrongKey, refused.clone()].contains(&here),
        "{here}"
    );
    assert!([MeetError::WrongKey, refused].contains(&there), "{there}");
    let missing = (MeetError::KeyMissing, MeetError::KeyUnexpected);
    assert_eq!(try_both(Some("a"), None), missing);
    let unexpected = (MeetError::KeyUnexpected, MeetError::KeyMissing);
    assert_eq!(try_both(None, Some("a")), unexpected);
}

#[test]
fn giving_back_what_was_heard_proves_nothing() {
    let place = Place::new();
    let listener = Listener::builder()
        .key(b"secret")
        .bind(place.path())
        .unwrap();
    let socket = meet_support::connect(&place.path());
    assert!(listener.try_accept().unwrap().is_none());
    let hello = meet_support::receive(&socket);
    meet_support::send(&socket, &hello);
    assert!(listener.try_accept().unwrap().is_none());
    let proof = meet_support::receive(&socket);
    assert_eq!(proof.len(), 32);
    meet_support::send(&socket, &proof);
    assert_eq!(
        listener.accept_timeout(LONG).unwrap_err(),
        MeetError::WrongKey
    );
}

#[test]
fn the_key_is_shown_to_nobody() {
    let shown = format!("{:?}", Listener::builder().key("secret"));
    assert!(!shown.contains("secret"), "{shown}");
}
