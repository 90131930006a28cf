//! A fake VPP: sockets, interfaces and bridge domains as tables, and the answers of a real one. That
//! it answers like one is tested against a recording.

use super::super::until;
use super::table::Table;
use super::wire::{Body, framed, read, text_at, u16_at, u32_at, write};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Index of the first client.
const FIRST_CLIENT: u32 = 0x8000_0001;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is refused for this reason.
    Refuse(i32),
    /// Nothing happens.
    Ignore,
    /// The connection ends.
    Close,
    /// These bytes are sent, whatever they are.
    Say(Vec<u8>),
    /// Answers end after this many bytes.
    Truncate(usize),
    /// These bytes are sent before the answer.
    SayFirst(Vec<u8>),
    /// The answer comes one byte at a time.
    Dribble,
    /// Some bytes of answers are others, which ones follows from the number.
    Garble(u64),
}

/// The fake; it ends when dropped.
pub(crate) struct FakeVpp {
    pub(crate) api: PathBuf,
    pub(crate) world: Arc<Mutex<World>>,
}

/// What a VPP knows.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) table: Table,
    pub(crate) pid: u32,
    clients: u32,
    sockets: BTreeMap<u32, String>,
    interfaces: BTreeMap<u32, Interface>,
    bridges: BTreeMap<u32, Bridge>,
    /// Whose addresses interfaces use.
    borrowed: BTreeMap<u32, u32>,
    /// Prefixes, and the interface by which each is reached.
    pub(crate) routes: BTreeMap<Vec<u8>, u32>,
    /// Hosts that ARP is answered for, and interfaces on which.
    pub(crate) arp_hosts: BTreeSet<Vec<u8>>,
    arp_interfaces: BTreeSet<u32>,
    ip6: BTreeSet<u32>,
    /// How many threads besides the main one receive.
    pub(crate) workers: u32,
    /// What to do when a message of this name comes.
    pub(crate) fault: Option<(String, Fault)>,
    /// All requests, with their names.
    pub(crate) log: Vec<(String, Vec<u8>)>,
    ending: bool,
}

#[derive(Debug, Clone)]
struct Interface {
    name: String,
    kind: Kind,
    tag: String,
    up: bool,
    mac: [u8; 6],
    mtu: u32,
    addresses: Vec<Vec<u8>>,
    linked: bool,
    rewrite: u32,
    queues: Vec<Queue>,
}

/// A queue that is received from.
#[derive(Debug, Clone, Copy)]
struct Queue {
    thread: u32,
    mode: u32,
}

/// As VPP has them when an interface connects.
const NEW_QUEUE: Queue = Queue { thread: 0, mode: 1 };

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Local,
    Memif { id: u32, socket: u32, role: u32, mode: u32, zero_copy: bool },
    Vhost { device: u32, server: bool, file: String },
    Sub { parent: u32, id: u32, flags: u32, vlan: u16 },
    Loopback,
}

#[derive(Debug, Clone)]
struct Bridge {
    flags: Vec<u8>,
    tag: String,
    members: Vec<u32>,
}

impl FakeVpp {
    pub(crate) fn start(dir: &Path, table: Table) -> Self {
        let api = dir.join("api.sock");
        let listener = UnixListener::bind(&api).unwrap();
        let world = Arc::new(Mutex::new(World::new(table)));
        let shared = Arc::clone(&world);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().ending {
                    return;
                }
                let world = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &world));
            }
        });
        Self { api, world }
    }

    /// Ends it; the file of its socket stays.
    pub(crate) fn stop(&self) {
        self.world.lock().unwrap().ending = true;
        until("nobody listens", || UnixStream::connect(&self.api).is_err());
    }

    /// Connects all interfaces, or connects them anew, with this many queues.
    pub(crate) fn connect(&self, queues: usize) {
        for interface in self.world.lock().unwrap().interfaces.values_mut() {
            interface.linked = true;
            interface.queues = vec![NEW_QUEUE; queues];
        }
    }

    /// Forgets everything, as a restart does.
    pub(crate) fn restart(&self) {
        let mut world = self.world.lock().unwrap();
        *world = World::new(world.table.clone());
    }
}

impl Drop for FakeVpp {
    fn drop(&mut self) {
        // A test that failed may have held it.
        self.world.lock().unwrap_or_else(PoisonError::into_inner).ending = true;
        let _ = UnixStream::connect(&self.api);
    }
}

