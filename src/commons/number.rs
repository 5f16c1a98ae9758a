//! Objects of a region by number, as a word of the region may have it.

use crate::commons::object::{Entry, Stage};
use crate::commons::region::Region;
use crate::protocol::name::Name;

impl Region {
    /// The object whose number that is.
    pub(crate) fn name_of(&self, number: u64) -> Name {
        Name {
            region: self.0.core.id,
            index: number as u32,
            generation: ((number >> 32) as u32).wrapping_sub(1),
        }
    }

    /// A number for an object of this region, which is not zero.
    pub(crate) fn number_of(&self, name: Name) -> u64 {
        u64::from(name.generation.wrapping_add(1)) << 32 | u64::from(name.index)
    }

    /// Whether somebody has the object, or may have it yet: whoever ends one looks once more.
    pub(crate) fn has(&self, name: Name) -> bool {
        let entries = &self.0.core.tables().objects;
        let entry = entries.get(name.index as usize);
        let has = |entry: &Entry| {
            let (stage, generation) = entry.stage();
            generation == name.generation && matches!(stage, Stage::Live | Stage::Ending(_))
        };
        name.region == self.0.core.id && entry.is_some_and(has)
    }
}
