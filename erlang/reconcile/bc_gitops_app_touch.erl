%%% @doc Touching an app: the switch or the removal begins, what ran before is started again, or nothing is
%%% touched until a timer or a goal comes. Edges into `switching', `removing', `backing_off' and
%%% `quarantined'.
-module(bc_gitops_app_touch).

-include("bc_gitops.hrl").
-include("bc_gitops_app_data.hrl").

-export([go/1, touch/1, hold/1, recover/1, recover_or_hold/1]).

-import(bc_gitops_app_data, [enter/3, running/1, stop_watching/1, saved/2]).

%% @doc Touches the app now, or asks for the turn to: a module that cannot prepare is called for one app at
%% a time, and the deadline counts from its turn.
-spec go(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
go(#data{prepared = Prepared, config = #{runtime_module := Module}} = Data) ->
    case Prepared =:= #{} andalso not bc_gitops_app_work:works_side_by_side(Module) of
        true ->
            ok = bc_gitops_turns:ask(),
            enter(ready, Data#data{turn = asked}, []);
        false ->
            touch(Data)
    end.

%% @doc The point from which the app is touched.
-spec touch(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
touch(#data{action = remove, name = Name, config = #{runtime_module := Module}} = Data) ->
    touch(removing, fun() -> bc_gitops_app_work:remove(Module, Name) end, Data);
touch(#data{action = Action, target = Target, config = #{runtime_module := Module}} = Data) ->
    Old = running(Data),
    touch(switching, fun() -> bc_gitops_app_work:switch(Action, Module, Target, Old) end, Data).

touch(State, Work, #data{action = Action, target = Target, prepared = Prepared, config = Config} = Data) ->
    Journal = fun(Store) -> bc_gitops_app_record:journal(Action, Target, Store) end,
    Journalled = saved(Journal, stop_watching(Data)),
    Worker = bc_gitops_app_work:start(Work),
    Deadline = bc_gitops_app_work:switch_deadline(Action, Prepared, Config),
    enter(State, Journalled#data{worker = Worker}, [{state_timeout, Deadline, deadline}]).

%% @doc Stays where a failure has led, until a timer, a call by hand or another goal.
-spec hold(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
hold(#data{class = quarantine} = Data) ->
    enter(quarantined, Data, recovery_timer(Data));
hold(#data{retry_at = undefined} = Data) ->
    enter(backing_off, Data, []);
hold(#data{retry_at = RetryAt} = Data) ->
    Left = max(0, RetryAt - erlang:monotonic_time(millisecond)),
    enter(backing_off, Data, [{state_timeout, Left, retry}]).

recovery_timer(#data{recoveries = Count, config = #{retry_min := Min, retry_max := Max}} = Data) ->
    case fallback(Data) of
        {ok, _Confirmed} -> [{state_timeout, bc_gitops_failure:backoff(max(1, Count), Min, Max), recover}];
        none -> []
    end.

%% @doc After a failure: what ran well before runs again while its successor is given up.
-spec recover_or_hold(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
recover_or_hold(Data) ->
    case fallback(Data) of
        {ok, _Confirmed} -> recover(Data);
        none -> hold(Data)
    end.

fallback(#data{app = undefined, goal = Goal, store = Store}) ->
    bc_gitops_app_record:fallback(Goal, Store);
fallback(_Data) ->
    none.

-spec recover(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
recover(#data{store = #{confirmed := Confirmed}} = Data) ->
    go(Data#data{recovering = true, action = restore, target = Confirmed, prepared = #{}}).
