//! Fuzzes [`ringport_fuzz::pci_capabilities`]; without cargo-fuzz, replays the files named on the command line.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ringport_fuzz::pci_capabilities(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    ringport_fuzz::replay(ringport_fuzz::pci_capabilities, std::env::args_os().skip(1))
}
