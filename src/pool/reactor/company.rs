//! Whether a future that waits alone has company: others on its thread that would call as well, if
//! only it let them.
//!
//! It spins, for most answers come sooner than a thread that sleeps could be woken; but then many
//! callers on one thread take one round trip after the other. So now and then it makes way instead.
//! If somebody submits before there is an outcome, there is company, and it makes way the next time
//! as well; else it spins on, and tries again later and later, for to make way for nobody costs the
//! runtime a system call.

/// Spins before the first time that it makes way, and most.
const FIRST: u32 = 16;
const MOST: u32 = 1024;

/// What is known of it; under the hub's lock.
#[derive(Debug)]
pub(in crate::pool) struct Company {
    /// Somebody came the last time.
    is_there: bool,
    /// A future has made way, and nothing has ended since.
    waits: bool,
    /// How often a lone future has spun since one made way, and how often at most.
    spins: u32,
    most: u32,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            is_there: false,
            waits: false,
            spins: 0,
            most: FIRST,
        }
    }
}

impl Company {
    /// Whether a lone future is to make way this time.
    pub(super) fn makes_way(&mut self) -> bool {
        self.spins += 1;
        if !core::mem::take(&mut self.is_there) && self.spins < self.most {
            return false;
        }
        self.waits = true;
        self.spins = 0;
        self.most = (2 * self.most).min(MOST);
        true
    }

    /// Something was submitted.
    pub(in crate::pool) fn came(&mut self) {
        if self.waits {
            self.waits = false;
            self.is_there = true;
            self.most = FIRST;
        }
    }

    /// Something has ended.
    pub(in crate::pool) fn ended(&mut self) {
        self.waits = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_without_company_makes_way_less_and_less_often() {
        let mut company = Company::default();
        let made_way = (0..100_000).filter(|_| {
            let makes_way = company.makes_way();
            company.ended();
            // Its own next call.
            company.came();
            makes_way
        });
        assert!((90..120).contains(&made_way.count()));
    }

    #[test]
    fn one_with_company_makes_way_each_time_until_nobody_comes() {
        let mut company = Company::default();
        assert_eq!((1..).find(|_| company.makes_way()), Some(FIRST));
        for _ in 0..10 {
            company.came();
            company.ended();
            assert!(company.makes_way());
        }
        company.ended();
        assert!(!company.makes_way());
    }
}
