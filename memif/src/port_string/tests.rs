use super::*;
use crate::config::Reconnect;
use crate::control::{CacheLine, Mode};
use crate::queue::{BufferSpacing, RxMode};
use ringport::shm::{Backing, MemoryPolicy};
use std::time::Duration;

#[track_caller]
fn parse(text: &str) -> PortConfig {
    text.parse().unwrap()
}

#[track_caller]
fn client(text: &str) -> ClientConfig {
    match parse(text).role {
        RoleConfig::Client(client) => client,
        RoleConfig::Server(..) => panic!("not a client: {text}"),
    }
}

#[track_caller]
fn check_error(text: &str, message: &str) {
    assert_eq!(text.parse::<PortConfig>().unwrap_err().to_string(), message);
}

const FULL_CLIENT: &str = "memif:@x,role=client,id=7,mode=ip,name=app,if-name=m0,c2s=2,s2c=3,\
    log2-ring-size=11,cache-line=128,buffer-size=4096,headroom=64,spacing=packed,\
    memory=hugepages,rx-mode=polling,chain-max=8,policy=sealed,timeout=250ms,reconnect=50ms-2s";
const FULL_SERVER: &str = "memif:/run/x.sock,role=server,id=4294967295,mode=ip,name=app,\
    if-name=m0,c2s=2,s2c=3,log2-ring-size=11,cache-line=64,rx-mode=interrupt,chain-max=8,\
    policy=sealed,timeout=1500ms,pending-max=3,socket-mode=660,socket-uid=0,socket-gid=107";

#[test]
fn client_takes_every_key() {
    let config = client(&format!("{FULL_CLIENT},secret=s3cret"));
    assert_eq!((config.id, config.mode), (7, Mode::Ip));
    assert_eq!((config.c2s_rings, config.s2c_rings, config.log2_ring_size), (2, 3, 11));
    assert_eq!(config.memory.cache_line, CacheLine::B128);
    assert_eq!((config.memory.buffer_size, config.memory.headroom), (4096, 64));
    assert_eq!(config.memory.backing, Backing::HugePages2M);
    assert_eq!(config.memory.spacing, BufferSpacing::Packed);
    assert_eq!(config.data.policy, MemoryPolicy::Sealed);
    assert_eq!((config.data.rx_mode, config.data.chain_max), (RxMode::Polling, 8));
    assert_eq!(config.handshake_timeout, Duration::from_millis(250));
    assert_eq!(config.secret.reveal(), b"s3cret");
    let (initial, max) = (Duration::from_millis(50), Duration::from_secs(2));
    assert_eq!(config.reconnect, Reconnect::Backoff { initial, max });
}

#[test]
fn server_takes_every_key() {
    let RoleConfig::Server(listener, interface) = parse(FULL_SERVER).role else {
        panic!("not a server");
    };
    assert_eq!((interface.id, interface.mode), (u32::MAX, Mode::Ip));
    assert_eq!((interface.limits.c2s_rings, interface.limits.s2c_rings), (2, 3));
    assert_eq!(interface.limits.cache_line, Some(CacheLine::B64));
    assert_eq!(interface.data.policy, MemoryPolicy::Sealed);
    assert_eq!(listener.socket.mode, Some(0o660));
    assert_eq!((listener.socket.uid, listener.socket.gid), (Some(0), Some(107)));
    assert_eq!(listener.pending_max, 3);
}

#[test]
fn short_forms_and_defaults() {
    let config = client("memif:/x,role=client,rings=4,s2c=2,ring-size=256");
    assert_eq!((config.c2s_rings, config.s2c_rings, config.log2_ring_size), (4, 2, 8));
    assert_eq!((config.id, config.mode), (0, Mode::Ethernet));
    assert_eq!(config.if_name, Name::new("memif0"));
}

#[test]
fn display_gives_the_string_back() {
    for text in [FULL_CLIENT, FULL_SERVER, "memif:@x,role=client,id=0", "memif:/x,role=server,id=1"]
    {
        assert_eq!(parse(text).to_string(), text);
    }
    assert_eq!(
        parse("memif:/x,role=client,rings=1,reconnect=never").to_string(),
        "memif:/x,role=client,id=0,reconnect=never"
    );
}

#[test]
fn display_hides_the_secret() {
    let config = parse("memif:/x,role=client,secret=s3cret");
    assert!(!config.to_string().contains("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert_eq!(config.to_port_string(), "memif:/x,role=client,id=0,secret=s3cret");
}

#[test]
fn name_that_would_come_back_as_another_is_refused() {
    for name in ["a\0b", "\0", "\u{1b}[2J", "a\u{85}", &"n".repeat(32)] {
        for key in ["name", "if-name"] {
            check_error(
                &format!("memif:/x,role=client,{key}={name}"),
                &format!("{key}={name}: expected 1 to 31 bytes of text"),
            );
        }
    }
}

#[test]
fn errors_name_key_value_and_limit() {
    check_error("vhost:/x", "port string \"vhost:/x\" does not start with \"memif:\"");
    check_error("memif:/x", "key role is missing: expected server or client");
    check_error("memif:/x,role=master", "role=master: expected server or client");
    check_error("memif:/x,role=client,rings=256", "rings=256 is out of range 1 to 255");
    check_error("memif:/x,role=client,ring-size=1000", "ring-size=1000: expected a power of two");
    check_error(
        "memif:/x,role=client,ring-size=32768",
        "ring-size=32768 is out of range 2 to 16384",
    );
    check_error(
        "memif:/x,role=client,log2-ring-size=15",
        "log2-ring-size=15 is out of range 1 to 14",
    );
    check_error("memif:/x,role=client,id=-1", "id=-1: expected a number");
    check_error(
        "memif:/x,role=client,id=4294967296",
        "id=4294967296 is out of range 0 to 4294967295",
    );
    check_error("memif:/x,role=client,speed=9", "unknown key \"speed\"");
    check_error("memif:/x,role=client,fast", "\"fast\" is not key=value");
    check_error("memif:/x,role=client,id=1,id=2", "key id given twice");
    check_error("memif:/x,role=client,ring-size=8,log2-ring-size=3", "key ring-size given twice");
    check_error("memif:/x,role=server,headroom=1", "key headroom means nothing with role=server");
    check_error("memif:/x,role=client,timeout=5", "timeout=5: expected a time such as 500ms or 5s");
    check_error(
        "memif:/x,role=client,timeout=0s",
        "timeout=0s: expected a time such as 500ms or 5s",
    );
    check_error(
        "memif:/x,role=client,secret=123456789012345678901234",
        "secret of 24 bytes, at most 23 fit",
    );
    check_error(
        "memif:/x,role=server,socket-mode=8",
        "socket-mode=8: expected permissions, from 0 to 777 in octal",
    );
    check_error("memif:,role=server", "socket address \"\" is empty or contains a NUL byte");
}
