#!/usr/bin/env bash
# The one script that checks Ringport, on a laptop as in CI. See ./ci.sh help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TXT'
usage: ./ci.sh STEP [ARGUMENT ...]

  setup      install what the other steps need (as root: Debian packages of real peers, hugepages)
  guest-kit  what tests with Linux guests need, from Debian's packages, in the user's cache (of setup)
  vdpa-kit   what tests with vDPA devices need, likewise    (of setup; downloads 300 MB once)
  fmt        formatting
  lint       clippy, warnings are errors; cargo-deny; facts that must not be in the tree
  doc        documentation, warnings are errors
  static     the CNI plugin as one file that needs nothing: target/x86_64-unknown-linux-gnu/release/userspace
  test       setup, then everything that CI checks: fmt, lint, doc, static, unit, loom, aarch64, fuzz
             replay, interop, instruction counts, demo
  unit       unit and property tests, debug and release, and doctests
  interop    tests with real peers, one at a time
  aarch64    everything built for 64-bit Arm, tests of what needs no kernel's help run by qemu-user
  loom       the model checker over ring and doorbell functions
  fuzz       replay of the corpora; with a target: fuzz it  (./ci.sh fuzz TARGET SECONDS)
  coverage   what of each crate the corpora reach           (rustup component add llvm-tools)
  sanitize   tests and corpora with the address sanitizer, which sees leaks too
  miri       what makes no system call, interpreted         (needs a nightly with miri and rust-src)
  soak       long counts: restarts, kills, load, fuzz; sanitize   (./ci.sh soak [MINUTES])
  bench      benchmarks                                     (./ci.sh bench memif|vhost-user|cni|guest [--quick] | criterion)
  all        test, then bench memif --quick
  help       this text

environment
  RINGPORT_REQUIRE_PEERS=1   a missing peer fails instead of being skipped
  RINGPORT_GUEST_KIT=DIR     where the guest kit is, or is to be made
  RINGPORT_VDPA_KIT=DIR      where the vDPA kit is, or is to be made
  RINGPORT_VPP=DIR           a VPP to test with (DIR/bin/vpp, built by you)
  RINGPORT_LIBMEMIF=DIR      a libmemif to test with (DIR/bin/icmp_responder, built by you)
  RINGPORT_MULTUS=FILE       a Multus, RINGPORT_CNITOOL=FILE a cnitool, that call the CNI plugin
TXT
}

say() { printf '\n== %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Debian packages of the real peers and of the tools that tests run; the last few are for the vDPA kit.
PACKAGES=(dpdk dpdk-dev librte-meta-net openvswitch-switch-dpdk containernetworking-plugins valgrind
    podman containerd runc tcpdump gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user g++ python3
    iproute2 kmod libelf1 make xz-utils zstd
    python3-grpcio python3-protobuf protobuf-compiler)
HUGEPAGES=512
# What qemu-user does not do as a kernel does: rings of doorbells within the call (io_submit), signals that
# tell where a fault was, files of /proc.
NOT_EMULATED=(doorbell shm::guard what_is_not_memory_is_refused_by_name wakes_sleepers wakes_whoever_sleeps
    is_rung is_woken is_called kick ring_is_announced_when_its_queue_is_made queue_calls_and_counts
    index_that_runs_away_ends_the_ring_in_both keep_a_thread_awake stop_that_nobody_polls)
# Tests that need no peer.
UNIT='not (binary(/^interop/) or binary(/^soak/))'
# Tests that the address sanitizer cannot run: it takes a fault that has to kill the process for its own, and
# keeps freed memory for a while, which looks like a leak to who counts resident pages.
UNSANITIZED='test(=shm::guard::tests::fault_outside_guarded_memory_still_kills)
    or test(=front_ends_that_come_and_go_leave_nothing_behind)'
# Modules of the port whose tests make no system call that Miri lacks, such as memfd_create; without those
# that try everything, which would take it hours.
MIRI='copy:: handover:: offload:: port_string:: ring:: software:: stats:: virtio_net:: walk_leads
    --skip every_distance --skip exactly_when --skip longest_packet'

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
        guest_kit || say "setup: no guest kit, tests with guests go without"
        vdpa_kit || say "setup: no vDPA kit, tests with vDPA devices go without"
    else
        say "setup: not root, or no apt-get: peers are used if they are here, else skipped"
    fi
    cargo nextest --version >/dev/null 2>&1 || { say "setup: installing cargo-nextest"; cargo install -q --locked cargo-nextest; }
    cargo deny --version >/dev/null 2>&1 || { say "setup: installing cargo-deny"; cargo install -q --locked cargo-deny; }
}

