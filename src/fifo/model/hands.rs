//! Models of hands.

use super::*;

fn take_into_hand(memory: &Memory, me: Owner) -> Option<Grip> {
    let grip = memory.fifo().grasp(me, 0)?;
    let Take::Item(place) = memory.fifo().take(me) else {
        memory.fifo().let_go(grip);
        return None;
    };
    memory.write_hand(grip, memory.read(place));
    memory.fifo().hold(me, grip, place);
    Some(grip)
}

#[test]
fn a_hand_changes_hands() {
    explore(|| {
        let memory = Memory::new(2, 1);
        for value in [1, 2] {
            assert!(matches!(memory.send(member(0), value), Offer::Room(_)));
        }
        let other = Arc::clone(&memory);
        let other = thread::spawn(move || {
            let grip = take_into_hand(&other, member(1))?;
            let value = other.read_hand(grip);
            other.fifo().let_go(grip);
            Some(value)
        });
        others_first();
        if let Some(grip) = take_into_hand(&memory, member(2)) {
            let _ = memory.read_hand(grip);
            memory.fifo().let_go(grip);
        }
        other.join().unwrap();
    });
}

#[test]
fn a_held_item_comes_back_whole() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 1);
        let dead = Arc::clone(&memory);
        let dead = thread::spawn(move || {
            assert!(matches!(dead.send(member(0), 7), Offer::Room(_)));
            // The other receiver may have been faster.
            take_into_hand(&dead, member(0)).is_some()
        });
        // Its end is seen by who recovers, and by nobody else.
        let survivor = Arc::clone(&memory);
        let survivor = thread::spawn(move || {
            let held = dead.join().unwrap();
            survivor
                .fifo()
                .recover(member(0), Orphan::ComesBack, |_| panic!("not lost"));
            held
        });
        others_first();
        let early = memory.receive(member(2));
        let held = survivor.join().unwrap();
        let late = memory.receive(member(2));
        assert_eq!(early.or(late), Some(7));
        assert!(early.is_none() || late.is_none());
        assert!(held || early.is_some());
    });
}

#[test]
fn an_item_given_back_is_taken_whole() {
    explore(|| {
        let memory = Memory::new(1, 1);
        assert!(matches!(memory.send(member(0), 7), Offer::Room(_)));
        let grip = take_into_hand(&memory, member(0)).expect("the item");
        // There is reason to look already.
        memory.header.count_returned();
        let giver = Arc::clone(&memory);
        let giver = thread::spawn(move || {
            change(&giver, grip);
            giver.fifo().give_back(grip);
        });
        // Of its own, so that it may see that there is reason to look and not what came after.
        let receiver = Arc::clone(&memory);
        let receiver = thread::spawn(move || {
            others_first();
            receiver.receive(member(2))
        });
        giver.join().unwrap();
        let early = receiver.join().unwrap();
        let late = memory.receive(member(2));
        assert_eq!(early.or(late), Some(8));
        assert!(early.is_none() || late.is_none());
    });
}

/// What was in the hand is for its holder to change.
fn change(memory: &Memory, grip: Grip) {
    let value = memory.read_hand(grip);
    memory.write_hand(grip, value + 1);
}
