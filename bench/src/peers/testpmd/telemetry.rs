//! DPDK's telemetry socket: JSON over a UNIX socket that keeps message boundaries.

use super::unexpected;
use crate::peers::PeerError;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Longest answer, in bytes.
const ANSWER_MAX: usize = 16384;
/// How long an answer may take, in seconds.
const ANSWER_SECONDS: i64 = 5;

/// What a port of testpmd counted since its link came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that could not be received for want of buffers.
    pub rx_no_buffers: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

#[derive(Debug)]
pub(super) struct Telemetry {
    socket: OwnedFd,
}

impl Telemetry {
    pub(super) fn connect(prefix: &str) -> Result<Self, PeerError> {
        let path = runtime_dir(prefix).join("dpdk_telemetry.v2");
        let failed = |errno: Errno| PeerError::io(path.display(), errno.into());
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(failed)?;
        let timeout = TimeVal::seconds(ANSWER_SECONDS);
        setsockopt(&fd, ReceiveTimeout, &timeout).map_err(failed)?;
        let address = UnixAddr::new(&path).map_err(failed)?;
        connect(fd.as_raw_fd(), &address).map_err(failed)?;
        let mut telemetry = Self { socket: fd };
        telemetry.receive()?;
        Ok(telemetry)
    }

    pub(super) fn counters(&mut self, port: u16) -> Result<PortCounters, PeerError> {
        let answer = self.ask(&format!("/ethdev/stats,{port}"))?;
        parse_counters(&answer).ok_or_else(|| unexpected(answer.to_string()))
    }

    pub(super) fn link_is_up(&mut self, port: u16) -> Result<bool, PeerError> {
        let answer = self.ask(&format!("/ethdev/link_status,{port}"))?;
        Ok(answer["/ethdev/link_status"]["status"] == "UP")
    }

    fn ask(&mut self, request: &str) -> Result<Value, PeerError> {
        let sent = send(self.socket.as_raw_fd(), request.as_bytes(), MsgFlags::MSG_NOSIGNAL);
        sent.map_err(|errno| PeerError::io(request, errno.into()))?;
        self.receive()
    }

    fn receive(&mut self) -> Result<Value, PeerError> {
        let mut bytes = vec![0; ANSWER_MAX];
        let got = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty());
        let len = got.map_err(|errno| PeerError::io("DPDK's telemetry socket", errno.into()))?;
        serde_json::from_slice(&bytes[..len]).map_err(|error| unexpected(error.to_string()))
    }
}

pub(super) fn parse_counters(answer: &Value) -> Option<PortCounters> {
    let stats = &answer["/ethdev/stats"];
    Some(PortCounters {
        rx_packets: stats["ipackets"].as_u64()?,
        tx_packets: stats["opackets"].as_u64()?,
        rx_bytes: stats["ibytes"].as_u64()?,
        tx_bytes: stats["obytes"].as_u64()?,
        rx_no_buffers: stats["rx_nombuf"].as_u64()?,
        tx_errors: stats["oerrors"].as_u64()?,
    })
}

/// Where DPDK, run by root, keeps the sockets of the process with this file prefix.
pub(super) fn runtime_dir(prefix: &str) -> PathBuf {
    let base = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_else(|| "/var/run".into());
    PathBuf::from(base).join("dpdk").join(prefix)
}
