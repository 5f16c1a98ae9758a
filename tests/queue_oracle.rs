//! Queues under many threads, and beside a plain model.

use std::collections::VecDeque;
use std::sync::mpsc;

use gristmill::{Handle, Process, Queue, RecvError, Region, Rkyv, SendError};
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
        let mut model = VecDeque::new();
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

/// What is asked of a queue: which call, how many items, the first of them.
type Order = [u64; 3];
/// What it answered: 0 and what came of it, 1 for full or empty, 2 for closed.
type Answer = Vec<u64>;

const SEND: u64 = 0;
const RECEIVE: u64 = 1;
const SEND_MANY: u64 = 2;
const RECEIVE_MANY: u64 = 3;
const LOOK: u64 = 4;
const CLOSE: u64 = 5;

fn sent<G>(error: &SendError<G>) -> Answer {
    match error {
        SendError::Full(_) => vec![1],
        SendError::Closed(_) => vec![2],
        other => panic!("{}", other.to_string()),
    }
}

fn received(error: &RecvError) -> Answer {
    match error {
        RecvError::Empty => vec![1],
        RecvError::Closed => vec![2],
        other => panic!("{other}"),
    }
}

/// By the queue.
fn act(queue: &Queue<u64>, [call, count, first]: Order) -> Answer {
    match call {
        SEND => queue
            .try_send(first)
            .map_or_else(|error| sent(&error), |()| vec![0]),
        RECEIVE => queue
            .try_recv()
            .map_or_else(|error| received(&error), |item| vec![0, item]),
        SEND_MANY => {
            let items: Vec<_> = (first..first + count).collect();
            queue
                .try_send_many(&items)
                .map_or_else(|error| sent(&error), |count| vec![0, count as u64])
        }
        RECEIVE_MANY => {
            let mut answer = vec![0];
            match queue.try_recv_many(&mut answer, count as usize) {
                Ok(count) => assert_eq!(count + 1, answer.len()),
                Err(error) => answer = received(&error),
            }
            answer
        }
        LOOK => vec![0, queue.len() as u64, u64::from(queue.is_closed())],
        _ => {
            queue.close();
            vec![0]
        }
    }
}

/// By a plain queue.
#[derive(Debug)]
struct Model {
    items: VecDeque<u64>,
    capacity: usize,
    is_closed: bool,
}

impl Model {
    fn act(&mut self, [call, count, first]: Order) -> Answer {
        let nothing = || vec![1 + u64::from(self.is_closed)];
        match call {
            SEND | SEND_MANY => {
                let count = if call == SEND { 1 } else { count as usize };
                let room = self.capacity - self.items.len();
                if self.is_closed || room == 0 {
                    return nothing();
                }
                let most = count.min(room) as u64;
                self.items.extend(first..first + most);
                match call {
                    SEND => vec![0],
                    _ => vec![0, most],
                }
            }
            RECEIVE | RECEIVE_MANY if self.items.is_empty() => nothing(),
            RECEIVE | RECEIVE_MANY => {
                let most = if call == RECEIVE { 1 } else { count as usize };
                let most = most.min(self.items.len());
                [0].into_iter().chain(self.items.drain(..most)).collect()
            }
            LOOK => vec![0, self.items.len() as u64, u64::from(self.is_closed)],
            _ => {
                self.is_closed = true;
                vec![0]
            }
        }
    }
}

fn orders() -> impl Strategy<Value = Vec<(bool, u64, u64)>> {
    let call = prop_oneof![
        5 => Just(SEND),
        5 => Just(RECEIVE),
        3 => Just(SEND_MANY),
        3 => Just(RECEIVE_MANY),
        2 => Just(LOOK),
        1 => (0_u64..10).prop_map(|one| if one == 0 { CLOSE } else { LOOK }),
    ];
    proptest::collection::vec((any::<bool>(), call, 1_u64..9), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn two_processes_do_what_a_plain_queue_does(capacity in 1_usize..7, orders in orders()) {
        let region = Region::new(4 << 20).unwrap();
        let queue = Queue::<u64>::new(&region, capacity).unwrap();
        let asked = Queue::<Order>::new(&region, 1).unwrap();
        let answered = Queue::<Rkyv<Answer>>::new(&region, 1).unwrap();
        let names = [queue.handle().words(), asked.handle().words(), answered.handle().words()];
        let process = Process::builder().region(&region).spawn(names, |names| {
            let name = |at: usize| [names[at][0].into(), names[at][1].into()];
            let queue: Queue<u64> = Handle::from_words(name(0)).open().unwrap();
            let asked: Queue<Order> = Handle::from_words(name(1)).open().unwrap();
            let answered: Queue<Rkyv<Answer>> = Handle::from_words(name(2)).open().unwrap();
            for order in asked.iter() {
                answered.send_blocking(&act(&queue, order.unwrap())).unwrap();
            }
        }).unwrap();
        let mut model = Model { items: VecDeque::new(), capacity, is_closed: false };
        let mut next = 0;
        for (there, call, count) in orders {
            let order = [call, count, next];
            next += count;
            let answer = if there {
                asked.send_blocking(order).unwrap();
                answered.recv_blocking().unwrap().to_owned().unwrap()
            } else {
                act(&queue, order)
            };
            prop_assert_eq!(answer, model.act(order), "{:?}", order);
        }
        asked.close();
        process.wait().unwrap();
    }
}
