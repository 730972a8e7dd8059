//! `infra quantities`: what a deployment consumes in a month, for whoever estimates what it costs. Counts are those of the emitted
//! templates, what depends on use is assumed and said, and prices are somebody else's to give.

mod assume;
mod count;
mod emitted;
mod exact;
mod prices;
mod show;
mod units;

use std::path::PathBuf;

use self::assume::Assumed;
use self::count::Quantity;
use self::prices::Prices;
use crate::config::Mistake;
use crate::model::Deployment;

pub(crate) use self::prices::template as prices_template;

/// What `infra quantities` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The configuration.
    #[arg(long, env = "INFRA_CONFIG", value_name = "FILE", default_value = "./eventstore.toml")]
    pub(crate) config: PathBuf,
    /// Assume something else of what depends on use, for example `data_gib=500`; may be given again. The keys are printed.
    #[arg(long, value_name = "KEY=VALUE")]
    assume: Vec<String>,
    /// Prices, in a file as --prices-template prints it; then costs are printed as well.
    #[arg(long, env = "INFRA_PRICES", value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// Print an empty price file, with what each price is of and where AWS publishes it, and nothing else.
    #[arg(long)]
    pub(crate) prices_template: bool,
    /// Print JSON: `quantities`, `assumptions`, `not_counted`, and with prices `total`, `complete` and `missing`.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a deployment consumes in a month, and with prices what that costs.
#[derive(Debug)]
pub(crate) struct Quantities {
    name: String,
    nodes: usize,
    replicas: usize,
    lines: Vec<Quantity>,
    assumed: Assumed,
    notes: Vec<String>,
    prices: Option<Prices>,
}

/// Everything wrong with assumptions, and with the text of a price file: each with whether it is the latter.
pub(crate) fn mistakes(flags: &Flags, prices: Option<&str>) -> [Vec<Mistake>; 2] {
    [
        Assumed::new(None, &flags.assume).err().unwrap_or_default(),
        prices.and_then(|text| Prices::parse(text).err()).unwrap_or_default(),
    ]
}

impl Quantities {
    /// Those of a deployment; `None` if there are [`mistakes`].
    pub(crate) fn new(deployment: &Deployment, flags: &Flags, prices: Option<&str>) -> Option<Self> {
        let assumed = Assumed::new(Some(deployment), &flags.assume).ok()?;
        let prices = prices.map(Prices::parse).transpose().ok()?;
        let counted = count::count(deployment, &assumed);
        Some(Self {
            name: deployment.name().to_string(),
            nodes: deployment.nodes().len(),
            replicas: deployment.members().count() - deployment.nodes().len(),
            lines: counted.quantities,
            assumed,
            notes: counted.notes,
            prices,
        })
    }
}

#[cfg(test)]
mod tests;