guest_kit() { bench/guest/kit.sh; }

vdpa_kit() { vdpa/kit/kit.sh; }

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
    # The CNI plugin and the tools have no unsafe code and no memory that others write: once is enough.
    cargo nextest run --workspace --exclude ringport-cni --exclude ringport-examples --all-features \
        --cargo-profile checked --no-fail-fast -E "$UNIT"
    say "unit: doctests"
    cargo test --workspace --all-features --doc
}

interop() {
    say "interop: data plane"
    # Of the tools' tests only these are built optimised.
    cargo nextest run --workspace --exclude ringport-cni --all-features --cargo-profile checked --no-fail-fast \
        --test 'interop*' "$@"
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

# In a shell of its own: the other steps have another compiler.
aarch64() (
    say aarch64
    target=aarch64-unknown-linux-gnu
    if ! aarch64_toolchain; then
        skipped aarch64 "no compiler for it; on Debian 12 ./ci.sh setup installs what it needs"
        return
    fi
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    # Optimised, for what is emulated is slow enough; line by line only what fails.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/aarch64 CARGO_PROFILE_DEV_OPT_LEVEL=1
    export PROPTEST_CASES=${PROPTEST_CASES:-8}
    cargo check --workspace --all-features --target $target
    cargo test -q -p ringport -p ringport-memif -p ringport-vhost-user --all-features --lib \
        --target $target -- "${NOT_EMULATED[@]/#/--skip=}"
)

# A compiler for the target: rustup's where it has that, else Debian's, unpacked beside what is built.
aarch64_toolchain() {
    have aarch64-linux-gnu-gcc && have qemu-aarch64 || return
    if rustup target list --installed 2>/dev/null | grep -q '^aarch64-unknown-linux-gnu$'; then return; fi
    local dir
    dir=$(realpath -m "${CARGO_TARGET_DIR:-target}/aarch64-rust")
    [ -x "$dir/usr/bin/rustc" ] || unpack_rustc "$dir" || return
    export RUSTC=$dir/usr/bin/rustc LD_LIBRARY_PATH=$dir/usr/lib/x86_64-linux-gnu
}

# Debian's newest rustc with the libraries it needs, and the standard library for arm64 of the same version.
unpack_rustc() {
    have apt-get || return
    say "aarch64: unpacking Debian's rustc"
    local dir=$1 part=$1.part packages arm
    packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces rustc-web | grep -oE '^(rustc-web|libstd-rust-web-(dev|[0-9.]+)|libllvm[0-9]+)$' | sort -u)
    arm=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::status=/dev/null
        -o Dir::State::Lists="$part/apt/lists" -o Dir::Cache="$part/apt")
    rm -rf "$dir" "$part"
    mkdir -p "$part/apt/lists/partial" "$part/apt/archives/partial"
    # shellcheck disable=SC2086 # one word a package
    (cd "$part/apt" && apt-get -qq download $packages && apt-get "${arm[@]}" -qq update &&
        apt-get "${arm[@]}" -qq download libstd-rust-web-dev:arm64) 2>/dev/null || return
    for package in "$part"/apt/*.deb; do dpkg -x "$package" "$part" || return; done
    rm -rf "$part/apt"
    mv "$part" "$dir"
}

# A step that cannot be had here: said, counted, and an error where everything must be there.
skipped() {
    echo "SKIPPED: $1: $2" >&2
    [ -z "${RINGPORT_REQUIRE_PEERS:-}" ] || return 1
    [ -z "${RINGPORT_SKIP_LOG:-}" ] || echo "$1" >>"$RINGPORT_SKIP_LOG"
}

# By the instrumentation of rustc; the tools must be of its LLVM.
coverage() {
    say "coverage: corpora"
    local tools target=target/coverage
    tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
    [ -x "$tools/llvm-cov" ] || { echo "error: llvm-cov is missing: rustup component add llvm-tools" >&2; return 1; }
    rm -rf "$target/profiles"
    RUSTFLAGS=-Cinstrument-coverage CARGO_TARGET_DIR=$target LLVM_PROFILE_FILE=$PWD/$target/profiles/%p.profraw \
        cargo test -q -p ringport-fuzz --test replay corpus_passes
    "$tools/llvm-profdata" merge -sparse "$target"/profiles/*.profraw -o "$target/corpora.profdata"
    local test
    test=$(ls -t "$target"/debug/deps/replay-* | grep -v '\.d$' | head -1)
    "$tools/llvm-cov" export -format=lcov -summary-only -instr-profile "$target/corpora.profdata" "$test" |
        coverage_table "$PWD/"
}

# One row for each of our directories with sources: functions and lines that ran.
coverage_table() {
    awk -F : -v root="$1" '
        $1 == "SF" { name = index($2, root) == 1 ? substr($2, length(root) + 1) : ""; sub("/src/.*", "", name) }
        name == "" || name == "fuzz" || name ~ /[.]rs$/ { next }
        $1 == "FNF" { functions[name] += $2 }
        $1 == "FNH" { called[name] += $2 }
        $1 == "LF" { lines[name] += $2 }
        $1 == "LH" { run[name] += $2 }
        END { for (name in lines)
            printf "| `%s` | %d of %d (%d %%) | %d of %d (%d %%) |\n", name, called[name], functions[name],
                100 * called[name] / functions[name], run[name], lines[name], 100 * run[name] / lines[name] }' | sort
}

# The option is not stable yet, the runtime comes with the stable compiler.
sanitize() (
    say "sanitize: addresses and leaks"
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/sanitize
    host=$(rustc -vV | sed -n 's/^host: //p')
    cargo nextest run --target "$host" --no-fail-fast -p ringport -p ringport-memif -p ringport-vhost-user \
        -p ringport-fuzz -E "$UNIT and not ($UNSANITIZED)"
    cargo nextest run --target "$host" --no-fail-fast -p ringport-examples --lib
)

miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        echo "error: no Miri: rustup toolchain install nightly --component miri --component rust-src" >&2
        return 1
    fi
    say "miri: $(echo $MIRI)"
    # shellcheck disable=SC2086
    MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=8 CARGO_TARGET_DIR=target/miri \
        cargo +nightly miri test -p ringport --lib -- $MIRI
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
    aarch64
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
    sanitize
}

bench() {
    local what=${1:-memif}
    [ $# -gt 0 ] && shift
    if [ "$what" = criterion ]; then
        cargo bench -p ringport-bench "$@"
    else
        if [ "$what" = guest ]; then
            cargo build -q --release -p ringport-examples --bin ringport
            export RINGPORT_TOOL=${CARGO_TARGET_DIR:-target}/release/ringport
        fi
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
setup | fmt | lint | doc | static | unit | interop | aarch64 | loom | fuzz | coverage | sanitize | miri | soak | bench)
    "$step" "$@" ;;
guest-kit) guest_kit ;;
vdpa-kit) vdpa_kit ;;
test) test_all ;;
all) test_all && bench memif --quick ;;
help | -h | --help) usage ;;
*) usage >&2; exit 2 ;;
esac
