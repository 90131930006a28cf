//! VPPs to test with: a fake one in CI, a real one where `RINGPORT_VPP` names one.

#![allow(unused_imports, unused_macros, reason = "each test binary uses a part")]

pub(crate) mod fake;
pub(crate) mod lab;
pub(crate) mod proxy;
pub(crate) mod real;
pub(crate) mod recording;
pub(crate) mod replay;
pub(crate) mod scenarios;
pub(crate) mod table;
pub(crate) mod transcripts;
pub(crate) mod wire;
