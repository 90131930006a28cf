//! What ADD and DEL do with a pod.

use super::annotation::{CONFIGURATION_DATA, Entries, MAPPED_DIR, TOTAL_MAX, entry};
use super::client::{Client, Failure};
use super::{PodName, mapped};
use crate::conf::NetConf;
use crate::env::CallEnv;
use crate::error::{CniError, code};
use crate::plan::{Plan, kubernetes_timeout};
use crate::state::{Owner, Step};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long is waited after the first conflict; longer after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest time between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(640);
/// By this annotation the kubelet says of which of its own pods a pod of the API server is the mirror.
/// Nobody can change it afterwards. Spec: Kubernetes, "Well-Known Annotations".
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod that ADD has read.
#[derive(Debug)]
pub struct Visit {
    client: Client,
    kubeconfig: PathBuf,
    pod: PodName,
    read: Value,
    dir: PathBuf,
    mapped_dir: String,
    timeout: Duration,
    may_have_written: bool,
}

impl Visit {
    /// Reads the pod that the container is of. `None`: no API server is configured, or the container is
    /// of no pod.
    ///
    /// # Errors
    /// Code 3 when the pod is gone or is another one by now, 4 for a bad `CNI_ARGS`, 7 for a bad
    /// kubeconfig, 11 when the API server cannot be reached now, 104 when it refuses.
    pub fn begin(conf: &NetConf, env: &CallEnv, plan: &Plan) -> Result<Option<Self>, CniError> {
        if conf.kubeconfig.is_empty() {
            return Ok(None);
        }
        let Some(mut pod) = PodName::from_args(&env.args)? else {
            tracing::info!("CNI_ARGS names no pod: no annotations");
            return Ok(None);
        };
        let kubeconfig = PathBuf::from(&conf.kubeconfig);
        let (client, timeout) = (Client::new(&kubeconfig)?, kubernetes_timeout(conf));
        let read = client.get(&pod, Instant::now() + timeout)?;
        pod.uid = check_uid(&read, &pod)?;
        let mapped_dir = mapped::directory(&read, &plan.dir);
        let dir = plan.dir.clone();
        let may_have_written = false;
        Ok(Some(Self { client, kubeconfig, pod, read, dir, mapped_dir, timeout, may_have_written }))
    }

    /// What [`Self::annotate`] is about to do, for the record.
    #[must_use]
    pub fn step(&self) -> Step {
        Step::PodAnnotation {
            kubeconfig: self.kubeconfig.clone(),
            pod: self.pod.clone(),
            mapped_dir: self.mapped_dir.clone(),
        }
    }

    /// Where the pod's containers see their sockets.
    #[must_use]
    pub fn mapped_dir(&self) -> &str {
        &self.mapped_dir
    }

    /// Whether there may be something in the annotations because of us.
    #[must_use]
    pub const fn may_have_written(&self) -> bool {
        self.may_have_written
    }

    /// Adds the data of an interface to the pod's annotations.
    ///
    /// # Errors
    /// As [`Self::begin`]; code 104 also when the annotations that are there leave no way.
    pub fn annotate(&mut self, data: &Value) -> Result<(), CniError> {
        let deadline = Instant::now() + self.timeout;
        let (entry, if_name) = (entry(data), data["ifName"].as_str().unwrap_or_default());
        let (ours, dir) = (self.mapped_dir.as_str(), self.dir.as_path());
        let change = |annotations: &mut Map<String, Value>| {
            let list = Entries::read(text(annotations, CONFIGURATION_DATA))?;
            let list = list.without_interface(if_name).text(Some(&entry));
            let agreed = mapped::agreed(ours, text(annotations, MAPPED_DIR), dir)?.to_owned();
            annotations.insert(CONFIGURATION_DATA.to_owned(), Value::from(list));
            annotations.insert(MAPPED_DIR.to_owned(), Value::from(agreed));
            check_size(annotations)
        };
        let first = std::mem::take(&mut self.read);
        let changed = change_pod(&self.client, &self.pod, Some(first), deadline, change);
        self.may_have_written = !matches!(changed, Err(Failure::Refused(_) | Failure::Conflict));
        changed.map_err(|failure| error_of(failure, &self.pod))
    }
}

