//! Seeds of the tools' targets.

use super::Seed;
use crate::tools::TOKENS;

/// Flags of the station: with an Ethernet header, sums made right.
const MENDED: u8 = 3;
const MENDED_IP: u8 = 2;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_THEIRS: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// The group that asks for our address.
const GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1];

fn frame(to: [u8; 6], kind: [u8; 2], behind: &[u8]) -> Vec<u8> {
    [&to[..], &THEIRS, &kind, behind].concat()
}

fn arp(operation: u8) -> Vec<u8> {
    let addresses = [&THEIRS[..], &[10, 0, 0, 2], &[0; 6], &[10, 0, 0, 1]].concat();
    let packet = [&[0, 1, 8, 0, 6, 4, 0, operation][..], &addresses].concat();
    frame([0xff; 6], [8, 6], &packet)
}

fn ipv4(protocol: u8, fragment: u8, behind: &[u8]) -> Vec<u8> {
    let len = u8::try_from(20 + behind.len()).unwrap();
    let header = [0x45, 0, 0, len, 0, 0, fragment, 0, 64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
    [&header[..], behind].concat()
}

fn ipv6(next: u8, hops: u8, ends: [[u8; 16]; 2], behind: &[u8]) -> Vec<u8> {
    let len = u8::try_from(behind.len()).unwrap();
    [&[0x60, 0, 0, 0, 0, len, next, hops][..], &ends.concat(), behind].concat()
}

/// Type, code, checksum, identifier, number, data.
fn echo(kind: u8) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0x12, 0x34, 0, 9][..], b"are you there?"].concat()
}

/// A neighbour solicitation for our address, with the sender's, or an advertisement.
fn neighbour(kind: u8, target: [u8; 16]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1], &THEIRS].concat()
}

pub(super) fn station() -> Vec<Seed> {
    let with = |flags: u8, packet: Vec<u8>| [vec![flags], packet].concat();
    let v4 = |packet: Vec<u8>| with(MENDED, frame(OURS, [8, 0], &packet));
    let v6 = |packet: Vec<u8>| with(MENDED, frame(OURS, [0x86, 0xdd], &packet));
    let ends = [V6_THEIRS, V6];
    vec![
        ("arp-request", with(MENDED, arp(1))),
        ("arp-reply", with(MENDED, arp(2))),
        ("echo", v4(ipv4(1, 0x40, &echo(8)))),
        ("echo-reply", v4(ipv4(1, 0x40, &echo(0)))),
        ("echo-fragment", v4(ipv4(1, 0x20, &echo(8)))),
        ("echo-code-1", v4(ipv4(1, 0, &[8, 1, 0, 0, 0, 0, 0, 0]))),
        ("echo-wrong-sum", with(1, frame(OURS, [8, 0], &ipv4(1, 0, &echo(8))))),
        ("echo-padded", v4([ipv4(1, 0, &echo(8)), vec![0; 9]].concat())),
        ("echo6", v6(ipv6(58, 64, ends, &echo(128)))),
        ("echo6-reply", v6(ipv6(58, 64, ends, &echo(129)))),
        ("echo6-to-all", v6(ipv6(58, 64, [V6_THEIRS, GROUP], &echo(128)))),
        ("solicitation", v6(ipv6(58, 255, [V6_THEIRS, GROUP], &neighbour(135, V6)))),
        ("solicitation-to-us", v6(ipv6(58, 255, ends, &neighbour(135, V6)))),
        ("solicitation-passed-on", v6(ipv6(58, 254, ends, &neighbour(135, V6)))),
        ("probe", v6(ipv6(58, 255, [[0; 16], GROUP], &neighbour(135, V6)[..24]))),
        ("advertisement", v6(ipv6(58, 255, ends, &neighbour(136, V6_THEIRS)))),
        ("raw-echo", with(MENDED_IP, ipv4(1, 0, &echo(8)))),
        ("raw-echo6", with(MENDED_IP, ipv6(58, 64, ends, &echo(128)))),
        ("raw-solicitation", with(MENDED_IP, ipv6(58, 255, ends, &neighbour(135, V6)))),
        ("udp", v4(ipv4(17, 0, &[0, 53, 0, 53, 0, 8, 0, 0]))),
        ("nothing", Vec::new()),
    ]
}

