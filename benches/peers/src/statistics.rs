//! Medians and quantiles.

/// The value below which `part` of all lie; NaN if there are none.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * part) as usize;
    let last = sorted.len().wrapping_sub(1);
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A median with its quartiles.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(values, part));
        Self { low, median, high }
    }
}
