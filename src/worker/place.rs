//! Which core runs this worker, and when it leaves it for another.
//!
//! The kernel wakes a sleeper on the core where he was last, also when a busy one is there and
//! others are free: two workers that met on one would share it for good. So each says in its gauge
//! where it runs, as long as it is awake, and beside its parking word where it sleeps, by which
//! those who wake choose (`sync/parking.rs`). Whoever finds a peer on its core leaves for one where
//! nobody is; as does who has the core for which a peer waits that was woken there.
//!
//! To peers for jobs only: whoever waits for one sleeps soon and leaves a core free. For tasks he
//! spins there, and would make the worker come back; so for these it leaves only a core on which
//! somebody is who submits or waits.

use std::time::{Duration, Instant};

use crate::protocol::control::Control;
use crate::protocol::gauge::Gauge;
use crate::sys::affinity::Affinity;
use crate::sys::cpu;

/// On a busy machine a worker that moves is moved back: this bounds what it costs.
const BETWEEN_MOVES: Duration = Duration::from_millis(2);
/// Where there are more cores than workers, the kernel mostly parts a worker from the waiter by
/// itself: to move takes some 30 µs, in which the waiter gets no answer. So often it only yields.
const MEETINGS: u32 = 4;
/// A worker that wakes up looks where so many others are, which costs up to a line's trip each.
const MOST_PEERS: usize = 64;

/// A worker's place among the cores.
pub(super) struct Place<'a> {
    peers: Peers<'a>,
    affinity: Affinity,
    /// There are several cores, and another worker that could be in this one's way.
    spreads: bool,
    cores: usize,
    /// How often in a row it yielded to whoever waits for outcomes.
    met: u32,
    /// When this worker last left a core to whoever waits for outcomes, or to a peer; and when to
    /// one that had been woken in vain.
    moved: Option<Instant>,
    made_room: Option<Instant>,
    /// Its last work was shared with others, who will probably be woken for the next as well.
    shares: bool,
}

/// The other workers, seen by one.
#[derive(Clone, Copy)]
struct Peers<'a> {
    control: &'a Control,
    me: u16,
}

impl<'a> Place<'a> {
    pub(super) fn new(control: &'a Control, me: u16, cores: usize) -> Self {
        Self {
            peers: Peers { control, me },
            affinity: Affinity::default(),
            spreads: cores > 1 && (2..=MOST_PEERS).contains(&control.workers()),
            cores,
            met: 0,
            moved: None,
            made_room: None,
            shares: false,
        }
    }

    /// Lets those who call workers have this core. The kernel may put a spinning worker and the
    /// thread that waits for it, or gives it work, on one core and leave them there, each with half
    /// of it and the other core idle; then this worker moves. But not to where a peer lies who is
    /// about to be woken for the next job: then both would be there, and the waiter sleeps soon.
    /// How long that took.
    ///
    /// Anybody else has it only if this worker `offers` it, for that is a system call; unless a
    /// thread of the parent is about to wake up, who knows where, or there are more workers than
    /// cores, and one that has work may wait for this one.
    pub(super) fn make_way(&mut self, offers: bool) -> Duration {
        let peers = self.peers;
        let control = peers.control;
        let here = peers.note();
        let here = here.filter(|&here| control.callers().are_on(here));
        self.met = here.map_or(0, |_| self.met.saturating_add(1));
        let stays = control.workers() < self.cores && self.met < MEETINGS;
        if here.is_some() && !stays && control.workers() <= MOST_PEERS {
            self.met = 0;
            let (began, shares) = (Instant::now(), self.shares);
            let is_taken = |core| peers.run_on(core) || shares && peers.sleep_on(core);
            if self.leave(here, is_taken) {
                return began.elapsed();
            }
        }
        let is_crowded = control.workers() > self.cores;
        if offers || here.is_some() || is_crowded || control.doorbell().has_sleepers() {
            cpu::yield_now();
        }
        Duration::ZERO
    }

