//! The `ringport` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringport_examples::run()
}
