//! Fuzzes [`ringport_fuzz::relay_messages`]; without cargo-fuzz, replays the files named on the command line.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringport_fuzz::relay_messages(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    ringport_fuzz::replay(ringport_fuzz::relay_messages, std::env::args_os().skip(1))
}
