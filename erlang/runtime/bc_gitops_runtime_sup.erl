%%% @doc Supervises the runtime's processes. What keeps the tables comes first: the others lean on
%%% it.
-module(bc_gitops_runtime_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => rest_for_one}, [
        #{id => bc_gitops_runtime_table, start => {bc_gitops_runtime_table, start_link, []}},
        #{id => bc_gitops_switch_sup, type => supervisor, shutdown => infinity,
          start => {bc_gitops_switch_sup, start_link, []}},
        #{id => bc_gitops_switches, start => {bc_gitops_switches, start_link, []}},
        #{id => bc_gitops_runtime_worker, start => {bc_gitops_runtime_worker, start_link, []}}
    ]}}.