    /// Whether somebody who calls workers is on this core.
    pub(super) fn is_in_the_way(&self) -> bool {
        let callers = self.peers.control.callers();
        cpu::current().is_some_and(|here| callers.are_on(here))
    }

    /// Whether this worker is the one that goes on looking for work, of several of whom one may:
    /// the first that is not in the way.
    pub(super) fn goes_first(&self) -> bool {
        let Peers { control, me } = self.peers;
        let callers = control.callers();
        let is_in_the_way = |gauge: &Gauge| gauge.core().is_some_and(|core| callers.are_on(core));
        let looks_on = |peer| {
            let (spins, _) = control.parking().seen(peer);
            spins && !control.gauge(peer).is_some_and(is_in_the_way)
        };
        !self.is_in_the_way() && !(0..me).any(looks_on)
    }

    /// Before this worker sleeps: it should not lie where a peer does, for both may be woken at
    /// once.
    pub(super) fn lie_down(&mut self) {
        let peers = self.peers;
        let mut here = peers.note();
        if self.may_spread(peers.control.workers())
            && here.is_some_and(|here| peers.sleep_on(here))
            && self.leave(here, |core| peers.run_on(core) || peers.sleep_on(core))
        {
            here = peers.note();
        }
        peers.control.parking().lie_down(peers.me, here);
        peers.say(None);
    }

    /// After it lay down; if it slept, it leaves a core that runs another worker, or on which one
    /// that was woken as well waits for its turn.
    pub(super) fn get_up(&mut self, slept: bool) {
        let peers = self.peers;
        let here = peers.note();
        let awake = || peers.control.parking().awake() as usize;
        let is_shared = |here| peers.run_on(here) || peers.rise_from(|core| core == here);
        if slept && self.may_spread(awake()) && here.is_some_and(is_shared) {
            self.leave(here, |core| peers.run_on(core));
        }
    }

    /// Some time into a job: if a peer that was woken has not run since, it may wait for this core,
    /// wherever it lay. The kernel wakes a sleeper where his waker is if the other core is busy at
    /// that moment, and leaves him there.
    pub(super) fn make_room(&mut self) {
        let peers = self.peers;
        if self.may_spread(peers.control.workers()) && peers.rise_from(|_| true) {
            let here = peers.note();
            // It may have come here a moment ago, when it made way for the waiter.
            self.moved = self.made_room;
            self.leave(here, |core| peers.run_on(core));
            self.made_room = self.moved;
        }
    }

    /// At the beginning of a job whose caller is at work as well: leaves him his core.
    pub(super) fn leave_caller(&mut self) {
        let peers = self.peers;
        let here = peers.note();
        if self.cores > 1 && here.is_some_and(|here| peers.control.callers().are_on(here)) {
            self.leave(here, |core| peers.run_on(core));
        }
    }

    /// What this worker does now is shared with others, or its own.
    pub(super) fn share(&mut self, shares: bool) {
        self.shares = shares;
    }

    /// Whether its last work was.
    pub(super) fn shares(&self) -> bool {
        self.shares
    }

    /// Whether so many workers may each have a core of its own.
    fn may_spread(&self, workers: usize) -> bool {
        self.spreads && workers <= self.cores && self.peers.control.has_jobs()
    }

    /// Goes to a core that is not taken, unless it did lately. Whether it did now.
    fn leave(&mut self, here: Option<u32>, is_taken: impl Fn(u32) -> bool) -> bool {
        let may = |then: Instant| then.elapsed() >= BETWEEN_MOVES;
        if !self.moved.is_none_or(may) {
            return false;
        }
        let is_free = |core| Some(core) != here && !is_taken(core);
        // Whoever wakes up meanwhile should neither make way here in vain nor settle there: it may
        // be some time until this worker runs again, and can say so.
        let peers = self.peers;
        let leaves = self.affinity.leave_for(is_free, |to| peers.say(to));
        self.moved = Some(Instant::now());
        self.peers.note();
        leaves
    }
}

