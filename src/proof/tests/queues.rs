//! The queue's paths: a process killed at every instruction of send, receive, hold and their kin,
//! and of the byte stream's; and others that act while it stands still there.

use std::hint::black_box;

use super::queue_walk::{RING, SURVIVOR, Stage, Walk};
use super::sweep::VICTIM;
use super::tracee::Tracee;
use crate::fifo::{Orphan, Take};
use crate::primitive::atomic::Ordering;

fn nothing(_: &Stage) -> Vec<u64> {
    Vec::new()
}

/// Others take everything and put the like of it there.
fn take_and_send(stage: &Stage) -> Vec<u64> {
    let out = stage.drain();
    assert!(stage.send(SURVIVOR, 50), "there is room for one");
    out
}

#[test]
fn a_sender_dies() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "send",
        floor: 150,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, _| {
            matches!(
                out,
                [1, 2] | [1, 2, 3] | [1, 2, 50] | [1, 2, 3, 50] | [1, 2, 50, 3]
            )
        },
        meanwhile: &take_and_send,
        living: &|out, _| matches!(out, [1, 2, 3, 50] | [1, 2, 50, 3]),
    };
    walk.holds(|| {
        stage.send(VICTIM, 3);
    });
}

#[test]
fn a_sender_to_a_closed_queue_dies() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "send while it is closed",
        floor: 150,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, _| out == [1, 2],
        meanwhile: &|stage| {
            // Closed only now: those that drained before have ended, and miss nothing.
            let fifo = stage.fifo();
            let out = stage.drain();
            assert!(fifo.is_drained() || !out.is_empty() || stage.got() == 0);
            out
        },
        living: &|out, _| out == [1, 2],
    };
    stage.fifo().close();
    // What is whole afterwards is a queue that takes nothing.
    let saved = stage.save();
    if let Err((instruction, why)) = walk.run(|| {
        assert!(!stage.send(VICTIM, 3));
    }) {
        assert!(why.contains("room for 0"), "{instruction}: {why}");
    }
    stage.restore(&saved);
    assert_eq!(stage.drain(), [1, 2]);
    assert!(stage.fifo().is_drained());
}

#[test]
fn a_receiver_dies() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "receive",
        floor: 150,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, stage| {
            let mut out = out.to_vec();
            out.sort_unstable();
            let rest = match out[..] {
                [ref rest @ .., 50] => rest,
                ref rest => rest,
            };
            rest == [1, 2] || (rest == [2] && stage.got() == 1) || (rest == [1] && stage.got() == 2)
        },
        meanwhile: &|stage| {
            // One is left for it.
            let out = Vec::from_iter(stage.receive(SURVIVOR));
            assert!(stage.send(SURVIVOR, 50), "there is room for one");
            out
        },
        living: &|out, stage| {
            let mut all = out.to_vec();
            all.push(stage.got());
            all.sort_unstable();
            all == [1, 2, 50] || all == [1, 2]
        },
    };
    walk.holds(|| {
        if let Take::Item(place) = stage.fifo().take(VICTIM) {
            stage.say_got(stage.note(place).load(Ordering::Relaxed));
            stage.fifo().vacate(place);
        }
    });
}

fn sorted(out: &[u64]) -> Vec<u64> {
    let mut out: Vec<_> = out.iter().copied().filter(|&item| item < 50).collect();
    out.sort_unstable();
    out
}

#[test]
fn a_holder_dies_and_its_item_comes_back() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "hold",
        floor: 250,
        stage: &stage,
        orphan: Orphan::ComesBack,
        legal: &|out, _| sorted(out) == [1, 2],
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    walk.holds(|| {
        let _ = black_box(stage.hold(VICTIM));
    });
}

#[test]
fn a_holder_dies_and_its_item_is_reported_lost() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "hold, lost",
        floor: 250,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, stage| match stage.fifo().lost() {
            0 => sorted(out) == [1, 2],
            _ => sorted(out) == [2],
        },
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    walk.holds(|| {
        let _ = black_box(stage.hold(VICTIM));
    });
}

