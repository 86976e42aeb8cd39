%%% @doc The state of the whole, read from the registry: never asks a process.
-module(bc_gitops_status).

-export([read/0, word/3, identity/1]).

-export_type([word/0]).

-type word() :: initializing | ready | synced | out_of_sync | degraded | error.

%% @doc The map that `bc_gitops:status/0' answers.
-spec read() -> {ok, map()} | {error, not_running | bc_gitops_library:reason()}.
read() ->
    case bc_gitops_registry:get(reconciler, undefined) of
        undefined -> {error, bc_gitops_registry:get(library_error, not_running)};
        Reconciler -> {ok, status(Reconciler, bc_gitops_registry:states())}
    end.

status(Reconciler, States) ->
    #{phase := Phase, last_error := LastError, spec_errors := SpecErrors, refused := Refused} = Reconciler,
    Counts = counts(States),
    StateError = bc_gitops_registry:get(state_error, undefined),
    Trouble = SpecErrors =/= [] orelse Refused =/= none orelse StateError =/= undefined,
    %% what no app has begun yet counts as well
    Seen = [{pending, unknown} || maps:get(unsettled, Reconciler, 0) > 0] ++ States,
    Reconciler#{
        status => word({Phase, LastError}, Seen, Trouble),
        app_count => length(States),
        healthy_count => bc_gitops_registry:healthy_count(),
        apps => Counts,
        failures => bc_gitops_registry:failures(),
        state_error => StateError
    }.

counts(States) ->
    lists:foldl(
        fun({State, _}, Counts) -> Counts#{State => maps:get(State, Counts, 0) + 1} end, #{}, States
    ).

%% @doc One word for everything. Trouble is what the apps' own states do not show.
-spec word({Phase :: booting | restoring | starting | following | stopping, Error :: term()},
           [{bc_gitops_registry:app_state_name(), atom()}], Trouble :: boolean()) -> word().
word({Phase, _}, _States, _Trouble) when Phase =:= booting; Phase =:= restoring ->
    initializing;
word({_, Error}, _States, _Trouble) when Error =/= undefined ->
    error;
word({starting, _}, _States, _Trouble) ->
    ready;
word(_Phase, States, Trouble) ->
    case {Trouble orelse lists:any(fun has_failed/1, States), lists:all(fun is_running/1, States)} of
        {true, _} -> degraded;
        {false, false} -> out_of_sync;
        {false, true} -> synced
    end.

has_failed({_, unhealthy}) -> true;
has_failed({State, _}) -> lists:member(State, [backing_off, quarantined, suspended, failed]).

is_running({State, _}) -> State =:= running.

%% @doc What tells one desired state from another.
-spec identity(bc_gitops_config:config()) -> map().
identity(#{repo_url := Url, branch := Branch, apps_dir := AppsDir}) ->
    #{repo_url => Url, branch => Branch, apps_dir => AppsDir}.
