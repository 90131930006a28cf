//! The programs `ringport-vdpad` and `ringport-vdpactl`, with devices that are not there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod support;

use nix::sys::signal::Signal;
use ringport_bench::peers::CommandGuard;
use ringport_vdpa::lookup::Client;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use support::{DEADLINE, wait_until};
use tempfile::TempDir;

const DAEMON: &str = env!("CARGO_BIN_EXE_ringport-vdpad");
const CONTROL: &str = env!("CARGO_BIN_EXE_ringport-vdpactl");

/// A directory for all that a daemon has.
struct Lab(TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn daemon(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DAEMON);
        command.arg("--control").arg(self.path("control.sock"));
        command.arg("--socket-dir").arg(self.path("vhost")).args(arguments);
        command
    }

    /// Starts a daemon, and waits until it takes commands.
    fn start(&self, arguments: &[&str]) -> CommandGuard {
        let mut command = self.daemon(arguments);
        let mut daemon = CommandGuard::spawn("ringport-vdpad", &mut command).unwrap();
        daemon.wait_for_line("ready", DEADLINE).unwrap();
        daemon
    }

    /// What a daemon says that does not start.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.daemon(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn tell(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(CONTROL);
        command.arg("--control").arg(self.path("control.sock")).args(arguments);
        command.output().unwrap()
    }

    /// What is printed, after it ended with this code.
    #[track_caller]
    fn told(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.tell(arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let text = if code == 3 || code == 1 { output.stderr } else { output.stdout };
        String::from_utf8(text).unwrap()
    }

    /// The devices and their sockets' names, as they are listed.
    fn devices(&self) -> Vec<(String, String)> {
        let text = self.told(0, &["list"]);
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        text.lines().map(words).map(|it| (it[0].clone(), name(&it[3]))).collect()
    }
}

fn pairs(devices: &[(&str, &str)]) -> Vec<(String, String)> {
    devices.iter().map(|(device, name)| ((*device).to_owned(), (*name).to_owned())).collect()
}

#[test]
fn commands_are_obeyed_and_say_how_they_went() {
    let lab = Lab::new();
    let mut daemon = lab.start(&[]);
    assert_eq!(lab.told(0, &["list"]), "");
    let added = lab.told(4, &["create", &lab.text("own.sock"), "ff:1f.7"]);
    let expected =
        format!("0000:ff:1f.7 absent - {} there is no PCI function", lab.text("own.sock"));
    assert!(added.starts_with(&expected), "{added}");
    assert!(lab.told(3, &["add", "ff:1f.7"]).contains("is served already"));
    assert!(lab.told(3, &["remove", "ff:1f.6"]).contains("0000:ff:1f.6 is not served"));
    let counts = lab.told(0, &["stats", "ff:1f.7"]);
    assert!(counts.starts_with("0000:ff:1f.7 opened=0 given_up=0 links=0"), "{counts}");
    let json = lab.told(0, &["--json", "list"]);
    assert!(json.starts_with("{\"devices\":[{\"device\":\"0000:ff:1f.7\",\"socket\":"), "{json}");
    assert_eq!(json.lines().count(), 1);
    assert_eq!(lab.told(0, &["remove", "ff:1f.7", "--json"]), "{\"removed\":true}\n");
    lab.told(2, &["add", "vdpa0"]);
    lab.told(2, &["format"]);
    lab.told(0, &["quit"]);
    assert_eq!(daemon.wait_end(DEADLINE).unwrap().unwrap().code(), Some(0));
    let text = lab.told(1, &["list"]);
    assert!(text.starts_with("error: no daemon takes commands at "), "{text}");
}

#[test]
fn list_is_read_again_and_numbers_outlive_a_kill() {
    let lab = Lab::new();
    let list = lab.text("pciList.dat");
    let arguments =
        ["--pci-list", &list, "--socket-list", &lab.text("socketList.dat"), "--keep-listed"];
    let mut daemon = lab.start(&arguments);
    assert_eq!(lab.devices(), []);
    fs::write(&list, "ff:1f.1\nff:1f.0\n").unwrap();
    let both = pairs(&[("0000:ff:1f.0", "vdpa-1"), ("0000:ff:1f.1", "vdpa-0")]);
    wait_until("the list is read", || lab.devices() == both);
    fs::write(&list, "ff:1f.0\nff:1f\n").unwrap();
    let line = daemon.wait_for_line("pciList.dat: line 2: ", DEADLINE).unwrap();
    assert!(line.ends_with("the devices before stay"), "{line}");
    assert_eq!(lab.devices(), both);
    daemon.signal(Signal::SIGKILL).unwrap();
    daemon.wait_end(DEADLINE).unwrap().unwrap();
    assert!(lab.path("control.sock").exists(), "it was left");
    fs::write(&list, "ff:1f.0\n").unwrap();
    let _daemon = lab.start(&arguments);
    let one = pairs(&[("0000:ff:1f.0", "vdpa-1")]);
    wait_until("it has its number", || lab.devices() == one);
    let written = || fs::read_to_string(lab.path("socketList.dat")).unwrap();
    wait_until("the list is written", || written().contains("vdpa-1"));
    wait_until("and has no other", || !written().contains("vdpa-0"));
}

