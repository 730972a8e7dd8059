//! Prices, from a file that somebody filled in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

use super::exact::Exact;
use super::units::{SECTIONS, UNITS, Unit};
use crate::config::{Mistake, nearest};

/// Prices of units, each by its path.
#[derive(Debug)]
pub(super) struct Prices {
    pub(super) currency: String,
    by_unit: BTreeMap<String, Exact>,
}

const CURRENCY: &str = "currency";
/// A number of TOML is a double: with so many digits it is the one that stands there.
const EXACT_DIGITS: usize = 15;
const MOST_DIGITS: usize = 6;
const MOST_DECIMALS: usize = 10;

impl Prices {
    /// Reads a price file, or tells everything that is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mistake = |key: &str, message: String| Mistake { key: key.to_owned(), message };
        let file = text
            .parse::<toml::Table>()
            .map_err(|error| vec![mistake("", format!("not TOML: {}", error.to_string().trim()))])?;
        let mut prices = Self { currency: String::new(), by_unit: BTreeMap::new() };
        let mut wrong = Vec::new();
        for (section, value) in &file {
            let units: Vec<_> = UNITS.iter().filter(|unit| unit.section == section).collect();
            match value {
                Value::String(text) if section == CURRENCY => prices.currency.clone_from(text),
                _ if section == CURRENCY => {
                    wrong.push(mistake(section, "allowed is a text, for example \"EUR\"".to_owned()));
                }
                _ if units.is_empty() => {
                    let known: Vec<_> = SECTIONS.iter().map(|(name, ..)| *name).chain([CURRENCY]).collect();
                    wrong.push(mistake(section, format!("it is not a known key; {}", nearest(section, &known))));
                }
                Value::Table(values) => {
                    for (key, value) in values {
                        let path = format!("{section}.{key}");
                        if units.iter().all(|unit| unit.key != key) {
                            let known: Vec<_> = units.iter().map(|unit| unit.key).collect();
                            wrong.push(mistake(&path, format!("it is not a known key; {}", nearest(key, &known))));
                            continue;
                        }
                        match price(value) {
                            Ok(price) => drop(prices.by_unit.insert(path, price)),
                            Err(message) => wrong.push(mistake(&path, message)),
                        }
                    }
                }
                other => {
                    let message = format!("it is of type {}; allowed is a section [{section}]", other.type_str());
                    wrong.push(mistake(section, message));
                }
            }
        }
        if wrong.is_empty() { Ok(prices) } else { Err(wrong) }
    }

    /// The price of one of a unit, if it was given.
    pub(super) fn of(&self, unit: &Unit) -> Option<Exact> {
        let price = self.by_unit.get(&unit.path())?;
        Some(*price * Exact::fraction(1, unit.per.into()))
    }
}

fn price(value: &Value) -> Result<Exact, String> {
    match value {
        Value::String(text) => Exact::parse(text, MOST_DIGITS, MOST_DECIMALS),
        Value::Integer(number) => Exact::parse(&number.to_string(), MOST_DIGITS, MOST_DECIMALS),
        Value::Float(number) => {
            // The shortest text that is this double, which is what stands in the file unless that has more digits.
            let text = number.to_string();
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            if digits > EXACT_DIGITS {
                return Err(format!("`{text}` has more than {EXACT_DIGITS} digits; allowed is the same in quotes"));
            }
            Exact::parse(&text, MOST_DIGITS, MOST_DECIMALS)
        }
        other => Err(format!("it is of type {}; allowed is a number, for example 0.25", other.type_str())),
    }
}

/// An empty price file, with what each key means.
pub(crate) fn template() -> String {
    let mut text = "# Prices for `infra quantities --prices FILE`. infra knows none: fill in those of your region and of your contract.\n\
        # Each is the price of what its comment names; take the `#` before it away. Decimals have a point. A price that is needed and\n\
        # missing is named, and the total is incomplete without it; what costs you nothing has the price 0.\n\n\
        # Printed beside the costs, as it stands here.\n# currency = \"EUR\"\n"
        .to_owned();
    for (section, title, page) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n# {title}: {page}\n[{section}]");
        for unit in UNITS.iter().filter(|unit| unit.section == section) {
            let _ = writeln!(text, "# {}\n# {} =", unit.doc, unit.key);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_an_empty_price_file_and_filled_in_a_whole_one() {
        let empty = Prices::parse(&template()).unwrap();
        assert!(UNITS.iter().all(|unit| empty.of(unit).is_none()));
        let filled: String = template()
            .lines()
            .map(|line| match line.strip_prefix("# ").and_then(|line| line.strip_suffix(" =")) {
                Some(key) => format!("{key} = 0.5\n"),
                None => format!("{line}\n"),
            })
            .collect();
        let filled = Prices::parse(&filled).unwrap();
        for unit in UNITS {
            assert_eq!(filled.of(unit), Some(Exact::fraction(1, 2 * u128::from(unit.per))), "{}", unit.path());
        }
        assert!(template().lines().all(|line| line.chars().count() <= 135));
    }

    #[test]
    fn every_unit_stands_there_once_and_in_a_section() {
        for (index, unit) in UNITS.iter().enumerate() {
            assert!(SECTIONS.iter().any(|(section, ..)| *section == unit.section), "{}", unit.path());
            assert!(UNITS[..index].iter().all(|other| other.path() != unit.path()), "{}", unit.path());
        }
        assert!(SECTIONS.iter().all(|(section, ..)| UNITS.iter().any(|unit| unit.section == *section)));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let text = "currency = 1\nefs = 2\n[fargat]\n[fargate]\nvcpu_hours = 1\ngib_hour = -0.1\nephemeral_gib_hour = true\n\
                    [kms]\nkey_month = 0.1234567890123456\nrequests_10000 = nan";
        let found: Vec<_> = Prices::parse(text).unwrap_err().iter().map(ToString::to_string).collect();
        for expected in [
            "currency: allowed is a text",
            "efs: it is of type integer; allowed is a section [efs]",
            "fargat: it is not a known key; did you mean `fargate`?",
            "fargate.vcpu_hours: it is not a known key; did you mean `vcpu_hour`?",
            "fargate.gib_hour: `-0.1` is not allowed",
            "fargate.ephemeral_gib_hour: it is of type boolean",
            "kms.key_month: `0.1234567890123456` has more than 15 digits",
            "kms.requests_10000: `NaN` is not allowed",
        ] {
            assert!(found.iter().any(|found| found.starts_with(expected)), "{expected}: {found:#?}");
        }
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn a_price_is_exactly_what_stands_there() {
        for (text, numerator, denominator) in [
            ("0.1", 1, 10),
            ("\"0.0000000001\"", 1, 10_000_000_000),
            ("3", 3, 1),
            ("1e-7", 1, 10_000_000),
            ("0.30", 3, 10),
        ] {
            let prices = Prices::parse(&format!("fargate.vcpu_hour = {text}")).unwrap();
            assert_eq!(prices.of(UNITS[0]), Some(Exact::fraction(numerator, denominator)), "{text}");
        }
    }
}
