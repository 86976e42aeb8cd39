%%% @doc One call at a time for runtime modules that cannot work side by side: an app's process asks for
%%% its turn and begins when it has it, so that its deadline counts its own call and not the queue.
-module(bc_gitops_turns).
-behaviour(gen_server).

-export([start_link/0, ask/0, done/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {
    holder :: {pid(), reference()} | undefined,
    waiting = queue:new() :: queue:queue({pid(), reference()})
}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, [], []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Asks for a turn; `bc_gitops_turn' comes as a message when it is the caller's.
-spec ask() -> ok.
ask() ->
    gen_server:cast(?MODULE, {ask, self()}).

%% @doc Gives the turn back, or asks no longer. So does the end of the process.
-spec done() -> ok.
done() ->
    gen_server:cast(?MODULE, {done, self()}).

-spec init([]) -> {ok, #state{}}.
init([]) ->
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, not_a_call}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, not_a_call}, State}.

-spec handle_cast({ask | done, pid()}, #state{}) -> {noreply, #state{}}.
handle_cast({ask, Pid}, #state{waiting = Waiting} = State) ->
    {noreply, next(State#state{waiting = queue:in({Pid, monitor(process, Pid)}, Waiting)})};
handle_cast({done, Pid}, State) ->
    {noreply, next(without(Pid, State))}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', _Monitor, process, Pid, _Reason}, State) ->
    {noreply, next(without(Pid, State))};
handle_info(_Message, State) ->
    {noreply, State}.

without(Pid, #state{holder = {Pid, Monitor}} = State) ->
    true = demonitor(Monitor, [flush]),
    State#state{holder = undefined};
without(Pid, #state{waiting = Waiting} = State) ->
    Others = queue:filter(
        fun({Other, Monitor}) -> Other =/= Pid orelse not demonitor(Monitor, [flush]) end, Waiting
    ),
    State#state{waiting = Others}.

next(#state{holder = undefined, waiting = Waiting} = State) ->
    case queue:out(Waiting) of
        {{value, {Pid, _} = Holder}, Rest} ->
            Pid ! bc_gitops_turn,
            State#state{holder = Holder, waiting = Rest};
        {empty, _} ->
            State
    end;
next(State) ->
    State.