pub(super) fn dump() -> Vec<Seed> {
    let (packets, filters) = (packets(), filters());
    let read = packets.iter().map(|(name, flags, packet)| {
        let header = [*flags, u8::try_from(packet.len() / 2).unwrap(), 1, 3];
        (*name, [&header[..], packet].concat())
    });
    let filtered = filters.into_iter().zip(packets.iter().cycle());
    let filtered = filtered.map(|((name, text), (_, flags, packet))| {
        let header = [flags | 2, 40, u8::try_from(text.len()).unwrap()];
        (name, [&header[..], text.as_bytes(), packet].concat())
    });
    // Or, and, not, each of the tests.
    let tree: [&[u8]; 12] = [
        &[0, 1],
        &[1, 0, 4, 1, 5, 1, 9, 0],
        &[1, 1, 6, 24, 0, 10, 0, 0, 0],
        &[7, 64, 1],
        &V6,
        &[2, 8, 2, 53, 0],
        &[1, 1, 2, 2, 3, 1],
        &[9, 0],
        &OURS,
        &[10, 60, 0, 0, 0],
        &[11, 60],
        &[3, 0],
    ];
    let tree = tree.concat();
    let header = [1, 40, u8::try_from(tree.len()).unwrap()];
    let tree = [&header[..], &tree, &packets[0].2].concat();
    read.chain(filtered).chain([("tree", tree)]).collect()
}

fn packets() -> Vec<(&'static str, u8, Vec<u8>)> {
    let udp = [0, 53, 0x12, 0x34, 0, 8, 0, 0];
    let tags = [0x88, 0xa8, 0x20, 5, 0x81, 0, 0, 9, 8, 0];
    let ends = [V6_THEIRS, V6];
    // Hop by hop, routing, then TCP; the first has 8 bytes, the second 16.
    let extended = [&[43, 0, 0, 0, 0, 0, 0, 0, 6, 1][..], &[0; 14], &[1, 187, 0, 80]].concat();
    let fragment = |offset: u8| [17, 0, offset, 1, 0, 0, 0, 0, 0, 1, 0, 2];
    vec![
        ("udp", 1, frame(OURS, [8, 0], &ipv4(17, 0x40, &udp))),
        ("tags", 1, [&frame(OURS, [0x88, 0xa8], &tags[2..]), &ipv4(17, 0, &udp)[..]].concat()),
        ("arp", 1, arp(1)),
        ("raw-icmp", 0, ipv4(1, 0, &echo(8))),
        ("later-fragment", 0, ipv4(17, 1, &udp)),
        ("extended", 0, ipv6(0, 64, ends, &extended)),
        ("fragment", 0, ipv6(44, 64, ends, &fragment(0))),
        ("icmp6", 1, frame(OURS, [0x86, 0xdd], &ipv6(58, 64, ends, &echo(128)))),
        ("no-ip", 1, frame(OURS, [0x12, 0x34], &[1, 2, 3])),
        ("extensions-without-end", 0, ipv6(0, 64, ends, &[0; 100])),
        ("options", 0, [&[0x46][..], &ipv4(6, 0, &[0; 12])[1..]].concat()),
    ]
}

fn filters() -> [(&'static str, &'static str); 9] {
    [
        ("filter-protocols", "arp or ip and not icmp or tcp and ip6"),
        ("filter-hosts", "src host 10.0.0.1 or dst host fd00::1 or net 10.0.0.0/8"),
        ("filter-ports", "(udp or tcp) and (src port 53 or dst port 443) and not (port 1)"),
        ("filter-ether", "ether 02:00:00:00:00:01 and src ether 2:0:0:0:0:2"),
        ("filter-vlan", "vlan or vlan 5 and vlan 4095"),
        ("filter-length", "less 60 and greater 60 or not not icmp6"),
        ("filter-wrong-net", "net 10.0.0.0/33 or host 10.0.0.0/8"),
        ("filter-unfinished", "(udp and"),
        ("filter-both-sides", "src dst port 9"),
    ]
}

