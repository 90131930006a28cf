//! The tools on vDPA devices, in machines (verified with kernel 6.12.117 and QEMU 11.1.3).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../../vdpa/tests/lab/mod.rs"]
mod lab;
mod support;

use lab::{Tier, in_vm};
use nix::sys::signal::Signal;
use support::*;

const MAC: &str = "02:00:00:00:00:55";

#[test]
fn frames_to_a_simulated_device_come_back_whole_and_removal_of_it_ends_the_command() {
    let test = "frames_to_a_simulated_device_come_back_whole_and_removal_of_it_ends_the_command";
    in_vm(test, Tier::T2, |inside| {
        let port = format!("vdpa:{}", inside.simulator("vdpa0", MAC).display());
        let sent = ["--count", "500", "--size", "60,590,1514", "--window", "32", "--to-mac", MAC];
        let output = Run::start(&[&["pktgen", "bounce", &port], &sent[..]].concat()).end();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
        assert!(stdout.contains("500"), "{stdout}");

        // Of what is sent to one address the device returns what is for its own.
        ping(&port, "10.0.0.2", &[]);

        let once = format!("{port},reconnect=never");
        let mut run = Run::start(&["inspect", &once, "--every", "60"]);
        run.wait_stderr("port: up, device /dev/vhost-vdpa-0, 1 ring in and 1 ring out");
        inside.sh("vdpa dev del vdpa0");
        let output = run.end();
        assert_eq!(output.status.code(), Some(1));
        assert!(error_line(&output).contains("has no link and is not to reconnect"));
    });
}

#[test]
fn machine_answers_pings_through_a_virtual_function_which_forward_joins_to_a_memif() {
    let test = "machine_answers_pings_through_a_virtual_function_which_forward_joins_to_a_memif";
    in_vm(test, Tier::T3, |inside| {
        let function = inside.virtual_functions(1).remove(0);
        let interface = inside.interfaces(&inside.physical_function()).remove(0);
        inside
            .sh(&format!("ip address add 10.0.0.1/24 dev {interface}; ip link set {interface} up"));
        inside.vfio(&function);
        let port = format!("vdpa:{function}");
        ping(&port, "10.0.0.1", &[]);

        let place = Place::new();
        let [listening, connecting] =
            ["memif:SOCKET,role=server", "memif:SOCKET,role=client"].map(|port| place.port(port));
        let mut forward = Run::start(&["forward", &listening, &port]);
        place.wait_socket();
        // What is sent to other addresses the function may not take.
        let mac = std::fs::read_to_string(format!("/sys/class/net/{interface}/address")).unwrap();
        let mac = format!("{}01", &mac.trim()[..15]);
        ping(&connecting, "10.0.0.1", &["--mac", &mac]);
        forward.signal(Signal::SIGINT);
        assert_eq!(forward.end().status.code(), Some(0));
    });
}

/// Asks somebody three times, as 10.0.0.2.
#[track_caller]
fn ping(port: &str, target: &str, more: &[&str]) {
    let options = ["ping", port, target, "--address", "10.0.0.2/24", "--count", "3"];
    let times = ["--interval", "10ms", "--timeout", "20s"];
    let output = Run::start(&[&options[..], &times, more].concat()).end();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert!(stdout.contains("3 sent, 3 received, 0.0 % lost"), "{stdout}");
}
