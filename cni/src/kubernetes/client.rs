//! Pods, from the API server and back. Every exchange ends by a deadline, whatever the server does.

use super::PodName;
use super::kubeconfig::Kubeconfig;
use crate::conf::Secret;
use crate::error::{CniError, code};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::{HeaderValue, Request};
use ureq::{Agent, AsSendBody};

/// Most bytes of an answer. A pod has at most 1.5 MiB in the server's store; this is JSON of it.
const ANSWER_MAX: u64 = 8 << 20;
/// Most bytes of an answer's header.
const HEADER_MAX: usize = 64 << 10;
/// Most characters that are shown of what the server says.
const MESSAGE_MAX: usize = 300;

/// A client of one API server.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    server: String,
    token: Secret,
    kubeconfig: PathBuf,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody else has changed the pod since it was read.
    Conflict,
    /// Nothing was done.
    Refused(CniError),
    /// Nobody knows whether something was done.
    Unclear(CniError),
}

impl Client {
    /// A client with the credentials of a kubeconfig. Nothing is connected yet.
    ///
    /// # Errors
    /// Code 7.
    pub(super) fn new(kubeconfig: &Path) -> Result<Self, CniError> {
        let Kubeconfig { server, tls, token } = Kubeconfig::read(kubeconfig)?;
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(HEADER_MAX)
            .user_agent(concat!("ringport-cni/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, server, token, kubeconfig: kubeconfig.to_owned() })
    }

    /// Reads a pod. Spec: Kubernetes API v1, `GET /api/v1/namespaces/{namespace}/pods/{name}`.
    pub(super) fn get(&self, pod: &PodName, deadline: Instant) -> Result<Value, CniError> {
        let request = Request::get(self.url(pod, ""));
        self.exchange(request, (), pod, deadline).map_err(|failure| match failure {
            Failure::Refused(error) | Failure::Unclear(error) => error,
            Failure::Conflict => self.refused(pod, "reading it is a conflict", ""),
        })
    }

    /// Writes the annotations of a pod that was read, if nobody has changed it since.
    /// Spec: Kubernetes API v1, `PUT /api/v1/namespaces/{namespace}/pods/{name}/status`.
    pub(super) fn put(&self, pod: &PodName, it: &Value, deadline: Instant) -> Result<(), Failure> {
        let request = Request::put(self.url(pod, "/status"));
        let request = request.header("Content-Type", "application/json");
        self.exchange(request, it.to_string().into_bytes(), pod, deadline).map(|_| ())
    }

    fn url(&self, pod: &PodName, subresource: &str) -> String {
        let PodName { namespace, name, .. } = pod;
        format!("{}/api/v1/namespaces/{namespace}/pods/{name}{subresource}", self.server)
    }

    fn exchange(
        &self,
        request: ureq::http::request::Builder,
        body: impl AsSendBody,
        pod: &PodName,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut request = request.header("Accept", "application/json");
        if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", self.token.0))
            && !self.token.0.is_empty()
        {
            value.set_sensitive(true);
            request = request.header("Authorization", value);
        }
        let request = request.body(body).map_err(|_| {
            Failure::Refused(CniError::refused("kubeconfig", self.path(), "server is no URL"))
        })?;
        // Zero would mean no limit.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let request = self.agent.configure_request(request).timeout_global(Some(left)).build();
        let mut response = self.agent.run(request).map_err(|e| self.unanswered(e))?;
        let status = response.status().as_u16();
        let answer = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let answer = answer.map_err(|e| self.unanswered(e))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        Err(self.failed(status, answer["message"].as_str().unwrap_or_default(), pod))
    }

    fn failed(&self, status: u16, said: &str, pod: &PodName) -> Failure {
        match status {
            404 => {
                let msg = format!("the pod {pod} is gone: its container needs no interface");
                Failure::Refused(CniError::new(code::UNKNOWN_CONTAINER, msg))
            }
            409 => Failure::Conflict,
            401 => Failure::Refused(self.refused(
                pod,
                "it does not accept the credentials: renew them",
                said,
            )),
            403 => {
                let reason =
                    "the credentials' role needs `get` for pods and `update` for pods/status";
                Failure::Refused(self.refused(pod, reason, said))
            }
            408 | 429 => Failure::Refused(self.try_again(&format!("status {status}"), said)),
            500.. => Failure::Unclear(self.try_again(&format!("status {status}"), said)),
            _ => Failure::Refused(self.refused(pod, &format!("status {status}"), said)),
        }
    }

    /// The server refused for a reason that will not pass by itself.
    fn refused(&self, pod: &PodName, reason: &str, said: &str) -> CniError {
        let msg = format!("the API server refused the pod {pod}: {reason}");
        CniError::new(code::KUBERNETES, msg).with_details(self.shown(said))
    }

    fn try_again(&self, reason: &str, said: &str) -> CniError {
        let msg = "the API server cannot serve now, try again later";
        let said = self.shown(said);
        let details = format!("kubeconfig {}: {reason}: {said}", self.path());
        CniError::new(code::TRY_AGAIN, msg).with_details(details.trim_end_matches([':', ' ']))
    }

    fn unanswered(&self, error: ureq::Error) -> Failure {
        if let Some(reason) = tls_reason(&error) {
            return Failure::Refused(CniError::refused("kubeconfig", self.path(), reason));
        }
        let reason = match &error {
            ureq::Error::Timeout(_) => "it did not answer in time",
            ureq::Error::HostNotFound => "its name is not known",
            ureq::Error::BodyExceedsLimit(_) => "its answer is too large",
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                "nobody listens there: is it running?"
            }
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed => "the connection broke",
            _ => "it does not speak HTTP as it should",
        };
        Failure::Unclear(self.try_again(reason, ""))
    }

    /// What a server says, as far as it may be shown.
    fn shown(&self, said: &str) -> String {
        if !self.token.0.is_empty() && said.contains(&self.token.0) {
            return String::new();
        }
        said.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
    }

    fn path(&self) -> std::path::Display<'_> {
        self.kubeconfig.display()
    }
}

/// Why there was no TLS, when trying again would not help.
fn tls_reason(error: &ureq::Error) -> Option<&'static str> {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(e) => e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match tls? {
        rustls::Error::InvalidCertificate(_) => Some(
            "the API server's certificate is not of its certificate-authority, or is for another name",
        ),
        rustls::Error::AlertReceived(_) => {
            Some("the API server does not take the client-certificate")
        }
        _ => Some("the API server does not speak TLS as it should"),
    }
}