fn serve(mut stream: UnixStream, world: &Mutex<World>) {
    let mut client = None;
    while let Some(request) = read(&mut stream) {
        let mut world = world.lock().unwrap();
        let name = world.table.name(u16_at(&request, 0)).to_owned();
        world.log.push((name.clone(), request.clone()));
        let fault = world.fault.clone().filter(|(message, _)| *message == name);
        let fault = fault.map(|(_, fault)| fault);
        let mut answers = match &fault {
            None
            | Some(Fault::Truncate(_) | Fault::SayFirst(_) | Fault::Dribble | Fault::Garble(_)) => {
                world.answer(&name, &request, &mut client)
            }
            Some(Fault::Refuse(reason)) => vec![refusal(&world.table, &name, &request, *reason)],
            Some(Fault::Ignore) => Vec::new(),
            Some(Fault::Close) => return,
            Some(Fault::Say(bytes)) => {
                let _ = stream.write_all(bytes);
                Vec::new()
            }
        };
        drop(world);
        match fault {
            Some(Fault::Truncate(len)) => answers.iter_mut().for_each(|it| it.truncate(len)),
            Some(Fault::SayFirst(bytes)) => drop(stream.write_all(&bytes)),
            Some(Fault::Garble(seed)) => garble(&mut answers, seed),
            Some(Fault::Dribble) => dribble(&mut stream, &std::mem::take(&mut answers)),
            _ => {}
        }
        for answer in &answers {
            if write(&mut stream, answer).is_none() {
                return;
            }
        }
        if name == "sockclnt_delete" {
            return;
        }
    }
}

fn dribble(stream: &mut UnixStream, answers: &[Vec<u8>]) {
    for byte in answers.iter().flat_map(|answer| framed(answer)) {
        let _ = stream.write_all(&[byte]);
    }
}

fn garble(answers: &mut [Vec<u8>], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 8).unwrap()
    };
    for answer in answers.iter_mut().filter(|answer| !answer.is_empty()) {
        for _ in 0..1 + next() % 4 {
            let at = next() % answer.len();
            answer[at] = next().to_le_bytes()[0];
        }
    }
}

fn refusal(table: &Table, name: &str, request: &[u8], reason: i32) -> Vec<u8> {
    let number = table.number(&format!("{name}_reply"));
    Body::new(14).u16(0, number).put(2, &request[6..10]).put(6, &reason.to_be_bytes()).0
}

impl World {
    fn new(table: Table) -> Self {
        let local = Interface {
            name: "local0".to_owned(),
            kind: Kind::Local,
            tag: String::new(),
            up: false,
            mac: [0; 6],
            mtu: 0,
            addresses: Vec::new(),
            linked: false,
            rewrite: 0,
            queues: Vec::new(),
        };
        Self {
            table,
            pid: std::process::id(),
            clients: 0,
            sockets: BTreeMap::from([(0, "/run/vpp/memif.sock".to_owned())]),
            interfaces: BTreeMap::from([(0, local)]),
            bridges: BTreeMap::new(),
            borrowed: BTreeMap::new(),
            routes: BTreeMap::new(),
            arp_hosts: BTreeSet::new(),
            arp_interfaces: BTreeSet::new(),
            ip6: BTreeSet::new(),
            workers: 0,
            fault: None,
            log: Vec::new(),
            ending: false,
        }
    }

    fn answer(&mut self, name: &str, body: &[u8], client: &mut Option<u32>) -> Vec<Vec<u8>> {
        if name == "sockclnt_create" {
            let index = FIRST_CLIENT + self.clients;
            self.clients += 1;
            *client = Some(index);
            return vec![self.table.welcome(&body[2..6], index)];
        }
        // A request of an unknown client is dropped in silence.
        if Some(u32_at(body, 2)) != *client {
            return Vec::new();
        }
        match name {
            "memif_socket_filename_dump" => self.sockets_details(body),
            "memif_dump" => self.memif_details(body),
            "sw_interface_vhost_user_dump" => self.vhost_details(body),
            "sw_interface_dump" => self.interface_details(body),
            "bridge_domain_dump" => self.bridge_details(body),
            "ip_address_dump" => self.address_details(body),
            "sw_interface_rx_placement_dump" => self.queue_details(body),
            "ip_unnumbered_dump" => self.borrower_details(body),
            "ip_route_lookup" => vec![self.find_route(body)],
            "show_version" => {
                let reply = self.details("show_version_reply", body, 362);
                let reply = reply.text(10, "vpe").text(42, &self.table.version.clone());
                vec![reply.text(74, "2026-11-21T09:38:03").0]
            }
            "control_ping" => {
                let reply = self.details("control_ping_reply", body, 18);
                vec![reply.put(10, &body[2..6]).u32(14, self.pid).0]
            }
            "sockclnt_delete" => vec![self.details("sockclnt_delete_reply", body, 10).u32(6, 1).0],
            _ => self.change(name, body),
        }
    }

