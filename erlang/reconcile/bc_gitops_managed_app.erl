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
-include_lib("kernel/include/logger.hrl").

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
    deps = #{} :: #{atom() => waiting | done | failed},
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

-define(HISTORY, 20).
%% No domain of our own: OTP's default handler shows events without one and those of otp, nothing else.

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
    ok = keep_builds(Data),
    {ok, State, Data}.

-spec handle_event(gen_statem:event_type(), term(), bc_gitops_registry:app_state_name(), #data{}) ->
    gen_statem:event_handler_result(bc_gitops_registry:app_state_name()).
handle_event(cast, {goal, Goal}, State, Data) ->
    Seen = Data#data{seq = max(Data#data.seq, maps:get(seq, Goal))},
    on_goal(State, Goal, Seen);
handle_event(cast, {dependency, Name, Result}, State, #data{deps = Deps} = Data)
        when is_map_key(Name, Deps) ->
    Outcome = case Result of ok -> done; error -> failed end,
    on_dependency(State, Data#data{deps = Deps#{Name := Outcome}});
handle_event(cast, {dependency, _Name, _Result}, _State, _Data) ->
    keep_state_and_data;
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
    _ = save(unjournal(drop_worker(Data))),
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
        true -> {keep_state, Data#data{goal = refreshed(Goal, Current), next = undefined}};
        false -> {keep_state, Data#data{next = Goal}}
    end;
on_goal(State, #{what := none}, #data{goal = #{origin := manual}} = Data)
        when State =:= preparing; State =:= ready ->
    %% a call by hand is not undone by a cycle that knows nothing of it
    {keep_state, Data};
on_goal(State, Goal, #data{goal = Current} = Data) ->
    Found = found_stopped(Goal, Data),
    case Current =/= undefined andalso bc_gitops_goal:same(Goal, Current) of
        true -> on_same_goal(State, Found#data{goal = refreshed(Goal, Current)});
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

refreshed(Goal, Current) ->
    case {Goal, Current} of
        {#{wanted := unknown}, #{wanted := Wanted}} -> Goal#{wanted := Wanted};
        _ -> Goal
    end.

on_same_goal(State, #data{goal = #{by_hand := true}} = Data)
        when State =:= backing_off; State =:= quarantined ->
    attempt(Data#data{deps = waiting_for(Data#data.goal)});
on_same_goal(State, Data) when State =:= backing_off; State =:= quarantined ->
    settle({error, Data#data.error}, Data),
    case can_recover(Data) of
        true -> recover(learn(Data));
        false -> hold(learn(Data))
    end;
on_same_goal(suspended, Data) ->
    settle({error, Data#data.error}, Data),
    {keep_state, Data};
on_same_goal(ready, #data{turn = asked} = Data) ->
    {keep_state, Data};
on_same_goal(State, #data{goal = Goal} = Data)
        when State =:= ready; State =:= preparing; State =:= pending ->
    on_dependency(State, Data#data{deps = waiting_for(Goal)});
on_same_goal(_State, #data{goal = Goal} = Data) ->
    begin_goal(Goal, Data).

learn(#data{goal = #{what := apply} = Goal, store = #{quarantine := #{} = Quarantine} = Store} = Data) ->
    Data#data{store = Store#{quarantine := bc_gitops_goal:learn(Goal, Quarantine)}};
learn(Data) ->
    Data.

begin_goal(Goal, Data0) ->
    Data = (cancelled(drop_worker(turn_done(Data0))))#data{
        goal = Goal, next = undefined, prepared = undefined, attempts = 0, retry_at = undefined,
        recovering = false, recoveries = 0, deps = waiting_for(Goal),
        store = with_goal(Goal, Data0#data.store)
    },
    case Goal of
        #{what := none} -> nothing_to_do(Data);
        #{what := blocked, reason := Reason} -> blocked({blocked, Reason}, Data);
        #{what := apply} -> begin_apply(Goal, Data);
        _ -> attempt(Data)
    end.

with_goal(#{what := apply, dir := Dir, commit := Commit, origin := Origin}, Store) ->
    Store#{dir := Dir, commit := Commit, origin := Origin};
with_goal(_Goal, Store) ->
    Store.

waiting_for(#{'after' := Names}) ->
    maps:from_list([{Name, waiting} || Name <- Names]).

begin_apply(#{by_hand := ByHand} = Goal, #data{store = #{quarantine := Quarantine}} = Data) ->
    Satisfied = bc_gitops_goal:satisfied_by(Goal, running(Data)),
    case {Satisfied, bc_gitops_goal:is_quarantined(Goal, Quarantine)} of
        {true, _} ->
            as_wanted(Data);
        {false, true} when not ByHand ->
            #{reason := Reason} = Quarantine,
            settle({error, Reason}, Data),
            Held = learn(Data#data{error = Reason, class = quarantine}),
            case can_recover(Held) of
                true -> recover(Held);
                false -> hold(Held)
            end;
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
        _ -> save(Clean#data{store = Store#{quarantine := undefined}})
    end,
    settle(ok, Kept),
    enter(running, Kept, []).

blocked(Reason, Data) ->
    settle({error, Reason}, Data),
    log(warning, "~ts: left as it is: ~ts", [bc_gitops_failure:describe(Reason)], Data),
    enter(suspended, Data#data{error = Reason}, []).

%% attempts

%% One try, from the beginning, at whatever the goal takes from here.
attempt(#data{goal = Goal, attempts = Attempts} = Data0) ->
    Data = Data0#data{attempts = Attempts + 1, began = erlang:monotonic_time(), retry_at = undefined},
    Action = bc_gitops_goal:action(Goal, running(Data)),
    case Action of
        none ->
            as_wanted(Data);
        restore ->
            #data{store = #{confirmed := Confirmed}} = Data,
            announce(Data#data{action = restore, target = Confirmed, prepared = #{}}, fun ready/1);
        remove ->
            announce(Data#data{action = remove, target = undefined, prepared = #{}}, fun ready/1);
        reconfigure ->
            Kept = maps:with([key, revision, lock], running(Data)),
            Target = bc_gitops_goal:target(Goal, Kept),
            announce(Data#data{action = reconfigure, target = Target, prepared = Kept}, fun ready/1);
        _ ->
            announce(Data#data{action = Action, target = bc_gitops_goal:target(Goal, #{})}, fun prepare/1)
    end.

announce(#data{action = Action} = Data, Next) ->
    event(start, Action, #{}, Data),
    log(info, "~ts: ~ts (~ts)", [Action, reasons(Data)], Data),
    Next(Data).

prepare(#data{goal = #{spec := Spec} = Goal, config = #{runtime_module := Module}, store = Store} = Data) ->
    #{current := Current, confirmed := Confirmed, previous := Previous} = Store,
    Known = bc_gitops_goal:lock(Goal, [Current, Confirmed, Previous]),
    Worker = bc_gitops_app_work:start(fun() -> bc_gitops_app_work:prepare(Module, Spec, Known) end),
    enter(preparing, Data#data{worker = Worker}, [{state_timeout, prepare_deadline(Data), deadline}]).

%% Waits for what must come first; goes on when nothing has to.
ready(#data{deps = Deps} = Data) ->
    Outcomes = maps:values(Deps),
    case {lists:member(failed, Outcomes), lists:member(waiting, Outcomes)} of
        {true, _} -> dependency_failed(Data);
        {false, true} -> enter(ready, Data, []);
        {false, false} -> go(Data)
    end.

dependency_failed(#data{deps = Deps} = Data) ->
    [Name | _] = lists:sort([Dep || {Dep, failed} <- maps:to_list(Deps)]),
    Reason = {dependency_failed, Name},
    Ended = attempt_ended({error, Reason}, Data),
    settle({error, Reason}, Ended),
    enter(pending, Ended#data{error = Reason}, []).

on_dependency(ready, #data{turn = none} = Data) ->
    ready(Data);
on_dependency(pending, #data{goal = #{}, deps = Deps} = Data) ->
    Outcomes = maps:values(Deps),
    case {lists:member(failed, Outcomes), lists:member(waiting, Outcomes)} of
        {true, _} -> dependency_failed(Data);
        {false, true} -> {keep_state, Data};
        {false, false} -> attempt(Data)
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
touch(#data{action = remove} = Data) ->
    #data{name = Name, config = #{runtime_module := Module}} = Data,
    Journalled = journal(stop_watching(Data)),
    Worker = bc_gitops_app_work:start(fun() -> bc_gitops_app_work:remove(Module, Name) end),
    enter(removing, Journalled#data{worker = Worker},
          [{state_timeout, switch_deadline(Data), deadline}]);
touch(#data{action = Action, target = Target, config = #{runtime_module := Module}} = Data) ->
    Journalled = journal(stop_watching(Data)),
    Old = running(Data),
    Switch = fun() -> bc_gitops_app_work:switch(Action, Module, Target, Old) end,
    enter(switching, Journalled#data{worker = bc_gitops_app_work:start(Switch)},
          [{state_timeout, switch_deadline(Data), deadline}]).

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
    Settled = save(landed(Data#data.target, Data)),
    go_on(Settled#data{recovering = false, recoveries = 0}, fun hold/1);
arrived(#data{action = Action, target = Target} = Data) ->
    Done = landed(Target, attempt_ended(ok, remember(ok, Data))),
    Saved = save(Done#data{error = undefined, class = undefined, attempts = 0}),
    log(notice, "~ts: ~ts done, ~ts runs", [Action, running_version(Saved)], Saved),
    settle(ok, Saved),
    go_on(Saved, fun(Next) -> enter(running, Next, []) end).

%% What runs is what was wanted: it is what a restart will start.
landed(Target, #data{store = Store, action = Action} = Data) ->
    #{confirmed := Before, previous := Previous, deaths := Deaths} = Store,
    Landed = Store#{
        current := Target, confirmed := Target, switch := undefined, status := running,
        deaths := maps:remove(bc_gitops_goal:revision_id(Target), Deaths),
        previous := case Before of undefined -> Previous; Target -> Previous; _ -> Before end
    },
    case Action of
        restore -> Data#data{store = Landed};
        _ -> Data#data{store = (pin(Landed, Data))#{quarantine := undefined}}
    end.

pin(Store, #data{goal = #{pin := true, commit := Commit}}) -> Store#{pinned := Commit};
pin(Store, _Data) -> Store#{pinned := undefined}.

removed(#data{goal = Goal} = Data) ->
    log(notice, "~ts: removed", [], Data),
    Empty = forget_running(attempt_ended(ok, Data)),
    case Data#data.next of
        #{what := apply} = Next when Goal =/= Next ->
            Fresh = bc_gitops_state:new(Data#data.name),
            begin_goal(Next, save(Empty#data{store = Fresh}));
        _ ->
            gone(Empty#data{next = undefined})
    end.

%% What runs, what a restart or a rollback needs, and what is just switched on stay in the store.
keep_builds(#data{name = Name, store = Store}) ->
    #{current := Current, confirmed := Confirmed, previous := Previous, switch := Switch} = Store,
    Target = case Switch of undefined -> undefined; #{target := Wanted} -> Wanted end,
    Keys = [Key || #{key := Key} <- [Current, Confirmed, Previous, Target], is_binary(Key)],
    bc_gitops_workspace:keep(Name, lists:usort(Keys)).

gone(#data{name = Name, config = #{state_path := StatePath}} = Data) ->
    ok = bc_gitops_workspace:forget(Name),
    _ = bc_gitops_state:delete_app(StatePath, Name),
    ok = bc_gitops_registry:delete_app(Name),
    settle(ok, Data),
    {stop, normal, Data}.

%% A failure before anything was touched.
attempt_failed(Phase, Reason, Data) ->
    failed(bc_gitops_failure:class(Phase, Reason, Data#data.attempts), Reason, Data).

%% A failure after that.
switch_failed(_Phase, Reason, #data{recovering = true, recoveries = Count} = Data) ->
    log(error, "~ts: the old version does not start either: ~ts", [bc_gitops_failure:describe(Reason)], Data),
    Saved = save(unjournal(Data)),
    go_on(Saved#data{recovering = false, recoveries = Count + 1}, fun hold/1);
switch_failed(Phase, Reason, Data) ->
    failed(bc_gitops_failure:class(Phase, Reason, Data#data.attempts), Reason, unjournal(Data)).

failed(_Class, Reason, #data{action = restore} = Data) ->
    Ended = save(attempt_ended({error, Reason}, remember({error, Reason}, Data))),
    log(error, "~ts: it was not started from the store (~ts), the next cycle deploys it",
        [bc_gitops_failure:describe(Reason)], Data),
    settle({error, Reason}, Ended),
    go_on(Ended#data{error = Reason, goal = undefined}, fun(Next) -> enter(failed, Next, []) end);
failed(Class, Reason, #data{action = Action, attempts = Attempts, config = Config} = Data0) ->
    Remembered = remember({error, Reason}, Data0),
    Data = quarantine(Class, Reason, attempt_ended({error, Reason}, Remembered)),
    #{retry_min := Min, retry_max := Max} = Config,
    Wait = bc_gitops_failure:backoff(max(1, Attempts), Min, Max),
    Status = case Class of quarantine -> quarantined; retry -> backing_off end,
    Saved = save(Data#data{
        store = (Data#data.store)#{status := Status}, error = Reason, class = Class,
        retry_at = erlang:monotonic_time(millisecond) + Wait
    }),
    log_failure(Class, Action, Reason, Wait, Saved),
    settle({error, Reason}, Saved),
    go_on(Saved, fun(Next) ->
        case can_recover(Next) of
            true -> recover(Next);
            false -> hold(Next)
        end
    end).

quarantine(quarantine, Reason, #data{goal = #{what := apply} = Goal, store = Store} = Data) ->
    {Identity, Wanted} = bc_gitops_goal:quarantine_id(Goal),
    Revision = case Data#data.prepared of
        #{revision := Known} when is_binary(Known) -> Known;
        _ -> Wanted
    end,
    Quarantine = #{id => {Identity, Revision}, reason => Reason, at => erlang:system_time(second)},
    Data#data{store = Store#{quarantine := Quarantine}};
quarantine(_Class, _Reason, Data) ->
    Data.

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
    case can_recover(Data) of
        true -> [{state_timeout, bc_gitops_failure:backoff(max(1, Count), Min, Max), recover}];
        false -> []
    end.

%% recovering: what ran well before runs again while its successor is given up

can_recover(#data{app = undefined, goal = #{what := apply} = Goal, store = Store}) ->
    case Store of
        #{confirmed := undefined} -> false;
        #{confirmed := Confirmed} -> not bc_gitops_goal:satisfied_by(Goal, Confirmed)
    end;
can_recover(_Data) ->
    false.

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
attempt_ended(Result, #data{action = Action} = Data) ->
    event(stop, Action, #{result => Result}, Data),
    Data#data{began = undefined}.

enter(State, Data, Actions) ->
    ok = publish(State, Data),
    {next_state, State, Data, Actions}.

%% disk

journal(#data{action = Action, target = Target, store = Store} = Data) ->
    Switch = #{
        action => Action, target => Target, at => erlang:system_time(second),
        vm => bc_gitops_node:incarnation()
    },
    Status = case Action of remove -> removing; _ -> switching end,
    save(Data#data{store = Store#{switch := Switch, status := Status}}).

unjournal(#data{store = Store} = Data) ->
    Data#data{store = Store#{switch := undefined}}.

save(#data{store = Store, config = #{state_path := StatePath}} = Data) ->
    ok = keep_builds(Data),
    case bc_gitops_state:write_app(StatePath, Store) of
        ok ->
            bc_gitops_registry:put(state_error, undefined);
        {error, Reason} ->
            log(error, "~ts: ~ts", [bc_gitops_state:format_error(Reason)], Data),
            bc_gitops_registry:put(state_error, Reason)
    end,
    Data.

remember(Result, #data{action = Action, store = Store, goal = Goal} = Data) ->
    #{history := History, current := Current} = Store,
    Entry = #{
        at => erlang:system_time(second),
        action => Action,
        from => version(Current),
        to => version(Data#data.target),
        commit => maps:get(commit, Goal),
        result => case Result of ok -> ok; {error, Reason} -> bc_gitops_failure:describe(Reason) end,
        duration_ms => erlang:convert_time_unit(duration(Data), native, millisecond)
    },
    Data#data{store = Store#{history := lists:sublist([Entry | History], ?HISTORY)}}.

version(undefined) -> undefined;
version(#{version := Version}) -> Version.

%% deadlines

%% A goal may stand in the build pool's queue behind all others of its cycle.
prepare_deadline(#data{goal = #{share := Share}, config = Config}) ->
    #{git_timeout := Git, build_timeout := Build, build_jobs := Jobs} = Config,
    (Git + Build) * ((Share + Jobs - 1) div Jobs) + grace(Config).

%% A module that cannot prepare fetches and builds in here.
switch_deadline(#data{prepared = Prepared, action = Action, config = Config})
        when map_size(Prepared) =:= 0, Action =:= deploy orelse Action =:= upgrade ->
    #{git_timeout := Git, build_timeout := Build} = Config,
    Git + Build + grace(Config);
switch_deadline(#data{config = Config}) ->
    grace(Config).

%% Stop, start, and both again to go back, with as much as one of them for what the runtime's own
%% watchdogs take.
grace(#{start_timeout := Start, stop_timeout := Stop}) ->
    3 * (Start + Stop).

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
        waits_for => [Dep || {Dep, waiting} <- maps:to_list(Data#data.deps)]
    }).

event(start, Action, _Extra, Data) ->
    bc_gitops_app_view:event(start, Action, #{system_time => erlang:system_time()}, metadata(Data));
event(stop, Action, Extra, Data) ->
    Measurements = #{duration => duration(Data)},
    bc_gitops_app_view:event(stop, Action, Measurements, maps:merge(metadata(Data), Extra)).

metadata(#data{name = Name, target = Target, store = Store, config = Config} = Data) ->
    #{
        app => Name,
        runtime => maps:get(runtime_module, Config),
        isolation => bc_gitops_app_view:isolation(Target, Store),
        from_version => version(running(Data)),
        to_version => version(Target),
        commit => maps:get(commit, Store)
    }.

duration(#data{began = undefined}) -> 0;
duration(#data{began = Began}) -> erlang:monotonic_time() - Began.

reasons(#data{goal = #{reasons := []}}) -> "asked by hand";
reasons(#data{goal = #{reasons := Reasons}}) -> bc_gitops_words:names([reason(Reason) || Reason <- Reasons]).

reason({version, From, To}) -> io_lib:format("version ~ts to ~ts", [From, To]);
reason(Reason) -> Reason.

log_failure(quarantine, Action, Reason, _Wait, Data) ->
    log(error, "~ts: ~ts~ts failed: ~ts; ~ts; not tried again until its spec or source changes",
        [Action, target(Data), bc_gitops_failure:describe(Reason), runs(Data)], Data);
log_failure(retry, Action, Reason, Wait, Data) ->
    log(warning, "~ts: ~ts~ts failed: ~ts; ~ts; tried again in ~b ms",
        [Action, target(Data), bc_gitops_failure:describe(Reason), runs(Data), Wait], Data).

target(#data{target = #{version := Version}}) -> [" to ", Version];
target(_Data) -> "".

runs(#data{app = #app_state{version = Version}}) -> [Version, " runs"];
runs(#data{store = #{confirmed := #{version := Version}}}) -> ["nothing of it runs, ", Version, " ran well before"];
runs(_Data) -> "nothing of it runs".

%% Format begins with a place for the app's name.
log(Level, Format, Args, #data{name = Name, store = #{commit := Commit}}) ->
    ?LOG(Level, "~ts " ++ Format, [short(Commit), Name | Args],
         #{application => bc_gitops, app => Name, commit => Commit}).

short(<<Short:7/binary, _/binary>>) -> Short;
short(_) -> "-------".
