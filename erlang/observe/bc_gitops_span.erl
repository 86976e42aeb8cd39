%%% @doc A stretch of work with an event at its start and one at its end: how long it took, and how
%%% that ended.
-module(bc_gitops_span).

-include("bc_gitops.hrl").

-export([run/3, run/4]).

-export_type([what/0]).

-type what() :: git_clone | mesh_fetch | deps | build.

%% @doc Runs Fun between the start and the stop event of What. The stop event tells the duration (in
%% native units), the status and, of an error, its kind.
-spec run(what(), map(), fun(() -> Result)) -> Result
    when Result :: ok | {ok, term()} | {error, term()}.
run(What, Metadata, Fun) ->
    run(What, Metadata, Fun, fun(_) -> #{} end).

%% @doc The same; the stop event tells besides what Told makes of the result.
-spec run(what(), map(), fun(() -> Result), Told :: fun((Result) -> map())) -> Result
    when Result :: ok | {ok, term()} | {error, term()}.
run(What, Metadata, Fun, Told) ->
    {Start, Stop} = names(What),
    Began = erlang:monotonic_time(),
    bc_gitops_telemetry:execute(Start, #{system_time => erlang:system_time()}, Metadata),
    Result = Fun(),
    Duration = erlang:monotonic_time() - Began,
    Ended = maps:merge(maps:merge(Metadata, Told(Result)), outcome(Result)),
    bc_gitops_telemetry:execute(Stop, #{duration => Duration}, Ended),
    Result.

names(git_clone) -> {?TELEMETRY_GIT_CLONE_START, ?TELEMETRY_GIT_CLONE_STOP};
names(mesh_fetch) -> {?TELEMETRY_MESH_FETCH_START, ?TELEMETRY_MESH_FETCH_STOP};
names(deps) -> {?TELEMETRY_DEPS_START, ?TELEMETRY_DEPS_STOP};
names(build) -> {?TELEMETRY_BUILD_START, ?TELEMETRY_BUILD_STOP}.

outcome({error, {Kind, _}}) -> #{status => error, error => Kind};
outcome(_) -> #{status => ok}.