    /// A message with number and context.
    fn details(&self, name: &str, request: &[u8], len: usize) -> Body {
        Body::new(len).u16(0, self.table.number(name)).put(2, &request[6..10])
    }

    /// Requests that change something: the reason of a refusal, or the number that was made.
    fn change(&mut self, name: &str, body: &[u8]) -> Vec<Vec<u8>> {
        let done = match name {
            "memif_socket_filename_add_del_v2" => {
                let len = u32_at(body, 15) as usize;
                self.set_socket(body, text_at(body, 19, len)).map(|()| Some(u32_at(body, 11)))
            }
            "memif_socket_filename_add_del" => {
                self.set_socket(body, text_at(body, 15, 108)).map(|()| None)
            }
            "memif_create" | "memif_create_v2" => self.create_memif(body).map(Some),
            "memif_delete" => self.delete(body, true).map(|()| None),
            "create_vhost_user_if" => self.create_vhost(body, 283).map(Some),
            "create_vhost_user_if_v2" => self.create_vhost(body, 284).map(Some),
            "delete_vhost_user_if" => self.delete(body, false).map(|()| None),
            "sw_interface_tag_add_del" => {
                let tag = if body[10] == 1 { text_at(body, 15, 64) } else { String::new() };
                if body[10] == 1 && tag.is_empty() {
                    Err(-7)
                } else {
                    self.with(u32_at(body, 11), |it| it.tag = tag)
                }
            }
            "sw_interface_set_mtu" => self.with(u32_at(body, 10), |it| it.mtu = u32_at(body, 14)),
            "sw_interface_set_flags" => self.set_flags(body).map(|()| None),
            "create_subif" => self.create_sub(body).map(Some),
            "delete_subif" => self.delete_sub(u32_at(body, 10)).map(|()| None),
            "l2_interface_vlan_tag_rewrite" => {
                self.with(u32_at(body, 10), |it| it.rewrite = u32_at(body, 14))
            }
            "sw_interface_set_rx_mode" => self.set_rx_mode(body).map(|()| None),
            "sw_interface_set_rx_placement" => self.set_rx_placement(body).map(|()| None),
            "create_loopback" => Ok(Some(self.create_loopback(body))),
            "delete_loopback" => self.delete_loopback(u32_at(body, 10)).map(|()| None),
            "sw_interface_set_unnumbered" => self.set_borrower(body).map(|()| None),
            "sw_interface_ip6_enable_disable" => self.set_ip6(body).map(|()| None),
            "ip_route_add_del" => {
                self.set_route(body);
                Ok(None)
            }
            "proxy_arp_add_del" => self.set_arp_host(body).map(|()| None),
            "proxy_arp_intfc_enable_disable" => self.set_arp_interface(body).map(|()| None),
            "sw_interface_set_mac_address" => {
                self.with(u32_at(body, 10), |it| it.mac.copy_from_slice(&body[14..20]))
            }
            "sw_interface_add_del_address" => self.set_address(body).map(|()| None),
            "bridge_domain_add_del" => self.set_bridge(body).map(|()| None),
            "sw_interface_set_l2_bridge" => self.set_member(body).map(|()| None),
            // An unknown message is dropped in silence.
            _ => return Vec::new(),
        };
        let (reason, number) = match done {
            Ok(number) => (0, number),
            Err(reason) => (reason, None),
        };
        let with_number = name.ends_with("_v2") || name.contains("create");
        let len = if with_number { 14 } else { 10 };
        let reply = self.details(&format!("{name}_reply"), body, len);
        let mut reply = reply.put(6, &i32::to_be_bytes(reason));
        if let Some(number) = number {
            reply = reply.u32(10, number);
        }
        vec![reply.0]
    }

