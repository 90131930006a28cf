//! The services, and which of them a question is for.

use super::change::{between, to_device};
use super::log::{Line, Log};
use super::pb::devices::devices_server::{self, Devices, DevicesServer};
use super::pb::devices::{ListRequest, ListResponse, WatchRequest, WatchResponse};
use super::pb::vdpadpdk::vdpa_dpdk_server::{self, VdpaDpdk, VdpaDpdkServer};
use super::pb::vdpadpdk::{GetSocketpathRequest, GetSocketpathResponse};
use super::table::{Snapshot, Table};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Request, Response, Status, async_trait};
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

/// Bytes of a question.
const QUESTION_MAX: usize = 4 << 10;

/// All services of the server.
#[derive(Clone)]
pub(super) struct Services {
    vdpadpdk: VdpaDpdkServer<Lookup>,
    devices: DevicesServer<Lookup>,
    health: HealthServer<HealthService>,
}

impl Services {
    /// Those who watch are told when `ended` errs.
    pub(super) fn new(table: &Table, log: &Log, ended: watch::Receiver<()>) -> Self {
        let lookup = Arc::new(Lookup { table: table.clone(), log: log.clone(), ended });
        let health = HealthService::from_health_reporter(HealthReporter::new());
        Self {
            vdpadpdk: VdpaDpdkServer::from_arc(Arc::clone(&lookup))
                .max_decoding_message_size(QUESTION_MAX),
            devices: DevicesServer::from_arc(lookup).max_decoding_message_size(QUESTION_MAX),
            health: HealthServer::new(health).max_decoding_message_size(QUESTION_MAX),
        }
    }

    /// Asks the service that the path names.
    pub(super) async fn call(mut self, question: http::Request<Incoming>) -> http::Response<Body> {
        let answered = match question.uri().path().split('/').nth(1) {
            Some(vdpa_dpdk_server::SERVICE_NAME) => self.vdpadpdk.call(question).await,
            Some(devices_server::SERVICE_NAME) => self.devices.call(question).await,
            Some(health_server::SERVICE_NAME) => self.health.call(question).await,
            _ => Ok(Status::unimplemented("there is no such service here").into_http()),
        };
        answered.unwrap_or_else(|never: Infallible| match never {})
    }
}

#[derive(Debug)]
struct Lookup {
    table: Table,
    log: Log,
    ended: watch::Receiver<()>,
}

#[async_trait]
impl VdpaDpdk for Lookup {
    async fn get_socketpath(
        &self,
        question: Request<GetSocketpathRequest>,
    ) -> Result<Response<GetSocketpathResponse>, Status> {
        let asked = question.into_inner().pci_address;
        self.log.say(Line::Asked(&asked));
        let found = asked.parse().ok().and_then(|address| self.table.socket_path(address));
        self.log.say(found.as_deref().map_or(Line::NotFound, Line::Found));
        Ok(Response::new(GetSocketpathResponse { socketpath: found.unwrap_or_default() }))
    }
}

#[async_trait]
impl Devices for Lookup {
    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let now = self.table.current();
        let devices = now.sockets.values().map(to_device).collect();
        Ok(Response::new(ListResponse { devices, generation: now.generation }))
    }

    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // One at a time: who does not read is not written for.
        let (tell, told) = mpsc::channel(1);
        tokio::spawn(tell_changes(self.table.subscribe(), self.ended.clone(), tell));
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

async fn tell_changes(
    mut table: watch::Receiver<Arc<Snapshot>>,
    mut ended: watch::Receiver<()>,
    tell: mpsc::Sender<Result<WatchResponse, Status>>,
) {
    let mut before = Arc::default();
    loop {
        let now = Arc::clone(&table.borrow_and_update());
        let changes = between(&before, &now).iter().map(super::Change::to_message).collect();
        let response = WatchResponse { changes, generation: now.generation };
        before = now;
        if tell.send(Ok(response)).await.is_err() {
            return;
        }
        tokio::select! {
            changed = table.changed() => if changed.is_err() { return },
            () = tell.closed() => return,
            _ = ended.changed() => {
                let _ = tell.send(Err(Status::unavailable("the server ends"))).await;
                return;
            }
        }
    }
}
