#!/bin/sh
# Builds the NIF library and the runner and puts them into priv/. Called by rebar3, mix and make.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet
out=${CARGO_TARGET_DIR:-target}/release
install_as() { # a running VM keeps the old file: never write into it
    cmp -s "$1" "priv/$2" || { cp "$1" "priv/.$2.new" && mv -f "priv/.$2.new" "priv/$2"; }
}
case $(uname -s) in
    Darwin) install_as "$out/libbc_gitops_nif.dylib" bc_gitops_nif.so ;;
    *)      install_as "$out/libbc_gitops_nif.so" bc_gitops_nif.so ;;
esac
install_as "$out/bc_gitops_runner" bc_gitops_runner
