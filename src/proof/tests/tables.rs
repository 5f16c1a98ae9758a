//! The paths of maps, lists and values: a process killed at every instruction of a change, of a
//! repair and of a look; and others that read, or write, while it stands still there.

mod stage;

use self::stage::{Checked, MOST, Stage, VICTIM, fill, hash, is_one_of};
use super::sweep::say;
use super::tracee::{NotPermitted, Stop, Tracee};
use crate::primitive::atomic::Ordering;
use crate::table::{Full, Kind, Look, Writer};

/// As in `sweep`.
const PAUSES: usize = 8;
const LONGEST: usize = 200_000;

type Check<'a> = &'a dyn Fn(&Stage) -> Checked;

struct Walk<'a> {
    name: &'static str,
    floor: usize,
    stage: &'a Stage,
    /// What others do while the victim stands still, and what must hold then.
    meanwhile: Check<'a>,
    /// What must hold when it has gone on to its end.
    living: Check<'a>,
    /// What must hold when it has died.
    dead: Check<'a>,
}

impl Walk<'_> {
    fn death(&self) -> Checked {
        // Whoever recovers may do so twice.
        self.stage.table().forget(VICTIM);
        self.stage.table().forget(VICTIM);
        (self.dead)(self.stage)?;
        self.stage.is_whole()
    }

    fn run(&self, path: impl FnOnce()) -> Result<(), (usize, String)> {
        let mut tracee = match Tracee::start(2, path) {
            Ok(tracee) => tracee,
            Err(NotPermitted) => {
                let name = self.name;
                say(&format!("walk of {name}: SKIPPED, ptrace is not permitted"));
                return Ok(());
            }
        };
        let full = std::env::var_os("GRISTMILL_SWEEP").is_some_and(|form| form == "full");
        let mut before = None;
        for instruction in 0..LONGEST {
            let at = |why| (instruction, why);
            let saved = self.stage.save();
            let changed = before.as_ref() != Some(&saved);
            if full || changed || instruction % PAUSES == 0 {
                let twin = tracee.twin();
                (self.meanwhile)(self.stage).map_err(at)?;
                let standing = self.stage.save();
                tracee.resume();
                (self.living)(self.stage).map_err(at)?;
                self.stage.is_whole().map_err(at)?;
                tracee.kill();
                // And dead where it stood, after what others did.
                self.stage.restore(&standing);
                self.death().map_err(at)?;
                self.stage.restore(&saved);
                tracee = twin;
            }
            let twin = tracee.twin();
            tracee.kill();
            if full || changed {
                self.death().map_err(at)?;
                self.stage.restore(&saved);
            }
            tracee = twin;
            before = Some(saved);
            if tracee.step() == Stop::Exit {
                let floor = match cfg!(debug_assertions) {
                    true => self.floor,
                    false => self.floor / 15,
                };
                assert!(instruction >= floor, "{}: {instruction} points", self.name);
                let name = self.name;
                say(&format!("walk of {name}: killed at {instruction} points"));
                return Ok(());
            }
        }
        panic!("{}: no end after {LONGEST} instructions", self.name);
    }
}

/// A change by the victim, from what `prepare` leaves; others read.
fn walk_of(
    name: &'static str,
    kind: Kind,
    prepare: impl FnOnce(&Stage),
    change: impl Fn(&Stage) -> Result<(), Full>,
) {
    let stage = Stage::new(kind);
    prepare(&stage);
    if let Err((instruction, why)) = change_and_walk(name, &stage, &change, &change) {
        panic!("{name}, instruction {instruction}: {why}");
    }
}

/// The same, where the victim takes a way of its own to the change.
fn change_and_walk(
    name: &'static str,
    stage: &Stage,
    change: impl Fn(&Stage) -> Result<(), Full>,
    path: impl Fn(&Stage) -> Result<(), Full>,
) -> Result<(), (usize, String)> {
    let start = stage.save();
    let before = stage.all().expect("it is whole");
    change(stage).expect("there is room");
    let after = stage.all().expect("it is whole");
    stage.restore(&start);
    let legal = [&before, &after];
    let walk = Walk {
        name,
        floor: 400,
        stage,
        meanwhile: &|stage| stage.is_read(legal),
        living: &|stage| is_one_of(&stage.all()?, [&after; 2]),
        dead: &|stage| {
            stage.is_read(legal)?;
            is_one_of(&stage.all()?, legal)?;
            stage.is_read(legal)
        },
    };
    walk.run(|| path(stage).expect("there is room"))
}

fn puts(count: u64) -> impl Fn(&Stage) {
    move |stage| {
        for key in 0..count {
            stage.put(key, 10 + key).expect("there is room");
        }
    }
}

