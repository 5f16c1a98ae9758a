//! Queues by many items at once, as sinks, and of handles.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use futures_util::{FutureExt, SinkExt};
use gristmill::{
    Error, Handle, Process, Queue, RecvError, Region, RegionError, Rkyv, SendError, simplex,
};

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(20);

fn region() -> Region {
    Region::new(16 << 20).unwrap()
}

/// Polls it once, with a waker that wakes nobody.
fn is_pending(future: Pin<&mut impl Future>) -> bool {
    future.now_or_never().is_none()
}

#[test]
fn many_at_once_are_as_many_as_there_is_room_for() {
    let queue = Queue::<u64>::new(&region(), 4).unwrap();
    let items: Vec<u64> = (0..10).collect();
    let mut got = Vec::new();
    assert!(matches!(
        queue.try_recv_many(&mut got, 5),
        Err(RecvError::Empty)
    ));
    assert_eq!(queue.try_send_many(&[]).unwrap(), 0);
    assert_eq!(queue.send_many(&items).wait().unwrap(), 4);
    assert!(matches!(
        queue.try_send_many(&items[4..]),
        Err(SendError::Full(4))
    ));
    let late = queue.send_many(&items[4..]).wait_timeout(MOMENT);
    assert!(matches!(late, Err(SendError::TimedOut(4))));
    assert_eq!(queue.try_send_many(&[]).unwrap(), 0);
    assert_eq!(queue.recv_many(&mut got, 3).wait().unwrap(), 3);
    assert_eq!(queue.try_recv_many(&mut got, 0).unwrap(), 0);
    assert_eq!(queue.try_send_many(&items[4..]).unwrap(), 3);
    queue.close();
    assert!(matches!(
        queue.send_many(&items[7..]).wait(),
        Err(SendError::Closed(7))
    ));
    assert_eq!(queue.recv_many(&mut got, 100).wait().unwrap(), 4);
    assert_eq!(got, items[..7]);
    assert!(matches!(
        queue.recv_many(&mut got, 100).wait(),
        Err(RecvError::Closed)
    ));
    assert_eq!(got.len(), 7);
}

#[test]
fn many_large_ones_stop_at_what_does_not_fit() {
    let region = Region::new(4 << 20).unwrap();
    let queue = Queue::<[u8]>::builder(8).held(2).build(&region).unwrap();
    let (small, large) = (vec![1; 1000], vec![2; 8 << 20]);
    let items = [&small[..], &small, &small, &large, &small];
    assert_eq!(queue.try_send_many(&items).unwrap(), 3);
    assert!(matches!(
        queue.try_send_many(&items[3..]),
        Err(SendError::TooLarge { .. })
    ));
    let mut got = Vec::new();
    // Two may be held; the third is not taken, and waits.
    assert_eq!(queue.try_recv_many(&mut got, 8).unwrap(), 2);
    assert!(matches!(
        queue.try_recv_many(&mut got, 8),
        Err(RecvError::TooManyHeld { limit: 2 })
    ));
    got.clear();
    assert_eq!(queue.recv_many(&mut got, 8).wait().unwrap(), 1);
    assert_eq!(*got[0], *small);
}

#[tokio::test]
async fn many_that_were_cancelled_have_neither_put_nor_taken() {
    let queue = Queue::<u64>::new(&region(), 2).unwrap();
    let mut got = Vec::new();
    let mut other = Vec::new();
    {
        let mut dropped = Box::pin(queue.recv_many(&mut got, 8));
        let mut next = pin!(queue.recv_many(&mut other, 8));
        assert!(is_pending(dropped.as_mut()) && is_pending(next.as_mut()));
        // The one that is woken for it gives up, and the other is woken instead.
        queue.try_send(1).unwrap();
        drop(dropped);
        let count = tokio::time::timeout(PATIENCE, next).await.unwrap();
        assert_eq!(count.unwrap(), 1);
    }
    assert_eq!((&got[..], &other[..]), (&[][..], &[1][..]));
    queue.send_many(&[2, 3]).await.unwrap();
    let mut dropped = Box::pin(queue.send_many(&[4, 5]));
    let mut next = pin!(queue.send_many(&[6, 7]));
    assert!(is_pending(dropped.as_mut()) && is_pending(next.as_mut()));
    assert_eq!(queue.try_recv().unwrap(), 2);
    drop(dropped);
    let count = tokio::time::timeout(PATIENCE, next).await.unwrap();
    assert_eq!(count.unwrap(), 1);
    assert_eq!(queue.recv_many(&mut got, 8).await.unwrap(), 2);
    assert_eq!(got, [3, 6]);
}

