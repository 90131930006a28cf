//! TLS towards Debian's ovsdb-server: who is trusted, who is not, and what is said about it.

#![cfg(feature = "ovs-tls")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use ringport_bench::peers::{find_program, skip};
use serde_json::json;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::call::{Answer, Runtime};
use support::ovsdb::Ovsdb;
use support::vswitch::FakeVswitch;
use support::{DEADLINE, until};
use tempfile::TempDir;

/// An authority and its certificates, in files.
struct Pki {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `NAME-key.pem` and `NAME.pem`, of somebody who is no host.
    fn issue(&self, name: &str, last_year: i32) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Or OpenSSL would take it for its own issuer.
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }

    /// A database whose certificate is valid until the end of a year; it trusts what is in `ca`.
    fn database(&self, test: &str, last_year: i32, ca: &Path) -> Option<Ovsdb> {
        self.issue("server", last_year);
        self.issue("client", 2100);
        let ovsdb = start(test, &self.path("server-key.pem"), &self.path("server.pem"), ca)?;
        FakeVswitch::start(&ovsdb.address(), ovsdb.path());
        Some(ovsdb)
    }

    /// A network on such a database.
    fn network(&self, ovsdb: &Ovsdb) -> Runtime {
        let address = format!("ssl:127.0.0.1:{}", ovsdb.tcp_port());
        let mut runtime = Runtime::new(ovsdb.path(), &address, "1.1.0");
        for (key, file) in
            [("privateKey", "client-key.pem"), ("certificate", "client.pem"), ("caCert", "ca.pem")]
        {
            runtime.conf["ovs"][key] = json!(self.path(file));
        }
        runtime
    }
}

fn start(test: &str, key: &Path, certificate: &Path, ca: &Path) -> Option<Ovsdb> {
    let ovsdb = Ovsdb::start_with(
        test,
        &[
            "--remote=pssl:0:127.0.0.1".to_owned(),
            format!("--private-key={}", key.display()),
            format!("--certificate={}", certificate.display()),
            format!("--ca-cert={}", ca.display()),
        ],
    )?;
    let log = ovsdb.path().join("ovsdb.log");
    let listens = || std::fs::read_to_string(&log).unwrap().contains("listening on port");
    until("it listens for TLS", listens);
    Some(ovsdb)
}

/// The error, in time, with all of these words; nothing is left, and nobody sees the key.
#[track_caller]
fn assert_refused(ovsdb: &Ovsdb, runtime: &Runtime, code: u64, words: &[&str]) {
    let begin = Instant::now();
    let answer = runtime.call("ADD");
    assert!(begin.elapsed() < DEADLINE, "{answer:?}");
    assert_told(&answer, code, words);
    assert_eq!(ovsdb.names("Port"), Vec::<String>::new());
}

#[track_caller]
fn assert_told(answer: &Answer, code: u64, words: &[&str]) {
    assert_eq!(answer.code(), code, "{answer:?}");
    let details = answer.json()["details"].as_str().unwrap().to_owned();
    assert!(words.iter().all(|word| details.contains(word)), "{answer:?}");
    assert!(!answer.stderr.contains("PRIVATE KEY"), "{answer:?}");
}

