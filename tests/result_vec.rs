//! Results that tasks write where their callers read them.

use std::sync::Arc;

use gristmill::{Pool, ResultVec, TaskError, Thrown};

/// 8 MiB of them: large enough to be read where they lie, and to tell one copy from two.
const LEN: usize = 1 << 20;
const SIZE: u64 = 8 * LEN as u64;

fn pool() -> Pool {
    Pool::builder().workers(1).build().unwrap()
}

fn ramp(from: u64) -> ResultVec<u64> {
    ResultVec::from_fn(LEN, |index| from + index as u64)
}

fn is_ramp(numbers: &[u64], from: u64) -> bool {
    numbers.len() == LEN
        && (from..)
            .zip(numbers)
            .all(|(wanted, found)| wanted == *found)
}

/// How much memory the worker ever had for results.
fn committed(pool: &Pool) -> u64 {
    pool.stats().workers[0].arena_committed
}

#[test]
fn a_result_is_written_once() {
    let pool = pool();
    let results = [0, 7, 9].map(|from: u64| {
        let task = pool.spawn(from, |from| ramp(from.to_native()));
        task.unwrap().wait().unwrap()
    });
    assert!(is_ramp(&results[0], 0) && is_ramp(&results[1], 7) && is_ramp(&results[2], 9));
    // Three are held. Had each been copied, there would be room for a fourth.
    let held = committed(&pool);
    assert!((3 * SIZE..4 * SIZE).contains(&held), "{held}");
    drop(results);
    // There is always one to take again, and one that was not returned is one of them.
    for from in 0..20_u64 {
        let task = pool.spawn(from, |from| {
            drop(ramp(0));
            ramp(from.to_native())
        });
        assert!(is_ramp(&task.unwrap().wait().unwrap(), from));
    }
    assert_eq!(committed(&pool), held);
}