#[test]
fn many_at_once_cross_between_processes_in_order() {
    const COUNT: u64 = 20_000;
    let region = region();
    let queue = Queue::<[u64; 3]>::new(&region, 7).unwrap();
    let process = Process::builder().region(&region);
    let process = process.spawn(queue.handle().words(), |words| {
        let words = [words[0].into(), words[1].into()];
        let queue: Queue<[u64; 3]> = Handle::from_words(words).open().unwrap();
        let items: Vec<_> = (0..COUNT).map(|number| [number; 3]).collect();
        let mut rest = &items[..];
        while !rest.is_empty() {
            let most = &rest[..rest.len().min(rest.len() % 11 + 1)];
            rest = &rest[queue.send_many(most).wait().unwrap()..];
        }
        queue.close();
    });
    let mut got = Vec::new();
    let mut limit = 1;
    let ended = loop {
        match queue.recv_many(&mut got, limit).wait_timeout(PATIENCE) {
            Ok(count) => assert!((1..=limit).contains(&count)),
            Err(error) => break error,
        }
        limit = limit % 13 + 1;
    };
    assert!(matches!(ended, RecvError::Closed), "{ended}");
    assert!(got.into_iter().eq((0..COUNT).map(|number| [number; 3])));
    process.unwrap().wait().unwrap();
}

#[tokio::test]
async fn a_queue_is_a_sink() {
    let queue = Queue::<u64>::new(&region(), 3).unwrap();
    let sink = queue.sink();
    let sender = tokio::spawn(stream::iter(0..100).map(Ok).forward(sink));
    // Its end is not the queue's.
    let items: Vec<_> = queue.incoming().take(100).try_collect().await.unwrap();
    assert!(items.into_iter().eq(0..100));
    sender.await.unwrap().unwrap();
    assert!(!queue.is_closed());
    let mut sink = queue.sink();
    sink.send_all(&mut stream::iter(0..3).map(Ok))
        .await
        .unwrap();
    // One waits in the sink, and no more than that.
    sink.feed(3).await.unwrap();
    assert!(sink.feed(4).now_or_never().is_none());
    assert_eq!(queue.len(), 3);
    let flushed = async { sink.flush().await.unwrap() };
    let received = async { queue.recv().await.unwrap() };
    assert_eq!(tokio::join!(flushed, received).1, 0);
    queue.close();
    assert!(matches!(sink.send(5).await, Err(SendError::Closed(5))));
    let items: Vec<_> = queue.incoming().try_collect().await.unwrap();
    assert_eq!(items, [1, 2, 3]);
}

#[tokio::test]
async fn sinks_take_archives_and_bytes_by_value() {
    let region = region();
    let names = Queue::<Rkyv<String>>::new(&region, 4).unwrap();
    names.sink().send("grist".repeat(100)).await.unwrap();
    assert_eq!(*names.recv().await.unwrap(), *"grist".repeat(100));
    let bytes = Queue::<[u8]>::new(&region, 1).unwrap();
    let mut sink = bytes.sink();
    sink.send(vec![1; 5000]).await.unwrap();
    sink.feed(vec![2; 5000]).await.unwrap();
    // What found no room goes with the sink, and its block with it.
    drop(sink);
    assert_eq!(*bytes.recv().await.unwrap(), [1; 5000]);
    assert!(bytes.is_empty());
    let mut sink = bytes.sink();
    match sink.send(vec![3; 32 << 20]).await {
        Err(SendError::TooLarge { item, .. }) => assert_eq!(item.len(), 32 << 20),
        other => panic!("{other:?}"),
    }
    sink.send(vec![4]).await.unwrap();
    assert_eq!(*bytes.recv().await.unwrap(), [4]);
}

#[tokio::test]
async fn a_pipe_ends_with_its_sink() {
    let (sender, receiver) = simplex::<u64>(&region(), 2).unwrap();
    let sink = sender.sink();
    drop(sender);
    let sender = tokio::spawn(stream::iter(0..50).map(Ok).forward(sink));
    // The stream alone keeps the other end.
    let incoming = receiver.incoming();
    drop(receiver);
    let items: Vec<_> = incoming.try_collect().await.unwrap();
    assert!(items.into_iter().eq(0..50));
    sender.await.unwrap().unwrap();
    let (sender, receiver) = simplex::<u64>(&region(), 2).unwrap();
    let incoming = receiver.incoming();
    drop(receiver);
    sender.send(1).await.unwrap();
    drop(incoming);
    assert!(matches!(sender.send(2).await, Err(SendError::Closed(2))));
}

/// aiomultiprocess: a queue in a task's arguments is `Bad file descriptor`.
#[test]
fn a_queue_of_handles_leads_to_queues_that_live() {
    type Answers = Queue<u64>;
    let region = region();
    let questions = Queue::<Handle<Answers>>::new(&region, 4).unwrap();
    let process = Process::builder().region(&region);
    let process = process.spawn(questions.handle().words(), |words| {
        let words = [words[0].into(), words[1].into()];
        let questions: Queue<Handle<Answers>> = Handle::from_words(words).open().unwrap();
        let mut gone = 0_u64;
        for question in questions.iter() {
            match question.unwrap().open() {
                Ok(answers) => answers.send_blocking(gone).unwrap(),
                Err(Error::Region(RegionError::Gone)) => gone += 1,
                Err(other) => panic!("{other}"),
            }
        }
    });
    for round in 0..5 {
        let answers = Answers::new(&region, 1).unwrap();
        // What goes before it is opened leads nowhere, not to what comes after it in its place.
        let forgotten = Answers::new(&region, 1).unwrap().handle();
        questions.send_blocking(forgotten).unwrap();
        questions.send_blocking(answers.handle()).unwrap();
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), round + 1);
    }
    questions.close();
    process.unwrap().wait().unwrap();
}
