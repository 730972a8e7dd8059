//! The database stand-in as a program.
fn main() {}
