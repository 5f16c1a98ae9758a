//! Queues under many threads, and beside a plain model.

use std::sync::mpsc;

use gristmill::{Queue, RecvError, Region, SendError};
use proptest::prelude::*;

fn region() -> Region {
    Region::new(16 << 20).unwrap()
}

#[test]
fn senders_and_receivers_of_many_threads_lose_nothing() {
    const ITEMS: u64 = 20_000;
    let queue = Queue::<[u64; 2]>::new(&region(), 5).unwrap();
    let (results, received) = mpsc::channel();
    std::thread::scope(|scope| {
        let senders = [0, 1, 2].map(|sender| {
            let queue = &queue;
            scope.spawn(move || {
                for item in 0..ITEMS {
                    queue.send([sender, item]).wait().unwrap();
                }
            })
        });
        for _ in 0..3 {
            let (queue, results) = (&queue, results.clone());
            scope.spawn(move || {
                let mut last = [None; 3];
                let mut count = 0;
                for item in queue.iter() {
                    let [sender, item] = item.unwrap();
                    let last = &mut last[sender as usize];
                    assert!(*last < Some(item), "each sender's items in order");
                    *last = Some(item);
                    count += 1;
                }
                results.send(count).unwrap();
            });
        }
        drop(results);
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
        queue.close();
    });
    assert_eq!(received.iter().sum::<u64>(), 3 * ITEMS);
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Receive,
    Drop(usize),
    GiveBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => prop_oneof![0_usize..40, 100_usize..130, 1000_usize..20_000].prop_map(Step::Send),
        4 => Just(Step::Receive),
        2 => (0_usize..8).prop_map(Step::Drop),
        1 => (0_usize..8).prop_map(Step::GiveBack),
    ];
    proptest::collection::vec(one, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_queue_of_bytes(capacity in 1_usize..6, held in 1_u32..4, steps in steps()) {
        let region = Region::new(4 << 20).unwrap();
        let queue = Queue::<[u8]>::builder(capacity).held(held).build(&region).unwrap();
        let mut model = std::collections::VecDeque::new();
        let mut back = Vec::<Vec<u8>>::new();
        let mut hands = Vec::new();
        let mut number = 0_u8;
        for step in steps {
            match step {
                Step::Send(size) => {
                    number = number.wrapping_add(1);
                    let item = vec![number; size];
                    match queue.try_send(&item) {
                        Ok(()) => model.push_back(item),
                        Err(SendError::Full(_)) => assert_eq!(model.len(), capacity),
                        Err(other) => panic!("{other}"),
                    }
                }
                Step::Receive => match queue.try_recv() {
                    Ok(item) => {
                        match back.iter().position(|back| **back == *item) {
                            Some(at) => drop(back.swap_remove(at)),
                            None => assert_eq!(model.pop_front().as_deref(), Some(&*item)),
                        }
                        hands.push(item);
                    }
                    Err(RecvError::Empty) => assert!(model.is_empty() && back.is_empty()),
                    Err(RecvError::TooManyHeld { .. }) => {
                        // Those that came back are in hands, too.
                        assert_eq!(hands.len() + back.len(), held as usize);
                        if !back.is_empty() || !model.is_empty() {
                            hands.pop();
                        }
                    }
                    Err(other) => panic!("{other}"),
                },
                Step::Drop(at) if at < hands.len() => drop(hands.swap_remove(at)),
                Step::GiveBack(at) if at < hands.len() => {
                    let item = hands.swap_remove(at);
                    back.push(item.to_vec());
                    item.give_back();
                }
                Step::Drop(_) | Step::GiveBack(_) => {}
            }
        }
    }
}
