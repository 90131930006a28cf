//! ADD: intent, vswitch, addresses, container data, annotations, result; or nothing.

use super::Call;
use super::undo::{API_TIME, Means, clear_way, undo};
use crate::conf::NetType;
use crate::container;
use crate::device_info;
use crate::engines::{self, Vswitch};
use crate::env::short_id;
use crate::error::{CniError, code};
use crate::ipam::{Attachment, Delegate};
use crate::kubernetes::{Budget, Visit};
use crate::plan::{Plan, data_file_name};
use crate::result::{CniResult, Interface};
use crate::state::{Exclusive, Owner, Phase, Record, Step, Store};
use serde_json::Value;
use std::cell::Cell;
use std::path::PathBuf;

pub(super) fn add(call: &Call) -> Result<CniResult, CniError> {
    let plan = Plan::new(&call.parsed, &call.env)?;
    let vswitch = engines::of(call.conf(), plan.engine)?;
    let previous = previous_result(call)?;
    let ipam = call.ipam().map(|name| Ipam::new(call, name)).transpose()?;
    let pod = Visit::begin(call.conf(), &call.env, &plan)?;
    let store = Store::open(&call.data_dir(), Exclusive::No)?;
    let api = Budget::new(API_TIME);
    let means = Means { store: &store, path: &call.env.path, conf: call.conf(), api: &api };
    clear_way(&plan.owner, means)?;

    let mut making = Making { call, plan: &plan, vswitch: &*vswitch, ipam, pod };
    let mut record = Record::intent(plan.owner.clone(), making.steps());
    refuse_shared_directory(&store, &plan)?;
    store.put(&record)?;
    // Somebody may have come at the same time. What the record names is not ours to undo then.
    refuse_shared_directory(&store, &plan).inspect_err(|_| {
        if let Err(error) = store.remove(&record.owner) {
            tracing::error!(%error, "the record of a refused ADD stays");
        }
    })?;
    let made = making.make(previous, &mut |addresses| {
        // To undo what a vswitch is told about them, they must be known.
        store.put(record.has_result(addresses, Phase::Adding))
    });
    let made = made
        .and_then(|result| store.append(record.has_result(&result, Phase::Ready)).map(|()| result));
    made.map_err(|error| {
        making.give_back(&mut record);
        // The caller hears of what failed first; what could not be undone stays in the record.
        match undo(record, means) {
            Ok(()) => error,
            Err(left) => {
                tracing::error!(error = %left, "a failed ADD left something for DEL or GC");
                to_be_cleaned_up(error)
            }
        }
    })
}

/// Containers whose IDs begin alike would have one directory: to undo an ADD of the second would take
/// the first one's files.
fn refuse_shared_directory(store: &Store, plan: &Plan) -> Result<(), CniError> {
    let id = &plan.owner.container_id;
    let alike = |it: &Owner| it.container_id != *id && short_id(&it.container_id) == short_id(id);
    for other in store.all_owners()?.iter().filter(|it| alike(it)) {
        let steps = store.get(other)?.map(|record| record.steps).unwrap_or_default();
        if steps.iter().any(|step| matches!(step, Step::Directory { path } if *path == plan.dir)) {
            let msg =
                "another container has this directory: their IDs begin with the same 12 characters";
            let details = format!("{} is of container {}", plan.dir.display(), other.container_id);
            return Err(CniError::new(code::EXISTS, msg).with_details(details));
        }
    }
    Ok(())
}

/// Code 3 tells a runtime that it need not call DEL. When something is left, it must.
fn to_be_cleaned_up(error: CniError) -> CniError {
    match error.code {
        code::UNKNOWN_CONTAINER => CniError { code: code::KUBERNETES, ..error },
        _ => error,
    }
}

/// A delegate, and the configuration that it gets.
struct Ipam {
    name: String,
    delegate: Delegate,
    config: Value,
    /// Whether it may have given addresses: it was asked, and has not said no.
    may_hold: Cell<bool>,
}

impl Ipam {
    fn new(call: &Call, name: &str) -> Result<Self, CniError> {
        let delegate = Delegate::find(name, &call.env.path)?;
        let config = delegate.config(&call.parsed.raw, call.parsed.version)?;
        Ok(Self { name: name.to_owned(), delegate, config, may_hold: Cell::new(false) })
    }

    /// Gives addresses back right away. A delegate that was not asked or said no has given nothing;
    /// with a configuration that it does not understand its step would never come undone.
    fn give_back(&self, call: &Call, record: &mut Record) {
        let (netns, args) = (&call.env.netns, &call.env.args);
        let whose = Attachment { owner: &record.owner, netns, args };
        let back = self.delegate.del(whose, &self.config);
        if back.is_ok() || !self.may_hold.get() {
            record.steps.retain(|step| !matches!(step, Step::Ipam { .. }));
        }
    }

