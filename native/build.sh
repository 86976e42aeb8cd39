#!/bin/sh
# Builds the NIF library and the runner and puts them into priv/. Called by rebar3, mix and make, here and as a
# dependency; stays fast when there is nothing to do. When the build cannot work it says what to install.
set -eu
cd "$(dirname "$0")/.."
required=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
compiler=${CC:-cc}
system=$(uname -s)

need() { # what is missing, Debian's packages, Homebrew's formulas
    echo "bc_gitops: $1"
    case $system in
        Darwin) echo "bc_gitops: install it with: $3" ;;
        *) echo "bc_gitops: install it with: apt-get install $2   (Debian and Ubuntu; other systems name it alike)" ;;
    esac
    exit 1
}

has_openssl() {
    [ -n "${OPENSSL_DIR:-}${OPENSSL_LIB_DIR:-}" ] && return 0
    if [ "$system" = Darwin ]; then
        [ -d "$(brew --prefix 2>/dev/null)/opt/openssl@3" ] && return 0
    fi
    pkg-config --exists libssl libcrypto 2>/dev/null
}

older() { # is version $1 older than $2?
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n -k3,3n | head -n 1)" = "$1" ]
}

# Ends with a message when something that the build needs is not there.
check_tools() {
    if ! command -v cargo >/dev/null; then
        echo "bc_gitops: cargo is missing; the native library is built with Rust $required or newer."
        echo "bc_gitops: install it from https://rustup.rs"
        exit 1
    fi
    rust=$("${RUSTC:-rustc}" --version 2>/dev/null | awk '{print $2}' | sed 's/-.*//')
    if [ -z "$rust" ] || older "$rust" "$required"; then
        echo "bc_gitops: Rust $required or newer is needed, this is ${rust:-no rustc at all}."
        echo "bc_gitops: update it with: rustup update   (or install it from https://rustup.rs)"
        exit 1
    fi
    command -v "$compiler" >/dev/null ||
        need "a C compiler ($compiler) is missing." "gcc libc6-dev" "xcode-select --install"
    [ "$system" = Darwin ] || [ -n "${OPENSSL_DIR:-}${OPENSSL_LIB_DIR:-}" ] || command -v pkg-config >/dev/null ||
        need "pkg-config is missing." "pkgconf" "brew install pkgconf"
    has_openssl ||
        need "the headers of OpenSSL (libssl) are missing." "libssl-dev pkgconf" "brew install openssl@3"
}

case $system in
    Darwin) library=libbc_gitops_nif.dylib ;;
    *) library=libbc_gitops_nif.so ;;
esac

# The BEAM asks for .so on every Unix. A running VM has the old file mapped: it is replaced, never written into.
install_as() {
    cmp -s "$1" "priv/$2" && return 0
    cp "$1" "priv/.$2.$$"
    mv -f "priv/.$2.$$" "priv/$2"
}

mkdir -p priv
[ -e priv/bc_gitops_nif.so ] || check_tools
target=${CARGO_TARGET_DIR:-target}
if ! cargo build --release --locked --quiet --target-dir "$target" -p bc_gitops_nif -p bc_gitops_runner; then
    check_tools
    echo "bc_gitops: the native library could not be built; cargo's reasons are above."
    exit 1
fi
out=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
install_as "$out/$library" bc_gitops_nif.so
install_as "$out/bc_gitops_runner" bc_gitops_runner
