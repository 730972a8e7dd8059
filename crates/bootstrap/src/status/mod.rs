//! What the sidecar tells of itself: kept by [`report`] while it runs, in the layout of [`document`].

pub(crate) mod document;
mod noting;
mod report;

pub(crate) use document::Area;
pub(crate) use noting::Noting;
pub(crate) use report::{Report, authority_kind};
