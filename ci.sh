#!/usr/bin/env bash
# The one script that checks Ringport, on a laptop as in CI. See ./ci.sh help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TXT'
usage: ./ci.sh STEP [ARGUMENT ...]

  setup      install what the other steps need (as root: Debian packages of real peers, hugepages)
  fmt        formatting
  lint       clippy, warnings are errors; cargo-deny; facts that must not be in the tree
  doc        documentation, warnings are errors
  static     the CNI plugin as one file that needs nothing: target/x86_64-unknown-linux-gnu/release/userspace
  test       setup, then everything that CI checks: fmt, lint, doc, static, unit, loom, fuzz replay,
             interop, instruction counts, demo
  unit       unit and property tests, debug and release, and doctests
  interop    tests with real peers, one at a time
  loom       the model checker over ring and doorbell functions
  fuzz       replay of the corpora; with a target: fuzz it  (./ci.sh fuzz TARGET SECONDS)
  soak       long counts: restarts, kills, load, fuzz       (./ci.sh soak [MINUTES])
  bench      benchmarks                                     (./ci.sh bench memif|vhost-user|cni [--quick] | criterion)
  all        test, then bench memif --quick
  help       this text

environment
  RINGPORT_REQUIRE_PEERS=1   a missing peer fails instead of being skipped
  RINGPORT_VPP=DIR           a VPP to test with (DIR/bin/vpp, built by you)
  RINGPORT_LIBMEMIF=DIR      a libmemif to test with (DIR/bin/icmp_responder, built by you)
  RINGPORT_MULTUS=FILE       a Multus, RINGPORT_CNITOOL=FILE a cnitool, that call the CNI plugin
TXT
}

