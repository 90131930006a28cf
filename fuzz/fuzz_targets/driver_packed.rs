//! Fuzzes [`ringport_fuzz::driver_packed`]; without cargo-fuzz, replays the files named on the command line.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringport_fuzz::driver_packed(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    ringport_fuzz::replay(ringport_fuzz::driver_packed, std::env::args_os().skip(1))
}