#[test]
fn look_up_answers_from_what_is_served() {
    let lab = Lab::new();
    let socket = lab.path("vdpa.sock");
    let arguments = ["--lookup", socket.to_str().unwrap(), "--keep-listed"];
    let mut daemon = lab.start(&arguments);
    let mut client = Client::connect(&socket).unwrap();
    assert_eq!(client.socket_path("ff:1f.7").unwrap(), None);
    lab.told(4, &["add", "ff:1f.7"]);
    let path = lab.text("vhost/vdpa-0");
    wait_until("it is known", || client.socket_path("ff:1f.7").unwrap().as_ref() == Some(&path));
    daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(daemon.wait_end(DEADLINE).unwrap().unwrap().code(), Some(0));
    assert!(!socket.exists() && !lab.path("control.sock").exists());
}

#[test]
fn metrics_are_answered_over_http_while_others_say_nothing() {
    let lab = Lab::new();
    let mut daemon = lab.daemon(&["--verbose", "--metrics", "127.0.0.1:0"]);
    let mut daemon = CommandGuard::spawn("ringport-vdpad", &mut daemon).unwrap();
    let line = daemon.wait_for_line("metrics address=", DEADLINE).unwrap();
    let address = line.rsplit("address=").next().unwrap().trim().to_owned();
    daemon.wait_for_line("ready", DEADLINE).unwrap();
    lab.told(4, &["add", "ff:1f.7"]);
    // As many as may be there at a time, but one.
    let silent: Vec<_> = (0..7).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let ask = |question: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "{question} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let state = r#"ringport_vdpa_device_state{device="0000:ff:1f.7",state="absent"} 1"#;
    assert!(answer.lines().any(|line| line == state), "{answer}");
    assert_eq!(answer.lines().last(), Some("# EOF"));
    assert!(ask("POST /metrics").starts_with("HTTP/1.1 405"));
    assert!(ask("GET /").starts_with("HTTP/1.1 404"));
    // They are closed after their time.
    for mut stream in silent {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(stream.read(&mut [0; 512]).unwrap_or_default(), 0);
    }
    let taken = Lab::new().fails(1, &["--metrics", &address]);
    assert!(taken.contains(&address) && taken.contains("is the port taken"), "{taken}");
}

#[test]
fn configuration_is_read_again_at_a_hangup_and_options_have_precedence() {
    let lab = Lab::new();
    let file = lab.path("vdpad.toml");
    let device = |device: &str| format!("[[device]]\ndevice = \"{device}\"\n");
    let head = "socket-dir = \"/absent/dir\"\nmode = \"660\"\n";
    fs::write(&file, format!("{head}{}", device("ff:1f.0"))).unwrap();
    let mut daemon = lab.start(&["--config", file.to_str().unwrap()]);
    wait_until("one", || lab.devices() == pairs(&[("0000:ff:1f.0", "vdpa-0")]));
    fs::write(&file, format!("{head}{}", device("ff:1f.1"))).unwrap();
    wait_until("another", || lab.devices() == pairs(&[("0000:ff:1f.1", "vdpa-1")]));
    lab.told(0, &["remove", "ff:1f.1"]);
    daemon.signal(Signal::SIGHUP).unwrap();
    daemon.wait_for_line("files are read again", DEADLINE).unwrap();
    daemon.wait_for_line("devices to serve", DEADLINE).unwrap();
    assert_eq!(lab.devices(), [], "what was removed stays so");
    daemon.signal(Signal::SIGINT).unwrap();
    assert_eq!(daemon.wait_end(DEADLINE).unwrap().unwrap().code(), Some(0));
}

#[test]
fn what_makes_no_sense_ends_the_daemon_with_a_reason() {
    let lab = Lab::new();
    let file = lab.text("vdpad.toml");
    fs::write(&file, "discover = true\nsocketdir = \"/a\"\n").unwrap();
    let text = lab.fails(1, &["--config", &file]);
    assert!(text.contains("vdpad.toml: line 2: unknown field `socketdir`"), "{text}");
    fs::write(&file, "owner = \"no-such-user-anywhere\"\n").unwrap();
    let text = lab.fails(1, &["--config", &file]);
    assert!(text.contains("the configuration's owner: there is no such user"), "{text}");
    let text = lab.fails(1, &["--pci-list", "/absent/pciList.dat"]);
    assert!(text.contains("/absent/pciList.dat: its directory cannot be watched"), "{text}");
    fs::write(&file, "socket-dir = 1\n").unwrap();
    assert!(lab.fails(1, &["--config", &file]).contains("line 1: "));
    fs::create_dir_all(lab.path("vhost")).unwrap();
    fs::write(lab.path("vhost/socketNumbers.json"), "[]").unwrap();
    let text = lab.fails(1, &[]);
    assert!(text.contains("socketNumbers.json: ") && text.contains("numbered anew"), "{text}");
    assert!(lab.fails(2, &["--mode", "999"]).contains("octal"));
    assert!(!lab.path("control.sock").exists());
}

#[test]
fn second_daemon_at_the_same_socket_does_not_start_and_others_may_not_command() {
    let lab = Lab::new();
    let _daemon = lab.start(&[]);
    let text = lab.fails(1, &[]);
    assert!(text.contains("another server listens there"), "{text}");
    let mode = fs::metadata(lab.path("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
