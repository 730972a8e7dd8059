//! Numbers that are kept exactly: a third of a month times a price of ten decimals has no noise in it.

use std::cmp::Ordering;
use std::iter::Sum;
use std::ops::{Add, Mul};

/// A fraction, not negative, in lowest terms.
///
/// What people give has few digits ([`Exact::parse`]), and at most two such numbers and a price are multiplied with counts: that is
/// far from what 128 bits hold (`the_largest_numbers_fit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    numerator: u128,
    denominator: u128,
}

const FITS: &str = "what is given is bounded, and so is what is made of it";

fn greatest_common_divisor(mut one: u128, mut other: u128) -> u128 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

impl Exact {
    pub(super) const ZERO: Self = Self { numerator: 0, denominator: 1 };

    /// # Panics
    ///
    /// If the denominator is 0; it stands in the source.
    pub(super) fn fraction(numerator: u128, denominator: u128) -> Self {
        assert!(denominator != 0, "nothing is divided by 0");
        let divisor = greatest_common_divisor(numerator, denominator);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    /// A decimal number with at most so many digits before and behind the point: `12`, `0.25`.
    pub(super) fn parse(text: &str, most_digits: usize, most_decimals: usize) -> Result<Self, String> {
        let allowed = || {
            format!(
                "`{text}` is not allowed; allowed is a number from 0 on with at most {most_digits} digits before the point and \
                 {most_decimals} behind it, for example 0.25"
            )
        };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, most_digits) || !digits(decimals, most_decimals) {
            return Err(allowed());
        }
        let numerator = format!("{whole}{decimals}").parse().map_err(|_| allowed())?;
        let denominator = decimals.bytes().fold(1, |power, _| power * 10);
        Ok(Self::fraction(numerator, denominator))
    }

    pub(super) fn is_zero(self) -> bool {
        self.numerator == 0
    }

    /// So many hundredths.
    pub(super) fn percent(self) -> Self {
        self * Self::fraction(1, 100)
    }

    /// The difference, or nothing if there is none left.
    pub(super) fn less(self, other: Self) -> Self {
        let (one, other, denominator) = self.with(other);
        Self::fraction(one.saturating_sub(other), denominator)
    }

    /// The next whole number, unless it is one.
    pub(super) fn rounded_up(self) -> Self {
        Self::fraction(self.numerator.div_ceil(self.denominator), 1)
    }

    /// Both over their least common denominator.
    fn with(self, other: Self) -> (u128, u128, u128) {
        let divisor = greatest_common_divisor(self.denominator, other.denominator);
        let (for_one, for_other) = (other.denominator / divisor, self.denominator / divisor);
        let times = |number: u128, factor: u128| number.checked_mul(factor).expect(FITS);
        (times(self.numerator, for_one), times(other.numerator, for_other), times(self.denominator, for_one))
    }

    /// Rounded half up to hundredths, as money is shown.
    pub(super) fn to_hundredths(self) -> Self {
        let (whole, rest) = (self.numerator / self.denominator, self.numerator % self.denominator);
        // Half up: the whole part of twice the hundredths, and one more, halved.
        Self::fraction(whole * 100 + (rest * 200 / self.denominator).div_ceil(2), 100)
    }

    /// With exactly so many decimals, the last rounded half up.
    pub(super) fn to_fixed(self, decimals: usize) -> String {
        let whole = self.numerator / self.denominator;
        let mut rest = self.numerator % self.denominator;
        let mut digits = 0_u128;
        for _ in 0..decimals {
            // A denominator is far below a tenth of what fits.
            rest *= 10;
            digits = digits * 10 + rest / self.denominator;
            rest %= self.denominator;
        }
        let scale = (0..decimals).fold(1_u128, |power, _| power * 10);
        let rounded = whole.checked_mul(scale).expect(FITS) + digits + u128::from(rest * 2 >= self.denominator);
        match decimals {
            0 => rounded.to_string(),
            _ => format!("{}.{:0decimals$}", rounded / scale, rounded % scale),
        }
    }