impl Peers<'_> {
    /// Says which core runs this worker.
    fn note(self) -> Option<u32> {
        let here = cpu::current();
        self.say(here);
        here
    }

    fn say(self, core: Option<u32>) {
        if let Some(gauge) = self.control.gauge(self.me) {
            gauge.set_core(core);
        }
    }

    /// Whether one of them said last that it runs there, and has not gone to sleep since.
    fn run_on(self, core: u32) -> bool {
        let is_there = |peer| {
            let gauge = self.control.gauge(peer);
            gauge.is_some_and(|gauge| gauge.is_on(core))
        };
        self.others().any(is_there)
    }

    /// Whether one of them sleeps, and lay down there.
    fn sleep_on(self, core: u32) -> bool {
        let parking = self.control.parking();
        self.others().any(|peer| parking.sleeps_on(peer, core))
    }

    /// Whether one of them was woken, and lay on such a core, but has not run yet.
    fn rise_from(self, is_meant: impl Fn(u32) -> bool) -> bool {
        let Self { control, .. } = self;
        self.others().any(|peer| {
            let lay = control.parking().rises_from(peer);
            lay.is_some_and(&is_meant) && control.gauge(peer).is_some_and(Gauge::is_nowhere)
        })
    }

    fn others(self) -> impl Iterator<Item = u16> {
        (0..self.control.workers() as u16).filter(move |&peer| peer != self.me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::region::Region;
    use crate::protocol::control::CONTROL_SIZE;
    use crate::protocol::image::ImageId;
    use crate::protocol::lanes::Shape;
    use crate::sync::kernel::KernelFutex;

    const WORKERS: usize = 3;

    fn region() -> Region {
        let shape = Shape::new(WORKERS, 1);
        let region = Region::create(CONTROL_SIZE as u64).unwrap();
        Control::create(&region, WORKERS, shape, &ImageId::current()).unwrap();
        region
    }

    #[test]
    fn a_peer_runs_where_it_says_until_it_lies_down() {
        let region = region();
        let control = Control::of(&region).unwrap();
        let peers = Peers { control, me: 0 };
        let there = |core| (peers.run_on(core), peers.sleep_on(core));
        assert_eq!(there(0), (false, false), "nobody has said anything");
        control.gauge(1).unwrap().set_core(Some(7));
        assert_eq!(there(7), (true, false));
        control.gauge(0).unwrap().set_core(Some(5));
        assert_eq!(there(5), (false, false), "that is this worker itself");

        let mut place = Place::new(control, 1, 1);
        place.lie_down();
        assert_eq!(there(7), (false, false), "not yet asleep");
        control.parking().lie_down(1, Some(6));
        control.parking().announce(1);
        assert_eq!(there(6), (false, true));
        control.parking().spin(1);
        assert_eq!(
            there(6),
            (false, false),
            "woken, and it runs who knows where"
        );
        let rises = || peers.rise_from(|core| core == 6);
        assert!(!rises(), "it has said that it is awake");
        control.parking().announce(1);
        assert!(!rises(), "it sleeps");
        assert!(control.parking().wake_worker(1, &KernelFutex));
        assert!(rises() && !peers.rise_from(|core| core == 5));
        control.gauge(1).unwrap().set_core(Some(7));
        assert!(!rises(), "it has been up and about");
        control.gauge(1).unwrap().set_core(None);
        control.parking().vacate(1);
        assert!(!peers.rise_from(|_| true), "nobody is there");
        control.parking().reset(1);
        place.get_up(false);
        let runs = (0..1 << 16).any(|core| peers.run_on(core));
        assert_eq!(runs, cpu::current().is_some(), "it has said where it is");
    }

    #[test]
    fn where_nobody_knows_the_core_nobody_shares_it() {
        let region = region();
        let control = Control::of(&region).unwrap();
        let peers = Peers { control, me: 0 };
        for peer in [1, 2] {
            control.gauge(peer).unwrap().set_core(None);
            control.parking().lie_down(peer, None);
            control.parking().announce(peer);
        }
        for core in [0, 1, u32::MAX] {
            assert!(!peers.run_on(core) && !peers.sleep_on(core));
        }
    }
}
