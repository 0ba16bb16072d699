# Shared by the scripts beside it; sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command with its name and duration shown.
step() {
    local name=$1 start=$SECONDS
    shift
    say "$name"
    "$@" || die "$name failed: $*"
    printf -- '-- %s: %ds\n' "$name" $((SECONDS - start))
}

has() {
    case $1 in
    libclang) compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null || [ -n "${LIBCLANG_PATH:-}" ] ;;
    python3-venv) python3 -c 'import ensurepip' 2>/dev/null ;;
    *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

# need COMMAND=PACKAGE… : installs the packages of the commands that are missing, all at once.
need() {
    local pair missing=()
    for pair in "$@"; do
        has "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    has apt-get || die "missing: ${missing[*]} (Debian names); there is no apt-get here, please install them by hand"
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || die "missing: ${missing[*]}; run as root once, or: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    "${sudo[@]}" apt-get update -q
    # No service of an installed package may start by itself: nothing here needs one.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}"
    for pair in "$@"; do
        has "${pair%%=*}" || die "${pair#*=} was installed, but there is still no ${pair%%=*}"
    done
}

need_rust() {
    has cargo || die "there is no cargo: install Rust 1.89 or newer from https://rustup.rs"
    has cc || need cc=gcc
    need cmake=cmake make=make g++=g++ clang=clang libclang=libclang-dev
}

version() { awk -F'"' '/^version/ { print $2; exit }' Cargo.toml; }

# Every time in a package is that of the last commit.
fix_time() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date -r Cargo.toml +%s)}
    export SOURCE_DATE_EPOCH TZ=UTC
}

# From where this machine has its packages of Debian; fails where apt knows of none.
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; found = 1; exit } END { exit !found }'
}

# Sets BIN to LANSPREAD_BIN, or else to the release binary, which it builds.
build_release() {
    if [ -n "${LANSPREAD_BIN:-}" ]; then
        BIN=$(realpath "$LANSPREAD_BIN")
        [ -x "$BIN" ] || die "LANSPREAD_BIN: there is no program $BIN"
        return 0
    fi
    need_rust
    step "release build" cargo build --release --locked
    BIN=$(realpath "${CARGO_TARGET_DIR:-target}")/release/lanspread
    [ -x "$BIN" ] || die "the build made no $BIN"
}

# fetch_axe FILE: axe-core, which knows the rules of accessibility, as FILE.
fetch_axe() {
    local package=axe-playwright-python==0.1.8 part
    has python3 && has unzip || return 1
    mkdir -p "$(dirname "$1")"
    part=$(mktemp -d -p "$(dirname "$1")")
    { python3 -m pip --version >/dev/null 2>&1 || (need pip3=python3-pip); } &&
        python3 -m pip download -q --no-deps --only-binary :all: -d "$part" "$package" &&
        unzip -p "$part"/*.whl axe_playwright_python/axe.min.js >"$part/axe.min.js" &&
        mv "$part/axe.min.js" "$1"
    local status=$?
    rm -rf "$part"
    return $status
}
