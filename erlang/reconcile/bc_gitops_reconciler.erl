%%% @doc Follows the repository: starts cycles, hands their goals to the apps' processes, and tells who
%%% asked when all is settled.
%%%
%%% Does no work itself: cycles run in processes of their own, what an app needs in the app's. Reads do
%%% not come here. A cycle is started by the timer, by callers (those that come during a cycle share
%%% the next one), and after boot; goals by hand go to the apps' processes in between. (The file is
%%% long because one process holds all of this together; what can be decided without it is elsewhere.)
-module(bc_gitops_reconciler).
-behaviour(gen_server).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([start_link/1, reconcile/0, by_hand/1, preview/0, stop/0, settled/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

%% Whoever waits for the goals of one cycle or one call.
-record(group, {
    seq :: pos_integer(),
    kind :: cycle | superseded | hand,
    began :: integer(),
    callers = [] :: [gen_server:from()],
    pending = #{} :: #{atom() => bc_gitops_goal:goal()},
    failures = [] :: [map()]
}).

-record(state, {
    config :: bc_gitops_config:config(),
    phase = booting :: booting | restoring | starting | following | stopping,
    identity :: map() | undefined,
    snapshot :: bc_gitops_native:snapshot() | undefined,
    commit :: binary() | undefined,
    needs :: bc_gitops_outside:needs() | undefined,
    refusal :: bc_gitops_refusal:refusal() | undefined,
    cycle :: undefined | {pid(), reference(), Seq :: pos_integer(), Callers :: [gen_server:from()]},
    deadline :: reference() | undefined,
    began = 0 :: integer(),
    waiting = [] :: [gen_server:from()],                    % share the next cycle
    timer :: reference() | undefined,
    apps = #{} :: #{atom() => pid()},
    monitors = #{} :: #{reference() => atom()},
    outstanding = #{} :: #{atom() => bc_gitops_goal:goal()}, % handed out and not settled
    dependents = #{} :: #{atom() => [atom()]},
    groups = [] :: [#group{}],
    lost = [] :: [atom()],                                  % their processes died
    last_error :: term(),
    stopping :: gen_server:from() | undefined
}).

%% The first cycle waits this long for what ran before to run again.
-define(RESTORE_PATIENCE, 5000).
%% Beyond the time that git may take, for what happens on this machine.
-define(CYCLE_MARGIN, 60000).
%% As many specs of one commit are logged one by one.
-define(SPECS_LOGGED, 20).
%% No domain of our own: OTP's default handler shows events without one and those of otp, nothing else.
-define(META, #{application => bc_gitops}).

-spec start_link(bc_gitops_config:config()) -> {ok, pid()} | {error, term()}.
start_link(Config) ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, Config, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Runs a cycle and waits until what it wanted is settled.
-spec reconcile() -> ok | {error, term()}.
reconcile() ->
    call(reconcile).

%% @doc Hands out a goal by hand and waits until it is settled.
-spec by_hand(bc_gitops_goal:goal()) -> ok | {error, term()}.
by_hand(Goal) ->
    call({by_hand, Goal}).

%% @doc What a cycle would start from now.
-spec preview() -> {ok, bc_gitops_cycle:input()} | {error, term()}.
preview() ->
    call(preview).

%% @doc Ends all work under way; a switch that has begun is let finish.
-spec stop() -> ok | {error, not_running}.
stop() ->
    call(stop).

call(Request) ->
    case whereis(?MODULE) of
        undefined ->
            {error, not_running};
        Pid ->
            try
                gen_server:call(Pid, Request, infinity)
            catch
                exit:{Reason, {gen_server, call, _}} -> {error, {stopped, bc_gitops_failure:kind(Reason)}}
            end
    end.

%% @doc Called by an app's process when the newest goal it has seen is settled.
-spec settled(atom(), Seq :: non_neg_integer(), ok | {error, term()}) -> ok.
settled(Name, Seq, Result) ->
    gen_server:cast(?MODULE, {settled, Name, Seq, Result}).

%% starting

-spec init(bc_gitops_config:config()) -> {ok, #state{}, {continue, boot}} | {stop, term()}.
init(Config) ->
    process_flag(trap_exit, true),
    case bc_gitops_state:open(Config) of
        ok ->
            ok = bc_gitops_config:activate(Config),
            ok = use_workspace(),
            Repo = bc_gitops_state:read_repo(maps:get(state_path, Config)),
            State = #state{
                config = Config,
                identity = maps:get(identity, Repo, undefined),
                refusal = maps:get(refusal, Repo, undefined),
                commit = known_commit(Repo, Config)
            },
            {ok, show(State), {continue, boot}};
        {error, Reason} ->
            {stop, Reason}
    end.

%% Without a workspace nothing new is built; what runs goes on.
use_workspace() ->
    case bc_gitops_workspace:init() of
        ok ->
            ok;
        {error, Reason} ->
            ?LOG_ERROR("the workspace cannot be used: ~ts", [bc_gitops_failure:describe(Reason)], ?META),
            bc_gitops_registry:put(state_error, Reason)
    end.

%% The commit of another repository says nothing.
known_commit(#{identity := Identity, commit := Commit}, Config) ->
    case bc_gitops_status:identity(Config) of
        Identity -> Commit;
        _ -> undefined
    end;
known_commit(_Repo, _Config) ->
    undefined.

-spec handle_continue(boot, #state{}) -> {noreply, #state{}}.
handle_continue(boot, State) ->
    case bc_gitops_node:notify_booted() of
        booted -> {noreply, restore(State)};
        wait -> {noreply, State}
    end.

%% What ran before runs again, from the store and without the network, before git is asked.
restore(#state{config = #{state_path := StatePath}} = State0) ->
    {ok, Stored, Problems} = bc_gitops_state:read_apps(StatePath),
    lists:foreach(
        fun(#{file := File, reason := Reason}) ->
            ?LOG_ERROR("~ts is not readable and is put aside: ~ts", [File, bc_gitops_words:reason(Reason)], ?META)
        end,
        Problems
    ),
    State = adopt_processes(State0#state{phase = restoring}),
    New = [App || #{name := Name} = App <- Stored, not is_map_key(Name, State#state.apps)],
    Handed = restore_apps(New, State),
    ok = forget_builds([Name || #{name := Name} <- Stored] ++ maps:keys(Handed#state.apps), Problems),
    _ = erlang:send_after(?RESTORE_PATIENCE, self(), restored),
    maybe_restored(show(Handed)).

%% What is kept for apps that neither run nor are on disk is kept for nobody.
forget_builds(Known, []) ->
    bc_gitops_workspace:keep_only(Known);
forget_builds(_Known, _Problems) ->
    ok.

%% Processes of apps outlive a crash of this one.
adopt_processes(State) ->
    lists:foldl(
        fun(Row, Acc) ->
            {Name, Pid} = {element(1, Row), element(2, Row)},
            case is_process_alive(Pid) of
                true -> watch(Name, Pid, Acc);
                false -> ok = bc_gitops_registry:delete_app(Name), Acc
            end
        end,
        State,
        bc_gitops_registry:rows()
    ).

restore_apps(Stored, #state{config = Config} = State) ->
    Incarnation = bc_gitops_node:incarnation(),
    Judged = [bc_gitops_recovery:judge(App, Incarnation) || App <- Stored],
    After = bc_gitops_recovery:order([App || {restore, App} <- Judged]),
    Seq = new_seq(),
    Started = lists:foldl(
        fun({_Verdict, #{name := Name} = App}, Acc) ->
            _ = bc_gitops_state:write_app(maps:get(state_path, Config), App),
            start_app(Name, App, Acc)
        end,
        State,
        Judged
    ),
    Goals = lists:flatmap(fun({Verdict, App}) -> recovery_goal(Verdict, App, Seq, After) end, Judged),
    hand_out(Goals, #group{seq = Seq, kind = superseded, began = erlang:monotonic_time()}, Started).

recovery_goal(restore, #{name := Name, commit := Commit}, Seq, After) ->
    [bc_gitops_goal:restore(Name, #{seq => Seq, commit => Commit, 'after' => maps:get(Name, After),
                                    reasons => [found_on_disk]})];
recovery_goal(remove, #{name := Name, commit := Commit}, Seq, _After) ->
    [bc_gitops_goal:remove(Name, #{seq => Seq, commit => Commit, reasons => [half_removed]})];
recovery_goal(_Verdict, _App, _Seq, _After) ->
    [].

maybe_restored(#state{phase = restoring, outstanding = Outstanding} = State)
        when map_size(Outstanding) =:= 0 ->
    begin_cycle([], show(State#state{phase = starting}));
maybe_restored(State) ->
    State.

%% calls

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}} | {reply, term(), #state{}}.
handle_call(reconcile, _From, #state{stopping = Stopping} = State) when Stopping =/= undefined ->
    {reply, {error, stopping}, State};
handle_call(reconcile, From, #state{cycle = undefined, phase = Phase} = State)
        when Phase =:= starting; Phase =:= following ->
    {noreply, begin_cycle([From], State)};
handle_call(reconcile, From, #state{waiting = Waiting} = State) ->
    {noreply, State#state{waiting = [From | Waiting]}};
handle_call({by_hand, _Goal}, _From, #state{phase = Phase} = State)
        when Phase =:= booting; Phase =:= restoring; Phase =:= stopping ->
    {reply, {error, {not_ready, Phase}}, State};
handle_call({by_hand, Goal0}, From, #state{commit = Commit} = State) ->
    Seq = new_seq(),
    Goal = Goal0#{seq := Seq, commit := Commit, by_hand := true, origin := manual},
    Group = #group{seq = Seq, kind = hand, began = erlang:monotonic_time(), callers = [From]},
    {noreply, hand_out([Goal], Group, State)};
handle_call(preview, _From, #state{phase = Phase} = State) when Phase =:= booting; Phase =:= restoring ->
    {reply, {error, {not_ready, Phase}}, State};
handle_call(preview, _From, State) ->
    {reply, {ok, input(new_seq(), false, State)}, State};
handle_call(stop, From, State) ->
    {noreply, maybe_stopped(begin_stop(From, State))}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({settled, Name, Seq, Result}, State) ->
    {noreply, maybe_restored(on_settled(Name, Seq, Result, State))}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({init, started}, #state{phase = booting} = State) ->
    {noreply, restore(State)};
handle_info(restored, #state{phase = restoring} = State) ->
    {noreply, begin_cycle([], show(State#state{phase = starting}))};
handle_info(tick, #state{cycle = undefined, stopping = undefined} = State) ->
    {noreply, begin_unless_stopping(State)};
handle_info({source_moved, _Sources},
            #state{cycle = undefined, stopping = undefined, phase = following} = State) ->
    {noreply, begin_unless_stopping(State)};
handle_info({bc_gitops_cycle, Pid, Outcome}, #state{cycle = {Pid, _, _, _}} = State) ->
    {noreply, cycle_done(Outcome, State)};
handle_info({'DOWN', _, process, Pid, Reason}, #state{cycle = {Pid, _, _, _}} = State) ->
    Failed = {cycle_crashed, bc_gitops_failure:kind(Reason)},
    {noreply, cycle_done(failed_outcome(Failed, State), State)};
handle_info({cycle_deadline, Pid}, #state{cycle = {Pid, _, _, _}} = State) ->
    true = unlink(Pid),
    true = exit(Pid, kill),
    {noreply, cycle_done(failed_outcome({timeout, #{while => cycle}}, State), State)};
handle_info({'DOWN', Monitor, process, _Pid, Reason}, #state{monitors = Monitors} = State)
        when is_map_key(Monitor, Monitors) ->
    {Name, Rest} = maps:take(Monitor, Monitors),
    Gone = State#state{monitors = Rest, apps = maps:remove(Name, State#state.apps)},
    {noreply, maybe_stopped(maybe_restored(app_gone(Name, Reason, Gone)))};
handle_info(stop_deadline, #state{stopping = From} = State) when From =/= undefined ->
    ok = bc_gitops_managed_sup:stop_all(),
    gen_server:reply(From, ok),
    {noreply, State#state{stopping = undefined}};
handle_info(_Message, State) ->
    {noreply, State}.

%% The application controller is not asked here: it may be the one that stops us.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{config = Config}) ->
    bc_gitops_state:close(Config).

%% Goals hold specs, and specs may hold what a host wants to keep out of crash reports.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun(state, #state{phase = Phase, commit = Commit}) -> #{phase => Phase, commit => Commit};
           (message, _) -> hidden;
           (log, _) -> [];
           (_, Value) -> Value
        end,
        Status
    ).

%% cycles

%% What stops because the node does is not to be started again.
begin_unless_stopping(State) ->
    case bc_gitops_node:is_stopping() of
        true -> State;
        false -> begin_cycle([], State)
    end.

begin_cycle(Callers, #state{waiting = Waiting} = State0) ->
    #state{config = #{git_timeout := GitTimeout}} = State = find_lost(superseded(stop_timer(State0))),
    All = Callers ++ Waiting,
    Seq = new_seq(),
    bc_gitops_telemetry:execute(?TELEMETRY_RECONCILE_START, #{system_time => erlang:system_time()}, #{}),
    {Pid, Monitor} = bc_gitops_cycle:start(input(Seq, All =/= [], State)),
    Deadline = erlang:send_after(2 * GitTimeout + ?CYCLE_MARGIN, self(), {cycle_deadline, Pid}),
    State#state{
        cycle = {Pid, Monitor, Seq, All}, waiting = [], deadline = Deadline,
        began = erlang:monotonic_time()
    }.

input(Seq, ByHand, State) ->
    #state{config = Config, snapshot = Snapshot, commit = Commit, identity = Identity} = State,
    #{
        config => Config, snapshot => Snapshot, commit => Commit, identity => Identity,
        needs => State#state.needs, refusal => State#state.refusal, seq => Seq, by_hand => ByHand
    }.

%% A cycle whose goals are not all settled when the next one begins has its last event now; whoever
%% waits for it goes on waiting.
superseded(#state{groups = Groups} = State) ->
    lists:foreach(fun(Group) -> cycle_event(Group, State) end, [G || #group{kind = cycle} = G <- Groups]),
    State#state{groups = [supersede(Group) || Group <- Groups]}.

supersede(#group{kind = cycle} = Group) -> Group#group{kind = superseded};
supersede(Group) -> Group.

failed_outcome(Reason, #state{snapshot = Snapshot, commit = Commit, needs = Needs, refusal = Refusal}) ->
    #{
        error => {desired_state, Reason}, snapshot => Snapshot, commit => Commit, needs => Needs,
        refusal => Refusal, goals => [], summary => #{errors => [], warnings => []}, plan => #{},
        current_state => unknown
    }.

cycle_done(Outcome, #state{cycle = {_Pid, Monitor, Seq, Callers}, began = Began} = State0) ->
    true = demonitor(Monitor, [flush]),
    _ = erlang:cancel_timer(State0#state.deadline),
    #{goals := Goals, error := Error} = Outcome,
    Group = #group{
        seq = Seq, kind = cycle, began = Began, callers = Callers,
        failures = outcome_failures(Outcome)
    },
    State1 = learned(Outcome, State0#state{cycle = undefined, phase = following, last_error = Error}),
    ok = log_outcome(Outcome, State0),
    State = hand_out(Goals, Group, show(Outcome, expecting(Goals, State1))),
    next_cycle(State).

%% The new commit is shown together with what it asks for: never as if it were reached already.
expecting(Goals, #state{outstanding = Outstanding} = State) ->
    New = maps:from_list([{Name, Goal} || #{name := Name} = Goal <- Goals]),
    State#state{outstanding = maps:merge(Outstanding, New)}.

%% Commit, identity and refusal are written when they change, the commit only after it was read.
learned(#{snapshot := undefined}, State) ->
    State;
learned(#{error := {desired_state, _}} = Outcome, #state{commit = Known, identity = Identity} = State) ->
    Learned = learn(Outcome, State),
    %% what was written of the commit and the repository still holds
    ok = write_repo(Learned#state{commit = Known, identity = Identity}, State),
    Learned;
learned(#{snapshot := Snapshot, commit := Commit} = Outcome, #state{config = Config} = State) ->
    bc_gitops_registry:put(snapshot, {Snapshot, Commit}),
    Learned = (learn(Outcome, State))#state{identity = bc_gitops_status:identity(Config)},
    ok = write_repo(Learned, State),
    Learned.

learn(#{snapshot := Snapshot, commit := Commit, needs := Needs, refusal := Refusal}, State) ->
    State#state{snapshot = Snapshot, commit = Commit, needs = Needs, refusal = Refusal}.

write_repo(Now, Before) ->
    case {known_repo(Now), known_repo(Before)} of
        {Same, Same} -> ok;
        {Repo, _} -> put_repo(Repo, Now#state.config)
    end.

known_repo(#state{commit = Commit, identity = Identity, refusal = Refusal}) ->
    #{commit => Commit, identity => Identity, refusal => Refusal}.

put_repo(Repo, #{state_path := StatePath}) ->
    case bc_gitops_state:write_repo(StatePath, Repo) of
        ok -> ok;
        {error, Reason} -> bc_gitops_registry:put(state_error, Reason)
    end.

next_cycle(#state{waiting = [_ | _]} = State) ->
    begin_cycle([], State);
next_cycle(#state{config = #{reconcile_interval := infinity}} = State) ->
    show(State);
next_cycle(#state{config = #{reconcile_interval := Interval}} = State) ->
    show(State#state{timer = erlang:send_after(Interval, self(), tick)}).

stop_timer(#state{timer = undefined} = State) ->
    State;
stop_timer(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined}.

%% goals

hand_out(Goals, Group, State) ->
    #state{dependents = Dependents} = Expecting = expecting(Goals, State),
    New = maps:from_list([{Name, Goal} || #{name := Name} = Goal <- Goals]),
    Waiting = Expecting#state{
        dependents = maps:merge(Dependents, dependents(Goals)),
        groups = [Group#group{pending = New} | State#state.groups]
    },
    replies(lists:foldl(fun give/2, Waiting, Goals)).

dependents(Goals) ->
    lists:foldl(
        fun({Dep, Name}, Acc) -> Acc#{Dep => [Name | maps:get(Dep, Acc, [])]} end,
        #{},
        [{Dep, Name} || #{name := Name, 'after' := After} <- Goals, Dep <- After]
    ).

give(#{name := Name} = Goal, #state{apps = Apps} = State) ->
    case {Apps, Goal} of
        {#{Name := Pid}, _} ->
            ok = bc_gitops_managed_app:goal(Pid, Goal),
            State;
        {_, #{what := none, seq := Seq}} ->
            ok = bc_gitops_registry:delete_app(Name),
            ok = settled(Name, Seq, ok),
            State;
        _ ->
            start_and_give(Goal, State)
    end.

start_and_give(#{name := Name, seq := Seq} = Goal, State) ->
    Started = start_app(Name, bc_gitops_state:new(Name), State),
    case Started#state.apps of
        #{Name := Pid} -> ok = bc_gitops_managed_app:goal(Pid, Goal);
        _ -> ok = settled(Name, Seq, {error, {process_not_started, #{app => Name}}})
    end,
    Started.

start_app(Name, App, #state{config = Config} = State) ->
    case bc_gitops_managed_sup:start_app(App, Config) of
        {ok, Pid} ->
            watch(Name, Pid, State);
        {error, Reason} ->
            ?LOG_ERROR("~ts: its process was not started: ~ts",
                       [Name, bc_gitops_failure:describe(Reason)], #{application => bc_gitops, app => Name}),
            State
    end.

watch(Name, Pid, #state{apps = Apps, monitors = Monitors} = State) ->
    State#state{
        apps = Apps#{Name => Pid},
        monitors = Monitors#{monitor(process, Pid) => Name}
    }.

on_settled(Name, Seq, Result, #state{outstanding = Outstanding} = State) ->
    case Outstanding of
        #{Name := #{seq := Newer}} when Newer > Seq ->
            %% a newer goal is on its way to it
            State;
        #{Name := _} ->
            ok = tell_dependents(Name, Result, State),
            Settled = show(State#state{outstanding = maps:remove(Name, Outstanding)}),
            replies(count_settled(Name, Seq, Result, Settled));
        #{} ->
            ok = tell_dependents(Name, Result, State),
            State
    end.

tell_dependents(Name, Result, #state{dependents = Dependents, apps = Apps}) ->
    Outcome = case Result of ok -> ok; {error, _} -> error end,
    lists:foreach(
        fun(Dependent) ->
            case Apps of
                #{Dependent := Pid} -> bc_gitops_managed_app:dependency(Pid, Name, Outcome);
                #{} -> ok
            end
        end,
        maps:get(Name, Dependents, [])
    ).

count_settled(Name, Seq, Result, #state{groups = Groups} = State) ->
    State#state{groups = [count(Name, Seq, Result, Group) || Group <- Groups]}.

count(Name, Seq, Result, #group{seq = GroupSeq, pending = Pending} = Group)
        when Seq >= GroupSeq, is_map_key(Name, Pending) ->
    {Goal, Rest} = maps:take(Name, Pending),
    Failures = case Result of
        ok -> Group#group.failures;
        {error, Reason} -> [failure(Goal, Reason) | Group#group.failures]
    end,
    Group#group{pending = Rest, failures = Failures};
count(_Name, _Seq, _Result, Group) ->
    Group.

failure(#{name := Name, what := What, commit := Commit}, Reason) ->
    #{app => Name, action => action(What, Name), reason => Reason, commit => Commit}.

action(apply, Name) ->
    case bc_gitops_registry:app(Name) of
        {ok, #{current := Current}} when Current =/= undefined -> upgrade;
        _ -> deploy
    end;
action(blocked, _Name) -> plan;
action(What, _Name) -> What.

outcome_failures(#{commit := Commit, summary := #{errors := Errors}, plan := Plan}) ->
    Refused = case Plan of
        #{refused := #{} = Details} ->
            [#{app => undefined, action => remove, commit => Commit, reason => {removal_refused, Details}}];
        #{} ->
            []
    end,
    Refused ++ [
        #{app => maps:get(name, Error, undefined), action => parse, commit => Commit,
          reason => {spec_errors, [Error]}}
     || Error <- Errors
    ].

%% Whoever waited for a group whose goals are settled gets the answer.
replies(#state{groups = Groups} = State) ->
    {Done, Waiting} = lists:partition(fun(#group{pending = P}) -> map_size(P) =:= 0 end, Groups),
    lists:foreach(
        fun(Group) ->
            ok = cycle_event(Group, State),
            Answer = answer(Group, State),
            lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Group#group.callers)
        end,
        Done
    ),
    State#state{groups = Waiting}.

answer(#group{kind = hand, failures = []}, _State) ->
    ok;
answer(#group{kind = hand, failures = [#{reason := Reason}]}, _State) ->
    {error, Reason};
answer(_Group, #state{last_error = Error}) when Error =/= undefined ->
    {error, Error};
answer(#group{failures = []}, _State) ->
    ok;
answer(#group{failures = Failures}, _State) ->
    {error, {actions_failed, lists:sort(Failures)}}.

cycle_event(#group{kind = Kind}, _State) when Kind =/= cycle ->
    ok;
cycle_event(#group{began = Began}, #state{last_error = Error}) ->
    Measurements = #{duration => erlang:monotonic_time() - Began},
    case Error of
        undefined ->
            {ok, #{status := Status}} = bc_gitops_status:read(),
            bc_gitops_telemetry:execute(?TELEMETRY_RECONCILE_STOP, Measurements, #{status => Status});
        _ ->
            bc_gitops_telemetry:execute(?TELEMETRY_RECONCILE_ERROR, Measurements, #{error => Error})
    end.

%% processes of apps that end

app_gone(Name, Reason, #state{outstanding = Outstanding} = State)
        when Reason =:= normal; Reason =:= shutdown ->
    case {Outstanding, State#state.stopping} of
        %% it ended while its next goal was on the way
        {#{Name := Goal}, undefined} -> give(Goal, State);
        _ -> State
    end;
app_gone(Name, Reason, #state{lost = Lost} = State) ->
    ?LOG_ERROR("~ts: its process died (~ts); the next cycle finds out what runs",
               [Name, bc_gitops_failure:kind(Reason)], #{application => bc_gitops, app => Name}),
    ok = bc_gitops_registry:mark_failed(Name),
    Last = case State#state.outstanding of
        #{Name := #{seq := Seq}} -> Seq;
        #{} -> 0
    end,
    on_settled(Name, Last, {error, {process_died, bc_gitops_failure:kind(Reason)}},
               State#state{lost = [Name | Lost]}).

%% What is on disk says what ran.
find_lost(#state{lost = []} = State) ->
    State;
find_lost(#state{lost = Lost, config = #{state_path := StatePath}} = State) ->
    {ok, Stored, _Problems} = bc_gitops_state:read_apps(StatePath),
    Found = [App || #{name := Name} = App <- Stored, lists:member(Name, Lost)],
    ok = lists:foreach(fun bc_gitops_registry:delete_app/1, Lost),
    restore_apps(Found, State#state{lost = []}).

%% stopping

begin_stop(From, #state{cycle = Cycle, apps = Apps, waiting = Waiting, groups = Groups} = State) ->
    case Cycle of
        undefined -> ok;
        {Pid, Monitor, _, Callers} ->
            true = unlink(Pid),
            true = exit(Pid, kill),
            true = demonitor(Monitor, [flush]),
            refuse(Callers)
    end,
    ok = refuse(Waiting ++ lists:flatmap(fun(#group{callers = C}) -> C end, Groups)),
    ok = lists:foreach(fun bc_gitops_managed_app:stop/1, maps:values(Apps)),
    #{start_timeout := Start, stop_timeout := Stop} = State#state.config,
    _ = erlang:send_after(2 * (Start + Stop), self(), stop_deadline),
    (stop_timer(State))#state{
        phase = stopping, stopping = From, cycle = undefined, waiting = [], groups = []
    }.

refuse(Callers) ->
    lists:foreach(fun(Caller) -> gen_server:reply(Caller, {error, stopped}) end, Callers).

maybe_stopped(#state{stopping = From, apps = Apps} = State)
        when From =/= undefined, map_size(Apps) =:= 0 ->
    gen_server:reply(From, ok),
    State#state{stopping = undefined};
maybe_stopped(State) ->
    State.

%% what others see

new_seq() ->
    erlang:unique_integer([monotonic, positive]).

show(State) ->
    Before = bc_gitops_registry:get(reconciler, shown_first()),
    #state{config = Config, phase = Phase, commit = Commit, last_error = Error, timer = Timer} = State,
    #state{outstanding = Outstanding} = State,
    #{repo_url := Url, branch := Branch, apps_dir := AppsDir} = Config,
    bc_gitops_registry:put(reconciler, Before#{
        phase => Phase, last_commit => Commit, last_error => Error, repo => Url,
        branch => Branch, apps_dir => AppsDir, next_reconcile => next_time(Timer),
        unsettled => map_size(Outstanding)
    }),
    State.

show(Outcome, #state{began = Began} = State) ->
    #{summary := #{errors := Errors, warnings := Warnings}, plan := Plan} = Outcome,
    Shown = show(State),
    Took = erlang:convert_time_unit(erlang:monotonic_time() - Began, native, microsecond),
    bc_gitops_registry:put(reconciler, (bc_gitops_registry:get(reconciler, #{}))#{
        spec_errors => Errors, warnings => Warnings,
        refused => maps:get(refused, Plan, none), blocked => maps:get(blocked, Plan, []),
        held => maps:get(held, Plan, []), current_state => maps:get(current_state, Outcome),
        last_cycle => #{ended => calendar:universal_time(), duration_us => Took}
    }),
    Shown.

shown_first() ->
    #{
        spec_errors => [], warnings => [], refused => none, blocked => [], held => [],
        current_state => unknown, last_cycle => undefined
    }.

next_time(undefined) ->
    undefined;
next_time(Timer) ->
    case erlang:read_timer(Timer) of
        false -> undefined;
        Left -> calendar:system_time_to_universal_time(erlang:system_time(millisecond) + Left, millisecond)
    end.

log_outcome(#{error := Error}, #state{last_error = Error}) when Error =/= undefined ->
    ok;
log_outcome(#{error := {desired_state, Reason}}, _State) ->
    ?LOG_ERROR("the desired state cannot be read: ~ts; what runs stays, tried again at the next cycle",
               [bc_gitops_failure:describe(Reason)], ?META);
log_outcome(#{commit := Commit}, #state{commit = Commit}) ->
    ok;
log_outcome(#{commit := Commit, plan := Plan, summary := Summary}, _State) ->
    #{actions := Actions, blocked := Blocked, refused := Refused} = Plan,
    #{errors := Errors, warnings := Warnings} = Summary,
    ok = log_refused(Refused, Commit),
    ok = log_specs(error, "is not good, what runs of it stays", Errors, Commit),
    ok = log_specs(warning, "is odd", Warnings, Commit),
    ?LOG_NOTICE("commit ~ts: ~b actions, ~b blocked, ~b broken specs",
                [short(Commit), length(Actions), length(Blocked), length(Errors)],
                #{application => bc_gitops, commit => Commit}).

%% One line for each spec; all of them are in status/0.
log_specs(Level, What, Specs, Commit) ->
    {Shown, More} = lists:split(min(?SPECS_LOGGED, length(Specs)), Specs),
    Said = [bc_gitops_failure:describe({spec_errors, [Spec]}) || Spec <- Shown]
        ++ [bc_gitops_words:text("and ~b more, see bc_gitops:status/0", [length(More)]) || More =/= []],
    lists:foreach(
        fun(Text) ->
            ?LOG(Level, "commit ~ts: a spec ~ts: ~ts", [short(Commit), What, string:replace(Text, "\n", "; ", all)],
                 #{application => bc_gitops, commit => Commit})
        end,
        Said
    ).

log_refused(none, _Commit) ->
    ok;
log_refused(#{message := Message}, Commit) ->
    ?LOG_ERROR("commit ~ts: removal refused: ~ts", [short(Commit), Message],
               #{application => bc_gitops, commit => Commit}).

short(<<Short:7/binary, _/binary>>) -> Short;
short(Commit) -> Commit.
