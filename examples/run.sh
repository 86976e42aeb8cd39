#!/bin/sh
# run.sh REPO BRANCH: the program behind `make run`, once bc_gitops is compiled. Follows a
# repository of your own in the foreground until Ctrl-C.
#
#   RUN_DIR=dir      where the clone, the builds and the state are kept between runs
#   RUN_CONFIG=file  a sys.config (without its ending), for git_ssh_key and other settings
#   BC_GITOPS_LIB    the compiled application (ebin and priv), if it is elsewhere
set -eu
repo=${1:?usage: run.sh REPO [BRANCH]}
branch=${2:-main}
root=$(cd "$(dirname "$0")/.." && pwd)
lib=${BC_GITOPS_LIB:-$root/_build/default/lib/bc_gitops}
[ -f "$lib/ebin/bc_gitops.app" ] || { echo "run: bc_gitops is not compiled: run 'rebar3 compile'" >&2; exit 1; }
if [ -d "$repo" ]; then repo=$(cd "$repo" && pwd); fi

# One directory per repository and branch, readable by this user alone.
key=$(printf '%s %s' "$repo" "$branch" | cksum | cut -d ' ' -f 1)
dir=${RUN_DIR:-${XDG_STATE_HOME:-${HOME:?HOME is not set: give RUN_DIR}/.local/state}/bc_gitops/run-$key}
umask 077
ebin=$dir/follow/ebin
mkdir -p "$ebin"
ERL_LIBS="$(dirname "$lib")" erlc -o "$ebin" "$root/examples/run/bcg_follow.erl"

echo "following $repo, branch $branch"
echo "clone, builds, state and log are in $dir"
echo "Ctrl-C stops; what ran is started again by the next run"
echo

# The node is asked to stop in order: it gets TERM, whatever this script gets.
erl +Bi -noshell ${RUN_CONFIG:+-config "$RUN_CONFIG"} -pa "$lib/ebin" -pa "$ebin" \
    -kernel logger "[{handler,default,logger_std_h,#{config=>#{file=>\"$dir/bc_gitops.log\"}}}]" \
    -run bcg_follow start "$repo" "$branch" "$dir" < /dev/null &
node=$!
trap 'kill -TERM "$node" 2> /dev/null' INT TERM HUP
status=0
wait "$node" || status=$?
if kill -0 "$node" 2> /dev/null; then # a trapped signal ends `wait` early
    status=0
    wait "$node" || status=$?
fi
exit "$status"
