//! Programs that meet, in tasks: under tokio, and under an executor that is none of its.

mod meet_support;

use std::thread;

use futures_util::future::{FutureExt, join, select};
use gristmill::{Client, Connection, Listener, MeetError};

use meet_support::Place;

async fn meet_and_speak(place: &Place) {
    let listener = Listener::bind(place.path()).unwrap();
    let client = Client::builder().connect_async(place.path());
    let (here, there) = join(listener.accept_async(), client).await;
    let (here, there) = (here.unwrap(), there.unwrap());
    let (sent, received) = join(here.send_async(b"hello"), there.recv_async()).await;
    sent.unwrap();
    assert_eq!(received.unwrap(), b"hello");
    // Dropped while it waits, it has taken nothing.
    assert!(there.recv_async().now_or_never().is_none());
    here.send(b"next").unwrap();
    assert_eq!(there.recv_async().await.unwrap(), b"next");
    // Two that wait at the same end.
    let both = join(there.recv_async(), there.recv_async());
    let send = async {
        here.send_async(b"a").await.unwrap();
        here.send_async(b"b").await.unwrap();
    };
    let ((one, other), ()) = join(both, send).await;
    let mut got = [one.unwrap(), other.unwrap()];
    got.sort();
    assert_eq!(got, [b"a", b"b"]);
    let waits = there.recv_async();
    let (end, ()) = join(waits, async { drop(here) }).await;
    assert_eq!(end, Err(MeetError::Closed));
}

#[cfg(feature = "tokio")]
#[test]
fn under_tokio() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(meet_and_speak(&place));
}

#[test]
fn without_a_runtime() {
    let place = Place::new();
    meet_support::block_on(meet_and_speak(&place));
}

/// Both ends, one of them in another thread.
fn meet(place: &Place) -> (Connection, Connection) {
    let listener = Listener::bind(place.path()).unwrap();
    let path = place.path();
    let client = thread::spawn(move || Client::connect(path).unwrap());
    (listener.accept().unwrap(), client.join().unwrap())
}

#[test]
fn coro_wait_the_first_of_several_connections_that_has_something() {
    let (one, other) = (Place::new(), Place::new());
    let (first, first_far) = meet(&one);
    let (second, second_far) = meet(&other);
    second_far.send(b"second").unwrap();
    meet_support::block_on(async {
        let both = select(Box::pin(first.recv_async()), Box::pin(second.recv_async()));
        let (said, _) = both.await.factor_first();
        assert_eq!(said.unwrap(), b"second");
        // Whoever was not first has taken nothing.
        first_far.send(b"first").unwrap();
        let both = select(Box::pin(second.recv_async()), Box::pin(first.recv_async()));
        let (said, _) = both.await.factor_first();
        assert_eq!(said.unwrap(), b"first");
    });
}