/// Removes what a [`Visit`] wrote for `owner`, if the API server has it done by the deadline. A pod that
/// is gone, or another one by now, has nothing of it.
///
/// # Errors
/// As [`Visit::begin`].
pub fn remove(
    kubeconfig: &Path,
    pod: &PodName,
    mapped_dir: &str,
    owner: &Owner,
    deadline: Instant,
) -> Result<(), CniError> {
    let change = |annotations: &mut Map<String, Value>| {
        let list = Entries::read(text(annotations, CONFIGURATION_DATA))?.without(owner);
        if list.is_empty() {
            annotations.remove(CONFIGURATION_DATA);
            if text(annotations, MAPPED_DIR) == mapped_dir {
                annotations.remove(MAPPED_DIR);
            }
        } else {
            let list = list.text(None);
            annotations.insert(CONFIGURATION_DATA.to_owned(), Value::from(list));
        }
        Ok::<(), CniError>(())
    };
    let removed = change_pod(&Client::new(kubeconfig)?, pod, None, deadline, change);
    match removed.map_err(|failure| error_of(failure, pod)) {
        Err(error) if error.code == code::UNKNOWN_CONTAINER => Ok(()),
        other => other,
    }
}

/// Changes the annotations of a pod, anew whenever somebody else was faster. Nothing is written when
/// nothing changes.
fn change_pod(
    client: &Client,
    pod: &PodName,
    mut read: Option<Value>,
    deadline: Instant,
    change: impl Fn(&mut Map<String, Value>) -> Result<(), CniError>,
) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut it = match read.take() {
            Some(read) => read,
            None => client.get(pod, deadline).map_err(Failure::Refused)?,
        };
        check_uid(&it, pod).map_err(Failure::Refused)?;
        let before = it["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after).map_err(Failure::Refused)?;
        if after == before {
            return Ok(());
        }
        it["metadata"]["annotations"] = Value::Object(after);
        match client.put(pod, &it, deadline) {
            Err(Failure::Conflict) if Instant::now() + pause < deadline => {}
            other => return other,
        }
        thread::sleep(jittered(pause));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The UID of a pod that was read, which must be that of the pod that was asked for. What has one is an
/// object with metadata.
fn check_uid(read: &Value, pod: &PodName) -> Result<String, CniError> {
    let metadata = &read["metadata"];
    let uid = metadata["uid"].as_str().unwrap_or_default();
    if uid.is_empty() || !metadata["resourceVersion"].is_string() {
        let msg = format!("the API server answered something else than the pod {pod}");
        return Err(CniError::new(code::KUBERNETES, msg));
    }
    let mirrored = metadata["annotations"][MIRROR].as_str();
    if pod.uid.is_empty() || pod.uid == uid || mirrored == Some(&pod.uid) {
        return Ok(uid.to_owned());
    }
    let msg = format!("{pod} is another pod by now: the container's one is gone");
    let details = format!("its UID is not {}", pod.uid);
    Err(CniError::new(code::UNKNOWN_CONTAINER, msg).with_details(details))
}

fn text<'a>(annotations: &'a Map<String, Value>, key: &str) -> &'a str {
    annotations.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn check_size(annotations: &Map<String, Value>) -> Result<(), CniError> {
    let sizes = annotations.iter().map(|(key, it)| key.len() + it.as_str().map_or(0, str::len));
    let size: usize = sizes.sum();
    if size <= TOTAL_MAX {
        return Ok(());
    }
    let msg = "the pod's annotations have no room for an interface: remove some";
    let details = format!("they would have {size} bytes, {TOTAL_MAX} are possible");
    Err(CniError::new(code::KUBERNETES, msg).with_details(details))
}

fn error_of(failure: Failure, pod: &PodName) -> CniError {
    match failure {
        Failure::Refused(error) | Failure::Unclear(error) => error,
        Failure::Conflict => {
            let msg = format!("others change the pod {pod} all the time, try again later");
            CniError::new(code::TRY_AGAIN, msg)
        }
    }
}

/// Between one and two times as long, so that those who met once do not meet again.
fn jittered(pause: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    pause + pause * (now.subsec_nanos() % 1000) / 1000
}
