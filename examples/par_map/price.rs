//! The kernel: what a European call option is worth (Black and Scholes, 1973).

const RATE: f64 = 0.05;

/// An option and its market.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) spot: f64,
    pub(crate) strike: f64,
    /// Years to expiry.
    pub(crate) time: f64,
    /// A year, as a fraction.
    pub(crate) volatility: f64,
}

/// Spreads an index over [0, 1), evenly and without any visible order.
pub(crate) fn sample(index: usize) -> f64 {
    let bits = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The price of the option derived from `element`.
///
/// Never inlined, so that every contender runs the very same instructions: what is compared is
/// how the work is handed out, not what the compiler made of each copy of the kernel.
#[inline(never)]
pub(crate) fn price(element: f64) -> f64 {
    Terms::from_element(element).call()
}

impl Terms {
    /// Four numbers from one: fractions of multiples, each moved to a plausible range.
    fn from_element(element: f64) -> Self {
        let part = |multiple: f64| (element * multiple).fract().abs();
        Self {
            spot: 50.0 + 100.0 * part(1.0),
            strike: 50.0 + 100.0 * part(1013.0),
            time: 0.05 + 2.0 * part(10_007.0),
            volatility: 0.05 + 0.6 * part(100_003.0),
        }
    }

    pub(crate) fn call(self) -> f64 {
        let (near, far) = self.moneyness();
        self.spot * normal_cdf(near) - self.discounted_strike() * normal_cdf(far)
    }

    fn discounted_strike(self) -> f64 {
        self.strike * (-RATE * self.time).exp()
    }

    /// `d1` and `d2` of the textbooks.
    fn moneyness(self) -> (f64, f64) {
        let deviation = self.volatility * self.time.sqrt();
        let drift = (RATE + 0.5 * self.volatility * self.volatility) * self.time;
        let near = ((self.spot / self.strike).ln() + drift) / deviation;
        (near, near - deviation)
    }
}

/// The standard normal distribution function, to about 1e-15: Hart's rational approximation, and
/// beyond it a continued fraction, as arranged by West ("Better approximations to cumulative normal
/// functions", 2005).
fn normal_cdf(x: f64) -> f64 {
    const NUMERATOR: [f64; 7] = [
        3.526_249_659_989_11e-2,
        0.700_383_064_443_688,
        6.373_962_203_531_65,
        33.912_866_078_383,
        112.079_291_497_871,
        221.213_596_169_931,
        220.206_867_912_376,
    ];
    const DENOMINATOR: [f64; 8] = [
        8.838_834_764_831_84e-2,
        1.755_667_163_182_64,
        16.064_177_579_207,
        86.780_732_202_946_1,
        296.564_248_779_674,
        637.333_633_378_831,
        793.826_512_519_948,
        440.413_735_824_752,
    ];
    let far = x.abs();
    let bell = (-0.5 * far * far).exp();
    let tail = if far < 50_f64.sqrt() {
        bell * polynomial(&NUMERATOR, far) / polynomial(&DENOMINATOR, far)
    } else {
        let fraction = [4.0, 3.0, 2.0, 1.0]
            .iter()
            .fold(far + 0.65, |below, n| far + n / below);
        bell / fraction / (2.0 * std::f64::consts::PI).sqrt()
    };
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// The highest power comes first.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients
        .iter()
        .fold(0.0, |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_option_costs_what_the_textbook_says() {
        let terms = Terms {
            spot: 100.0,
            strike: 100.0,
            time: 1.0,
            volatility: 0.2,
        };
        assert!((terms.call() - 10.450_583_572_185_565).abs() < 1e-12);
    }

    #[test]
    fn normal_cdf_has_the_tabulated_values() {
        let table = [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (1.96, 0.975_002_104_851_779_5),
            (-8.0, 6.220_960_574_271_785e-16),
        ];
        for (x, expected) in table {
            let error = (normal_cdf(x) - expected).abs();
            assert!(error < 1e-14 * expected.max(1e-3), "{x}: off by {error}");
        }
        // The two branches meet.
        let border = 50_f64.sqrt();
        let ratio = normal_cdf(-border.next_up()) / normal_cdf(-border.next_down());
        assert!((ratio - 1.0).abs() < 1e-6, "{ratio}");
    }

    #[test]
    fn a_call_less_a_put_is_a_forward() {
        for index in 0..10_000 {
            let terms = Terms::from_element(sample(index));
            let (near, far) = terms.moneyness();
            let put = terms.discounted_strike() * normal_cdf(-far) - terms.spot * normal_cdf(-near);
            let forward = terms.spot - terms.discounted_strike();
            assert!((terms.call() - put - forward).abs() < 1e-10, "{terms:?}");
        }
    }

    #[test]
    fn prices_stay_within_their_bounds() {
        for index in 0..10_000 {
            let terms = Terms::from_element(sample(index));
            let floor = (terms.spot - terms.discounted_strike()).max(0.0);
            let call = price(sample(index));
            assert!(
                call >= floor - 1e-10 && call <= terms.spot,
                "{terms:?} at {call}"
            );
        }
    }

    #[test]
    fn samples_are_spread_over_the_unit_interval() {
        let samples: Vec<f64> = (0..1000).map(sample).collect();
        assert!(samples.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = samples.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
