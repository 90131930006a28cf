//! The client. It blocks: one question at a time.

use super::change::{Change, from_device};
use super::error::ClientError;
use super::pb::devices::devices_client::DevicesClient;
use super::pb::devices::{ListRequest, WatchRequest, WatchResponse};
use super::pb::vdpadpdk::GetSocketpathRequest;
use super::pb::vdpadpdk::vdpa_dpdk_client::VdpaDpdkClient;
use super::transport::Transport;
use crate::files::{Entry, check, check_path};
use ringport::error::CallError;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::{Response, Status, Streaming};

/// How long a server may take to listen.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: the longest list has half as many.
const ANSWER_MAX: usize = 1 << 20;

/// A connection to a look-up. For programs without a runtime of their own; within one it must be used on a
/// thread that may block.
pub struct Client {
    lookup: VdpaDpdkClient<Transport>,
    devices: DevicesClient<Transport>,
    answer_patience: Duration,
    /// Goes last: it serves the connection.
    runtime: Runtime,
}

impl Client {
    /// Connects. A server has 5 s to come, and 10 s for each answer.
    ///
    /// # Errors
    /// [`ClientError::NoServer`], [`ClientError::Call`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::connect_within(path, CONNECT_PATIENCE, ANSWER_PATIENCE)
    }

    /// As [`connect`](Self::connect), with other times.
    ///
    /// # Errors
    /// [`ClientError::NoServer`], [`ClientError::Call`].
    pub fn connect_within(
        path: &Path,
        connect_patience: Duration,
        answer_patience: Duration,
    ) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(CallError::io("start the client's runtime"))?;
        let connected = runtime.block_on(Transport::connect(path, connect_patience));
        let transport =
            connected.map_err(|source| ClientError::NoServer { path: path.to_owned(), source })?;
        let origin = Transport::origin();
        let lookup = VdpaDpdkClient::with_origin(transport.clone(), origin.clone())
            .max_decoding_message_size(ANSWER_MAX);
        let devices =
            DevicesClient::with_origin(transport, origin).max_decoding_message_size(ANSWER_MAX);
        Ok(Self { lookup, devices, answer_patience, runtime })
    }

    /// The socket of a device, if the server knows the device.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn socket_path(&mut self, pci_address: &str) -> Result<Option<String>, ClientError> {
        let question = GetSocketpathRequest { pci_address: pci_address.to_owned() };
        let answer =
            ask(&self.runtime, self.answer_patience, self.lookup.get_socketpath(question))?;
        if answer.socketpath.is_empty() {
            return Ok(None);
        }
        check_path(&answer.socketpath).map_err(|error| ClientError::Absurd(error.to_string()))?;
        Ok(Some(answer.socketpath))
    }

    /// All devices, by their addresses in order. Servers of the first deployment do not have this.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn list(&mut self) -> Result<Vec<Entry>, ClientError> {
        let answer = ask(&self.runtime, self.answer_patience, self.devices.list(ListRequest {}))?;
        let entries = answer.devices.into_iter().map(from_device).collect::<Result<Vec<_>, _>>();
        let mut entries = entries.map_err(ClientError::Absurd)?;
        check(&entries).map_err(|error| ClientError::Absurd(error.to_string()))?;
        entries.sort_by_key(Entry::pci_address);
        Ok(entries)
    }

    /// Watches the devices. Servers of the first deployment do not have this.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn watch(&mut self) -> Result<Watch<'_>, ClientError> {
        let told = ask(&self.runtime, self.answer_patience, self.devices.watch(WatchRequest {}))?;
        Ok(Watch { client: self, told })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The devices, watched. Whoever does not wait for changes for 20 s and more may be given up by the server; that the
/// watch is over it hears with the client's next question.
#[derive(Debug)]
pub struct Watch<'c> {
    client: &'c mut Client,
    told: Streaming<WatchResponse>,
}

impl Watch<'_> {
    /// Waits for the next changes: at first all devices, as added, even if there are none. For ever, or at
    /// most for `patience`.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::Late`] one can go on.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Vec<Change>, ClientError> {
        let told = &mut self.told;
        let told = self.client.runtime.block_on(async {
            match patience {
                None => Ok(told.message().await),
                Some(patience) => {
                    timeout(patience, told.message()).await.map_err(|_| late(patience))
                }
            }
        })??;
        let response = told.ok_or(ClientError::Ended)?;
        let changes = response.changes.into_iter().map(Change::from_message);
        changes.collect::<Result<_, _>>().map_err(ClientError::Absurd)
    }
}

fn ask<T>(
    runtime: &Runtime,
    patience: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ClientError> {
    let answered = runtime.block_on(async { timeout(patience, answer).await });
    Ok(answered.map_err(|_| late(patience))??.into_inner())
}

fn late(patience: Duration) -> ClientError {
    ClientError::Late { seconds: patience.as_secs() }
}
