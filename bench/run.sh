#!/bin/sh
# Measures everything that bench/README.md lists and writes the table to bench/RESULTS.md.
# `sh bench/run.sh GROUP...` measures some groups only and writes nothing.
set -eu
cd "$(dirname "$0")/.."
rebar3 compile
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
erlc -I include -pa _build/default/lib/bc_gitops/ebin -o "$out" bench/*.erl test/support/bct_dir.erl test/support/bct_repo.erl
erl -noinput -boot start_sasl -kernel logger_level none -pa _build/default/lib/bc_gitops/ebin "$out" \
    -run bench main "$@"
