//! Regions of pools.

use crate::commons::Region;
use crate::pool::Builder;
use crate::protocol::passed::Passed;

impl Builder {
    /// Gives each worker a region: handles to what lies there can be opened in tasks. May be called
    /// for several.
    pub fn region(self, region: &Region) -> Self {
        self.pass(Passed::new(region.clone()))
    }
}
