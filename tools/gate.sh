#!/usr/bin/env bash
# The check behind `make test` (gate.sh all) and `make check` (gate.sh quick). Each step is one command; the first that
# fails ends the run with its name. What the runners say they ran is read from their own output and summed up at the end.
# Steps that wait more than they compute run side by side: the output of each is shown whole when it has ended.
#
#   GATE_LANES=n  so many steps at once; otherwise one more than the machine has processors
set -euo pipefail
cd "$(dirname "$0")/.."
goal=${1:-all}

# Sandboxes and small disks need a / that is a mount point, which that of a chroot is not: root gives itself one, in a
# mount namespace that ends with the gate.
needs_own_root() {
    [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && ! mountpoint -q / &&
        ! grep -q ' shared:' /proc/self/mountinfo && unshare -m --propagation unchanged true
}
if needs_own_root; then
    own=$PWD/_build/gate/root
    mkdir -p "$own"
    exec unshare -m --propagation unchanged \
        sh -c 'mount --rbind / "$0" && exec chroot "$0" env -C "$1" bash tools/gate.sh "$2"' "$own" "$PWD" "$goal"
fi

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 LC_ALL=C.UTF-8
logs=$PWD/_build/gate
beams=$PWD/_build/ci+test/lib/bc_gitops
processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
lanes=${GATE_LANES:-$((processors + 1))}
mkdir -p "$logs"
: >"$logs/counts"
touch "$logs/seconds"

log_of() { echo "$logs/${1//[^a-zA-Z0-9_]/-}.log"; }

failed() { # NAME WHY
    printf '\nFAILED: %s  (%s; full output in %s)\n' "$1" "$2" "$(log_of "$1")"
    exit 1
}

# step NAME COMMAND...: runs the command, shows and keeps its output, says how long it took.
step() {
    local name=$1 begin=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 | tee "$(log_of "$name")" || failed "$name" "$*"
    printf -- '--- %s: %s s\n' "$name" "$((SECONDS - begin))"
}

# Steps for `side_by_side', as lines "KIND|NAME|COMMAND": the output of `tests' must tell how many passed, none failed
# and none was skipped. Tests "GROUP: PART" count for their group.
steps() {
    local suite paths erl
    paths=$(find "$beams" -name '*.beam' | sed 's|/[^/]*$||' | sort -u | tr '\n' ' ')
    erl="erl -noinput -kernel logger [{handler,default,logger_std_h,#{config=>#{file=>\"$logs/logger.log\"}}}] -pa $paths"
    echo "tests|cargo test|cargo test --workspace --locked --quiet"
    echo "step|dialyzer|rebar3 as ci dialyzer"
    for suite in $(cd test && ls ./*_SUITE.erl); do
        suite=$(basename "$suite" .erl)
        echo "tests|common test: $suite|$erl -run bct_run suite $suite $logs/ct/$suite"
    done
    echo "tests|eunit|$erl -run bct_run eunit"
    echo "tests|ExUnit|mix test"
}

# All steps; those that took longest the last time come first, and before them what was never run.
plan() {
    { sed 's/^/took|/' "$logs/seconds" && steps; } |
        awk -F '|' '$1 == "took" { took[$3] = $2; next } { print ($2 in took ? took[$2] : 9999) "|" $0 }' |
        sort -t '|' -k 1,1nr -s | cut -d '|' -f 2-
}

# Runs in the background in a process group of its own; its last word is the file .status.
begin() { # KIND NAME COMMAND...
    local kind=$1 name=$2 log
    shift 2
    log=$(log_of "$name")
    rm -f "$log.status"
    set -m
    {
        began=$SECONDS
        status=0
        "$@" >"$log" 2>&1 </dev/null || status=$?
        echo "$status $((SECONDS - began))" >"$log.new"
        mv "$log.new" "$log.status"
    } &
    set +m
    running+=("$!|$kind|$name|$*")
}

# Shows what a step said, and counts its tests.
ended() { # KIND NAME COMMAND
    local log status took counts
    log=$(log_of "$2")
    read -r status took <"$log.status"
    printf '\n=== %s\n' "$2"
    cat "$log"
    [ "$status" = 0 ] || failed "$2" "$3"
    if [ "$1" = tests ]; then
        counts=$(awk -f tools/count_tests.awk "$log") || failed "$2" "${counts:-no counts}"
        echo "${2%%:*}|$counts" >>"$logs/counts"
    fi
    printf -- '--- %s: %s s\n' "$2" "$took"
    echo "$took|$2" >>"$logs/seconds.new"
}

# Shows those that have ended and keeps the others in `running'.
reap() {
    local left=() entry pid kind name command
    for entry in "${running[@]}"; do
        IFS='|' read -r pid kind name command <<<"$entry"
        if [ -e "$(log_of "$name").status" ]; then
            ended "$kind" "$name" "$command"
        elif kill -0 "$pid" 2>/dev/null || [ -e "$(log_of "$name").status" ]; then
            left+=("$entry")
        else
            failed "$name" "ended without a word"
        fi
    done
    running=(${left[@]+"${left[@]}"})
}

side_by_side() {
    local kind name command all
    all=$(plan)
    : >"$logs/seconds.new"
    while IFS='|' read -r kind name command; do
        while [ ${#running[@]} -ge "$lanes" ]; do
            sleep 0.2
            reap
        done
        # shellcheck disable=SC2086  # no word of these commands has a space
        begin "$kind" "$name" $command
    done <<<"$all"
    while [ ${#running[@]} -gt 0 ]; do
        sleep 0.2
        reap
    done
    mv "$logs/seconds.new" "$logs/seconds"
}

# Nothing outlives the gate, however it ends.
running=()
end_all() {
    local entry
    for entry in ${running[@]+"${running[@]}"}; do kill -TERM -- "-${entry%%|*}" 2>/dev/null || true; done
    [ ${#running[@]} -eq 0 ] || sleep 1
    for entry in ${running[@]+"${running[@]}"}; do kill -KILL -- "-${entry%%|*}" 2>/dev/null || true; done
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "rust format" cargo fmt --all --check
step "rust lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step "compile" rebar3 as ci compile
step "xref" rebar3 as ci xref
if [ "$goal" = quick ]; then
    step "advice" sh tools/advice.sh
    printf '\nThe quick part is clean; "make test" runs everything.\n'
    exit 0
fi
step "compile tests" rebar3 as ci,test compile
side_by_side
printf '\nAll of it in %d min %02d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
awk -F '|' '
    !($1 in passed) { order[++groups] = $1 }
    { passed[$1] += $2; all += $2 }
    END {
        for (i = 1; i <= groups; i++) printf "%-12s %5d passed\n", order[i], passed[order[i]]
        printf "%d passed, 0 failed\n", all
        exit !all
    }' "$logs/counts"
