//! Models of the end of a queue, and of what is left to do.

use super::*;

#[test]
fn nothing_is_sent_behind_the_end() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        let sender = Arc::clone(&memory);
        let sender = thread::spawn(move || matches!(sender.send(member(0), 1), Offer::Room(_)));
        let closer = Arc::clone(&memory);
        let closer = thread::spawn(move || closer.fifo().close());
        others_first();
        let early = memory.receive(member(1));
        // Only what is seen closed first, and then empty, has ended.
        let ended = memory.fifo().is_drained();
        let sent = sender.join().unwrap();
        closer.join().unwrap();
        let late = memory.receive(member(1));
        assert_eq!(early.or(late).is_some(), sent);
        assert!(!(ended && late.is_some()), "an item behind the end");
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
        others_first();
        let done = memory.fifo().is_done(|| owed.load(Ordering::Acquire) != 0);
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
        others_first();
        let early = memory.receive(member(2));
        survivor.join().unwrap();
        let late = memory.receive(member(2));
        assert_eq!(early.or(late), Some(1));
        assert!(early.is_none() || late.is_none());
    });
}

#[test]
fn a_returned_item_is_taken_once() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 0);
        assert!(matches!(memory.send(member(0), 1), Offer::Room(_)));
        let Take::Item(place) = memory.fifo().take(member(1)) else {
            panic!("the item");
        };
        // There is reason to look already.
        memory.header.count_returned();
        let giver = Arc::clone(&memory);
        let giver = thread::spawn(move || {
            assert_eq!(giver.read(place), 1);
            giver.fifo().put_back(place);
        });
        others_first();
        let taken = memory.receive(member(2));
        // Whoever has taken it may have it overwritten at once.
        let sent = matches!(memory.send(member(2), 2), Offer::Room(_));
        assert_eq!(taken.is_some(), sent);
        giver.join().unwrap();
        let rest = memory.receive(member(2));
        assert_eq!(rest, Some(if sent { 2 } else { 1 }));
        assert_eq!(memory.receive(member(2)), None);
    });
}