say() { printf '\n== %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Debian packages of the real peers and of the tools that tests run.
PACKAGES=(dpdk dpdk-dev librte-meta-net openvswitch-switch-dpdk containernetworking-plugins valgrind
    podman containerd runc tcpdump)
HUGEPAGES=512
# Tests that need no peer.
UNIT='not (binary(/^interop/) or binary(/^soak/))'

setup() {
    if is_root && have apt-get; then
        local missing=()
        for package in "${PACKAGES[@]}"; do
            dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
        done
        if [ "${#missing[@]}" -gt 0 ]; then
            say "setup: installing ${missing[*]}"
            apt-get update -qq || true
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
                gcc libc6-dev "${missing[@]}" >/dev/null
        fi
        hugepages
    else
        say "setup: not root, or no apt-get: peers are used if they are here, else skipped"
    fi
    cargo nextest --version >/dev/null 2>&1 || { say "setup: installing cargo-nextest"; cargo install -q --locked cargo-nextest; }
    cargo deny --version >/dev/null 2>&1 || { say "setup: installing cargo-deny"; cargo install -q --locked cargo-deny; }
}

hugepages() {
    local free
    free=$(awk '/HugePages_Free/ {print $2}' /proc/meminfo)
    if [ "${free:-0}" -lt "$HUGEPAGES" ]; then
        sysctl -q -w "vm.nr_hugepages=$HUGEPAGES" 2>/dev/null || say "setup: no hugepages to be had, peers go without"
    fi
    mountpoint -q /dev/hugepages 2>/dev/null || {
        mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages 2>/dev/null ||
            say "setup: hugetlbfs cannot be mounted, peers go without"
    }
}

fmt() { say fmt; cargo fmt --all --check; }

lint() {
    say lint
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    if rustup toolchain list 2>/dev/null | grep -q "^$(msrv)"; then
        cargo "+$(msrv)" check --workspace --all-features
    fi
    cargo deny --log-level error check bans licenses sources
    forbidden_in_tree
}

msrv() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# Paths of a machine do not belong in the tree.
forbidden_in_tree() {
    if git grep -nIE '/(home|root|Users)/[a-z]' -- . ':!Cargo.lock' ':!ci.sh'; then
        echo "error: the lines above name a path of a machine" >&2
        return 1
    fi
}

doc() { say doc; RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --document-private-items; }

# Names of groups and hosts still come from the node's files and DNS: glibc has these two built in.
static() {
    say static
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target x86_64-unknown-linux-gnu \
        -p ringport-cni --bin userspace
}

unit() {
    say "unit: debug"
    cargo nextest run --workspace --all-features --no-fail-fast -E "$UNIT"
    say "unit: release"
    # The CNI plugin has no unsafe code and no memory that others write: once is enough.
    cargo nextest run --workspace --exclude ringport-cni --all-features --cargo-profile checked --no-fail-fast \
        -E "$UNIT"
    say "unit: doctests"
    cargo test --workspace --all-features --doc
}

interop() {
    say "interop: data plane"
    cargo nextest run --workspace --exclude ringport-cni --all-features --cargo-profile checked --no-fail-fast \
        -E 'binary(/^interop/)' "$@"
    say "interop: CNI plugin"
    cargo nextest run --workspace --all-features --no-fail-fast \
        -E 'package(ringport-cni) and binary(/^interop/)' "$@"
}

loom() {
    say loom
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release -p ringport --test loom --test loom_handover
}

fuzz() {
    if [ $# -eq 0 ]; then
        say "fuzz: corpora"
        cargo nextest run -p ringport-fuzz --cargo-profile checked
    else
        fuzz_one "$@"
    fi
}

fuzz_one() {
    local target=$1 seconds=${2:-60}
    have cargo-fuzz || cargo install -q --locked cargo-fuzz
    say "fuzz: $target for $seconds s"
    # Without a sanitizer the stable toolchain suffices: the targets check what matters themselves.
    cargo fuzz run --fuzz-dir fuzz -s none "$target" -- "-max_total_time=$seconds" -print_final_stats=1
}

demo() { say demo; cargo demo --seconds 6 >/dev/null; }

instructions() {
    say "instruction counts"
    # Counts hold for the compiler that they were taken with.
    cargo run -q --release -p ringport-bench --bin instructions -- check
}

test_all() {
    setup
    RINGPORT_SKIP_LOG=$(mktemp)
    export RINGPORT_SKIP_LOG
    # Builds that nobody goes on with, and whose variables nobody looks at.
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only
    # The check of a change is the same for everybody; new cases are soak's and the fuzz targets' task.
    export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
    fmt
    lint
    doc
    static
    unit
    loom
    interop
    instructions
    demo
    local skipped
    skipped=$(sort -u "$RINGPORT_SKIP_LOG" | wc -l)
    if [ "$skipped" -gt 0 ]; then
        printf '\n%s tests were SKIPPED for want of a peer:\n' "$skipped" >&2
        sort -u "$RINGPORT_SKIP_LOG" >&2
    fi
    rm -f "$RINGPORT_SKIP_LOG"
    say "all checks passed, $skipped tests skipped"
}

soak() {
    say "soak: property tests, new cases"
    PROPTEST_CASES=${PROPTEST_CASES:-20000} cargo nextest run --workspace --all-features --cargo-profile checked \
        --no-fail-fast -E "$UNIT"
    say "soak: ${1:-30} minutes"
    RINGPORT_SOAK_MINUTES=${1:-30} cargo nextest run --workspace --all-features --cargo-profile checked \
        --run-ignored all --no-capture -E 'binary(/^soak/)'
}

bench() {
    local what=${1:-memif}
    [ $# -gt 0 ] && shift
    if [ "$what" = criterion ]; then
        cargo bench -p ringport-bench "$@"
    else
        if [ "$what" = cni ]; then
            CARGO_PROFILE_RELEASE_STRIP=symbols static
            export RINGPORT_CNI_PLUGIN=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/userspace
        fi
        cargo run -q --release -p ringport-bench --bin peers -- "$what" "$@"
    fi
}

step=${1:-help}
[ $# -gt 0 ] && shift
case $step in
setup | fmt | lint | doc | static | unit | interop | loom | fuzz | soak | bench) "$step" "$@" ;;
test) test_all ;;
all) test_all && bench memif --quick ;;
help | -h | --help) usage ;;
*) usage >&2; exit 2 ;;
esac