#[test]
fn a_holder_dies_while_it_lets_go() {
    let stage = Stage::new(&[1, 2]);
    let grip = stage.hold(VICTIM).expect("an item");
    let walk = Walk {
        name: "let go",
        floor: 20,
        stage: &stage,
        orphan: Orphan::ComesBack,
        // Once something of it may be freed, it does not come back.
        legal: &|out, stage| match stage.got() {
            0 => matches!(sorted(out)[..], [1, 2] | [2]),
            _ => sorted(out) == [2],
        },
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    let start = stage.save();
    walk.holds(|| {
        stage.fifo().begin_drop(VICTIM, grip);
        stage.say_got(1);
        stage.fifo().let_go(grip);
    });
    stage.restore(&start);
    let walk = Walk {
        name: "give back",
        floor: 20,
        legal: &|out, _| sorted(out) == [1, 2],
        meanwhile: &|stage| stage.drain(),
        living: &|out, _| sorted(out) == [1, 2],
        ..walk
    };
    walk.holds(|| stage.fifo().give_back(grip));
}

#[test]
fn a_writer_and_a_reader_of_bytes_die() {
    let stage = Stage::new(&[]);
    let read_all = |stage: &Stage| {
        let words = stage.words();
        let mut out = Vec::new();
        while let Some(turn) = words.stream.begin_read(SURVIVOR) {
            let run = words.stream.waiting(&turn, RING);
            let bytes = &words.bytes[run.start..run.start + run.size];
            out.extend(bytes.iter().map(|byte| byte.load(Ordering::Relaxed)));
            words.stream.consumed(&turn, run.size);
            words.stream.end_read(turn);
            if run.size == 0 {
                break;
            }
        }
        out
    };
    let write = |me, values: &[u64]| {
        let words = stage.words();
        if let Some(turn) = words.stream.begin_write(me) {
            let room = words.stream.room(&turn, RING);
            for (at, &value) in (room.start..).zip(values) {
                words.bytes[at].store(value, Ordering::Relaxed);
            }
            words.stream.wrote(&turn, values.len());
            words.stream.end_write(turn);
        }
    };
    write(SURVIVOR, &[1, 2]);
    let walk = Walk {
        name: "write bytes",
        floor: 100,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|_, stage| {
            let out = read_all(stage);
            matches!(out[..], [1, 2] | [1, 2, 3, 4] | [] | [3, 4])
                && stage.words().stream.begin_write(SURVIVOR).is_some()
        },
        meanwhile: &|stage| {
            read_all(stage);
            Vec::new()
        },
        living: &|_, stage| matches!(read_all(stage)[..], [3, 4] | []),
    };
    let start = stage.save();
    walk.holds(|| write(VICTIM, &[3, 4]));
    stage.restore(&start);
    let walk = Walk {
        name: "read bytes",
        // Unless others have read them.
        legal: &|_, stage| matches!(read_all(stage)[..], [1, 2] | []),
        meanwhile: &nothing,
        living: &|_, stage| read_all(stage).is_empty(),
        ..walk
    };
    walk.holds(|| {
        let words = stage.words();
        if let Some(turn) = words.stream.begin_read(VICTIM) {
            let run = words.stream.waiting(&turn, RING);
            words.stream.consumed(&turn, run.size);
            words.stream.end_read(turn);
        }
    });
}

/// The wrong way round: the place is free before the hand holds the item.
#[test]
fn an_item_that_leaves_its_place_too_early_is_caught() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "hold, place first",
        floor: 0,
        stage: &stage,
        orphan: Orphan::ComesBack,
        legal: &|out, _| sorted(out) == [1, 2],
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    let found = walk.run(|| {
        let grip = stage.fifo().grasp(VICTIM, 0).expect("a hand");
        if let Take::Item(place) = stage.fifo().take(VICTIM) {
            let item = stage.note(place).load(Ordering::Relaxed);
            stage.hand(grip).store(item, Ordering::Relaxed);
            stage.fifo().vacate(place);
            stage.fifo().hold(VICTIM, grip, place);
        }
    });
    if let Err((instruction, why)) = found {
        assert!(instruction > 0 && why.contains("leaves [2]"), "{why}");
    } else {
        assert!(
            Tracee::start(2, || ()).is_err(),
            "nothing was wrong anywhere"
        );
    }
}
