//! Pipes of messages and of bytes within one process.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::Pin;
use std::time::Duration;

use gristmill::{
    Error, RecvError, Region, Rkyv, SendError, byte_pipe, byte_simplex, pipe, simplex,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn region() -> Region {
    Region::new(16 << 20).unwrap()
}

#[test]
fn aiopipe_duplex_send_recv_and_poll() {
    let (one, other) = pipe::<Rkyv<String>>(&region(), 4).unwrap();
    one.send(&"ping".into()).wait().unwrap();
    assert!(other.receiver().poll() && !one.receiver().poll());
    assert_eq!(*other.recv().wait().unwrap(), *"ping");
    other.send(&"pong".into()).wait().unwrap();
    assert_eq!(*one.recv().wait().unwrap(), *"pong");
    assert!(matches!(
        one.receiver().recv_timeout(Duration::from_millis(10)),
        Err(RecvError::TimedOut)
    ));
}

#[test]
fn aioconnection_send_bytes_of_any_size() {
    let (sender, receiver) = simplex::<[u8]>(&region(), 4).unwrap();
    for size in [0, 1, 112, 113, 1 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
        sender.try_send(&bytes).unwrap();
        assert_eq!(*receiver.try_recv().unwrap(), *bytes);
    }
}

#[test]
fn aiopipe_end_of_file_when_the_last_peer_has_gone() {
    let (sender, receiver) = simplex::<u64>(&region(), 4).unwrap();
    let clone = sender.clone();
    sender.try_send(1).unwrap();
    drop(sender);
    clone.try_send(2).unwrap();
    drop(clone);
    assert_eq!(
        receiver.iter().map(Result::unwrap).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(matches!(receiver.recv().wait(), Err(RecvError::Closed)));
    let (sender, receiver) = simplex::<u64>(&region(), 4).unwrap();
    drop(receiver);
    assert!(sender.is_closed());
    assert!(matches!(sender.try_send(1), Err(SendError::Closed(1))));
}

#[test]
fn a_byte_pipe_reads_and_writes_as_files_do() {
    let (mut one, mut other) = byte_pipe(&region(), 10).unwrap();
    let text: Vec<u8> = (0..10_000).map(|at| at as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            one.write_all(&text).unwrap();
            let mut answer = [0; 2];
            one.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"ok");
            drop(one);
        });
        let mut got = vec![0; text.len()];
        other.read_exact(&mut got).unwrap();
        assert_eq!(got, text);
        other.write_all(b"ok").unwrap();
        assert_eq!(other.read(&mut got).unwrap(), 0, "the end of file");
        assert_eq!(
            other.write(b"x").unwrap_err().kind(),
            std::io::ErrorKind::BrokenPipe
        );
    });
    let refused = byte_pipe(&region(), 0).unwrap_err();
    assert!(matches!(refused, Error::InvalidArgument { .. }));
}

#[tokio::test]
async fn a_byte_pipe_is_awaited() {
    let (mut writer, mut reader) = byte_simplex(&region(), 64).unwrap();
    let text: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    let wanted = text.clone();
    let task = tokio::spawn(async move {
        let mut rest = &text[..];
        while !rest.is_empty() {
            let written = poll_fn(|context| Pin::new(&mut writer).poll_write(context, rest));
            rest = &rest[written.await.unwrap()..];
        }
    });
    let mut got = Vec::new();
    loop {
        let mut bytes = [0; 100];
        let mut into = ReadBuf::new(&mut bytes);
        poll_fn(|context| Pin::new(&mut reader).poll_read(context, &mut into))
            .await
            .unwrap();
        if into.filled().is_empty() {
            break;
        }
        got.extend_from_slice(into.filled());
    }
    task.await.unwrap();
    assert!(got == wanted);
}
