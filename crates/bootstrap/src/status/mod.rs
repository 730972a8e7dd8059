//! What the sidecar tells of itself: [`report`] keeps it while it runs, in the layout of [`document`], and [`view`] shows it
//! to whoever asks with `bootstrap status`.

pub(crate) mod document;
mod guard;
mod look;
mod noting;
mod report;
mod view;

pub(crate) use document::Area;
pub(crate) use guard::GuardState;
pub use look::{StatusPlace, StatusSettings, status};
pub(crate) use noting::Noting;
pub(crate) use report::{Report, authority_kind};
