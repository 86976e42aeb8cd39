%%% @doc From a goal to the point at which the app can be touched: is there anything to do, what, and does
%%% something else come first? Edges into `preparing', `ready', `pending', `suspended' and `running'.
-module(bc_gitops_app_attempt).

-include("bc_gitops.hrl").
-include("bc_gitops_app_data.hrl").

-export([goal/3, begin_goal/2, dependency/2, attempt/1, ready/1]).

-import(bc_gitops_app_data, [enter/3, gone/1, settle/2, log/4, running/1, forget_running/1,
                             drop_worker/1, turn_done/1, announced/1, attempt_ended/2, cancelled/1,
                             saved/2]).

%% @doc A goal comes. What is switched is let finish first.
-spec goal(bc_gitops_registry:app_state_name(), bc_gitops_goal:goal(), bc_gitops_app_data:data()) ->
    bc_gitops_app_data:edge().
goal(State, Goal, #data{goal = Current} = Data)
        when State =:= switching; State =:= verifying; State =:= removing ->
    case Current =/= undefined andalso bc_gitops_goal:same(Goal, Current) of
        true -> {keep_state, Data#data{goal = bc_gitops_goal:refreshed(Goal, Current), next = undefined}};
        false -> {keep_state, Data#data{next = Goal}}
    end;
goal(State, #{what := none}, #data{goal = #{origin := manual}} = Data)
        when State =:= preparing; State =:= ready ->
    %% a call by hand is not undone by a cycle that knows nothing of it
    {keep_state, Data};
goal(State, Seen, #data{goal = Current, landed = Landed} = Data) ->
    Goal = bc_gitops_goal:since(Landed, Seen),
    Found = found_stopped(Goal, Data),
    case Current =/= undefined andalso bc_gitops_goal:same(Goal, Current) of
        true -> on_same_goal(State, Found#data{goal = bc_gitops_goal:refreshed(Goal, Current)});
        false -> begin_goal(Goal, Found)
    end.

%% A cycle that asked the runtime knows better than our record.
found_stopped(#{reasons := Reasons}, #data{app = #app_state{}} = Data) ->
    case lists:member(stopped, Reasons) of
        true -> forget_running(Data);
        false -> Data
    end;
found_stopped(_Goal, Data) ->
    Data.

on_same_goal(State, #data{goal = #{by_hand := true}} = Data)
        when State =:= backing_off; State =:= quarantined ->
    attempt(Data#data{deps = bc_gitops_app_deps:new(Data#data.goal)});
on_same_goal(State, Data) when State =:= backing_off; State =:= quarantined ->
    settle({error, Data#data.error}, Data),
    bc_gitops_app_touch:recover_or_hold(learn(Data));
on_same_goal(suspended, Data) ->
    settle({error, Data#data.error}, Data),
    {keep_state, Data};
on_same_goal(ready, #data{turn = asked} = Data) ->
    {keep_state, Data};
on_same_goal(State, #data{goal = Goal} = Data)
        when State =:= ready; State =:= preparing; State =:= pending ->
    dependency(State, Data#data{deps = bc_gitops_app_deps:new(Goal)});
on_same_goal(_State, #data{goal = Goal} = Data) ->
    begin_goal(Goal, Data).

%% A goal may know better what the quarantine is for.
learn(#data{goal = Goal, store = Store} = Data) ->
    Data#data{store = bc_gitops_app_record:learn(Goal, Store)}.

%% @doc From the beginning, whatever was done for another goal.
-spec begin_goal(bc_gitops_goal:goal(), bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
begin_goal(Goal, Data0) ->
    Data = (cancelled(drop_worker(turn_done(Data0))))#data{
        goal = Goal, next = undefined, prepared = undefined, attempts = 0, retry_at = undefined,
        recovering = false, recoveries = 0, deps = bc_gitops_app_deps:new(Goal),
        store = bc_gitops_app_record:wanted(Goal, Data0#data.store)
    },
    case Goal of
        #{what := none} -> nothing_to_do(Data);
        #{what := blocked, reason := Reason} -> blocked({blocked, Reason}, Data);
        #{what := apply} -> begin_apply(Goal, Data);
        _ -> attempt(Data)
    end.

begin_apply(#{by_hand := ByHand} = Goal, #data{store = #{quarantine := Quarantine}} = Data) ->
    Satisfied = bc_gitops_goal:satisfied_by(Goal, running(Data)),
    case {Satisfied, bc_gitops_goal:is_quarantined(Goal, Quarantine)} of
        {true, _} ->
            as_wanted(Data);
        {false, true} when not ByHand ->
            #{reason := Reason} = Quarantine,
            settle({error, Reason}, Data),
            bc_gitops_app_touch:recover_or_hold(learn(Data#data{error = Reason, class = quarantine}));
        {false, _} ->
            attempt(Data)
    end.

%% Nothing to do: an app that runs is as wanted; one that never ran is forgotten.
nothing_to_do(#data{app = #app_state{}} = Data) ->
    as_wanted(Data);
nothing_to_do(#data{store = #{confirmed := undefined}} = Data) ->
    gone(Data);
nothing_to_do(Data) ->
    settle(ok, Data),
    enter(failed, Data, []).

as_wanted(#data{store = Store} = Data) ->
    Clean = Data#data{error = undefined, class = undefined},
    Kept = case Store of
        #{quarantine := undefined} -> Clean;
        _ -> saved(fun bc_gitops_app_record:lift/1, Clean)
    end,
    settle(ok, Kept),
    enter(running, Kept, []).

blocked(Reason, Data) ->
    settle({error, Reason}, Data),
    log(warning, "~ts: left as it is: ~ts", [bc_gitops_failure:describe(Reason)], Data),
    enter(suspended, Data#data{error = Reason}, []).

%% @doc One try, from the beginning, at whatever the goal takes from here.
-spec attempt(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
attempt(#data{goal = Goal, attempts = Attempts, store = #{confirmed := Confirmed}} = Data0) ->
    Data = Data0#data{attempts = Attempts + 1, began = erlang:monotonic_time(), retry_at = undefined},
    case bc_gitops_goal:way(Goal, running(Data), Confirmed) of
        none ->
            as_wanted(Data);
        {Action, Target, undefined} ->
            prepare(announced(Data#data{action = Action, target = Target}));
        {Action, Target, Prepared} ->
            ready(announced(Data#data{action = Action, target = Target, prepared = Prepared}))
    end.

prepare(#data{goal = #{spec := Spec} = Goal, config = Config, store = Store} = Data) ->
    #{runtime_module := Module} = Config,
    #{current := Current, confirmed := Confirmed, previous := Previous} = Store,
    Known = bc_gitops_goal:lock(Goal, [Current, Confirmed, Previous]),
    Worker = bc_gitops_app_work:start(fun() -> bc_gitops_app_work:prepare(Module, Spec, Known) end),
    Deadline = bc_gitops_app_work:prepare_deadline(Goal, Config),
    enter(preparing, Data#data{worker = Worker}, [{state_timeout, Deadline, deadline}]).

%% @doc Waits for what must come first; goes on when nothing has to.
-spec ready(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
ready(#data{deps = Deps} = Data) ->
    case bc_gitops_app_deps:outcome(Deps) of
        {failed, Name} -> dependency_failed(Name, Data);
        waiting -> enter(ready, Data, []);
        done -> bc_gitops_app_touch:go(Data)
    end.

dependency_failed(Name, Data) ->
    Reason = {dependency_failed, Name},
    Ended = attempt_ended({error, Reason}, Data),
    settle({error, Reason}, Ended),
    enter(pending, Ended#data{error = Reason}, []).

%% @doc It is known better what the goal waits for.
-spec dependency(bc_gitops_registry:app_state_name(), bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
dependency(ready, #data{turn = none} = Data) ->
    ready(Data);
dependency(pending, #data{goal = #{}, deps = Deps} = Data) ->
    case bc_gitops_app_deps:outcome(Deps) of
        {failed, Name} -> dependency_failed(Name, Data);
        waiting -> {keep_state, Data};
        done -> attempt(Data)
    end;
dependency(_State, Data) ->
    {keep_state, Data}.
