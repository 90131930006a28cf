//! Tests that are tables: every row runs, and a failure names its row.

use super::Outcome;
use super::census::Census;
use std::fmt::Display;
use std::time::Instant;

/// Runs `row` for each of `rows`. Checks after each that no descriptor and no mapping stayed.
///
/// # Panics
/// With all rows that failed, and why.
#[expect(clippy::print_stdout, reason = "which rows ran is part of a test's output")]
pub fn each_row<R>(rows: impl IntoIterator<Item = R>, mut run: impl FnMut(&R) -> Outcome)
where
    R: Display,
{
    let mut failures = Vec::new();
    for row in rows {
        let before = Census::take();
        let start = Instant::now();
        let outcome = run(&row).and_then(|()| before.compare());
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => println!("{row}: passed in {seconds:.2} s"),
            Err(error) => failures.push(format!("{row}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
}
