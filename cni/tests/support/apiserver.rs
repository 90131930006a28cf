//! A fake API server of Kubernetes: pods can be read and their status be put back, networks be read, over
//! TLS with certificates of its own, and what goes wrong can be chosen beforehand.

use super::protobuf;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The token that it accepts.
pub(crate) const TOKEN: &str = "token-that-nobody-may-see";
/// Namespace and name of the pod of tests, and its UID.
pub(crate) const POD: &str = "/api/v1/namespaces/ns/pods/pod-1";
pub(crate) const UID: &str = "5a0c1f8e-0000-4000-8000-000000000001";

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is answered with this status, and not done.
    Status(u16),
    /// Somebody else sets an annotation just before it is done.
    Edited(&'static str, &'static str),
    /// The pod is deleted just before.
    Deleted,
    /// The pod is deleted and another one of that name made just before.
    Replaced,
    /// It is not done and not answered.
    Silence,
    /// It is done and not answered.
    DoneInSilence,
    /// The answer comes a byte at a time, without end.
    Drip,
    /// The same with the header of the answer.
    DripHeader,
    /// The answer comes as fast as it can, without end.
    Endless,
    /// The connection is closed.
    Closed,
    /// What is answered is not HTTP.
    Garbage,
    /// What is answered is no pod.
    NoPod,
    /// The server shows the request's header in an error.
    Echo,
}

/// Who a kubeconfig says that we are, and whom it trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Token,
    TokenFile,
    Certificate,
    CertificateFiles,
    WrongToken,
    Nobody,
    OtherAuthority,
    Insecure,
}

