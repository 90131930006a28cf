//! The CNI plugin `userspace`.

use ringport_cni::command::{ABOUT, Outcome, Task, run};
use ringport_cni::conf::schema;
use ringport_cni::version::CniVersion;
use std::io::{self, Read, Write};
use std::process::ExitCode;

/// Most bytes of a configuration.
const INPUT_MAX: u64 = 16 << 20;

fn main() -> ExitCode {
    let vars = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let done = match run(vars, read) {
        Outcome::About if argument(1).as_deref() == Some("schema") => {
            print(&schema()).map(|()| ExitCode::SUCCESS)
        }
        Outcome::About if argument(1).as_deref() == Some("reconcile") => {
            match Task::read(std::env::args().skip(2)).and_then(|task| task.run()) {
                Ok((None, _)) => Ok(ExitCode::SUCCESS),
                Ok((Some(done), true)) => print(&done).map(|()| ExitCode::SUCCESS),
                Ok((Some(done), false)) => print(&done).map(|()| ExitCode::FAILURE),
                Err(error) => print(&error.to_json(CniVersion::NEWEST)).map(|()| ExitCode::FAILURE),
            }
        }
        Outcome::About => io::stderr().write_all(ABOUT.as_bytes()).map(|()| ExitCode::SUCCESS),
        Outcome::Done(None) => Ok(ExitCode::SUCCESS),
        Outcome::Done(Some(result)) => print(&result).map(|()| ExitCode::SUCCESS),
        Outcome::Failed(error) => print(&error).map(|()| ExitCode::FAILURE),
    };
    done.unwrap_or(ExitCode::FAILURE)
}

fn argument(number: usize) -> Option<String> {
    std::env::args().nth(number)
}

fn read() -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin().take(INPUT_MAX).read_to_end(&mut input)?;
    Ok(input)
}

fn print(document: &serde_json::Value) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    io::stdout().lock().write_all(&bytes)
}
