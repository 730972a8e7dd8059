//! moto behind a launcher that closes its departures from AWS.