#[test]
fn the_control_is_written_twice() {
    let pool = pool();
    let task = pool.spawn((), |()| (1_u64, ramp(0), ramp(1))).unwrap();
    let result = task.wait().unwrap();
    assert!(is_ramp(&result.1, 0) && is_ramp(&result.2, 1));
    // Both were made there, and the second was copied behind the first.
    assert!(committed(&pool) > 4 * SIZE, "{}", committed(&pool));
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Image {
    pixels: ResultVec<u8>,
    name: String,
    width: u64,
    comments: Vec<String>,
}

#[test]
fn it_may_be_part_of_something_larger_or_in_a_result() {
    let pool = pool();
    for comments in [0, 1000_u64] {
        let task = pool.spawn_result(comments, |comments| -> Result<Image, Thrown> {
            let mut pixels = ResultVec::<u8>::zeroed(640 * 480);
            pixels[77] = 7;
            let comment = |number| format!("comment number {number}, which is a long one");
            Ok(Image {
                pixels,
                name: "a name that is not short".into(),
                width: 640,
                comments: (0..comments.to_native()).map(comment).collect(),
            })
        });
        let image = task.unwrap().wait().unwrap();
        assert_eq!(image.pixels.len(), 640 * 480);
        assert_eq!(
            image
                .pixels
                .iter()
                .map(|&byte| u64::from(byte))
                .sum::<u64>(),
            7
        );
        assert_eq!(
            (image.name.as_str(), image.width.to_native()),
            ("a name that is not short", 640)
        );
        assert_eq!(image.comments.len() as u64, comments);
        assert!(
            image
                .comments
                .iter()
                .all(|comment| comment.starts_with("comment number "))
        );
    }
}

#[test]
fn any_length_from_nothing_on_and_any_numbers() {
    let pool = pool();
    for len in [0_u64, 1, 2047, 2048, 2049, 4096, 100_000] {
        let task = pool.spawn(len, |len| {
            ResultVec::from_fn(len.to_native() as usize, |index| [index as f32, 0.5])
        });
        let pairs = task.unwrap().wait().unwrap();
        assert_eq!(pairs.len() as u64, len);
        assert!(
            pairs
                .iter()
                .enumerate()
                .all(|(index, pair)| *pair == [index as f32, 0.5])
        );
        let owned = pairs.to_owned().unwrap();
        assert_eq!(*owned, **pairs);
    }
}

#[test]
fn elsewhere_it_is_a_list_as_any_other() {
    let pool = pool();
    // In the program, as an argument; in the items of a map; in the answer's own fields twice.
    let task = pool.spawn(ramp(5), |numbers| is_ramp(numbers, 5)).unwrap();
    assert!(*task.wait().unwrap());
    let map = pool
        .map(0..4_u64, |from| ramp(from.to_native()))
        .wait()
        .unwrap();
    assert!(
        (0..)
            .zip(&map)
            .all(|(from, numbers)| is_ramp(numbers, from))
    );
    // Of sizes between which blocks of several kinds lie, and kept by none.
    let sizes = [100, 20_000, 30_000, 70_000_u64].repeat(50);
    let map = pool.map(sizes.clone(), |size| {
        drop(ResultVec::<u8>::uninit(20_000));
        let size = size.to_native();
        ResultVec::from_fn(size as usize, |index| index as u64 ^ size)
    });
    for (size, numbers) in sizes.iter().zip(map.wait().unwrap()) {
        assert_eq!(numbers.len() as u64, *size);
        assert!(
            (0..)
                .zip(&**numbers)
                .all(|(index, number)| index ^ size == *number)
        );
    }
    #[cfg(feature = "tokio")]
    {
        let task = pool.spawn_async(3_u64, async |from| {
            let from = from.to_native();
            tokio::task::yield_now().await;
            ramp(from)
        });
        assert!(is_ramp(&task.unwrap().wait().unwrap(), 3));
    }
}

#[test]
fn what_a_task_keeps_stays_as_it_is_and_so_does_its_result() {
    type Kept = Vec<Arc<ResultVec<u64>>>;
    let pool = Pool::builder()
        .workers(1)
        .worker_state((), |()| Kept::new());
    let pool = pool.build().unwrap();
    let keep = |from: u64| {
        let task = pool.spawn_with_state(from, |kept: &mut Kept, from| {
            let made = Arc::new(ramp(from.to_native()));
            kept.push(Arc::clone(&made));
            made
        });
        task.unwrap().wait().unwrap()
    };
    let results = [1, 2].map(keep);
    // Others are made meanwhile, which may take the same memory.
    for from in 10..14_u64 {
        let task = pool.spawn(from, |from| ramp(from.to_native())).unwrap();
        assert!(is_ramp(&task.wait().unwrap(), from));
    }
    assert!(is_ramp(&results[0], 1) && is_ramp(&results[1], 2));
    // It may still be written to, which its result does not see; then it goes.
    let task = pool.spawn_with_state((), |kept: &mut Kept, ()| {
        let whole = is_ramp(&kept[0], 1) && is_ramp(&kept[1], 2);
        for list in kept.iter_mut() {
            Arc::get_mut(list).unwrap().fill(0);
        }
        kept.clear();
        whole
    });
    assert!(*task.unwrap().wait().unwrap());
    assert!(is_ramp(&results[0], 1) && is_ramp(&results[1], 2));
    let most = committed(&pool);
    for from in 0..10_u64 {
        let task = pool.spawn(from, |from| ramp(from.to_native())).unwrap();
        assert!(is_ramp(&task.wait().unwrap(), from));
    }
    assert_eq!(committed(&pool), most, "what was kept has been given back");
}

#[test]
fn it_may_go_in_another_thread_or_with_a_panic() {
    let pool = pool();
    let mut most = 0;
    for round in 0..10 {
        let task = pool.spawn((), |()| {
            let made = ramp(0);
            std::thread::spawn(move || made[3]).join().unwrap()
        });
        assert_eq!(*task.unwrap().wait().unwrap(), 3);
        let task = pool.spawn((), |()| -> ResultVec<u64> {
            let made = ramp(0);
            assert!(made[0] == 1, "no");
            made
        });
        assert!(matches!(
            task.unwrap().wait(),
            Err(TaskError::Panicked { .. })
        ));
        let task = pool.spawn((), |()| ramp(2)).unwrap();
        assert!(is_ramp(&task.wait().unwrap(), 2));
        match round {
            0..3 => most = committed(&pool),
            _ => assert_eq!(committed(&pool), most, "in round {round}"),
        }
    }
}

/// Panics when it goes, after it was written out.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct Sore {
    numbers: ResultVec<u64>,
    hurts: Hurts,
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Hurts;

impl Drop for Hurts {
    fn drop(&mut self) {
        panic!("it hurts");
    }
}

#[test]
fn a_result_whose_value_panics_when_it_goes_is_none_and_its_memory_returns() {
    let pool = pool();
    let mut most = 0;
    for round in 0..6 {
        let task = pool.spawn((), |()| Sore {
            numbers: ramp(0),
            hurts: Hurts,
        });
        assert!(matches!(
            task.unwrap().wait(),
            Err(TaskError::Panicked { .. })
        ));
        match round {
            0 => most = committed(&pool),
            _ => assert_eq!(committed(&pool), most),
        }
    }
}

#[test]
fn a_worker_that_dies_with_one_takes_nothing_with_it() {
    let pool = pool();
    let held = pool.spawn((), |()| ramp(4)).unwrap().wait().unwrap();
    for _ in 0..3 {
        let task = pool.spawn((), |()| -> ResultVec<u64> {
            let made = ramp(0);
            if std::hint::black_box(made[0] == 0) {
                std::process::abort();
            }
            made
        });
        assert!(matches!(
            task.unwrap().wait(),
            Err(TaskError::WorkerDied(_))
        ));
    }
    assert!(is_ramp(&held, 4));
    let task = pool.spawn((), |()| ramp(6)).unwrap();
    assert!(is_ramp(&task.wait().unwrap(), 6));
}

#[test]
fn where_there_is_no_room_it_is_told_as_for_any_result() {
    let pool = Pool::builder().workers(1).memory_budget(12 << 20);
    let pool = pool.build().unwrap();
    let make = |bytes: u64| {
        let task = pool.spawn(bytes, |bytes| {
            ResultVec::<u8>::zeroed(bytes.to_native() as usize)
        });
        task.unwrap().wait()
    };
    for _ in 0..3 {
        let refused = make(30 << 20).unwrap_err();
        assert!(matches!(refused, TaskError::OutOfMemory(_)), "{refused}");
        // More than half of it: there is room for one, and not for another beside it.
        let held = make(7 << 20).unwrap();
        assert_eq!(held.len(), 7 << 20);
        let refused = make(7 << 20).unwrap_err();
        assert!(matches!(refused, TaskError::OutOfMemory(_)), "{refused}");
    }
}