#[test]
fn one_that_inserts_into_a_map_dies() {
    walk_of("insert into a map", Kind::Map, puts(4), |stage| {
        stage.put(9, 99)
    });
}

#[test]
fn one_that_replaces_in_a_map_dies() {
    walk_of("replace in a map", Kind::Map, puts(4), |stage| {
        stage.put(1, 99)
    });
}

#[test]
fn one_that_removes_from_a_map_dies() {
    walk_of("remove from a map", Kind::Map, puts(4), |stage| {
        stage.take(0)
    });
}

#[test]
fn one_that_puts_a_map_in_order_dies() {
    let prepare = |stage: &Stage| {
        puts(6)(stage);
        for key in [0, 1] {
            stage.take(key).expect("there is room");
        }
    };
    walk_of("remove, and put in order", Kind::Map, prepare, |stage| {
        stage.take(2)
    });
}

#[test]
fn one_that_inserts_into_a_list_dies() {
    walk_of("insert into a list", Kind::List, puts(3), |stage| {
        stage.put(0, 99)
    });
}

#[test]
fn one_that_replaces_in_a_list_dies() {
    walk_of("replace in a list", Kind::List, puts(3), |stage| {
        stage.replace(1, 99)
    });
}

#[test]
fn one_that_removes_from_a_list_dies() {
    walk_of("remove from a list", Kind::List, puts(3), |stage| {
        stage.take(0)
    });
}

/// It finds a list whose writer died while it moved records, and dies while it puts that right.
#[test]
fn one_that_repairs_dies() {
    let stage = Stage::new(Kind::List);
    puts(3)(&stage);
    let writer = Tracee::start(2, || stage.put(0, 99).expect("there is room"));
    let Ok(writer) = writer else {
        say("walk of a repair: SKIPPED, ptrace is not permitted");
        return;
    };
    while stage.look(0) != Look::Disturbed {
        assert!(writer.step() != Stop::Exit);
    }
    // Two stores for each of the slots: the second is in two of them.
    for _ in 0..4 {
        let saved = stage.save();
        while stage.save() == saved {
            assert!(writer.step() != Stop::Exit);
        }
    }
    writer.kill();
    let repair = |stage: &Stage| {
        drop(Writer::begin(stage.table(), stage.kind));
        Ok(())
    };
    if let Err((instruction, why)) = change_and_walk("repair", &stage, repair, repair) {
        panic!("instruction {instruction}: {why}");
    }
}

/// It finds a record, reads and lets go; others replace it and want its room.
#[test]
fn one_that_reads_dies() {
    const TORN: u64 = u64::MAX;
    let stage = Stage::new(Kind::Map);
    puts(4)(&stage);
    let walk = Walk {
        name: "a look",
        floor: 400,
        stage: &stage,
        meanwhile: &|stage| {
            for value in 20..40 {
                match stage.put(1, value) {
                    Ok(()) | Err(Full::Readers) => {}
                    Err(full) => return Err(format!("{full:?}")),
                }
            }
            Ok(())
        },
        living: &|stage| match stage.words().got.load(Ordering::Relaxed) {
            11 | 20..40 => Ok(()),
            got => Err(format!("it has read {got}")),
        },
        dead: &|_| Ok(()),
    };
    let outcome = walk.run(|| {
        let _pin = stage.table().pin(VICTIM).expect("a member");
        let Look::Found(span) = stage.look(1) else {
            return;
        };
        let got = stage.read(span).map_or(TORN, |(_, value)| value);
        stage.words().got.store(got, Ordering::Relaxed);
    });
    if let Err((instruction, why)) = outcome {
        panic!("instruction {instruction}: {why}");
    }
}

/// The wrong way round: a word leads to a record before that is written.
#[test]
fn a_record_that_is_named_too_early_is_caught() {
    let stage = Stage::new(Kind::Map);
    puts(4)(&stage);
    let found = change_and_walk(
        "insert, word first",
        &stage,
        |stage| stage.put(9, 99),
        |stage| {
            let writer = Writer::begin(stage.table(), stage.kind);
            let draft = writer.draft(64)?;
            let (at, room) = draft.place();
            let is_it = stage.is(9);
            writer.insert(hash(9), is_it, MOST, draft)?;
            fill((at, room), 9, 99);
            Ok(())
        },
    );
    match found {
        Err((_, why)) => assert!(why.contains("torn") || why.contains("twice"), "{why}"),
        Ok(()) => assert!(
            Tracee::start(2, || ()).is_err(),
            "nothing was wrong anywhere"
        ),
    }
}