pub(super) fn pktgen() -> Vec<Seed> {
    // How, flow, step, length.
    let in_order = [0, 1, 0, 0, 0].repeat(6);
    let with = |flags: u8, frames: &[&[u8]]| [vec![flags], frames.concat()].concat();
    vec![
        ("in-order", with(1, &[&in_order])),
        ("raw", with(0, &[&in_order, &[0, 0, 0, 200, 1]])),
        ("flows", with(1, &[&[0, 0, 0, 0, 0, 0, 1, 0, 9, 0, 0, 2, 5, 0, 1, 0, 3, 0, 0, 0]])),
        ("lost-and-found", with(1, &[&in_order, &[0, 1, 9, 0, 0], &[3, 1, 4, 0, 0], &in_order])),
        ("again", with(1, &[&in_order, &[3, 1, 1, 0, 0], &[3, 1, 3, 0, 0]])),
        ("far-behind", with(1, &[&[6, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0], &[5, 1, 255, 0, 0]])),
        ("far-ahead", with(1, &[&in_order, &[6, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]])),
        ("changed", with(1, &[&[0x40, 0, 0, 100, 0, 80, 0, 1], &[0x40, 0, 0, 100, 0, 16, 0, 1]])),
        ("cut", with(1, &[&[0x80, 0, 0, 100, 0, 7], &[0x80, 0, 0, 0, 0, 1]])),
        ("other", with(0, &[&[7, 3, 1, 2, 3], &[7, 0]])),
    ]
}

/// TCP without options: a sequence number, all flags that matter, and what is behind.
fn tcp(behind: &[u8]) -> Vec<u8> {
    let header = [0, 80, 1, 187, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x50, 0x99, 1, 0, 0, 0, 0, 0];
    [&header[..], behind].concat()
}

pub(super) fn offloads() -> Vec<Seed> {
    // Flags, header (flags, kind, length of headers, segment size, start, offset, buffers), tag,
    // length of pieces, more payload.
    let head = |flags: u8, header: [u8; 7], more: u8| {
        let [ask, kind, len, size, start, offset, buffers] = header;
        let header = [ask, kind, len, 0, size, 0, start, 0, offset, 0, buffers, 0];
        [&[flags][..], &header, &[5, 0x20, 40, more]].concat()
    };
    let v4 = frame(OURS, [8, 0], &[&ipv4(6, 0x40, &[])[..], &tcp(&[7; 50])].concat());
    let mut v4 = v4;
    v4[16..18].fill(0);
    let ends = [V6_THEIRS, V6];
    let v6 = frame(OURS, [0x86, 0xdd], &ipv6(6, 64, ends, &tcp(&[7; 51])));
    let extended = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &tcp(&[7; 30])].concat();
    let extended = frame(OURS, [0x86, 0xdd], &ipv6(60, 64, ends, &extended));
    let udp = frame(OURS, [8, 0], &ipv4(17, 0, &[0, 53, 0, 53, 0, 12, 0, 0, 1, 2, 3]));
    let tagged = [&v4[..12], &[0x81, 0, 0, 9], &v4[12..]].concat();
    let with = |head: Vec<u8>, packet: &[u8]| [&head[..], packet].concat();
    vec![
        ("plain", with(head(0, [0; 7], 0), &udp)),
        ("verified", with(head(2, [2, 0, 0, 0, 0, 0, 1], 3), &udp)),
        ("checksum", with(head(0, [1, 0, 0, 0, 34, 6, 0], 0), &udp)),
        ("checksum-tag-pieces", with(head(3, [1, 0, 0, 0, 34, 6, 0], 9), &udp)),
        ("checksum-in-front", with(head(1, [1, 0, 0, 0, 2, 6, 0], 0), &udp)),
        ("checksum-outside", with(head(0, [1, 0, 0, 0, 90, 16, 0], 0), &udp)),
        ("tcp4", with(head(0, [1, 1, 54, 20, 34, 16, 0], 0), &v4)),
        ("tcp4-ecn-tag-pieces", with(head(3, [1, 0x81, 54, 100, 34, 16, 0], 70), &v4)),
        ("tcp4-tagged", with(head(1, [1, 1, 58, 20, 38, 16, 0], 0), &tagged)),
        ("tcp4-short-segments", with(head(0, [1, 1, 54, 7, 34, 16, 0], 0), &v4)),
        ("tcp4-other-checksum", with(head(0, [1, 1, 54, 20, 34, 6, 0], 0), &v4)),
        ("tcp4-is-udp", with(head(0, [1, 1, 42, 20, 34, 16, 0], 9), &udp)),
        ("tcp6", with(head(0, [1, 4, 74, 20, 54, 16, 0], 0), &v6)),
        ("tcp6-extended", with(head(2, [1, 4, 82, 9, 62, 16, 0], 0), &extended)),
        ("tcp6-wrong-length", with(head(0, [1, 4, 74, 20, 54, 16, 0], 2), &v6)),
        ("tcp6-is-4", with(head(0, [1, 4, 54, 20, 34, 16, 0], 0), &v4)),
    ]
}

