%%% @doc Follows the repository: starts cycles, hands their goals to the apps' processes, and tells who
%%% asked when all is settled.
%%%
%%% Does no work itself: cycles run in processes of their own, what an app needs in the app's. Reads do
%%% not come here. A cycle is started by the timer, by callers (those that come during a cycle share
%%% the next one), and after boot; goals by hand go to the apps' processes in between. Who waits for
%%% which goals is `bc_gitops_goals', what a cycle leaves to the next `bc_gitops_memory', what others
%%% see of it `bc_gitops_cycle_view'.
-module(bc_gitops_reconciler).
-behaviour(gen_server).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([start_link/1, reconcile/0, by_hand/1, preview/0, stop/0, settled/3]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

-record(state, {
    config :: bc_gitops_config:config(),
    phase = booting :: booting | restoring | starting | following | stopping,
    memory :: bc_gitops_memory:memory(),
    cycle :: bc_gitops_cycle_run:run() | undefined,
    waiting = [] :: [gen_server:from()],                    % share the next cycle
    timer :: reference() | undefined,
    apps = #{} :: #{atom() => pid()},
    monitors = #{} :: #{reference() => atom()},
    goals = bc_gitops_goals:new() :: bc_gitops_goals:goals(),
    lost = [] :: [atom()],                                  % their processes died
    last_error :: term(),
    stopping :: gen_server:from() | undefined
}).

%% The first cycle waits this long for what ran before to run again.
-define(RESTORE_PATIENCE, 5000).

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
            ok = bc_gitops_boot:use_workspace(),
            {ok, show(#state{config = Config, memory = bc_gitops_memory:read(Config)}), {continue, boot}};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_continue(boot, #state{}) -> {noreply, #state{}}.
handle_continue(boot, State) ->
    case bc_gitops_node:notify_booted() of
        booted -> {noreply, restore(State)};
        wait -> {noreply, State}
    end.

%% What ran before runs again, from the store and without the network, before git is asked.
restore(#state{config = Config} = State0) ->
    {Stored, Problems} = bc_gitops_boot:stored(Config),
    State = lists:foldl(fun watch/2, State0#state{phase = restoring}, bc_gitops_boot:processes()),
    New = [App || #{name := Name} = App <- Stored, not is_map_key(Name, State#state.apps)],
    #state{apps = Apps} = Handed = restore_apps(New, State),
    ok = bc_gitops_boot:forget_builds([Name || #{name := Name} <- Stored] ++ maps:keys(Apps), Problems),
    _ = erlang:send_after(?RESTORE_PATIENCE, self(), restored),
    maybe_restored(show(Handed)).

restore_apps(Stored, #state{config = Config} = State) ->
    Seq = bc_gitops_goal:new_seq(),
    {Apps, Goals} = bc_gitops_boot:restore(Stored, Seq, Config),
    Started = lists:foldl(fun start_app/2, State, Apps),
    hand_out(Goals, #{seq => Seq, kind => restore, began => erlang:monotonic_time()}, Started).

maybe_restored(#state{phase = restoring, goals = Goals} = State) ->
    case bc_gitops_goals:count(Goals) of
        0 -> begin_cycle([], show(State#state{phase = starting}));
        _ -> State
    end;
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
handle_call({by_hand, Goal0}, From, #state{memory = #{commit := Commit}} = State) ->
    Seq = bc_gitops_goal:new_seq(),
    Goal = Goal0#{seq := Seq, commit := Commit, by_hand := true, origin := manual},
    Asked = #{seq => Seq, kind => hand, began => erlang:monotonic_time(), callers => [From]},
    {noreply, hand_out([Goal], Asked, State)};
handle_call(preview, _From, #state{phase = Phase} = State) when Phase =:= booting; Phase =:= restoring ->
    {reply, {error, {not_ready, Phase}}, State};
handle_call(preview, _From, State) ->
    {reply, {ok, input(bc_gitops_goal:new_seq(), false, State)}, State};
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
handle_info({'DOWN', Monitor, process, _Pid, Reason}, #state{monitors = Monitors} = State)
        when is_map_key(Monitor, Monitors) ->
    {Name, Rest} = maps:take(Monitor, Monitors),
    Gone = State#state{monitors = Rest, apps = maps:remove(Name, State#state.apps)},
    {noreply, maybe_stopped(maybe_restored(app_gone(Name, Reason, Gone)))};
handle_info(stop_deadline, #state{stopping = From} = State) when From =/= undefined ->
    ok = bc_gitops_managed_sup:stop_all(),
    gen_server:reply(From, ok),
    {noreply, State#state{stopping = undefined}};
handle_info(Message, #state{cycle = #{} = Run, memory = Memory} = State) ->
    case bc_gitops_cycle_run:result(Message, Run) of
        {done, Outcome} -> {noreply, cycle_done(Outcome, State)};
        {failed, Reason} -> {noreply, cycle_done(bc_gitops_cycle:unreadable(Reason, Memory), State)};
        none -> {noreply, State}
    end;
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
        fun(state, #state{phase = Phase, memory = #{commit := Commit}}) -> #{phase => Phase, commit => Commit};
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
    State = find_lost(superseded(stop_timer(State0))),
    All = Callers ++ Waiting,
    ok = bc_gitops_cycle_view:started(),
    Run = bc_gitops_cycle_run:start(input(bc_gitops_goal:new_seq(), All =/= [], State), All),
    State#state{cycle = Run, waiting = []}.

input(Seq, ByHand, #state{config = Config, memory = Memory}) ->
    Memory#{config => Config, seq => Seq, by_hand => ByHand}.

%% A cycle whose goals are not all settled when the next one begins has its last event now; whoever
%% waits for it goes on waiting.
superseded(#state{goals = Goals, last_error = Error} = State) ->
    {Ended, Rest} = bc_gitops_goals:supersede(Goals),
    lists:foreach(fun(#{began := Began}) -> bc_gitops_cycle_view:ended(Began, Error) end, Ended),
    State#state{goals = Rest}.

cycle_done(#{goals := New} = Outcome, State) ->
    #state{cycle = Run, memory = #{commit := Commit}, last_error = Error} = State,
    #{seq := Seq, began := Began, callers := Callers} = Run,
    ok = bc_gitops_cycle_run:over(Run),
    ok = bc_gitops_cycle_view:log(Outcome, #{error => Error, commit => Commit}),
    Learned = show(learned(Outcome, State#state{cycle = undefined, phase = following})),
    ok = bc_gitops_cycle_view:publish_outcome(Outcome, Began),
    Failures = bc_gitops_cycle:failures(Outcome),
    Asked = #{seq => Seq, kind => cycle, began => Began, callers => Callers, failures => Failures},
    next_cycle(hand_out(New, Asked, Learned)).

%% The new commit is shown together with what it asks for: never as if it were reached already.
learned(#{error := Error, goals := New} = Outcome, State) ->
    #state{config = Config, memory = Memory, goals = Goals} = State,
    State#state{
        memory = bc_gitops_memory:learn(Outcome, Memory, Config), last_error = Error,
        goals = bc_gitops_goals:expect(New, Goals)
    }.

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

hand_out(New, Asked, #state{goals = Goals} = State) ->
    Waiting = State#state{goals = bc_gitops_goals:hand_out(New, Asked, Goals)},
    replies(lists:foldl(fun give/2, Waiting, New)).

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
    Started = start_app(bc_gitops_state:new(Name), State),
    case Started#state.apps of
        #{Name := Pid} -> ok = bc_gitops_managed_app:goal(Pid, Goal);
        _ -> ok = settled(Name, Seq, {error, {process_not_started, #{app => Name}}})
    end,
    Started.

start_app(#{name := Name} = App, #state{config = Config} = State) ->
    case bc_gitops_managed_sup:start_app(App, Config) of
        {ok, Pid} ->
            watch({Name, Pid}, State);
        {error, Reason} ->
            ?LOG_ERROR("~ts: its process was not started: ~ts",
                       [Name, bc_gitops_failure:describe(Reason)], #{application => bc_gitops, app => Name}),
            State
    end.

watch({Name, Pid}, #state{apps = Apps, monitors = Monitors} = State) ->
    State#state{
        apps = Apps#{Name => Pid},
        monitors = Monitors#{monitor(process, Pid) => Name}
    }.

on_settled(Name, Seq, Result, #state{goals = Goals} = State) ->
    case bc_gitops_goals:settle(Name, Seq, Result, is_here(Name), Goals) of
        superseded ->
            State;
        {Dependents, Rest} ->
            ok = tell_dependents(Dependents, Name, Result, State),
            replies(show(State#state{goals = Rest}))
    end.

is_here(Name) ->
    case bc_gitops_registry:app(Name) of
        {ok, #{current := Current}} -> Current =/= undefined;
        {error, not_found} -> false
    end.

tell_dependents(Dependents, Name, Result, #state{apps = Apps}) ->
    Outcome = case Result of ok -> ok; {error, _} -> error end,
    Pids = [Pid || Dependent <- Dependents, {ok, Pid} <- [maps:find(Dependent, Apps)]],
    lists:foreach(fun(Pid) -> bc_gitops_managed_app:dependency(Pid, Name, Outcome) end, Pids).

%% Whoever waited for goals that are all settled gets the answer.
replies(#state{goals = Goals, last_error = Error} = State) ->
    {Done, Rest} = bc_gitops_goals:done(Goals),
    lists:foreach(fun(Group) -> reply(Group, Error) end, Done),
    State#state{goals = Rest}.

reply(#{kind := Kind, began := Began, callers := Callers} = Group, Error) ->
    _ = [bc_gitops_cycle_view:ended(Began, Error) || Kind =:= cycle],
    Answer = bc_gitops_goals:answer(Group, Error),
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Callers).

%% processes of apps that end

app_gone(Name, Reason, #state{goals = Goals, stopping = Stopping} = State)
        when Reason =:= normal; Reason =:= shutdown ->
    case {bc_gitops_goals:newest(Name, Goals), Stopping} of
        %% it ended while its next goal was on the way
        {{ok, Goal}, undefined} -> give(Goal, State);
        _ -> State
    end;
app_gone(Name, Reason, #state{goals = Goals, lost = Lost} = State) ->
    ?LOG_ERROR("~ts: its process died (~ts); the next cycle finds out what runs",
               [Name, bc_gitops_failure:kind(Reason)], #{application => bc_gitops, app => Name}),
    ok = bc_gitops_registry:mark_failed(Name),
    Died = {error, {process_died, bc_gitops_failure:kind(Reason)}},
    on_settled(Name, bc_gitops_goals:newest_seq(Name, Goals), Died, State#state{lost = [Name | Lost]}).

%% What is on disk says what ran.
find_lost(#state{lost = []} = State) ->
    State;
find_lost(#state{lost = Lost, config = #{state_path := StatePath}} = State) ->
    {ok, Stored, _Problems} = bc_gitops_state:read_apps(StatePath),
    Found = [App || #{name := Name} = App <- Stored, lists:member(Name, Lost)],
    ok = lists:foreach(fun bc_gitops_registry:delete_app/1, Lost),
    restore_apps(Found, State#state{lost = []}).

%% stopping

begin_stop(From, #state{apps = Apps, waiting = Waiting, goals = Goals, config = Config} = State) ->
    Asked = end_cycle(State#state.cycle),
    {Callers, Rest} = bc_gitops_goals:abandon(Goals),
    ok = refuse(Asked ++ Waiting ++ Callers),
    ok = lists:foreach(fun bc_gitops_managed_app:stop/1, maps:values(Apps)),
    #{start_timeout := Start, stop_timeout := Stop} = Config,
    _ = erlang:send_after(2 * (Start + Stop), self(), stop_deadline),
    (stop_timer(State))#state{
        phase = stopping, stopping = From, cycle = undefined, waiting = [], goals = Rest
    }.

end_cycle(undefined) ->
    [];
end_cycle(#{callers := Callers} = Run) ->
    ok = bc_gitops_cycle_run:stop(Run),
    Callers.

refuse(Callers) ->
    lists:foreach(fun(Caller) -> gen_server:reply(Caller, {error, stopped}) end, Callers).

maybe_stopped(#state{stopping = From, apps = Apps} = State)
        when From =/= undefined, map_size(Apps) =:= 0 ->
    gen_server:reply(From, ok),
    State#state{stopping = undefined};
maybe_stopped(State) ->
    State.

%% what others see

show(#state{memory = #{commit := Commit}, goals = Goals} = State) ->
    #state{config = Config, phase = Phase, last_error = Error, timer = Timer} = State,
    bc_gitops_cycle_view:publish(#{
        config => Config, phase => Phase, commit => Commit, error => Error, timer => Timer,
        unsettled => bc_gitops_goals:count(Goals)
    }),
    State.
