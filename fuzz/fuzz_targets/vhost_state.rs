//! Fuzzes [`ringport_fuzz::vhost_state`]; without cargo-fuzz, replays the files named on the command line.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringport_fuzz::vhost_state(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    ringport_fuzz::replay(ringport_fuzz::vhost_state, std::env::args_os().skip(1))
}
