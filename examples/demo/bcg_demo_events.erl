%%% @doc What bc_gitops reports while the demo runs: every telemetry event with the time it came,
%%% and waiting for a state of the node. Nothing is ever waited for by time alone.
-module(bcg_demo_events).

-include_lib("bc_gitops/include/bc_gitops.hrl").

-export([attach/0, handle/4, await/2, since/3]).

-define(TABLE, ?MODULE).
-define(DEADLINE_MS, 120000).     % of one wait: a cold mix build on a busy machine takes 30 s

%% @doc Attaches the calling process.
-spec attach() -> ok.
attach() ->
    _ = ets:new(?TABLE, [named_table, public, ordered_set]),
    bc_gitops_telemetry:attach_many(<<"bc_gitops demo">>, events(), fun ?MODULE:handle/4, self()).

events() ->
    [
        ?TELEMETRY_RECONCILE_STOP, ?TELEMETRY_RECONCILE_ERROR,
        ?TELEMETRY_DEPLOY_START, ?TELEMETRY_DEPLOY_STOP,
        ?TELEMETRY_UPGRADE_START, ?TELEMETRY_UPGRADE_STOP,
        ?TELEMETRY_RECONFIGURE_START, ?TELEMETRY_RECONFIGURE_STOP,
        ?TELEMETRY_REMOVE_START, ?TELEMETRY_REMOVE_STOP,
        ?TELEMETRY_BUILD_START, ?TELEMETRY_BUILD_STOP
    ].

%% @doc The telemetry handler.
-spec handle([atom()], map(), map(), pid()) -> ok.
handle(Event, Measurements, Metadata, Demo) ->
    Key = {erlang:monotonic_time(microsecond), erlang:unique_integer([monotonic])},
    true = ets:insert(?TABLE, {Key, Event, Measurements, Metadata}),
    Demo ! ?MODULE,
    ok.

%% @doc Waits until Check answers `{done, Value}'. It is asked again after each event; the cycles of
%% bc_gitops alone are one every 300 ms.
-spec await(What :: iodata(), fun(() -> {done, Value} | {not_yet, term()})) -> Value.
await(What, Check) ->
    await(What, Check, erlang:monotonic_time(millisecond) + ?DEADLINE_MS).

await(What, Check, Deadline) ->
    case Check() of
        {done, Value} ->
            Value;
        {not_yet, Seen} ->
            receive
                ?MODULE -> await(What, Check, Deadline)
            after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
                throw({demo, io_lib:format("~b s passed without this: ~ts~nlast seen: ~tp",
                                           [?DEADLINE_MS div 1000, What, Seen])})
            end
    end.

%% @doc The events of one kind since a time, oldest first. App may be `any'.
-spec since(Time :: integer(), [atom()], App :: atom()) -> [{Time :: integer(), map()}].
since(Time, Event, App) ->
    [
        {At, Metadata}
     || {{At, _}, Name, _, Metadata} <- ets:tab2list(?TABLE),
        At >= Time, Name =:= Event, App =:= any orelse maps:get(app, Metadata, undefined) =:= App
    ].
