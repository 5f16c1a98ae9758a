//! The two widths of float that are read, priced and written.

use bytemuck::Pod;

use crate::price;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    F32,
    F64,
}

pub(crate) trait Element: Pod + Send + Sync + std::fmt::Debug {
    const WIDTH: Width;
    const NAME: &str;

    /// The price of the option that `element` stands for. All contenders call this.
    fn price(element: &Self) -> Self;

    /// The value whose bytes are these in reverse.
    fn swapped(self) -> Self;
}

impl Element for f64 {
    const WIDTH: Width = Width::F64;
    const NAME: &str = "f64";

    fn price(element: &Self) -> Self {
        price::price(*element)
    }

    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
}

/// Priced in double precision and rounded once.
impl Element for f32 {
    const WIDTH: Width = Width::F32;
    const NAME: &str = "f32";

    fn price(element: &Self) -> Self {
        price::price(f64::from(*element)) as Self
    }

    fn swapped(self) -> Self {
        Self::from_bits(self.to_bits().swap_bytes())
    }
}
