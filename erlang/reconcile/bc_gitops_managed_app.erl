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
%%% The edges stand where their work is: from a goal up to the touch in `bc_gitops_app_attempt', the touch
%%% itself in `bc_gitops_app_touch', how work ended in `bc_gitops_app_outcome'.
%%%
%%% In backing_off and quarantined an older version usually runs on. Where it does not, but ran well
%%% before, it is started again from the store first (`recovering').
-module(bc_gitops_managed_app).
-behaviour(gen_statem).

-include("bc_gitops.hrl").
-include("bc_gitops_app_data.hrl").

-export([start_link/2, goal/2, dependency/3, stop/1]).
-export([callback_mode/0, init/1, handle_event/4, terminate/3, format_status/1]).

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
init({Store, Config}) ->
    process_flag(trap_exit, true),
    {State, Data} = bc_gitops_app_data:new(Store, Config),
    ok = bc_gitops_app_data:publish(State, Data),
    ok = bc_gitops_app_disk:keep_builds(Store),
    {ok, State, Data}.

-spec handle_event(gen_statem:event_type(), term(), bc_gitops_registry:app_state_name(), #data{}) ->
    bc_gitops_app_data:edge().
handle_event(cast, {goal, Goal}, State, Data) ->
    Seen = Data#data{seq = max(Data#data.seq, maps:get(seq, Goal))},
    bc_gitops_app_attempt:goal(State, Goal, Seen);
handle_event(cast, {dependency, Name, Result}, State, #data{deps = Deps} = Data) ->
    case bc_gitops_app_deps:heard(Name, Result, Deps) of
        unknown -> keep_state_and_data;
        Heard -> bc_gitops_app_attempt:dependency(State, Data#data{deps = Heard})
    end;
handle_event(cast, stop, State, Data)
        when State =:= switching; State =:= verifying; State =:= removing ->
    {keep_state, Data#data{stopping = true}};
handle_event(cast, stop, _State, Data) ->
    {stop, normal, bc_gitops_app_data:drop_worker(Data)};
handle_event(state_timeout, deadline, State, Data) ->
    #data{action = Action} = Data,
    Reason = {timeout, #{while => State, action => Action}},
    bc_gitops_app_outcome:judged(State, {error, Reason}, bc_gitops_app_data:drop_worker(Data));
handle_event(state_timeout, retry, _State, Data) ->
    bc_gitops_app_attempt:attempt(Data);
handle_event(state_timeout, recover, _State, Data) ->
    bc_gitops_app_touch:recover(Data);
handle_event(internal, verified, verifying, Data) ->
    bc_gitops_app_outcome:arrived(Data);
handle_event(info, {bc_gitops_settled, Seq, Result}, _State, Data) ->
    ok = bc_gitops_app_data:settled(Seq, Result, Data),
    keep_state_and_data;
handle_event(info, bc_gitops_turn, ready, #data{turn = asked} = Data) ->
    bc_gitops_app_touch:touch(Data#data{turn = mine});
handle_event(info, bc_gitops_turn, _State, Data) ->
    %% it came too late: something else was wanted meanwhile
    ok = bc_gitops_turns:done(),
    {keep_state, Data#data{turn = none}};
handle_event(info, {'DOWN', Monitor, process, _, Reason}, State, #data{monitor = Monitor} = Data) ->
    bc_gitops_app_outcome:app_down(State, Reason, Data#data{monitor = undefined});
handle_event(info, Message, State, #data{worker = Worker} = Data) when Worker =/= undefined ->
    case bc_gitops_app_work:is_result(Message, Worker) of
        {true, Result} -> bc_gitops_app_outcome:judged(State, Result, Data#data{worker = undefined});
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
    _ = bc_gitops_app_data:saved(fun bc_gitops_app_record:unjournal/1, bc_gitops_app_data:drop_worker(Data)),
    ok;
terminate(_Reason, _State, Data) ->
    _ = bc_gitops_app_data:drop_worker(Data),
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