pub(crate) struct FakeApiServer {
    directory: PathBuf,
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Pods and networks by their paths.
    objects: BTreeMap<String, Value>,
    version: u64,
    faults: VecDeque<(&'static str, Fault)>,
    requests: Vec<String>,
    stopped: bool,
}

impl FakeApiServer {
    /// Starts one with one pod; `directory` is for its certificates and kubeconfigs.
    pub(crate) fn start(directory: &Path) -> Self {
        let authority = Authority::new();
        let config = Arc::new(authority.server());
        std::fs::write(directory.join("ca.crt"), &authority.pem).unwrap();
        std::fs::write(directory.join("other-ca.crt"), Authority::new().pem).unwrap();
        let (certificate, key) = authority.issue("client");
        std::fs::write(directory.join("client.crt"), certificate.pem()).unwrap();
        std::fs::write(directory.join("client.key"), key.serialize_pem()).unwrap();
        std::fs::write(directory.join("token"), format!("{TOKEN}\n")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            objects: BTreeMap::new(),
            version: 100,
            faults: VecDeque::new(),
            requests: Vec::new(),
            stopped: false,
        };
        let this =
            Self { directory: directory.to_owned(), port, state: Arc::new(Mutex::new(state)) };
        this.set_pod(pod());
        let state = Arc::clone(&this.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&state).stopped {
                    return;
                }
                let (state, config) = (Arc::clone(&state), Arc::clone(&config));
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    // How a client leaves is its own matter.
                    let _ = serve(StreamOwned::new(connection, stream), &state);
                });
            }
        });
        this
    }

    /// Puts a pod in the place of the one of tests.
    pub(crate) fn set_pod(&self, mut pod: Value) {
        let mut state = self.state();
        pod["metadata"]["resourceVersion"] = json!(state.next_version());
        state.objects.insert(POD.to_owned(), pod);
    }

    /// Adds a network of the namespace of the pod of tests.
    pub(crate) fn add_network(&self, name: &str, conf: &Value) {
        let api = "k8s.cni.cncf.io/v1";
        let path = format!("/apis/{api}/namespaces/ns/network-attachment-definitions/{name}");
        let network = json!({
            "apiVersion": api, "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": "ns"}, "spec": {"config": conf.to_string()},
        });
        self.state().objects.insert(path, network);
    }

    /// The pod of tests.
    pub(crate) fn pod(&self) -> Value {
        self.state().objects[POD].clone()
    }

    /// An annotation of the pod of tests; empty when it is not there.
    pub(crate) fn annotation(&self, key: &str) -> String {
        self.pod()["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn annotate(&self, key: &str, value: &str) {
        self.state().annotate(POD, key, value);
    }

    /// What shall go wrong with the next request of a method that has nothing planned yet.
    pub(crate) fn plan(&self, method: &'static str, fault: Fault) {
        self.state().faults.push_back((method, fault));
    }

    /// From now on nothing goes wrong.
    pub(crate) fn plan_nothing(&self) {
        self.state().faults.clear();
    }

    pub(crate) fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// Method and path of all requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Ends it, as an outage: nobody listens there any more.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        // The listener looks when somebody comes.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        super::until("the API server has ended", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_err()
        });
    }

    /// A kubeconfig for it, as meta-plugins write them.
    pub(crate) fn kubeconfig(&self, user: User) -> PathBuf {
        let read = |name: &str| std::fs::read(self.directory.join(name)).unwrap();
        let data = |name: &str| base64(&read(name));
        let trust = match user {
            User::Insecure => "insecure-skip-tls-verify: true".to_owned(),
            User::OtherAuthority => "certificate-authority: other-ca.crt".to_owned(),
            User::CertificateFiles => "certificate-authority: ca.crt".to_owned(),
            _ => format!("certificate-authority-data: {}", data("ca.crt")),
        };
        let who = match user {
            User::TokenFile => "tokenFile: token".to_owned(),
            User::WrongToken => "token: \"wrong-token-that-nobody-may-see\"".to_owned(),
            User::Nobody => "token: \"\"".to_owned(),
            User::CertificateFiles => {
                "client-certificate: client.crt\n    client-key: client.key".to_owned()
            }
            User::Certificate => {
                let (certificate, key) = (data("client.crt"), data("client.key"));
                format!("client-certificate-data: {certificate}\n    client-key-data: {key}")
            }
            _ => format!("token: \"{TOKEN}\""),
        };
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    \
             server: https://127.0.0.1:{}\n    {trust}\nusers:\n- name: cni\n  user:\n    {who}\n\
             contexts:\n- name: cni-context\n  context:\n    cluster: local\n    user: cni\n\
             current-context: cni-context\n",
            self.port
        );
        let path = self.directory.join(format!("{user:?}.kubeconfig"));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for FakeApiServer {
    fn drop(&mut self) {
        self.state().stopped = true;
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// The pod of tests: one container that sees `/shared` at `/var/run/app`.
pub(crate) fn pod() -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "pod-1", "namespace": "ns", "uid": UID,
            "annotations": {"k8s.v1.cni.cncf.io/networks": "net", "somebody": "else's"},
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {
            "volumes": [{"name": "shared-dir", "hostPath": {"path": "/shared", "type": ""}}],
            "containers": [{
                "name": "app", "image": "app",
                "volumeMounts": [{"name": "shared-dir", "mountPath": "/var/run/app"}],
            }],
            "futureField": {"kept": [1, 2.5, null]},
        },
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]},
    })
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        Self { issuer: Issuer::new(params, key), certificate, pem }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn server(&self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .unwrap();
        let (certificate, key) = self.issue("127.0.0.1");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

struct Asked {
    method: String,
    path: String,
    header: String,
    body: Body,
}

enum Body {
    Json(Value),
    /// Annotations of a pod.
    Protobuf(BTreeMap<String, String>),
}

fn serve(mut stream: Stream, state: &Mutex<State>) -> std::io::Result<()> {
    while let Some(asked) = read_request(&mut stream)? {
        lock(state).requests.push(format!("{} {}", asked.method, asked.path));
        let known = asked.header.contains(&format!("authorization: bearer {TOKEN}"))
            || stream.conn.peer_certificates().is_some();
        if !known {
            answer(&mut stream, 401, &status("Unauthorized"))?;
            continue;
        }
        let fault = lock(state).fault_of(&asked.method);
        match fault {
            None | Some(Fault::Edited(..) | Fault::Deleted | Fault::Replaced) => {
                let (code, said) = lock(state).done(&asked, fault);
                answer(&mut stream, code, &said)?;
            }
            Some(Fault::Status(code)) => answer(&mut stream, code, &status("as planned"))?,
            Some(Fault::NoPod) => answer(&mut stream, 200, &json!({"items": []}))?,
            Some(Fault::Echo) => answer(&mut stream, 400, &status(&asked.header))?,
            Some(Fault::Garbage) => stream.write_all(b"SSH-2.0-nonsense\r\n\r\n")?,
            Some(Fault::Closed) => return Ok(()),
            Some(Fault::Silence) => return wait_for_end(stream, state),
            Some(Fault::DoneInSilence) => {
                lock(state).done(&asked, None);
                return wait_for_end(stream, state);
            }
            Some(Fault::Drip) => return pour(stream, state, HEADER, b" ", DRIP),
            Some(Fault::DripHeader) => {
                return pour(stream, state, b"HTTP/1.1 200 OK\r\nX: ", b"x", DRIP);
            }
            Some(Fault::Endless) => {
                return pour(stream, state, HEADER, &[b' '; 1 << 14], Duration::ZERO);
            }
        }
    }
    Ok(())
}

/// `None`: the client has gone. The header is in lower case but for the token.
fn read_request(stream: &mut Stream) -> std::io::Result<Option<Asked>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let header = head.to_ascii_lowercase();
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    // Some clients say there how long they will wait.
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let length = header.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    stream.read_exact(&mut body)?;
    let body = match protobuf::annotations(&body) {
        Some(annotations) => Body::Protobuf(annotations),
        None => Body::Json(serde_json::from_slice(&body).unwrap_or_default()),
    };
    Ok(Some(Asked { method, path, header, body }))
}