    fn take(&self, call: &Call, plan: &Plan) -> Result<CniResult, CniError> {
        let (netns, args) = (&call.env.netns, &call.env.args);
        let whose = Attachment { owner: &plan.owner, netns, args };
        self.may_hold.set(true);
        self.delegate
            .add(whose, &self.config)
            .inspect_err(|error| self.may_hold.set(error.code == code::TRY_AGAIN))
    }
}

fn previous_result(call: &Call) -> Result<CniResult, CniError> {
    let previous = call.conf().prev_result.clone();
    previous.map_or_else(|| Ok(CniResult::default()), |it| CniResult::from_json(&Value::Object(it)))
}

/// All that takes part in an ADD.
struct Making<'a> {
    call: &'a Call,
    plan: &'a Plan,
    vswitch: &'a dyn Vswitch,
    ipam: Option<Ipam>,
    pod: Option<Visit>,
}

impl Making<'_> {
    fn steps(&self) -> Vec<Step> {
        let (call, plan) = (self.call, self.plan);
        let mut steps = vec![Step::Directory { path: plan.dir.clone() }];
        if plan.netns.is_none() {
            steps.push(Step::File { path: plan.socket.clone() });
        }
        steps.push(self.vswitch.step(plan));
        if let Some(ipam) = &self.ipam {
            steps.push(Step::Ipam {
                plugin: ipam.name.clone(),
                config: ipam.config.clone(),
                netns: call.env.netns.clone(),
                args: call.env.args.clone(),
            });
        }
        steps.push(Step::File { path: data_file(plan) });
        steps.extend(plan.device_info.clone().map(|path| Step::DeviceInfo { path }));
        steps.extend(self.pod.as_ref().map(Visit::step));
        steps
    }

    /// Makes everything; has addresses noted before the vswitch is told about them.
    fn make(
        &mut self,
        previous: CniResult,
        note: &mut dyn FnMut(&CniResult) -> Result<(), CniError>,
    ) -> Result<CniResult, CniError> {
        let (call, plan) = (self.call, self.plan);
        container::make_directory(&plan.dir, plan.access)?;
        self.vswitch.add(plan)?;
        let mut result = previous;
        let interface = add_interfaces(&mut result, call, plan);
        let mut own = CniResult::default();
        own.interfaces.clone_from(&result.interfaces);
        if let Some(ipam) = &self.ipam {
            let addresses = ipam.take(call, plan)?;
            own.add_addresses(addresses.clone(), interface);
            if plan.net_type == NetType::Interface {
                note(&own)?;
            }
            self.vswitch.address(plan, &own)?;
            result.add_addresses(addresses, interface);
        }
        let data = container::data(call.conf(), plan, &own);
        container::write_data(&data_file(plan), &data)?;
        if let Some(path) = &plan.device_info {
            let mapped_dir = self.pod.as_ref().map(Visit::mapped_dir);
            device_info::write(path, &device_info::describe(&data, plan, mapped_dir))?;
        }
        if let Some(pod) = &mut self.pod {
            pod.annotate(&data)?;
        }
        Ok(result)
    }

    /// Does right away what of undoing needs the configuration, and leaves out what was not begun.
    fn give_back(&self, record: &mut Record) {
        if let Some(ipam) = &self.ipam {
            ipam.give_back(self.call, record);
        }
        if !self.pod.as_ref().is_some_and(Visit::may_have_written) {
            record.steps.retain(|step| !matches!(step, Step::PodAnnotation { .. }));
        }
    }
}

/// The file with the container's data.
pub(super) fn data_file(plan: &Plan) -> PathBuf {
    plan.dir.join(data_file_name(&plan.owner.container_id, &plan.owner.if_name))
}

/// Adds the two ends; returns the number of the container's.
fn add_interfaces(result: &mut CniResult, call: &Call, plan: &Plan) -> usize {
    let socket = plan.socket.display().to_string();
    result.interfaces.push(Interface {
        name: plan.port.clone(),
        mtu: plan.mtu,
        socket_path: socket.clone(),
        ..Interface::default()
    });
    result.interfaces.push(Interface {
        name: plan.owner.if_name.clone(),
        mac: plan.mac.clone().unwrap_or_default(),
        mtu: plan.mtu,
        sandbox: call.env.netns.clone(),
        socket_path: socket,
        ..Interface::default()
    });
    result.interfaces.len() - 1
}
