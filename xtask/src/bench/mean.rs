//! Means and their ratios, with standard errors.

/// A mean with its standard error.
#[derive(Clone, Copy)]
pub(super) struct Mean {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Mean {
    #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 times")]
    pub(super) fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let value = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|one| (one - value).powi(2)).sum::<f64>();
        let variance = squares / (count - 1.0).max(1.0);
        Self { value, error: (variance / count).sqrt() }
    }

    /// Of two independent means.
    pub(super) fn over(self, unit: Self) -> Self {
        let value = self.value / unit.value;
        let relative = |mean: Self| mean.error / mean.value;
        Self { value, error: value * (relative(self).powi(2) + relative(unit).powi(2)).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_error_of_its_sample() {
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0]);
        assert!((mean.value - 2.5).abs() < 1e-12);
        // The sample's variance is 5/3.
        assert!((mean.error - (5.0_f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12, "{}", mean.error);
    }

    #[test]
    fn errors_of_a_ratio_add_up_in_squares() {
        let ratio = Mean { value: 6.0, error: 0.6 }.over(Mean { value: 2.0, error: 0.2 });
        assert!((ratio.value - 3.0).abs() < 1e-12);
        assert!((ratio.error - 3.0 * 0.02_f64.sqrt()).abs() < 1e-12, "{}", ratio.error);
    }
}
