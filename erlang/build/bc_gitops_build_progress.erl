%%% @doc How far an application's preparation is: its stage, what was received of what, the last lines
%%% of output. Written by the process that prepares, read from a table that nobody stands in front
%%% of. Each change of the stage is an event and a line of the log (info).
%%%
%%%   resolve  asks what the source means now      build  the build tool compiles
%%%   wait     for a place in the pool             store  what was built is checked and stored
%%%   fetch    the source is brought               deps   its dependencies are brought
-module(bc_gitops_build_progress).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([new/0, run/2, stage/2, log/2, received/2, received/3, read/1]).

-export_type([stage/0, progress/0]).

-type stage() :: resolve | wait | fetch | deps | build | store.
-type progress() :: #{
    stage := stage(),
    since := calendar:datetime(),          % universal time
    percent => 0..100,
    received_bytes => non_neg_integer(),
    total_bytes => non_neg_integer(),
    received_objects => non_neg_integer(),
    total_objects => non_neg_integer(),
    package => binary(),                   % which one of several is being fetched
    line => binary(),                      % of the output, the last one
    lines => [binary()]                    % the last few, oldest first
}.

-define(TABLE, ?MODULE).
-define(LINES, 5).
-define(STAGES, [resolve, wait, fetch, deps, build, store]).
-define(NUMBERS, [received_bytes, total_bytes, received_objects, total_objects]).

%% Rows: {{Name, Pid}, Stage, Since (system time in seconds), Received, Log | undefined}

%% @doc Makes the table; its owner is the caller.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [ordered_set, public, named_table, {write_concurrency, true}]),
    ok.

%% @doc Runs Fun, whose stages are told under Name; afterwards nothing is under way.
-spec run(atom(), fun(() -> Result)) -> Result.
run(Name, Fun) ->
    forget_dead(Name),
    try Fun() after forget({Name, self()}) end.

%% The table may be gone with the server that was asked to stop meanwhile.
forget(Key) ->
    try ets:delete(?TABLE, Key) catch error:badarg -> true end.

%% @doc What this process does now for Name.
-spec stage(atom(), stage()) -> ok.
stage(Name, Stage) ->
    Key = {Name, self()},
    Log = case ets:lookup(?TABLE, Key) of
        [{_, Stage, _, _, _}] -> same;
        [{_, _, _, _, Known}] -> Known;
        [] -> undefined
    end,
    Log =:= same orelse enter(Key, Stage, Log),
    ok.

enter({Name, _} = Key, Stage, Log) ->
    true = ets:insert(?TABLE, {Key, Stage, erlang:system_time(second), #{}, Log}),
    bc_gitops_telemetry:execute(?TELEMETRY_BUILD_PROGRESS, #{system_time => erlang:system_time()},
                                #{app => Name, stage => Stage}),
    ?LOG_INFO("~s: ~s", [Name, words(Stage)], #{application => bc_gitops, app => Name}).

words(resolve) -> "asking its source";
words(wait) -> "waiting for a place in the pool of builds";
words(fetch) -> "fetching";
words(deps) -> "bringing its dependencies";
words(build) -> "building";
words(store) -> "storing what was built".

%% @doc Where the output of this build goes.
-spec log(atom(), bc_gitops_build_log:log()) -> ok.
log(Name, Log) ->
    _ = ets:update_element(?TABLE, {Name, self()}, {5, Log}),
    ok.

%% @doc What a transfer told of itself.
-spec received(atom(), map()) -> ok.
received(Name, Told) ->
    received(Name, self(), Told).

%% @doc The same, of a preparation that another process does.
-spec received(atom(), pid(), map()) -> ok.
received(Name, Pid, Told) ->
    Numbers = maps:filter(fun(_, Value) -> is_integer(Value) end, maps:with(?NUMBERS, Told)),
    Package = maps:filter(fun(_, Value) -> is_binary(Value) end, maps:with([package], Told)),
    _ = ets:update_element(?TABLE, {Name, Pid}, {4, maps:merge(Numbers, Package)}),
    ok.

%% @doc What is under way; where several processes prepare the same, what is furthest.
-spec read(atom()) -> {ok, progress()} | none.
read(Name) ->
    case [Row || {{_, Pid}, _, _, _, _} = Row <- rows(Name), is_process_alive(Pid)] of
        [] ->
            none;
        Rows ->
            Order = maps:from_list(lists:zip(?STAGES, lists:seq(1, length(?STAGES)))),
            Ranked = [{maps:get(element(2, Row), Order), Row} || Row <- Rows],
            {_, {_, Stage, Since, Received, Log}} = lists:max(Ranked),
            Shown = maps:merge(Received, percent(Received)),
            {ok, maps:merge(lines(Stage, Log), Shown#{
                stage => Stage, since => calendar:system_time_to_universal_time(Since, second)})}
    end.

rows(Name) ->
    try ets:select(?TABLE, [{{{Name, '_'}, '_', '_', '_', '_'}, [], ['$_']}])
    catch error:badarg -> []
    end.

percent(#{received_bytes := Received, total_bytes := Total}) when Total > 0 -> share(Received, Total);
percent(#{received_objects := Received, total_objects := Total}) when Total > 0 -> share(Received, Total);
percent(#{}) -> #{}.

share(Received, Total) -> #{percent => min(100, Received * 100 div Total)}.

lines(Stage, Log) when Log =/= undefined, Stage =:= deps orelse Stage =:= build ->
    case bc_gitops_build_log:last(Log, ?LINES) of
        [] -> #{};
        Lines -> #{line => lists:last(Lines), lines => Lines}
    end;
lines(_Stage, _Log) ->
    #{}.

%% What was killed could not take its row away.
forget_dead(Name) ->
    lists:foreach(
        fun({{_, Pid} = Key, _, _, _, _}) -> is_process_alive(Pid) orelse forget(Key) end,
        rows(Name)
    ).
