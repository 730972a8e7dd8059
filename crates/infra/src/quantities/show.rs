//! The same as a table for people, and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::Quantities;
use super::count::{HOURS, Quantity};
use super::exact::Exact;
use super::units::SECTIONS;

/// Decimals of amounts that are shown to people, and to programs.
const SHOWN: usize = 2;
const TOLD: usize = 6;

impl Quantities {
    /// What a quantity costs, in hundredths, if its price is known: rounded, so that the lines add up to the total.
    fn cost(&self, quantity: &Quantity) -> Option<Exact> {
        let price = self.prices.as_ref()?.of(quantity.unit)?;
        Some((quantity.amount * price).to_hundredths())
    }

    fn total(&self) -> Exact {
        self.lines.iter().filter_map(|quantity| self.cost(quantity)).sum()
    }

    /// The prices that are needed and not given, each once.
    pub(crate) fn missing(&self) -> Vec<String> {
        if self.prices.is_none() {
            return Vec::new();
        }
        let mut missing = Vec::new();
        for quantity in self.lines.iter().filter(|quantity| self.cost(quantity).is_none()) {
            let path = quantity.unit.path();
            if !missing.contains(&path) {
                missing.push(path);
            }
        }
        missing
    }

    /// The keys that are given although nothing of this deployment depends on them.
    pub(crate) fn unused(&self) -> Vec<&'static str> {
        let given = self.assumed.all().iter().filter(|(.., is_given)| *is_given).map(|(assumption, ..)| assumption.key);
        given.filter(|key| !self.is_used(key)).collect()
    }

    /// Whether something depends on what is assumed under this key: its derivation says so.
    fn is_used(&self, key: &str) -> bool {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        self.lines.iter().any(|quantity| quantity.how.split(|letter| !is_word(letter)).any(|word| word == key))
    }

    pub(crate) fn to_json(&self) -> Value {
        let quantities = self.lines.iter().map(|quantity| {
            let mut told = json!({
                "price_key": quantity.unit.path(),
                "what": quantity.what,
                "amount": quantity.amount.to_text(TOLD),
                "unit": quantity.unit.name,
                "how": quantity.how,
            });
            if !quantity.parts.is_empty() {
                let parts = quantity.parts.iter();
                let parts =
                    parts.map(|part| json!({"of": part.of, "count": part.count, "each": part.each.to_text(TOLD)}));
                told["parts"] = parts.collect();
            }
            if self.prices.is_some() {
                told["cost"] = self.cost(quantity).map_or(Value::Null, |cost| json!(cost.to_fixed(2)));
            }
            told
        });
        let assumptions = self.assumed.all().iter().filter(|(assumption, ..)| self.is_used(assumption.key));
        let assumptions = assumptions.map(|(assumption, value, is_given)| {
            json!({
                "key": assumption.key,
                "value": value.to_text(3),
                "default": !is_given,
                "meaning": assumption.doc,
            })
        });
        let mut told = json!({
            "deployment": self.name,
            "hours_of_month": HOURS,
            "quantities": quantities.collect::<Vec<_>>(),
            "assumptions": assumptions.collect::<Vec<_>>(),
            "not_counted": self.notes,
        });
        if let Some(prices) = &self.prices {
            let missing = self.missing();
            told["currency"] = json!(prices.currency);
            told["total"] = json!(self.total().to_fixed(2));
            told["complete"] = json!(missing.is_empty());
            told["missing"] = json!(missing);
        }
        told
    }

    fn size(&self) -> String {
        let nodes = if self.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", self.nodes) };
        match self.replicas {
            0 => nodes,
            1 => format!("{nodes} and 1 read-only replica"),
            more => format!("{nodes} and {more} read-only replicas"),
        }
    }

    /// The currency, behind a number.
    fn currency(&self) -> String {
        let currency = self.prices.as_ref().map_or("", |prices| prices.currency.as_str());
        if currency.is_empty() { String::new() } else { format!(" {currency}") }
    }

    /// What is printed of a quantity: its cells.
    fn cells(&self, quantity: &Quantity) -> [String; 5] {
        let cost = match (&self.prices, self.cost(quantity)) {
            (None, _) => String::new(),
            (Some(_), Some(cost)) => cost.to_fixed(2),
            (Some(_), None) => "no price".to_owned(),
        };
        let amount = quantity.amount.to_fixed(SHOWN);
        [quantity.what.to_owned(), amount, quantity.unit.name.to_owned(), cost, quantity.how.clone()]
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Groups by service, aligned; the total; what is assumed; what is not in it.
impl fmt::Display for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, a month of {HOURS} hours", self.name, self.size())?;
        let rows: Vec<_> = self.lines.iter().map(|quantity| (quantity.unit.section, self.cells(quantity))).collect();
        let widest = |cell: usize| rows.iter().map(|(_, cells)| width(&cells[cell])).max().unwrap_or(0);
        let [what, amount, unit, cost] = [0, 1, 2, 3].map(widest);
        for (section, title, _) in SECTIONS {
            let of_section: Vec<_> = rows.iter().filter(|(of, _)| *of == section).collect();
            if of_section.is_empty() {
                continue;
            }
            writeln!(f, "\n{title}")?;
            for (_, cells) in of_section {
                write!(f, "  {:what$}  {:>amount$} {:unit$}", cells[0], cells[1], cells[2])?;
                if cost > 0 {
                    write!(f, "  {:>cost$}", cells[3])?;
                }
                writeln!(f, "  {}", cells[4])?;
            }
        }
        if self.prices.is_some() {
            let missing = self.missing();
            let (total, currency) = (self.total().to_fixed(2), self.currency());
            if missing.is_empty() {
                writeln!(f, "\nTotal: {total}{currency}, by your prices")?;
            } else {
                writeln!(f, "\nIncomplete total: {total}{currency}, by your prices, without these, which have none:")?;
                missing.iter().try_for_each(|key| writeln!(f, "  {key}"))?;
            }
        }
        writeln!(f, "\nAssumed; --assume KEY=VALUE says otherwise")?;
        let used: Vec<_> = self.assumed.all().iter().filter(|(assumption, ..)| self.is_used(assumption.key)).collect();
        let key = used.iter().map(|(assumption, ..)| assumption.key.len()).max().unwrap_or(0);
        let value = used.iter().map(|(_, value, _)| width(&value.to_text(3))).max().unwrap_or(0);
        for (assumption, assumed, is_given) in used {
            let from = if *is_given { "given  " } else { "default" };
            writeln!(f, "  {:key$} = {:value$}  {from}  {}", assumption.key, assumed.to_text(3), assumption.doc)?;
        }
        writeln!(f, "\nNot in these numbers")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}