    /// With at most so many decimals, and none that say nothing.
    pub(super) fn to_text(self, decimals: usize) -> String {
        let text = self.to_fixed(decimals);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

impl From<u32> for Exact {
    fn from(number: u32) -> Self {
        Self::fraction(number.into(), 1)
    }
}

impl From<usize> for Exact {
    fn from(number: usize) -> Self {
        Self::fraction(u128::try_from(number).expect("a machine word is no larger"), 1)
    }
}

impl Add for Exact {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (one, other, denominator) = self.with(other);
        Self::fraction(one.checked_add(other).expect(FITS), denominator)
    }
}

impl Mul for Exact {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        // Each with the other's denominator first, so that the products stay small.
        let one = Self::fraction(self.numerator, other.denominator);
        let two = Self::fraction(other.numerator, self.denominator);
        Self {
            numerator: one.numerator.checked_mul(two.numerator).expect(FITS),
            denominator: one.denominator.checked_mul(two.denominator).expect(FITS),
        }
    }
}

impl Sum for Exact {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, Add::add)
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other, _) = self.with(*other);
        one.cmp(&other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text, 9, 10).unwrap()
    }

    #[test]
    fn there_is_no_noise() {
        assert_eq!(exact("0.1") + exact("0.2"), exact("0.3"));
        let third = Exact::fraction(1, 3);
        assert_eq!(third + third + third, exact("1"));
        assert_eq!((exact("0.0000000001") * exact("999999999")).to_text(10), "0.0999999999");
        assert_eq!(exact("5").percent() * exact("20"), exact("1"));
        assert_eq!((exact("5").less(exact("7")), exact("7").less(exact("4.5"))), (Exact::ZERO, exact("2.5")));
        assert!(exact("0.3") > exact("0.29") && exact("2.1").rounded_up() == exact("3.0"));
    }

    #[test]
    fn it_is_rounded_once_half_up() {
        for (number, decimals, text) in [
            ("0.005", 2, "0.01"),
            ("0.0049999999", 2, "0.00"),
            ("9.995", 2, "10.00"),
            ("12", 0, "12"),
            ("12.5", 0, "13"),
            ("1", 2, "1.00"),
            ("0.05", 2, "0.05"),
        ] {
            assert_eq!(exact(number).to_fixed(decimals), text, "{number}");
            if decimals == 2 {
                assert_eq!(exact(number).to_hundredths(), exact(text), "{number}");
            }
        }
        assert_eq!((exact("2190.500").to_text(3), exact("100").to_text(3)), ("2190.5".to_owned(), "100".to_owned()));
        assert_eq!(Exact::fraction(2, 3).to_text(3), "0.667");
    }

    #[test]
    fn only_decimal_numbers_are_read() {
        for bad in ["", "-1", "+1", "1e3", ".5", "5.", "1,5", "1.2.3", "1234567890", "0.12345678901", " 1", "inf", "٣"]
        {
            assert!(Exact::parse(bad, 9, 10).unwrap_err().contains("allowed is a number"), "{bad}");
        }
    }

    /// More than any deployment has, at the largest numbers and prices that can be given.
    #[test]
    fn the_largest_numbers_fit() {
        let largest = Exact::parse("999999999.999", 9, 3).unwrap();
        let starts = Exact::parse("9999.999", 4, 3).unwrap() * Exact::from(15_u32) + Exact::fraction(730, 24);
        let amount = largest * starts + largest * Exact::from(15_u32);
        for per in [1, 1_000_000] {
            let cost = amount * (Exact::parse("999999.9999999999", 6, 10).unwrap() * Exact::fraction(1, per));
            let shown = cost.to_hundredths();
            assert_eq!(shown.to_fixed(2), cost.to_fixed(2));
            let total: Exact = (0..60).map(|_| shown).sum();
            assert_eq!(total, shown * Exact::from(60_u32));
        }
    }
}