/// Tokens where there are some: an input's mutations are strings that mean something then.
fn coded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = TOKENS.iter().position(|token| rest.starts_with(token));
        let len = match token {
            Some(token) => {
                bytes.push(0x80 + u8::try_from(token).unwrap());
                TOKENS[token].len()
            }
            None => {
                bytes.push(u8::try_from(first).unwrap_or(b'?'));
                first.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    bytes
}

pub(super) fn port_strings() -> Vec<Seed> {
    [
        ("memif-server", "memif:/run/a.sock,role=server,id=7,secret=s3cret,mode=ip,rings=4,ring-size=256,cache-line=128,rx-mode=polling,policy=sealed,timeout=500ms,socket-mode=660,socket-uid=1,socket-gid=2,pending-max=3"),
        ("memif-client", "memif:@name,role=client,id=1,name=me,if-name=mif,c2s=2,s2c=3,log2-ring-size=10,chain-max=9,buffer-size=4096,headroom=64,spacing=packed,memory=hugepages,reconnect=100ms-3s"),
        ("memif-never", "memif:abstract:memif,role=client,reconnect=never,rx-mode=interrupt,policy=trust"),
        ("vhost-device", "vhost:/run/a.sock,role=device,queues=2,ring-size=1024,packed=off,in-order=off,mergeable=off,event-idx=off,indirect=off,mac=02:00:00:00:00:01,regions=8,timeout=5s,socket-mode=600"),
        ("vhost-driver", "vhost:@name,role=driver,socket=connect,reconnect=1s-9s,offload=segmentation,mtu=9000,buffer-size=64,memory=hugepages,rx-mode=polling"),
        ("vhost-odd-address", "vhost:/a,role=device,mac=+2:0000:0:0:0:1"),
        ("tap", "tap:ring%d,mtu=9000,mac=02:00:00:00:00:01,address=10.0.0.1/24,netns=/run/netns/a,offload=checksum"),
        ("tap-ipv6", "tap:t,address=fd00::1/64,offload=none"),
        ("vdpa-node", "vdpa:/dev/vhost-vdpa-0,ring-size=1024,packed=off,offload=checksum,rx-mode=interrupt,buffer-size=4096,memory=hugepages,policy=trust,reconnect=never"),
        ("vdpa-function", "vdpa:0000:83:00.2,mergeable=off"),
        ("name-with-a-nul", "memif:/a,role=client,name=a\0b,if-name=\x1b[2J"),
        ("key-twice", "tap:t,mtu=68,mtu=69"),
        ("no-pair", "vhost:/a,role=device,packed"),
        ("no-role", "memif:/a,id=1"),
        ("wrong-role", "memif:/a,role=server,buffer-size=64"),
        ("out-of-range", "memif:/a,role=client,id=4294967296,chain-max=0"),
        ("none", "tcp:1.2.3.4"),
    ]
    .map(|(name, text)| (name, coded(text)))
    .into()
}
