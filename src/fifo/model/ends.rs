//! Models of the end of a queue, and of what is left to do.

use super::*;

/// Looks for an item, and then whether that was all; the item, and what it found.
fn look(memory: &Memory) -> (Option<u32>, bool) {
    let early = memory.receive(member(9));
    // Only what is seen closed first, and then empty, has ended.
    (early, memory.fifo().is_drained())
}

#[test]
fn nothing_is_sent_behind_the_end() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        let sender = Arc::clone(&memory);
        let sender = thread::spawn(move || matches!(sender.send(member(0), 1), Offer::Room(_)));
        let receiver = Arc::clone(&memory);
        let receiver = thread::spawn(move || look(&receiver));
        memory.fifo().close();
        let sent = sender.join().unwrap();
        let (early, ended) = receiver.join().unwrap();
        let late = memory.receive(member(1));
        assert_eq!(early.or(late).is_some(), sent);
        assert!(!(ended && late.is_some()), "an item behind the end");
    });
}

#[test]
fn nothing_is_sent_behind_one_who_came_too_late() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        let senders = [0, 1].map(|index| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || matches!(memory.send(member(index), 1), Offer::Room(_)))
        });
        let receiver = Arc::clone(&memory);
        let receiver = thread::spawn(move || {
            others_first();
            receiver.fifo().close();
            look(&receiver)
        });
        let sent = senders.map(|sender| sender.join().unwrap());
        let (early, ended) = receiver.join().unwrap();
        let mut late = 0;
        while memory.receive(member(1)).is_some() {
            late += 1;
        }
        let sent = sent.into_iter().filter(|&sent| sent).count();
        assert_eq!(usize::from(early.is_some()) + late, sent);
        assert!(!ended || late == 0, "an item behind the end");
    });
}

#[test]
fn an_item_is_always_counted() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        let owed = Arc::new(AtomicU64::new(0));
        assert!(matches!(memory.send(member(0), 1), Offer::Room(_)));
        // Takes an item, makes another of it, and only then is done with the first.
        let worker = {
            let (memory, owed) = (Arc::clone(&memory), Arc::clone(&owed));
            thread::spawn(move || {
                let Take::Item(place) = memory.fifo().take(member(1)) else {
                    panic!("the item");
                };
                owed.fetch_add(1, Ordering::Relaxed);
                memory.fifo().vacate(place);
                assert!(matches!(memory.send(member(1), 2), Offer::Room(_)));
                owed.fetch_sub(1, Ordering::Release);
            })
        };
        // In a thread of its own, which may see old values of what was written here.
        let observer = thread::spawn(move || {
            others_first();
            memory.fifo().is_done(|| owed.load(Ordering::Acquire) != 0)
        });
        let done = observer.join().unwrap();
        assert!(!done, "there is always one left");
        worker.join().unwrap();
    });
}

#[test]
fn a_returned_item_is_found() {
    explore(|| {
        let memory = Memory::new(2, 0);
        assert!(matches!(memory.send(member(0), 1), Offer::Room(_)));
        let Take::Item(_) = memory.fifo().take(member(1)) else {
            panic!("the item");
        };
        let survivor = Arc::clone(&memory);
        let survivor = thread::spawn(move || {
            survivor
                .fifo()
                .recover(member(1), Orphan::Lost, |_| panic!("no hand"));
        });
        // One that may see old words: it has not written them.
        let receiver = Arc::clone(&memory);
        let receiver = thread::spawn(move || receiver.receive(member(2)));
        survivor.join().unwrap();
        let early = receiver.join().unwrap();
        let late = memory.receive(member(2));
        assert_eq!(early.or(late), Some(1));
        assert!(early.is_none() || late.is_none());
    });
}

#[test]
fn a_returned_item_is_taken_once() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 0);
        // There is reason to look already.
        memory.header.count_returned();
        let giver = Arc::clone(&memory);
        let giver = thread::spawn(move || {
            assert!(matches!(giver.send(member(0), 1), Offer::Room(_)));
            let Take::Item(place) = giver.fifo().take(member(0)) else {
                return None;
            };
            let read = giver.read(place);
            giver.fifo().put_back(place);
            Some(read)
        });
        // Of its own, so that it may see that there is reason to look and not what came after.
        let receiver = Arc::clone(&memory);
        let receiver = thread::spawn(move || {
            others_first();
            let taken = receiver.receive(member(2));
            // Whoever has taken it may have it overwritten at once.
            let sent = taken.is_some() && matches!(receiver.send(member(2), 2), Offer::Room(_));
            (taken, sent)
        });
        let (taken, sent) = receiver.join().unwrap();
        assert_eq!(taken, sent.then_some(1));
        // What the giver had is whole: the first item, or the one that came after it.
        match giver.join().unwrap() {
            None => assert!(sent, "somebody has the item"),
            Some(read) => assert!(read == 1 || (read == 2 && sent)),
        }
        let rest = memory.receive(member(2));
        assert_eq!(rest, Some(if sent { 2 } else { 1 }));
        assert_eq!(memory.receive(member(2)), None);
    });
}

#[test]
fn an_item_is_put_back_once_it_was_read() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 0);
        assert!(matches!(memory.send(member(0), 1), Offer::Room(_)));
        let Take::Item(place) = memory.fifo().take(member(1)) else {
            panic!("the item");
        };
        memory.header.count_returned();
        let giver = Arc::clone(&memory);
        let giver = thread::spawn(move || {
            assert_eq!(giver.read(place), 1);
            giver.fifo().put_back(place);
        });
        others_first();
        let taken = memory.receive(member(2));
        let sent = matches!(memory.send(member(2), 2), Offer::Room(_));
        assert_eq!(taken.is_some(), sent);
        giver.join().unwrap();
        assert_eq!(memory.receive(member(2)), Some(if sent { 2 } else { 1 }));
    });
}

#[test]
fn the_last_to_let_go_knows() {
    use super::super::{Ends, Side};
    use crate::primitive::atomic::AtomicU32;
    explore(|| {
        let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        for index in [0, 1] {
            assert!(Ends(&words[..]).add(member(index), Side::Sender));
        }
        let other = Arc::clone(&words);
        let other = thread::spawn(move || Ends(&other[..]).remove(member(0), Side::Sender));
        let ours = Ends(&words[..]).remove(member(1), Side::Sender);
        assert!(other.join().unwrap() || ours, "nobody ends the pipe");
    });
}
