%%% @doc The life of one managed app.
%%%
%%% Owns what is wanted of the app, what runs of it, its file on disk and its rows in the registry.
%%% Never does the work itself: a worker does, with a deadline, so that this process always answers,
%%% gives up in time, and drops work that a newer commit made pointless.
%%%
%%%   state        means                                      leaves by
%%%   -----------  -----------------------------------------  ----------------------------------------
%%%   pending      waits for a goal, or for a dependency      goal -> preparing | ready | removing;
%%%                that failed to run                         dependency runs -> preparing | ready
%%%   preparing    fetched and built beside what runs         ok -> ready; error -> backing_off |
%%%                                                           quarantined; newer goal -> starts over
%%%   ready        waits for what must be done first          all done -> switching | removing;
%%%                                                           one failed -> pending
%%%   switching    the runtime changes what runs              ok -> verifying; error -> backing_off |
%%%                                                           quarantined (the old version runs again);
%%%                                                           a newer goal waits for the end
%%%   verifying    runs, must prove itself                    proven -> running
%%%   running      as wanted                                  goal -> preparing | ready; stops -> failed
%%%   backing_off  failed in a way that may pass              timer, call by hand, other goal
%%%   quarantined  failed for this spec and revision          other spec or revision, call by hand
%%%   suspended    the plan cannot say what to do             plan can -> preparing | ready | running
%%%   removing     the runtime stops and forgets it           ok -> gone; error -> backing_off
%%%   failed       should run and does not                    goal -> preparing
%%%
%%% (The file is long because the edges of a state machine have to be read together.)
%%%
%%% In backing_off and quarantined an older version usually runs on. Where it does not, but ran well
%%% before, it is started again from the store first (`recovering').
-module(bc_gitops_managed_app).
-behaviour(gen_statem).

-include("bc_gitops.hrl").

-export([start_link/2, goal/2, dependency/3, stop/1]).
-export([callback_mode/0, init/1, handle_event/4, terminate/3, format_status/1]).

-record(data, {
    name :: atom(),
    config :: bc_gitops_config:config(),
    store :: bc_gitops_state:app(),
    app :: #app_state{} | undefined,            % what runs
    monitor :: reference() | undefined,         % of the process that stands for it
    goal :: bc_gitops_goal:goal() | undefined,
    next :: bc_gitops_goal:goal() | undefined,  % waits for the end of a switch
    seq = 0 :: non_neg_integer(),               % the newest goal seen
    worker :: bc_gitops_app_work:worker() | undefined,
    action :: bc_gitops_goal:step() | undefined,
    target :: bc_gitops_state:revision() | undefined,
    prepared :: map() | undefined,
    deps = bc_gitops_app_deps:none() :: bc_gitops_app_deps:deps(),
    attempts = 0 :: non_neg_integer(),
    began :: integer() | undefined,             % of the attempt, native time
    error :: term(),                            % of the last attempt
    class :: bc_gitops_failure:class() | undefined,
    retry_at :: integer() | undefined,          % monotonic ms
    recovering = false :: boolean(),
    recoveries = 0 :: non_neg_integer(),
    turn = none :: none | asked | mine,
    stopping = false :: boolean()
}).

-spec start_link(bc_gitops_state:app(), bc_gitops_config:config()) -> {ok, pid()} | {error, term()}.
start_link(App, Config) ->
    case gen_statem:start_link(?MODULE, {App, Config}, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc What the app is to become. The answer comes to the reconciler when it is settled.
-spec goal(pid(), bc_gitops_goal:goal()) -> ok.
goal(Pid, Goal) ->
    gen_statem:cast(Pid, {goal, Goal}).

%% @doc Tells how an app on which this one's goal depends came out.
-spec dependency(pid(), atom(), ok | error) -> ok.
dependency(Pid, Name, Result) ->
    gen_statem:cast(Pid, {dependency, Name, Result}).

%% @doc Ends the process: at once, or when a switch under way is done. What runs keeps running.
-spec stop(pid()) -> ok.
stop(Pid) ->
    gen_statem:cast(Pid, stop).

-spec callback_mode() -> handle_event_function.
callback_mode() ->
    handle_event_function.

-spec init({bc_gitops_state:app(), bc_gitops_config:config()}) ->
    {ok, bc_gitops_registry:app_state_name(), #data{}}.
init({#{name := Name} = Store, Config}) ->
    process_flag(trap_exit, true),
    Data = #data{name = Name, config = Config, store = Store},
    case Store of
        #{quarantine := #{reason := Reason}} ->
            first(quarantined, Data#data{error = Reason, class = quarantine});
        _ ->
            first(pending, Data)
    end.

first(State, Data) ->
    ok = publish(State, Data),
    ok = bc_gitops_app_disk:keep_builds(Data#data.store),
    {ok, State, Data}.

-spec handle_event(gen_statem:event_type(), term(), bc_gitops_registry:app_state_name(), #data{}) ->
    gen_statem:event_handler_result(bc_gitops_registry:app_state_name()).
handle_event(cast, {goal, Goal}, State, Data) ->
    Seen = Data#data{seq = max(Data#data.seq, maps:get(seq, Goal))},
    on_goal(State, Goal, Seen);
handle_event(cast, {dependency, Name, Result}, State, #data{deps = Deps} = Data) ->
    case bc_gitops_app_deps:heard(Name, Result, Deps) of
        unknown -> keep_state_and_data;
        Heard -> on_dependency(State, Data#data{deps = Heard})
    end;
handle_event(cast, stop, State, Data)
        when State =:= switching; State =:= verifying; State =:= removing ->
    {keep_state, Data#data{stopping = true}};
handle_event(cast, stop, _State, Data) ->
    {stop, normal, drop_worker(Data)};
handle_event(state_timeout, deadline, State, Data) ->
    #data{action = Action} = Data,
    Reason = {timeout, #{while => State, action => Action}},
    judged(State, {error, Reason}, drop_worker(Data));
handle_event(state_timeout, retry, _State, Data) ->
    attempt(Data);
handle_event(state_timeout, recover, _State, Data) ->
    recover(Data);
handle_event(internal, verified, verifying, Data) ->
    arrived(Data);
handle_event(info, bc_gitops_turn, ready, #data{turn = asked} = Data) ->
    touch(Data#data{turn = mine});
handle_event(info, bc_gitops_turn, _State, Data) ->
    %% it came too late: something else was wanted meanwhile
    ok = bc_gitops_turns:done(),
    {keep_state, Data#data{turn = none}};
handle_event(info, {'DOWN', Monitor, process, _, Reason}, State, #data{monitor = Monitor} = Data) ->
    on_app_down(State, Reason, Data#data{monitor = undefined});
handle_event(info, Message, State, #data{worker = Worker} = Data) when Worker =/= undefined ->
    case bc_gitops_app_work:is_result(Message, Worker) of
        {true, Result} -> judged(State, Result, Data#data{worker = undefined});
        false -> keep_state_and_data
    end;
handle_event(info, _Message, _State, _Data) ->
    keep_state_and_data;
handle_event({call, From}, _Request, _State, _Data) ->
    {keep_state_and_data, [{reply, From, {error, not_a_call}}]}.

%% A switch that is cut off in good order has not taken the VM down. The application controller is not
%% asked here: it may be the one that hangs.
-spec terminate(term(), bc_gitops_registry:app_state_name(), #data{}) -> ok.
terminate(_Reason, switching, Data) ->
    _ = saved(fun bc_gitops_app_record:unjournal/1, drop_worker(Data)),
    ok;
terminate(_Reason, _State, Data) ->
    _ = drop_worker(Data),
    ok.

%% Specs and environments stay out of crash reports.
-spec format_status(gen_statem:format_status()) -> gen_statem:format_status().
format_status(Status) ->
    maps:map(
        fun(data, #data{name = Name, seq = Seq}) -> #{name => Name, seq => Seq};
           (Key, _Hidden) when Key =:= queue; Key =:= postponed; Key =:= log -> [];
           (_Key, Value) -> Value
        end,
        Status
    ).

%% goals

on_goal(State, Goal, #data{goal = Current} = Data)
        when State =:= switching; State =:= verifying; State =:= removing ->
    case Current =/= undefined andalso bc_gitops_goal:same(Goal, Current) of
        true -> {keep_state, Data#data{goal = bc_gitops_goal:refreshed(Goal, Current), next = undefined}};
        false -> {keep_state, Data#data{next = Goal}}
    end;
on_goal(State, #{what := none}, #data{goal = #{origin := manual}} = Data)
        when State =:= preparing; State =:= ready ->
    %% a call by hand is not undone by a cycle that knows nothing of it
    {keep_state, Data};
on_goal(State, Goal, #data{goal = Current} = Data) ->
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
    recover_or_hold(learn(Data));
on_same_goal(suspended, Data) ->
    settle({error, Data#data.error}, Data),
    {keep_state, Data};
on_same_goal(ready, #data{turn = asked} = Data) ->
    {keep_state, Data};
on_same_goal(State, #data{goal = Goal} = Data)
        when State =:= ready; State =:= preparing; State =:= pending ->
    on_dependency(State, Data#data{deps = bc_gitops_app_deps:new(Goal)});
on_same_goal(_State, #data{goal = Goal} = Data) ->
    begin_goal(Goal, Data).

%% A goal may know better what the quarantine is for.
learn(#data{goal = Goal, store = Store} = Data) ->
    Data#data{store = bc_gitops_app_record:learn(Goal, Store)}.

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
            recover_or_hold(learn(Data#data{error = Reason, class = quarantine}));
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

%% attempts

%% One try, from the beginning, at whatever the goal takes from here.
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

announced(#data{action = Action, goal = Goal, store = Store} = Data) ->
    ok = bc_gitops_app_view:begun(seen(Data)),
    ok = bc_gitops_app_log:begun(Action, Goal, Store),
    Data.

prepare(#data{goal = #{spec := Spec} = Goal, config = Config, store = Store} = Data) ->
    #{runtime_module := Module} = Config,
    #{current := Current, confirmed := Confirmed, previous := Previous} = Store,
    Known = bc_gitops_goal:lock(Goal, [Current, Confirmed, Previous]),
    Worker = bc_gitops_app_work:start(fun() -> bc_gitops_app_work:prepare(Module, Spec, Known) end),
    Deadline = bc_gitops_app_work:prepare_deadline(Goal, Config),
    enter(preparing, Data#data{worker = Worker}, [{state_timeout, Deadline, deadline}]).

%% Waits for what must come first; goes on when nothing has to.
ready(#data{deps = Deps} = Data) ->
    case bc_gitops_app_deps:outcome(Deps) of
        {failed, Name} -> dependency_failed(Name, Data);
        waiting -> enter(ready, Data, []);
        done -> go(Data)
    end.

dependency_failed(Name, Data) ->
    Reason = {dependency_failed, Name},
    Ended = attempt_ended({error, Reason}, Data),
    settle({error, Reason}, Ended),
    enter(pending, Ended#data{error = Reason}, []).

on_dependency(ready, #data{turn = none} = Data) ->
    ready(Data);
on_dependency(pending, #data{goal = #{}, deps = Deps} = Data) ->
    case bc_gitops_app_deps:outcome(Deps) of
        {failed, Name} -> dependency_failed(Name, Data);
        waiting -> {keep_state, Data};
        done -> attempt(Data)
    end;
on_dependency(_State, Data) ->
    {keep_state, Data}.

%% A module that cannot prepare is called for one app at a time: the deadline counts from its turn.
go(#data{prepared = Prepared, config = #{runtime_module := Module}} = Data) ->
    case Prepared =:= #{} andalso not bc_gitops_app_work:works_side_by_side(Module) of
        true ->
            ok = bc_gitops_turns:ask(),
            enter(ready, Data#data{turn = asked}, []);
        false ->
            touch(Data)
    end.

turn_done(#data{turn = none} = Data) ->
    Data;
turn_done(Data) ->
    ok = bc_gitops_turns:done(),
    Data#data{turn = none}.

%% The point from which the app is touched.
touch(#data{action = remove, name = Name, config = #{runtime_module := Module}} = Data) ->
    touch(removing, fun() -> bc_gitops_app_work:remove(Module, Name) end, Data);
touch(#data{action = Action, target = Target, config = #{runtime_module := Module}} = Data) ->
    Old = running(Data),
    touch(switching, fun() -> bc_gitops_app_work:switch(Action, Module, Target, Old) end, Data).

touch(State, Work, #data{action = Action, target = Target, prepared = Prepared, config = Config} = Data) ->
    Journal = fun(Store) -> bc_gitops_app_record:journal(Action, Target, Store) end,
    Journalled = saved(Journal, stop_watching(Data)),
    Deadline = bc_gitops_app_work:switch_deadline(Action, Prepared, Config),
    enter(State, Journalled#data{worker = bc_gitops_app_work:start(Work)}, [{state_timeout, Deadline, deadline}]).

%% results

%% What fails while the node stops has not failed: nothing is said or written of it.
judged(State, Result, Data0) ->
    Data = turn_done(Data0),
    case is_failure(Result) andalso bc_gitops_node:is_stopping() of
        true -> {keep_state, Data};
        false -> on_result(State, Result, Data)
    end.

is_failure(ok) -> false;
is_failure(Result) -> element(1, Result) =:= error.

on_result(preparing, {ok, Prepared}, #data{goal = Goal} = Data) ->
    ready(Data#data{prepared = Prepared, target = bc_gitops_goal:target(Goal, Prepared)});
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

arrived(#data{recovering = true} = Data) ->
    log(notice, "~ts: ~ts runs again", [running_version(Data)], Data),
    go_on((landed(Data))#data{recovering = false, recoveries = 0}, fun hold/1);
arrived(#data{action = Action} = Data) ->
    Done = attempt_ended(ok, remember(ok, Data)),
    Landed = landed(Done#data{error = undefined, class = undefined, attempts = 0}),
    ok = bc_gitops_app_log:done(Action, Landed#data.app, Landed#data.store),
    settle(ok, Landed),
    go_on(Landed, fun(Next) -> enter(running, Next, []) end).

landed(#data{action = Action, target = Target, goal = Goal} = Data) ->
    saved(fun(Store) -> bc_gitops_app_record:landed(Action, Target, Goal, Store) end, Data).

removed(#data{goal = Goal} = Data) ->
    log(notice, "~ts: removed", [], Data),
    Empty = forget_running(attempt_ended(ok, Data)),
    case Data#data.next of
        #{what := apply} = Next when Goal =/= Next ->
            begin_goal(Next, saved(fun(#{name := Name}) -> bc_gitops_state:new(Name) end, Empty));
        _ ->
            gone(Empty#data{next = undefined})
    end.

gone(#data{store = Store, config = Config} = Data) ->
    ok = bc_gitops_app_disk:forget(Store, Config),
    settle(ok, Data),
    {stop, normal, Data}.

%% A failure before anything was touched.
attempt_failed(Phase, Reason, Data) ->
    failed(bc_gitops_failure:class(Phase, Reason, Data#data.attempts), Reason, Data).

%% A failure after that.
switch_failed(_Phase, Reason, #data{recovering = true, recoveries = Count} = Data) ->
    log(error, "~ts: the old version does not start either: ~ts", [bc_gitops_failure:describe(Reason)], Data),
    Saved = saved(fun bc_gitops_app_record:unjournal/1, Data),
    go_on(Saved#data{recovering = false, recoveries = Count + 1}, fun hold/1);
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
    go_on(Saved, fun recover_or_hold/1).

log_failure(Class, Reason, Wait, #data{action = Action, target = Target, app = App, store = Store}) ->
    Next = case Class of quarantine -> quarantine; retry -> {retry, Wait} end,
    bc_gitops_app_log:failed(Next, Reason, {Action, Target}, App, Store).

%% After a switch: the process may be asked to end, or to go somewhere else, before Otherwise.
go_on(#data{stopping = true} = Data, _Otherwise) ->
    {stop, normal, Data};
go_on(#data{next = undefined} = Data, Otherwise) ->
    Otherwise(Data);
go_on(#data{next = #{reasons := Reasons} = Next} = Data, _Otherwise) ->
    %% what was seen of the old version says nothing about this one
    begin_goal(Next#{reasons := Reasons -- [stopped, drift, unhealthy]}, Data).

%% Stays where a failure has led, until a timer, a call by hand or another goal.
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

%% recovering: what ran well before runs again while its successor is given up

recover_or_hold(Data) ->
    case fallback(Data) of
        {ok, _Confirmed} -> recover(Data);
        none -> hold(Data)
    end.

fallback(#data{app = undefined, goal = Goal, store = Store}) ->
    bc_gitops_app_record:fallback(Goal, Store);
fallback(_Data) ->
    none.

recover(#data{store = #{confirmed := Confirmed}} = Data) ->
    go(Data#data{recovering = true, action = restore, target = Confirmed, prepared = #{}}).

on_app_down(State, Reason, Data) ->
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

%% what runs

running(#data{app = undefined}) -> undefined;
running(#data{store = #{current := Current}}) -> Current.

running_version(#data{app = #app_state{version = Version}}) -> Version;
running_version(_Data) -> <<"nothing">>.

forget_running(Data) ->
    (stop_watching(Data))#data{app = undefined}.

watch(#data{app = #app_state{pid = Pid}} = Data) when is_pid(Pid), node(Pid) =:= node() ->
    (stop_watching(Data))#data{monitor = monitor(process, Pid)};
watch(Data) ->
    stop_watching(Data).

stop_watching(#data{monitor = undefined} = Data) ->
    Data;
stop_watching(#data{monitor = Monitor} = Data) ->
    true = demonitor(Monitor, [flush]),
    Data#data{monitor = undefined}.

drop_worker(#data{worker = undefined} = Data) ->
    Data;
drop_worker(#data{worker = Worker} = Data) ->
    ok = bc_gitops_app_work:stop(Worker),
    Data#data{worker = undefined}.

%% An attempt that a newer goal ended has its own last event.
cancelled(#data{began = undefined} = Data) ->
    Data;
cancelled(#data{action = Action} = Data) ->
    log(info, "~ts: ~ts cancelled, something newer is wanted", [Action], Data),
    attempt_ended({error, cancelled}, Data).

attempt_ended(_Result, #data{began = undefined} = Data) ->
    Data;
attempt_ended(Result, Data) ->
    ok = bc_gitops_app_view:ended(Result, duration(Data), (seen(Data))#{how => how(Result, Data)}),
    Data#data{began = undefined}.

enter(State, Data, Actions) ->
    ok = publish(State, Data),
    {next_state, State, Data, Actions}.

%% disk

saved(Change, #data{store = Store} = Data) ->
    saved(Data#data{store = Change(Store)}).

saved(#data{store = Store, config = Config} = Data) ->
    ok = bc_gitops_app_disk:save(Store, Config),
    Data.

remember(Result, #data{action = Action, target = Target, goal = #{commit := Commit}, store = Store} = Data) ->
    Entry = #{action => Action, target => Target, commit => Commit, duration => duration(Data),
              how => how(Result, Data)},
    Data#data{store = bc_gitops_app_record:remember(Result, Entry, Store)}.

%% How new code took the place of old code, as the runtime says.
how(ok, #data{action = upgrade, app = #app_state{details = Details}}) ->
    maps:with([upgraded, because, pause_us, processes], Details);
how(_Result, _Data) ->
    #{}.

%% what others see

%% What ends while a newer goal waits settles nothing: that goal will.
settle(_Result, #data{next = #{}}) ->
    ok;
settle(Result, #data{name = Name, seq = Seq}) ->
    bc_gitops_reconciler:settled(Name, Seq, Result).

publish(State, Data) ->
    #data{store = Store, app = App, goal = Goal, error = Error, attempts = Attempts} = Data,
    bc_gitops_app_view:publish(#{
        state => State, pid => self(), store => Store, app => App, goal => Goal, error => Error,
        attempts => Attempts, retry_at => Data#data.retry_at, action => Data#data.action,
        waits_for => bc_gitops_app_deps:waiting(Data#data.deps)
    }).

%% What events tell.
seen(#data{action = Action, target = Target, store = Store, config = #{runtime_module := Module}} = Data) ->
    #{action => Action, target => Target, running => running(Data), store => Store, runtime => Module}.

duration(#data{began = undefined}) -> 0;
duration(#data{began = Began}) -> erlang:monotonic_time() - Began.

log(Level, Format, Args, #data{store = Store}) ->
    bc_gitops_app_log:say(Level, Format, Args, Store).
