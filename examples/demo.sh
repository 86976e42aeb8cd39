#!/bin/sh
# The program behind `make demo`, once bc_gitops is compiled. Everything it makes is in one
# temporary directory, which is removed at the end.
#
#   DEMO_KEEP=yes        keeps the directory, and says where it is
#   DEMO_WRONG_CLAIM=id  gives one claim a wrong expectation, to see the demo fail
#   BC_GITOPS_LIB=dir    the compiled application (ebin and priv), if it is elsewhere
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
lib=${BC_GITOPS_LIB:-$root/_build/default/lib/bc_gitops}
[ -f "$lib/ebin/bc_gitops.app" ] || { echo "demo: bc_gitops is not compiled: run 'make demo' or 'rebar3 compile'" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/bc_gitops-demo.XXXXXX")
clean_up() {
    if [ "${DEMO_KEEP:-}" = yes ]; then echo "demo: kept $dir"; else rm -rf "$dir"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then DEMO_COLOUR=yes; else DEMO_COLOUR=no; fi
export DEMO_COLOUR

# The directory above ebin is an application's name to the code server: not bc_gitops-SOMETHING.
ebin=$dir/demo/ebin
mkdir -p "$ebin"
ERL_LIBS="$(dirname "$lib")" erlc -o "$ebin" "$root"/examples/demo/*.erl "$root"/examples/hex/*.erl

node() { # +Bd: Ctrl-C ends the node instead of asking what to do
    erl +Bd -noshell -pa "$lib/ebin" -pa "$ebin" "$@"
}
node -run bcg_demo prepare "$dir" "$root/examples"
status=0
node -config "$dir/sys" -run bcg_demo run "$dir" "$root/examples" || status=$?
if [ "$status" -ne 0 ] && [ -f "$dir/bc_gitops.log" ]; then
    echo "demo: the last lines of bc_gitops' log:"
    tail -n 40 "$dir/bc_gitops.log"
fi
exit "$status"