fn answer(stream: &mut Stream, code: u16, said: &Value) -> std::io::Result<()> {
    let said = said.to_string();
    let length = said.len();
    let head = format!(
        "HTTP/1.1 {code} It\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{said}").as_bytes())?;
    stream.flush()
}

fn status(message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "message": message})
}

/// Header of an answer that ends with the connection.
const HEADER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
/// Time between two bytes of a slow answer.
const DRIP: Duration = Duration::from_millis(20);

fn pour(
    mut stream: Stream,
    state: &Mutex<State>,
    first: &[u8],
    bytes: &[u8],
    pause: Duration,
) -> std::io::Result<()> {
    stream.write_all(first)?;
    while !lock(state).stopped {
        stream.write_all(bytes)?;
        stream.flush()?;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn wait_for_end(_stream: Stream, state: &Mutex<State>) -> std::io::Result<()> {
    while !lock(state).stopped {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

impl State {
    fn next_version(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn annotate(&mut self, path: &str, key: &str, value: &str) {
        let version = self.next_version();
        if let Some(pod) = self.objects.get_mut(path) {
            pod["metadata"]["annotations"][key] = json!(value);
            pod["metadata"]["resourceVersion"] = json!(version);
        }
    }

    fn fault_of(&mut self, method: &str) -> Option<Fault> {
        let position = self.faults.iter().position(|(of, _)| *of == method)?;
        self.faults.remove(position).map(|(_, fault)| fault)
    }

    /// Does what is asked after what somebody else does.
    fn done(&mut self, asked: &Asked, fault: Option<Fault>) -> (u16, Value) {
        let path = asked.path.trim_end_matches("/status");
        match fault {
            Some(Fault::Edited(key, value)) => self.annotate(path, key, value),
            Some(Fault::Deleted) => drop(self.objects.remove(path)),
            Some(Fault::Replaced) => {
                let version = self.next_version();
                if let Some(pod) = self.objects.get_mut(path) {
                    pod["metadata"]["uid"] = json!("another");
                    pod["metadata"]["resourceVersion"] = json!(version);
                }
            }
            _ => {}
        }
        let version = self.next_version();
        let Some(pod) = self.objects.get_mut(path) else { return (404, status("not found")) };
        if asked.method == "GET" && asked.path == path {
            return (200, pod.clone());
        }
        if asked.method != "PUT" || asked.path == path {
            return (405, status("only GET, and PUT of the status"));
        }
        match &asked.body {
            // Of a client that writes whole pods anew from its own types.
            Body::Protobuf(annotations) => pod["metadata"]["annotations"] = json!(annotations),
            Body::Json(body) => {
                let same = |key: &str| body["metadata"][key] == pod["metadata"][key];
                if !same("resourceVersion") || !same("uid") {
                    return (409, status("the object has been modified"));
                }
                assert_eq!(body["spec"], pod["spec"], "the pod was not put back as it was");
                assert_eq!(body["metadata"]["managedFields"], pod["metadata"]["managedFields"]);
                pod["metadata"]["annotations"] = body["metadata"]["annotations"].clone();
                pod["status"] = body["status"].clone();
            }
        }
        pod["metadata"]["resourceVersion"] = json!(version);
        (200, pod.clone())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}
