%%% @doc How a piece of work ended, what that means for the app, and where it leads. Edges out of
%%% `preparing', `switching', `verifying', `removing' and `running'.
-module(bc_gitops_app_outcome).

-include("bc_gitops.hrl").
-include("bc_gitops_app_data.hrl").

-export([judged/3, arrived/1, app_down/3]).

-import(bc_gitops_app_data, [enter/3, gone/1, publish/2, settle/2, log/4, running_version/1,
                             forget_running/1, watch/1, turn_done/1, attempt_ended/2, saved/1,
                             saved/2, remember/2]).

%% @doc A worker has ended, or its time has. What fails while the node stops has not failed: nothing is
%% said or written of it.
-spec judged(bc_gitops_registry:app_state_name(), Result :: term(), bc_gitops_app_data:data()) ->
    bc_gitops_app_data:edge().
judged(State, Result, Data0) ->
    Data = turn_done(Data0),
    case is_failure(Result) andalso bc_gitops_node:is_stopping() of
        true -> {keep_state, Data};
        false -> on_result(State, Result, Data)
    end.

is_failure(ok) -> false;
is_failure(Result) -> element(1, Result) =:= error.

on_result(preparing, {ok, Prepared}, #data{goal = Goal} = Data) ->
    bc_gitops_app_attempt:ready(Data#data{prepared = Prepared, target = bc_gitops_goal:target(Goal, Prepared)});
on_result(preparing, {error, Reason}, Data) ->
    attempt_failed(prepare, Reason, Data);
on_result(switching, {ok, #app_state{} = App}, Data) ->
    enter(verifying, watch(Data#data{app = App}), [{next_event, internal, verified}]);
on_result(switching, {error, Reason}, Data) ->
    %% the worker died or was killed: what runs is not known, so nothing is assumed to
    on_result(switching, {error, Reason, undefined}, Data);
on_result(switching, {error, Reason, Left}, Data) ->
    Phase = failed_phase(Data),
    switch_failed(Phase, Reason, now_runs(Left, Data));
on_result(removing, ok, Data) ->
    removed(Data);
on_result(removing, {error, Reason}, Data) ->
    switch_failed(remove, Reason, watch(Data)).

failed_phase(#data{recovering = true}) -> restore;
failed_phase(#data{action = restore}) -> restore;
failed_phase(#data{action = deploy, prepared = Prepared}) when map_size(Prepared) =:= 0 -> start;
failed_phase(#data{action = deploy, target = #{key := Key}, store = #{confirmed := #{key := Key}}})
        when Key =/= undefined ->
    restore;
failed_phase(_Data) -> switch.

now_runs(unchanged, Data) -> watch(Data);
now_runs(undefined, Data) -> forget_running(Data);
now_runs(#app_state{} = App, Data) -> watch(Data#data{app = App}).

%% @doc What was switched on has proved itself.
-spec arrived(bc_gitops_app_data:data()) -> bc_gitops_app_data:edge().
arrived(#data{recovering = true} = Data) ->
    log(notice, "~ts: ~ts runs again", [running_version(Data)], Data),
    go_on((landed(Data))#data{recovering = false, recoveries = 0}, fun bc_gitops_app_touch:hold/1);
arrived(#data{action = Action} = Data) ->
    Done = attempt_ended(ok, remember(ok, Data)),
    Landed = landed(Done#data{error = undefined, class = undefined, attempts = 0}),
    ok = bc_gitops_app_log:done(Action, Landed#data.app, Landed#data.store),
    settle(ok, Landed),
    go_on(Landed, fun(Next) -> enter(running, Next, []) end).

landed(#data{action = Action, target = Target, goal = Goal} = Data) ->
    Now = Data#data{landed = bc_gitops_goal:new_seq()},
    saved(fun(Store) -> bc_gitops_app_record:landed(Action, Target, Goal, Store) end, Now).

removed(#data{goal = Goal} = Data) ->
    log(notice, "~ts: removed", [], Data),
    Empty = forget_running(attempt_ended(ok, Data)),
    case Data#data.next of
        #{what := apply} = Next when Goal =/= Next ->
            Fresh = saved(fun(#{name := Name}) -> bc_gitops_state:new(Name) end, Empty),
            bc_gitops_app_attempt:begin_goal(Next, Fresh);
        _ ->
            gone(Empty#data{next = undefined})
    end.

%% A failure before anything was touched.
attempt_failed(Phase, Reason, Data) ->
    failed(bc_gitops_failure:class(Phase, Reason, Data#data.attempts), Reason, Data).

%% A failure after that.
switch_failed(_Phase, Reason, #data{recovering = true, recoveries = Count} = Data) ->
    log(error, "~ts: the old version does not start either: ~ts", [bc_gitops_failure:describe(Reason)], Data),
    Saved = saved(fun bc_gitops_app_record:unjournal/1, Data),
    go_on(Saved#data{recovering = false, recoveries = Count + 1}, fun bc_gitops_app_touch:hold/1);
switch_failed(Phase, Reason, #data{attempts = Attempts, store = Store} = Data) ->
    Closed = Data#data{store = bc_gitops_app_record:unjournal(Store)},
    failed(bc_gitops_failure:class(Phase, Reason, Attempts), Reason, Closed).

failed(_Class, Reason, #data{action = restore} = Data) ->
    Ended = saved(attempt_ended({error, Reason}, remember({error, Reason}, Data))),
    log(error, "~ts: it was not started from the store (~ts), the next cycle deploys it",
        [bc_gitops_failure:describe(Reason)], Data),
    settle({error, Reason}, Ended),
    go_on(Ended#data{error = Reason, goal = undefined}, fun(Next) -> enter(failed, Next, []) end);
failed(Class, Reason, #data{attempts = Attempts, config = #{retry_min := Min, retry_max := Max}} = Data) ->
    Ended = attempt_ended({error, Reason}, remember({error, Reason}, Data)),
    Wait = bc_gitops_failure:backoff(max(1, Attempts), Min, Max),
    Tried = {Ended#data.goal, Ended#data.prepared},
    Saved = saved(fun(Store) -> bc_gitops_app_record:failed(Class, Reason, Tried, Store) end, Ended#data{
        error = Reason, class = Class, retry_at = erlang:monotonic_time(millisecond) + Wait
    }),
    log_failure(Class, Reason, Wait, Saved),
    settle({error, Reason}, Saved),
    go_on(Saved, fun bc_gitops_app_touch:recover_or_hold/1).

log_failure(Class, Reason, Wait, #data{action = Action, target = Target, app = App, store = Store}) ->
    Next = case Class of quarantine -> quarantine; retry -> {retry, Wait} end,
    bc_gitops_app_log:failed(Next, Reason, {Action, Target}, App, Store).

%% After a switch: the process may be asked to end, or to go somewhere else, before Otherwise.
go_on(#data{stopping = true} = Data, _Otherwise) ->
    {stop, normal, Data};
go_on(#data{next = undefined} = Data, Otherwise) ->
    Otherwise(Data);
go_on(#data{next = Next} = Data, _Otherwise) ->
    bc_gitops_app_attempt:begin_goal(bc_gitops_goal:since(bc_gitops_goal:new_seq(), Next), Data).

%% @doc What ran has stopped by itself.
-spec app_down(bc_gitops_registry:app_state_name(), Reason :: term(), bc_gitops_app_data:data()) ->
    bc_gitops_app_data:edge().
app_down(State, Reason, Data) ->
    case bc_gitops_node:is_stopping() of
        true ->
            {keep_state, Data};
        false ->
            Stopped = forget_running(Data),
            log(error, "~ts: stopped by itself (~ts), the next cycle starts it again",
                [bc_gitops_words:reason(Reason)], Data),
            case State of
                running ->
                    Error = {stopped, bc_gitops_words:text("~ts", [bc_gitops_words:reason(Reason)])},
                    enter(failed, Stopped#data{error = Error, goal = undefined}, []);
                _ ->
                    ok = publish(State, Stopped),
                    {keep_state, Stopped}
            end
    end.
