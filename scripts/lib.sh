# shellcheck shell=bash disable=SC2034
# What the scripts share: talking, being root, finding cargo, installing what is missing.
# Sourced, never run (so what is unused here is used there: SC2034).

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Debian keeps ip, nft, ethtool and others where a plain user's PATH does not look.
PATH=$PATH:$HOME/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# The oldest kernel whose traffic-control hooks (tcx) and XDP sockets podgate uses.
readonly kernel_needed=6.6

# Debian packages, by what needs them. The one place where they are listed.
readonly packages_build=(ca-certificates gcc libc6-dev make m4 pkg-config clang llvm libelf-dev zlib1g-dev libbpf-dev)
readonly packages_demo=(iproute2 curl iputils-ping nftables)
readonly packages_test=(dnsutils ethtool iptables iperf3 tcpdump netsniff-ng containernetworking-plugins golang-go golang-github-appc-cni-dev bpftool ncat openssl procps util-linux shellcheck)
# To build the API server that the tests run (scripts/apiserver).
readonly packages_apiserver=(golang-go)
# What the manifests of deploy/ are rendered with: kustomize is in kubectl, helm is made of these libraries.
packages_deploy=(golang-go golang-github-masterminds-sprig-dev golang-github-xeipuuv-gojsonschema-dev golang-k8s-sigs-yaml-dev)
# kubectl may be there from elsewhere; the package would overwrite it, and is refused.
command -v kubectl >/dev/null || packages_deploy+=(kubernetes-client)
readonly packages_deploy

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

say() { printf '%s\n' "$*"; }

# Gives up. The second argument is the exit code: 1 a finding, 2 (the default) something is missing.
give_up() {
    printf '%s%s:%s %s\n' "$red" "${0##*/}" "$plain" "$1" >&2
    exit "${2:-2}"
}

# As root, whoever we are.
as_root() {
    if [ "$EUID" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# What is built belongs to the owner of the checkout. Started through sudo by that owner, a script
# starts itself again without it, and asks for root only where it needs to be root.
become_owner() {
    if [ "$EUID" -eq 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" = "$(stat -c %U "$repo")" ] \
        && [ "$SUDO_USER" != root ]; then
        exec sudo -H --preserve-env=CARGO_TARGET_DIR,NO_COLOR,PODGATE -u "$SUDO_USER" -- "$0" "$@"
    fi
}

# Asks for the password now and in the open, not in the middle of a table.
need_root() {
    [ "$EUID" -eq 0 ] && return
    command -v sudo >/dev/null || give_up "network namespaces need root: run this as root, or install sudo"
    sudo -v || give_up "network namespaces need root, and sudo did not let us"
}

need_cargo() {
    command -v cargo >/dev/null || give_up "there is no cargo on PATH: install a Rust toolchain with rustup first"
}

need_kernel() {
    local have
    have=$(uname -r)
    if [ "$(printf '%s\n' "$kernel_needed" "${have%%[-+]*}" | sort -V | head -n 1)" != "$kernel_needed" ]; then
        give_up "this is kernel $have; podgate needs $kernel_needed or newer (on Debian 12: from bookworm-backports)"
    fi
}

# Prints those of the packages that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
    done
}

# Installs those of the packages that are missing; asks nothing of the network if none is.
install_missing() {
    local missing
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "This is no Debian: make sure that you have the like of: $*"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    quietly "Installing ${missing[*]}" apt_install "${missing[@]}"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q \
        && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# quietly TEXT COMMAND...: one calm line for a long command; the end of what it printed, if it fails.
quietly() {
    local text=$1 start=$SECONDS log code=0
    shift
    log=$(mktemp)
    exec {log_fd}<>"$log"
    rm "$log"
    printf '%s ... ' "$text"
    "$@" >&"$log_fd" 2>&1 {log_fd}>&- || code=$?
    if [ "$code" -eq 0 ]; then
        printf 'done%s\n' "$(took $((SECONDS - start)))"
    else
        printf '%sfailed%s\n' "$red" "$plain"
        tail -n 60 "/proc/self/fd/$log_fd" >&2
    fi
    exec {log_fd}>&-
    [ "$code" -eq 0 ] || give_up "$text: exit code $code" 1
}

# " (1 min 12 s)", or nothing for what took no time.
took() {
    local seconds=$1
    if [ "$seconds" -ge 60 ]; then
        printf ' (%d min %d s)' $((seconds / 60)) $((seconds % 60))
    elif [ "$seconds" -ge 2 ]; then
        printf ' (%d s)' "$seconds"
    fi
}
