#!/usr/bin/env bash
# The check behind `make test` (gate.sh all) and `make check` (gate.sh quick). Each step is one function; the first that
# fails ends the run with its name. What the runners say they ran is read from their own output and summed up at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
goal=${1:-all}
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 LC_ALL=C.UTF-8
logs=_build/gate
mkdir -p "$logs"
passed=0
summary=()

# step NAME COMMAND...: runs the command, shows and keeps its output, says how long it took.
step() {
    local name=$1 log=$logs/${1// /-}.log begin=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if ! "$@" 2>&1 | tee "$log"; then
        printf '\nFAILED: %s  (%s; full output in %s)\n' "$name" "$*" "$log"
        exit 1
    fi
    printf -- '--- %s: %s s\n' "$name" "$((SECONDS - begin))"
}

# tests NAME COMMAND...: a step whose output must tell how many tests passed, none failed and none was skipped.
tests() {
    local name=$1 log=$logs/${1// /-}.log counts
    step "$@"
    counts=$(awk -f tools/count_tests.awk "$log") || {
        printf '\nFAILED: %s  (%s; full output in %s)\n' "$name" "${counts:-no counts}" "$log"
        exit 1
    }
    passed=$((passed + counts))
    summary+=("$(printf '%-12s %5d passed' "$name" "$counts")")
}

quick() {
    step "rust format" cargo fmt --all --check
    step "rust lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
    step "compile" rebar3 as ci compile
    step "xref" rebar3 as ci xref
}

slow() {
    tests "cargo test" cargo test --workspace --locked --quiet
    step "dialyzer" rebar3 as ci dialyzer
    tests "eunit" rebar3 eunit
    tests "common test" rebar3 ct
    tests "ExUnit" mix test
}

quick
if [ "$goal" = quick ]; then
    step "advice" sh tools/advice.sh
    printf '\nThe quick part is clean; "make test" runs everything.\n'
    exit 0
fi
slow
printf '\nAll of it in %d min %02d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
printf '%s\n' "${summary[@]}"
printf '%d passed, 0 failed\n' "$passed"
