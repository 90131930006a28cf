//! Commands to a daemon, and what is none.

use super::lab::{A, B, Lab, name, wanted};
use crate::relay_support::{PATIENCE, eventually};
use ringport::socket::SocketOptions;
use ringport_bench::interop::census::Census;
use ringport_vdpa::daemon::control::{Answer, Command, ControlClient, ControlServer};
use ringport_vdpa::daemon::{Daemon, State, Stop, Wanted};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A daemon that takes commands. The server ends before the daemon.
struct Told {
    _server: ControlServer,
    daemon: Arc<Daemon>,
    quit: Stop,
    lab: Lab,
}

impl Told {
    fn with(devices: &[&str]) -> Self {
        let lab = Lab::with(devices);
        let (daemon, quit) = (Arc::new(lab.start()), Stop::new().unwrap());
        let access = SocketOptions::default();
        let path = lab.path("control.sock");
        let server = ControlServer::start(&path, &access, Arc::clone(&daemon), quit.clone());
        Self { _server: server.unwrap(), daemon, quit, lab }
    }

    fn client(&self) -> ControlClient {
        ControlClient::connect(&self.lab.path("control.sock")).unwrap()
    }

    fn tell(&self, command: &Command) -> Answer {
        self.client().tell(command).unwrap()
    }

    fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.lab.path("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// What the other side says until it closes.
fn rest(mut stream: &UnixStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => String::from_utf8(bytes).unwrap(),
    }
}

#[test]
fn verbs_do_what_they_say() {
    let told = Told::with(&[A]);
    let add = |device: &str| told.tell(&Command::Add(Wanted::new(name(device))));
    let Answer::Devices(devices) = add(A) else { panic!("not added") };
    assert_eq!(devices[0].state, State::Ready, "it was waited for");
    let Answer::Devices(devices) = add(B) else { panic!("not added") };
    assert_eq!(devices[0].state, State::Absent);
    assert!(devices[0].trouble.as_ref().unwrap().contains("no PCI function"));
    let Answer::Refused(why) = add(A) else { panic!("added twice") };
    assert!(why.contains("served already") && why.contains("vdpa-0"), "{why}");
    let Answer::Devices(devices) = told.tell(&Command::List {}) else { panic!("no list") };
    assert_eq!(devices.iter().map(|it| it.device.clone()).collect::<Vec<_>>(), [name(A), name(B)]);
    let stats = told.tell(&Command::Stats { device: Some(name(A)) });
    let Answer::Devices(devices) = stats else { panic!("no statistics") };
    assert_eq!((devices.len(), devices[0].statistics.opened), (1, 1));
    let remove = |device: &str| told.tell(&Command::Remove { device: name(device) });
    assert_eq!(remove(A), Answer::Removed(true));
    assert!(!told.lab.path("vdpa-0").exists(), "it was waited for");
    assert!(matches!(remove(A), Answer::Refused(_)));
    assert!(matches!(told.tell(&Command::Stats { device: Some(name(A)) }), Answer::Refused(_)));
    told.lab.lists(&[]);
}

#[test]
fn quit_is_passed_on() {
    let told = Told::with(&[]);
    assert_eq!(told.tell(&Command::Quit {}), Answer::Quitting);
    let mut fds = [nix::poll::PollFd::new(told.quit.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).unwrap(), 1);
}

#[test]
fn connection_has_an_answer_for_each_command_in_order() {
    let told = Told::with(&[A]);
    told.daemon.replace(wanted(&[A]));
    let mut stream = told.stream();
    let two = b"{\"do\":\"stats\",\"device\":\"82:00.7\"}\n{\"do\":\"list\"}\n";
    stream.write_all(two).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = rest(&stream);
    let answers: Vec<_> = answers.lines().collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[0], "{\"refused\":\"0000:82:00.7 is not served: list shows what is\"}");
    assert!(answers[1].starts_with("{\"devices\":[{\"device\":\"0000:82:00.2\""), "{answers:?}");
}

#[test]
fn garbage_is_answered_and_harms_nobody() {
    let told = Told::with(&[A]);
    told.daemon.replace(wanted(&[A]));
    told.lab.lists(&[(A, "vdpa-0")]);
    let mut client = told.client();
    client.tell(&Command::List {}).unwrap();
    let census = Census::take();
    let long = vec![b'x'; 1 << 20];
    let deep = [b"[".repeat(4000), b"\n".to_vec()].concat();
    for garbage in
        [b"\n".as_slice(), b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\0\n", b"{}\n", &long, &deep]
    {
        let mut stream = told.stream();
        // It may be closed before all of it is written.
        let _ = stream.write_all(garbage);
        let said = rest(&stream);
        assert!(said.starts_with("{\"refused\":") && said.lines().count() == 1, "{said}");
        let Answer::Devices(devices) = client.tell(&Command::List {}).unwrap() else {
            panic!("no list")
        };
        assert_eq!(devices[0].state, State::Ready);
    }
    // Half a command, and nobody there to hear the answer.
    told.stream().write_all(b"{\"do\":\"li").unwrap();
    told.stream().write_all(b"{\"do\":\"list\"}\n").unwrap();
    eventually("all connections are given back", || census.compare().is_ok());
}

#[test]
fn connection_too_many_is_refused_until_one_leaves() {
    let told = Told::with(&[]);
    let mut all: Vec<_> = (0..8).map(|_| told.client()).collect();
    all.iter_mut().for_each(|client| drop(client.tell(&Command::List {}).unwrap()));
    let refused = rest(&told.stream());
    assert!(refused.contains("8 others give commands already"), "{refused}");
    all.pop();
    eventually("there is room again", || {
        matches!(told.client().tell(&Command::List {}), Ok(Answer::Devices(_)))
    });
}

#[test]
fn daemon_ends_while_connections_are_open() {
    let told = Told::with(&[A]);
    told.daemon.replace(wanted(&[A]));
    told.lab.lists(&[(A, "vdpa-0")]);
    let (idle, mut half) = (told.stream(), told.stream());
    half.write_all(b"{\"do\"").unwrap();
    let Told { _server: server, daemon, quit: _, lab } = told;
    drop(server);
    assert_eq!((rest(&idle).as_str(), rest(&half).as_str()), ("", ""));
    let daemon = Arc::into_inner(daemon).expect("no connection has it any more");
    drop(daemon);
    lab.lists(&[]);
}
