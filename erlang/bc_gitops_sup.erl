%%% @doc The root supervisor: the rooms' processes, and the reconciler once there is something to follow.
-module(bc_gitops_sup).
-behaviour(supervisor).

-export([start_link/0, start_reconciler/1, stop_reconciler/0]).
-export([init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Adds the reconciler, unless the native library is not what this code needs.
-spec start_reconciler(bc_gitops_config:config()) -> {ok, pid()} | {error, term()}.
start_reconciler(Config) ->
    case check_library() of
        ok -> add_reconciler(Config);
        {error, Reason} -> {error, Reason}
    end.

%% What is wrong with it stands in `status/0' as long as there is no reconciler.
check_library() ->
    Result = bc_gitops_library:check(),
    ok = case Result of
        ok -> bc_gitops_registry:delete(library_error);
        {error, Reason} -> bc_gitops_registry:put(library_error, Reason)
    end,
    Result.

add_reconciler(Config) ->
    Child = #{
        id => bc_gitops_reconciler,
        start => {bc_gitops_reconciler, start_link, [Config]},
        shutdown => 5000
    },
    case supervisor:start_child(?MODULE, Child) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, {already_started, Pid}} -> {error, {already_started, Pid}};
        {error, already_present} -> restart_reconciler(Config);
        {error, {Reason, _Child}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
    end.

%% One that failed for good is still in the list of children.
restart_reconciler(Config) ->
    _ = supervisor:delete_child(?MODULE, bc_gitops_reconciler),
    add_reconciler(Config).

%% @doc Takes the reconciler away, and the processes of the apps with it; the apps keep running.
-spec stop_reconciler() -> ok.
stop_reconciler() ->
    _ = supervisor:terminate_child(?MODULE, bc_gitops_reconciler),
    _ = supervisor:delete_child(?MODULE, bc_gitops_reconciler),
    ok = bc_gitops_managed_sup:stop_all(),
    ok = bc_gitops_registry:clear(),
    bc_gitops_config:deactivate().

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = bc_gitops_registry:create(),
    ok = bc_gitops_workspace:create(),
    _ = check_library(),
    Turns = #{id => bc_gitops_turns, start => {bc_gitops_turns, start_link, []}},
    Managed = #{
        id => bc_gitops_managed_sup,
        start => {bc_gitops_managed_sup, start_link, []},
        type => supervisor
    },
    Children = lists:flatmap(fun(Room) -> Room:child_specs() end, rooms()) ++ [Turns, Managed],
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, Children}}.

rooms() ->
    [bc_gitops_telemetry, bc_gitops_workspace, bc_gitops_runtime, bc_gitops_source_watch].
