//! docs/production.md: every requirement of the review is there, and what it says holds it is a test that exists.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use testkit::named_test;

const ROWS: usize = 56;
/// Those that mean data loss, corruption or an open door.
const CRITICAL: [usize; 13] = [1, 2, 3, 4, 5, 9, 10, 13, 18, 19, 21, 22, 34];

/// The cells of the rows with a number.
fn rows() -> Vec<Vec<&'static str>> {
    let page = include_str!("../../../docs/production.md");
    let cells = |line: &'static str| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>();
    let numbered = |cells: &Vec<&str>| cells[0].bytes().all(|byte| byte.is_ascii_digit());
    page.lines().filter(|line| line.starts_with("| ")).map(cells).filter(numbered).collect()
}

#[test]
fn every_row_stands_there_once_and_in_order() {
    let numbers: Vec<usize> = rows().iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>());
    assert!(rows().iter().all(|row| row.len() == 5 && ["C", "H", "M", "L"].contains(&row[1])));
}

/// A default alone can be changed by whoever does not know.
#[test]
fn critical_rows_are_closed_by_types_or_validators() {
    let rows = rows();
    let critical: Vec<usize> = rows.iter().filter(|row| row[1] == "C").map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(critical, CRITICAL);
    for row in rows.iter().filter(|row| row[1] == "C") {
        assert!(row[3].contains("*type*") || row[3].contains("*validator*"), "row {}", row[0]);
    }
}

#[test]
fn every_test_that_is_named_exists() {
    for row in rows() {
        let tests: Vec<_> = row[4].split('`').filter(|text| text.contains("::")).collect();
        assert!(!tests.is_empty(), "row {} names no test", row[0]);
        for test in tests {
            named_test::look_up(test).unwrap_or_else(|reason| panic!("row {}: {reason}", row[0]));
        }
    }
}
