%%% @doc Runs each switch of an application in a process of its own, one at a time per application.
%%%
%%% A caller may be killed at any moment. Until a switch stops something it asks whether its caller
%%% is there still, and ends without a trace if not; from then on it completes or undoes what it
%%% began. Whoever comes next for the same application waits for that. Also hands out the locks
%%% under which switches of different applications change what they share.
-module(bc_gitops_switches).
-behaviour(gen_server).

-export([start_link/0, run/2, locked/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([proceed/0]).

%% Whether the switch is wanted still.
-type proceed() :: fun(() -> boolean()).

-record(state, {
    running = #{} :: #{Name :: atom() => pid()},
    locks = #{} :: #{Lock :: atom() => {Holder :: pid(), Waiting :: [gen_server:from()]}},
    monitors = #{} :: #{reference() => {switch | lock, atom()}}
}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, [], []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Runs a switch and waits for its result, after one that is under way for the same name.
-spec run(atom(), fun((proceed()) -> Result)) -> Result | {error, {switch_crashed, map()}}.
run(Name, Fun) ->
    case gen_server:call(?MODULE, {begin_switch, Name, Fun}, infinity) of
        {ok, Switch} ->
            await(Name, Switch, monitor(process, Switch));
        {busy, Other} ->
            Ref = monitor(process, Other),
            receive {'DOWN', Ref, process, Other, _} -> run(Name, Fun) end
    end.

await(Name, Switch, Ref) ->
    receive
        {bc_gitops_switch, Switch, Result} ->
            demonitor(Ref, [flush]),
            Result;
        {'DOWN', Ref, process, Switch, Reason} ->
            {error, {switch_crashed, #{app => Name, reason => Reason}}}
    end.

%% @doc Runs Fun while no other process holds the lock. A holder that dies loses it.
-spec locked(atom(), fun(() -> Result)) -> Result.
locked(Lock, Fun) ->
    ok = gen_server:call(?MODULE, {lock, Lock}, infinity),
    try
        Fun()
    after
        ok = gen_server:call(?MODULE, {unlock, Lock}, infinity)
    end.

%%% gen_server

-spec init([]) -> {ok, #state{}}.
init([]) ->
    {ok, #state{}}.

-spec handle_call(tuple(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({begin_switch, Name, Fun}, {Caller, _}, #state{running = Running} = State) ->
    case Running of
        #{Name := Pid} ->
            {reply, {busy, Pid}, State};
        _ ->
            {ok, Pid} = bc_gitops_switch_sup:start_switch(Caller, Fun),
            Begun = State#state{running = Running#{Name => Pid}},
            {reply, {ok, Pid}, watch(Pid, {switch, Name}, Begun)}
    end;
handle_call({lock, Lock}, {Caller, _} = From, #state{locks = Locks} = State) ->
    case Locks of
        #{Lock := {Holder, Waiting}} ->
            {noreply, State#state{locks = Locks#{Lock := {Holder, Waiting ++ [From]}}}};
        _ ->
            {reply, ok, hand_over(Lock, Caller, [], State)}
    end;
handle_call({unlock, Lock}, {Caller, _}, #state{locks = Locks} = State) ->
    case Locks of
        #{Lock := {Caller, Waiting}} -> {reply, ok, next(Lock, Waiting, State)};
        _ -> {reply, {error, not_held}, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Ref, process, Pid, _}, #state{monitors = Monitors} = State) ->
    case maps:take(Ref, Monitors) of
        {{switch, Name}, Rest} ->
            Running = maps:remove(Name, State#state.running),
            {noreply, State#state{running = Running, monitors = Rest}};
        {{lock, Lock}, Rest} ->
            {noreply, lost(Lock, Pid, State#state{monitors = Rest})};
        error ->
            {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

%% Monitors of former holders stay until the process ends, which a switch soon does.
lost(Lock, Pid, #state{locks = Locks} = State) ->
    case Locks of
        #{Lock := {Pid, Waiting}} -> next(Lock, Waiting, State);
        _ -> State
    end.

next(Lock, [], #state{locks = Locks} = State) ->
    State#state{locks = maps:remove(Lock, Locks)};
next(Lock, [{Pid, _} = From | Waiting], State) ->
    gen_server:reply(From, ok),
    hand_over(Lock, Pid, Waiting, State).

hand_over(Lock, Holder, Waiting, #state{locks = Locks} = State) ->
    watch(Holder, {lock, Lock}, State#state{locks = Locks#{Lock => {Holder, Waiting}}}).

watch(Pid, What, #state{monitors = Monitors} = State) ->
    State#state{monitors = Monitors#{monitor(process, Pid) => What}}.