    fn with(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut Interface),
    ) -> Result<Option<u32>, i32> {
        change(self.interfaces.get_mut(&index).ok_or(-2)?);
        Ok(None)
    }

    /// A sub-interface is up only where its interface is.
    fn set_flags(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, up) = (u32_at(body, 10), u32_at(body, 14) & 1 == 1);
        if let Some(Kind::Sub { parent, .. }) = self.interfaces.get(&index).map(|it| &it.kind)
            && up
            && !self.interfaces[parent].up
        {
            return Err(-1);
        }
        self.interfaces.get_mut(&index).ok_or(-2)?.up = up;
        Ok(())
    }

    fn create_sub(&mut self, body: &[u8]) -> Result<u32, i32> {
        let (parent, id) = (u32_at(body, 10), u32_at(body, 14));
        let name = format!("{}.{id}", self.interfaces.get(&parent).ok_or(-2)?.name);
        if self.interfaces.values().any(|it| it.name == name) {
            return Err(-56);
        }
        let kind = Kind::Sub { parent, id, flags: u32_at(body, 18), vlan: u16_at(body, 22) };
        Ok(self.add_interface(name, kind, String::new(), 0))
    }

    fn delete_sub(&mut self, index: u32) -> Result<(), i32> {
        match self.interfaces.get(&index).ok_or(-2)?.kind {
            Kind::Sub { .. } => {
                self.forget(index);
                Ok(())
            }
            _ => Err(-98),
        }
    }

    /// Removes an interface, and what is a part of it.
    fn forget(&mut self, index: u32) {
        let part = |it: &Interface| matches!(it.kind, Kind::Sub { parent, .. } if parent == index);
        self.interfaces.retain(|number, it| *number != index && !part(it));
        let interfaces = &self.interfaces;
        self.borrowed.retain(|it, from| interfaces.contains_key(it) && *from != index);
        self.ip6.remove(&index);
        for bridge in self.bridges.values_mut() {
            bridge.members.retain(|member| interfaces.contains_key(member));
        }
    }

    /// Without a connection there is nobody who could say that packets are there.
    fn set_rx_mode(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, queue, mode) = (u32_at(body, 10), u32_at(body, 15), u32_at(body, 19));
        let interface = self.interfaces.get_mut(&index).ok_or(-2)?;
        let queue = interface.queues.get_mut(queue as usize).ok_or(-9)?;
        if mode != 1 && !interface.linked {
            return Err(-9);
        }
        queue.mode = mode;
        Ok(())
    }

    fn set_rx_placement(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, queue, worker) = (u32_at(body, 10), u32_at(body, 14), u32_at(body, 18));
        let workers = self.workers;
        let interface = self.interfaces.get_mut(&index).ok_or(-2)?;
        let queue = interface.queues.get_mut(queue as usize).ok_or(-9)?;
        // Without workers the main thread is the first one.
        if worker >= workers.max(1) {
            return Err(-9);
        }
        queue.thread = if workers == 0 { 0 } else { worker + 1 };
        Ok(())
    }

    fn queue_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let index = u32_at(request, 10);
        let queues = self.interfaces.get(&index).into_iter().flat_map(|it| &it.queues);
        let details = |(number, queue): (usize, &Queue)| {
            let body = Body::new(26).u16(0, self.table.number("sw_interface_rx_placement_details"));
            let body = body.put(6, &request[6..10]).u32(10, index);
            body.u32(14, u32::try_from(number).unwrap()).u32(18, queue.thread).u32(22, queue.mode).0
        };
        queues.enumerate().map(details).collect()
    }

    fn create_loopback(&mut self, body: &[u8]) -> u32 {
        let index = self.add_interface("loop0".to_owned(), Kind::Loopback, String::new(), 9000);
        let used = |it: &Interface, name: &str| it.name == name;
        let free = (0..).map(|number| format!("loop{number}"));
        let mut free = free.filter(|name| {
            !self.interfaces.iter().any(|(other, it)| *other != index && used(it, name))
        });
        let name = free.next().unwrap();
        let interface = self.interfaces.get_mut(&index).unwrap();
        interface.name = name;
        interface.linked = true;
        interface.mac.copy_from_slice(&body[10..16]);
        index
    }

    fn delete_loopback(&mut self, index: u32) -> Result<(), i32> {
        match self.interfaces.get(&index).map(|it| &it.kind) {
            Some(Kind::Loopback) => {
                self.forget(index);
                Ok(())
            }
            _ => Err(-2),
        }
    }

    fn set_borrower(&mut self, body: &[u8]) -> Result<(), i32> {
        let (from, index) = (u32_at(body, 10), u32_at(body, 14));
        if !self.interfaces.contains_key(&from) {
            return Err(-10);
        }
        if body[18] == 1 {
            self.borrowed.insert(index, from);
        } else {
            self.borrowed.remove(&index);
        }
        Ok(())
    }

    fn borrower_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let index = u32_at(request, 10);
        let asked = self.borrowed.iter().filter(|(it, _)| index == u32::MAX || **it == index);
        let details = |(index, from): (&u32, &u32)| {
            self.details("ip_unnumbered_details", request, 14).u32(6, *index).u32(10, *from).0
        };
        asked.map(details).collect()
    }

    fn set_ip6(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, on) = (u32_at(body, 10), body[14] == 1);
        if !self.interfaces.contains_key(&index) {
            return Err(-2);
        }
        if on && !self.ip6.insert(index) {
            return Err(-81);
        }
        if !on {
            self.ip6.remove(&index);
        }
        Ok(())
    }

    /// Of one path, by an interface; removing what is absent is fine.
    fn set_route(&mut self, body: &[u8]) {
        let prefix = body[20..38].to_vec();
        if body[10] == 1 {
            self.routes.insert(prefix, u32_at(body, 39));
        } else {
            self.routes.remove(&prefix);
        }
    }

    fn find_route(&self, request: &[u8]) -> Vec<u8> {
        let prefix = &request[15..33];
        let reply = "ip_route_lookup_reply";
        let Some(index) = self.routes.get(prefix) else {
            return self.details(reply, request, 37).put(6, &i32::to_be_bytes(-6)).0;
        };
        let body = self.details(reply, request, 37 + 167).put(18, prefix).u8(36, 1);
        let body = body.u32(37, *index).u8(49, 1).u32(59, u32::from(prefix[0]));
        body.put(63, &prefix[1..17]).0
    }

    fn set_arp_host(&mut self, body: &[u8]) -> Result<(), i32> {
        let range = body[15..23].to_vec();
        if body[10] == 1 {
            self.arp_hosts.insert(range);
            return Ok(());
        }
        if self.arp_hosts.remove(&range) { Ok(()) } else { Err(-6) }
    }

    fn set_arp_interface(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, on) = (u32_at(body, 10), body[14] == 1);
        if !self.interfaces.contains_key(&index) {
            return Err(-2);
        }
        if on {
            self.arp_interfaces.insert(index);
        } else {
            self.arp_interfaces.remove(&index);
        }
        Ok(())
    }

    fn set_address(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, address) = (u32_at(body, 10), &body[16..34]);
        // A prefix is on one interface only.
        let overlaps = |other: &Vec<u8>| {
            let bits = usize::from(address[17].min(other[17]));
            address[0] == other[0] && address[1..=bits / 8] == other[1..=bits / 8]
        };
        let add = body[14] == 1;
        let mut others = self.interfaces.iter().filter(|(other, _)| **other != index);
        if add && others.any(|(_, it)| it.addresses.iter().any(overlaps)) {
            return Err(-105);
        }
        let interface = self.interfaces.get_mut(&index).ok_or(-2)?;
        if add && interface.addresses.iter().any(|it| it == address) {
            return Err(if address[0] == 0 { -105 } else { -127 });
        }
        if add {
            interface.addresses.push(address.to_vec());
        } else {
            interface.addresses.clear();
        }
        Ok(())
    }

    fn set_socket(&mut self, body: &[u8], file: String) -> Result<(), i32> {
        let (add, id) = (body[10] == 1, u32_at(body, 11));
        if id == 0 {
            return Err(-73);
        }
        let used = self.memifs().any(|(_, _, socket, ..)| socket == id);
        match (add, self.sockets.get(&id)) {
            (true, Some(there)) if *there == file => Ok(()),
            (true, Some(_)) => Err(-116),
            (true, None) => {
                self.sockets.insert(id, file);
                Ok(())
            }
            (false, None) => Err(-73),
            (false, Some(_)) if used => Err(-74),
            (false, Some(_)) => {
                self.sockets.remove(&id);
                Ok(())
            }
        }
    }

    /// Number, ID, socket, role of each memif.
    fn memifs(&self) -> impl Iterator<Item = (u32, u32, u32, u32)> {
        self.interfaces.iter().filter_map(|(index, it)| match it.kind {
            Kind::Memif { id, socket, role, .. } => Some((*index, id, socket, role)),
            _ => None,
        })
    }

    fn create_memif(&mut self, body: &[u8]) -> Result<u32, i32> {
        let (role, mode) = (u32_at(body, 10), u32_at(body, 14));
        let (id, socket) = (u32_at(body, 20), u32_at(body, 24));
        let file = self.sockets.get(&socket).ok_or(-73)?.clone();
        let clash = |(_, other, on, as_role)| on == socket && (other == id || as_role != role);
        if self.memifs().any(clash) {
            return Err(-68);
        }
        if role == 0 {
            listen(&file);
        }
        let kind = Kind::Memif { id, socket, role, mode, zero_copy: role == 1 && body[34] == 0 };
        let mtu = if mode == 0 { 9000 } else { 0 };
        Ok(self.add_interface(format!("memif{socket}/{id}"), kind, String::new(), mtu))
    }

    fn create_vhost(&mut self, body: &[u8], tag_at: usize) -> Result<u32, i32> {
        let (server, file) = (body[10] == 1, text_at(body, 11, 256));
        let mut devices = Vec::new();
        for interface in self.interfaces.values() {
            if let Kind::Vhost { device, file: other, .. } = &interface.kind {
                if *other == file {
                    return Err(-79);
                }
                devices.push(*device);
            }
        }
        if server {
            listen(&file);
        }
        let device = (0..).find(|it| !devices.contains(it)).unwrap();
        let kind = Kind::Vhost { device, server, file };
        let name = format!("VirtualEthernet0/0/{device}");
        Ok(self.add_interface(name, kind, text_at(body, tag_at, 64), 9000))
    }

    fn add_interface(&mut self, name: String, kind: Kind, tag: String, mtu: u32) -> u32 {
        let index = (0..).find(|index| !self.interfaces.contains_key(index)).unwrap();
        let mac = [2, 0xfe, 0, 0, 0, u8::try_from(index).unwrap_or(255)];
        let queues = match kind {
            Kind::Vhost { .. } => vec![NEW_QUEUE],
            _ => Vec::new(),
        };
        let interface = Interface {
            name,
            kind,
            tag,
            up: false,
            mac,
            mtu,
            addresses: Vec::new(),
            linked: false,
            rewrite: 0,
            queues,
        };
        self.interfaces.insert(index, interface);
        index
    }

    fn delete(&mut self, body: &[u8], memif: bool) -> Result<(), i32> {
        let index = u32_at(body, 10);
        let kind = self.interfaces.get(&index).map(|it| it.kind.clone());
        match kind {
            Some(Kind::Memif { .. }) if memif => {}
            Some(Kind::Vhost { server, file, .. }) if !memif => {
                if server {
                    let _ = std::fs::remove_file(file);
                }
            }
            _ => return Err(-2),
        }
        self.forget(index);
        Ok(())
    }

    fn set_bridge(&mut self, body: &[u8]) -> Result<(), i32> {
        let (id, add) = (u32_at(body, 10), body[85] == 1);
        match (add, self.bridges.get(&id)) {
            (true, Some(_)) => Err(-119),
            (true, None) => {
                let (flags, tag) = (body[14..21].to_vec(), text_at(body, 21, 64));
                self.bridges.insert(id, Bridge { flags, tag, members: Vec::new() });
                Ok(())
            }
            (false, None) => Err(-6),
            (false, Some(bridge)) if !bridge.members.is_empty() => Err(-120),
            (false, Some(_)) => {
                self.bridges.remove(&id);
                Ok(())
            }
        }
    }

    fn set_member(&mut self, body: &[u8]) -> Result<(), i32> {
        let (index, id, on) = (u32_at(body, 10), u32_at(body, 14), body[23] == 1);
        if !self.interfaces.contains_key(&index) {
            return Err(-2);
        }
        for bridge in self.bridges.values_mut() {
            bridge.members.retain(|member| *member != index);
        }
        if let Some(interface) = self.interfaces.get_mut(&index).filter(|_| !on) {
            interface.rewrite = 0;
        }
        if on {
            // One that is absent is made, and forwards nothing.
            let useless = Bridge { flags: vec![0; 7], tag: String::new(), members: Vec::new() };
            self.bridges.entry(id).or_insert(useless).members.push(index);
        }
        Ok(())
    }

    fn sockets_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let details = |(id, file): (&u32, &String)| {
            let body = self.details("memif_socket_filename_details", request, 118);
            let listed = file.get(..107).unwrap_or(file);
            body.u32(6, *id).text(10, listed).0
        };
        self.sockets.iter().map(details).collect()
    }

    fn memif_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (index, it) in &self.interfaces {
            let Kind::Memif { id, socket, role, mode, zero_copy } = it.kind else { continue };
            let body = self.details("memif_details", request, 107).u32(6, *index);
            let mac = if mode == 0 { it.mac } else { [0; 6] };
            let body = body.put(10, &mac).u32(16, id).u32(20, role).u32(24, mode);
            let body = body.u8(28, u8::from(zero_copy)).u32(29, socket);
            // Sizes are those of a connection, and there is none.
            all.push(body.u32(33, 1).u32(39, u32::from(it.up)).text(43, &it.name).0);
        }
        all
    }

    fn vhost_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (index, it) in &self.interfaces {
            let Kind::Vhost { server, file, .. } = &it.kind else { continue };
            let body = self.details("sw_interface_vhost_user_details", request, 351);
            let body = body.u32(6, *index).text(10, &it.name).u8(86, u8::from(*server));
            // A client that nobody listens to.
            let errno = if *server { 0 } else { 2 };
            all.push(body.text(87, file).u32(347, errno).0);
        }
        all
    }

    fn interface_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let details = |(index, it): (&u32, &Interface)| {
            let (mac, link_mtu, device) = match it.kind {
                Kind::Local => (it.mac, 0, "local"),
                Kind::Memif { mode: 1, .. } => ([0; 6], 0, "memif"),
                Kind::Memif { .. } => (it.mac, 9000, "memif"),
                Kind::Vhost { .. } => (it.mac, 9000, "vhost-user"),
                Kind::Loopback => (it.mac, 9000, "Loopback"),
                // That of a memif: others' have not been seen.
                Kind::Sub { .. } => ([0; 6], 9000, "memif"),
            };
            let mut body = self.details("sw_interface_details", request, 295).u32(10, *index);
            if let Kind::Sub { parent, id, flags, vlan } = it.kind {
                let one_tag = u8::from(flags & 2 != 0);
                body = body.u32(10, parent).u32(24, 1).u32(54, id).u8(58, one_tag).u16(59, vlan);
                body = body.u32(63, flags).u32(67, it.rewrite);
            }
            let flags = u32::from(it.up) | u32::from(it.linked) << 1;
            let body = body.u32(6, *index).put(14, &mac).u32(20, flags);
            let body = body.u16(36, link_mtu).u32(38, it.mtu);
            body.text(103, &it.name).text(167, device).text(231, &it.tag).0
        };
        self.interfaces.iter().map(details).collect()
    }

    fn bridge_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let details = |(id, it): (&u32, &Bridge)| {
            let len = 93 + 9 * it.members.len();
            let count = u32::try_from(it.members.len()).unwrap();
            let body = self.details("bridge_domain_details", request, len).u32(6, *id);
            let body = body.put(10, &it.flags).text(17, &it.tag).put(81, &[0xff; 8]);
            let members = it.members.iter().enumerate();
            let put = |body: Body, (n, member): (usize, &u32)| body.u32(97 + 9 * n, *member);
            members.fold(body.u32(89, count), put).0
        };
        self.bridges.iter().map(details).collect()
    }

    fn address_details(&self, request: &[u8]) -> Vec<Vec<u8>> {
        let (index, family) = (u32_at(request, 10), request[14]);
        let addresses = self.interfaces.get(&index).into_iter().flat_map(|it| &it.addresses);
        let details = |address: &Vec<u8>| {
            let body = self.details("ip_address_details", request, 28);
            body.u32(6, index).put(10, address).0
        };
        addresses.filter(|address| address[0] == family).map(details).collect()
    }
}

/// Makes the socket of an interface that listens; the file stays, as VPP's does.
fn listen(file: &str) {
    let _ = std::fs::remove_file(file);
    if Path::new(file).parent().is_some_and(Path::is_dir) {
        drop(UnixListener::bind(file).unwrap());
    }
}
