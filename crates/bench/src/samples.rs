//! Many measurements of one thing, and what is said of them.

/// Measurements, in milliseconds unless said otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    values: Vec<f64>,
}

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.values.extend_from_slice(&other.values);
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The smallest value that at least `percent` of all are not above (nearest rank); 0 where there are none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(0.0)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The median of the last quarter.
    pub(crate) fn late_median(&self) -> f64 {
        Self { values: self.values[self.values.len() * 3 / 4..].to_vec() }.median()
    }

    /// The smallest; infinite where there are none.
    pub(crate) fn least(&self) -> f64 {
        self.values.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest; 0 where there are none.
    pub(crate) fn most(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(50), 0.0);
        (1..=200).rev().for_each(|value| samples.push(f64::from(value)));
        let found = [0, 50, 95, 99, 100].map(|percent| samples.percentile(percent));
        assert_eq!(found, [1.0, 100.0, 190.0, 198.0, 200.0]);
        assert_eq!(samples.late_median(), 25.0);
        assert_eq!((samples.least(), samples.most(), samples.len()), (1.0, 200.0, 200));
    }
}