#[test]
fn port_comes_and_goes_and_the_record_names_files_only() {
    let test = "port_comes_and_goes_and_the_record_names_files_only";
    let pki = Pki::new();
    let Some(ovsdb) = pki.database(test, 2100, &pki.path("ca.pem")) else { return };
    let mut runtime = pki.network(&ovsdb);
    runtime.conf["logLevel"] = json!("verbose");
    runtime.call("STATUS").ok();
    let answer = runtime.call("ADD").ok();
    runtime.check(&answer.json()).ok();
    assert_eq!(ovsdb.names("Port").len(), 2);
    let record = ovsdb.path().join("data/records/net/0123456789abcdef:net1.json");
    let said = std::fs::read_to_string(record).unwrap() + &answer.stdout + &answer.stderr;
    let key = std::fs::read_to_string(pki.path("client-key.pem")).unwrap();
    assert!(said.contains("client-key.pem"));
    assert!(!said.contains(key.lines().nth(1).unwrap()), "{said}");
    // The record suffices: the configuration has another address by now.
    runtime.conf["ovs"] = json!({"db": "unix:/nonexistent/db.sock"});
    runtime.call("DEL").ok();
    assert_eq!(ovsdb.names("Port"), Vec::<String>::new());
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn certificates_that_ovs_pki_makes_are_taken() {
    let test = "certificates_that_ovs_pki_makes_are_taken";
    let Some(program) = find_program("ovs-pki") else {
        skip(test, "ovs-pki is not installed");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let dir = format!("--dir={}", at("pki").display());
    let log = format!("--log={}", at("log").display());
    for arguments in
        [&["init"][..], &["req+sign", "db", "switch"], &["req+sign", "plugin", "switch"]]
    {
        let mut command = Command::new(&program);
        command.current_dir(directory.path()).args([&dir, &log]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let ca = at("pki/switchca/cacert.pem");
    let Some(ovsdb) = start(test, &at("db-privkey.pem"), &at("db-cert.pem"), &ca) else { return };
    FakeVswitch::start(&ovsdb.address(), ovsdb.path());
    let address = format!("ssl:localhost:{}", ovsdb.tcp_port());
    let mut runtime = Runtime::new(ovsdb.path(), &address, "1.1.0");
    runtime.conf["ovs"]["privateKey"] = json!(at("plugin-privkey.pem"));
    runtime.conf["ovs"]["certificate"] = json!(at("plugin-cert.pem"));
    runtime.conf["ovs"]["caCert"] = json!(ca);
    runtime.call("ADD").ok();
    runtime.call("DEL").ok();
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn database_of_another_authority_is_refused_by_name_of_the_file() {
    let test = "database_of_another_authority";
    let (pki, other) = (Pki::new(), Pki::new());
    let Some(ovsdb) = pki.database(test, 2100, &pki.path("ca.pem")) else { return };
    let mut runtime = pki.network(&ovsdb);
    let ca = other.path("ca.pem");
    runtime.conf["ovs"]["caCert"] = json!(ca);
    let words = ["its certificate is none of", ca.to_str().unwrap()];
    assert_refused(&ovsdb, &runtime, 100, &words);
}

#[test]
fn database_whose_certificate_has_expired_is_refused() {
    let pki = Pki::new();
    let ca = pki.path("ca.pem");
    let Some(ovsdb) = pki.database("database_whose_certificate_has_expired", 2001, &ca) else {
        return;
    };
    let words = ["its certificate is none of", "expired"];
    assert_refused(&ovsdb, &pki.network(&ovsdb), 100, &words);
}

#[test]
fn certificate_that_the_database_does_not_take_is_named() {
    let test = "certificate_that_the_database_does_not_take";
    let (pki, other) = (Pki::new(), Pki::new());
    let Some(ovsdb) = pki.database(test, 2100, &other.path("ca.pem")) else { return };
    let runtime = pki.network(&ovsdb);
    let certificate = pki.path("client.pem");
    let words = ["it does not take", certificate.to_str().unwrap()];
    assert_refused(&ovsdb, &runtime, 100, &words);
}

#[test]
fn certificate_of_ours_that_has_expired_is_named() {
    let test = "certificate_of_ours_that_has_expired";
    let pki = Pki::new();
    let Some(ovsdb) = pki.database(test, 2100, &pki.path("ca.pem")) else { return };
    pki.issue("client", 2001);
    let certificate = pki.path("client.pem");
    let words = ["it does not take", certificate.to_str().unwrap(), "Expired"];
    assert_refused(&ovsdb, &pki.network(&ovsdb), 100, &words);
}

#[test]
fn file_that_is_of_no_use_is_code_7_with_its_key_and_path() {
    let test = "file_that_is_of_no_use";
    let pki = Pki::new();
    let Some(ovsdb) = pki.database(test, 2100, &pki.path("ca.pem")) else { return };
    pki.issue("other", 2100);
    std::fs::write(pki.path("no.pem"), "no PEM").unwrap();
    for (key, file, reason) in [
        ("privateKey", "absent.pem", "No such file"),
        ("privateKey", "no.pem", "it holds no private key"),
        ("privateKey", "other-key.pem", "it does not fit"),
        ("certificate", "no.pem", "it holds no certificates"),
        ("caCert", ".", "it is no file"),
    ] {
        let mut runtime = pki.network(&ovsdb);
        let path = pki.path(file);
        runtime.conf["ovs"][key] = json!(path);
        let named = format!("ovs.{key} = {}", path.display());
        assert_refused(&ovsdb, &runtime, 7, &[&named, reason]);
        // Before anything was noted down.
        assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
    }
}

#[test]
fn files_that_have_moved_since_are_looked_for_where_the_configuration_says() {
    let test = "files_that_have_moved_since";
    let pki = Pki::new();
    let Some(ovsdb) = pki.database(test, 2100, &pki.path("ca.pem")) else { return };
    let mut runtime = pki.network(&ovsdb);
    runtime.call("ADD").ok();
    std::fs::rename(pki.path("client.pem"), pki.path("moved.pem")).unwrap();
    assert_told(&runtime.call("DEL"), 7, &["ovs.certificate = ", "client.pem"]);
    runtime.conf["ovs"]["certificate"] = json!(pki.path("moved.pem"));
    runtime.call("DEL").ok();
    assert_eq!(ovsdb.names("Port"), Vec::<String>::new());
    assert_eq!(runtime.leftovers(), Vec::<PathBuf>::new());
}

/// Nobody answers at all; or byte by byte, so that there is always something to be read.
#[test]
fn server_that_keeps_us_waiting_is_code_11_in_time() {
    let pki = Pki::new();
    pki.issue("client", 2100);
    for drips in [false, true] {
        // What the first one leaves would be taken away first.
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("ssl:{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                // The header of a record of 16384 bytes.
                let record = [22, 3, 3, 0x40, 0].into_iter().chain(std::iter::repeat(0));
                for byte in record.take_while(|_| drips) {
                    if client.write_all(&[byte]).is_err() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                if !drips {
                    std::thread::sleep(DEADLINE);
                }
            }
        });
        let mut runtime = Runtime::new(directory.path(), &address, "1.1.0");
        runtime.conf["ovs"]["timeoutMs"] = json!(300);
        for (key, file) in
            [("privateKey", "client-key.pem"), ("certificate", "client.pem"), ("caCert", "ca.pem")]
        {
            runtime.conf["ovs"][key] = json!(pki.path(file));
        }
        let begin = Instant::now();
        assert_told(&runtime.call("ADD"), 11, &["did not answer within 300ms"]);
        assert!(begin.elapsed() < DEADLINE);
    }
}
