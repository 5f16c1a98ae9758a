//! Parking and waking: nobody sleeps on while there is work, whoever dies over it.

use core::time::Duration;

use super::audit::{Audited, Books, SURVIVOR, ensure};
use super::paths::{take_all, with_tasks};
use super::stage::Stage;
use super::sweep::{Sweep, VICTIM};
use crate::sync::{Duty, Group};

const ME: u16 = VICTIM.index();
const OTHER: u16 = SURVIVOR.index();

/// A submitter has one more task.
fn submit(stage: &Stage, books: &mut Books) -> Audited {
    let view = stage.view();
    ensure!(books.submit(view, 50)?, "no room");
    view.parking.wake(1, &stage.kernel());
    Ok(())
}

/// The survivor sleeps in the kernel.
pub(super) fn put_to_sleep(stage: &Stage) {
    let parking = stage.view().parking;
    parking.announce(OTHER);
    parking.sleep(OTHER, &stage.kernel(), Some(Duration::ZERO));
    assert!(stage.kernel().is_asleep(OTHER));
}

/// The survivor is woken, or has had enough of sleeping; it looks, and sleeps again.
fn turn_over(stage: &Stage, books: &mut Books) -> Audited {
    let view = stage.view();
    view.parking.wake_all(&stage.kernel());
    view.parking.spin(OTHER);
    view.drain(SURVIVOR);
    books.deliver(view)?;
    view.parking.announce(OTHER);
    if view.ring.looks_empty() {
        view.parking
            .sleep(OTHER, &stage.kernel(), Some(Duration::ZERO));
    }
    Ok(())
}

/// Nobody has died: a task waits only while somebody is awake who is not busy.
fn nobody_oversleeps(stage: &Stage, books: &mut Books) -> Audited {
    books.adopt_submission();
    let waiting = books.waiting(stage.view());
    let asleep = stage.kernel().is_asleep(OTHER) && stage.noted(0) == 0;
    ensure!(
        waiting == 0 || !asleep,
        "{waiting} tasks wait for the one who sleeps"
    );
    Ok(())
}

#[test]
fn going_to_sleep_survives_death_at_every_instruction() {
    let (stage, books) = with_tasks(0);
    let not_asleep = |stage: &Stage, books: &mut Books| {
        let waiting = books.waiting(stage.view());
        let asleep = stage.kernel().is_asleep(ME);
        ensure!(
            waiting == 0 || !asleep,
            "it fell asleep over {waiting} tasks"
        );
        Ok(())
    };
    let mut sweep = Sweep::new("park", 800, &stage, books);
    sweep.meanwhile = vec![&submit];
    sweep.afterwards = &not_asleep;
    sweep.holds(|| {
        let view = stage.view();
        view.parking.spin(ME);
        if view.ring.looks_empty() {
            view.parking.announce(ME);
            if view.ring.looks_empty() {
                view.parking
                    .sleep(ME, &stage.kernel(), Some(Duration::ZERO));
            }
        }
    });
}

#[test]
fn standing_sentry_survives_death_at_every_instruction() {
    // The third worker is busy, which is enough for a submitter while somebody stands sentry.
    let submit = |stage: &Stage, books: &mut Books| {
        let view = stage.view();
        ensure!(books.submit(view, 50)?, "no room");
        view.parking.wake_unless_enough(1, 1, &stage.kernel());
        Ok(())
    };
    let (stage, books) = with_tasks(0);
    put_to_sleep(&stage);
    let not_all_asleep = |stage: &Stage, books: &mut Books| {
        let waiting = books.waiting(stage.view());
        let asleep = [ME, OTHER].map(|worker| stage.kernel().is_asleep(worker));
        ensure!(
            waiting == 0 || asleep != [true; 2],
            "it fell asleep over {waiting} tasks"
        );
        Ok(())
    };
    let mut sweep = Sweep::new("stand sentry", 1200, &stage, books);
    sweep.meanwhile = vec![&submit];
    sweep.afterwards = &not_all_asleep;
    sweep.holds(|| {
        let view = stage.view();
        view.parking.announce(ME);
        if view.ring.looks_empty() {
            if view.parking.mount_guard(ME) {
                view.parking.report_brisk(ME);
                view.parking.leave_post(ME);
            }
            if view.ring.looks_empty() {
                view.parking
                    .sleep(ME, &stage.kernel(), Some(Duration::ZERO));
            }
        }
    });
}

#[test]
fn a_wake_up_survives_death_at_every_instruction() {
    let (stage, mut books) = with_tasks(0);
    put_to_sleep(&stage);
    books.submission = Some((2, 0, 5));
    let mut sweep = Sweep::new("push and wake", 1300, &stage, books);
    sweep.meanwhile = vec![&turn_over];
    sweep.afterwards = &nobody_oversleeps;
    sweep.holds(|| {
        let view = stage.view();
        if let Some(generation) = view.ring.fill(2) {
            view.write_task(2, 5);
            assert!(view.ring.publish(2, generation));
            view.parking.wake(1, &stage.kernel());
        }
    });
}

#[test]
fn a_spinner_that_finds_work_survives_death_at_every_instruction() {
    let (stage, books) = with_tasks(1);
    put_to_sleep(&stage);
    stage.view().parking.spin(ME);
    let mut sweep = Sweep::new("spin, claim, pass the wake on", 1000, &stage, books);
    sweep.meanwhile = vec![&submit, &|stage, books| {
        take_all(stage, books)?;
        submit(stage, books)
    }];
    sweep.afterwards = &nobody_oversleeps;
    sweep.holds(|| {
        let view = stage.view();
        if view.ring.claim(VICTIM).is_none() {
            // Idle, but awake: it will look again.
            stage.note(0, 1);
        } else if view.parking.busy(ME, Group::ALL) == Duty::WakeAnother && !view.ring.looks_empty()
        {
            view.parking.wake(1, &stage.kernel());
        }
    });
}
