%%% @doc Runs the callbacks of users' runtime modules in one long-lived process, one at a time.
%%%
%%% That process may own ETS tables; it goes on after a callback that raised. When the caller of a
%%% running callback dies (its deadline has passed) the process is killed and a new one takes over.
-module(bc_gitops_runtime_worker).
-behaviour(gen_server).

-export([start_link/0, call/3, call_if_idle/4, apply_callback/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-type request() :: {module(), Function :: atom(), Arguments :: [term()]}.

-record(state, {
    worker :: pid(),
    current = none :: none | {gen_server:from(), CallerRef :: reference(), request()},
    waiting = [] :: [{gen_server:from(), CallerRef :: reference(), request()}]
}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, [], []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Waits for its turn and then for the answer. The caller's death ends the call.
-spec call(module(), atom(), [term()]) ->
    term() | {error, {runtime_failed | runtime_killed, map()}}.
call(Module, Function, Arguments) ->
    gen_server:call(?MODULE, {call, {Module, Function, Arguments}}, infinity).

%% @doc As `call/3', but an error when another call is under way or the answer takes too long, which
%% ends the call as well.
-spec call_if_idle(module(), atom(), [term()], timeout()) ->
    term() | {error, {Kind :: atom(), map()}}.
call_if_idle(Module, Function, Arguments, Timeout) ->
    Request = {call_if_idle, {Module, Function, Arguments}},
    Details = #{runtime => Module, callback => Function},
    Call = fun() -> gen_server:call(?MODULE, Request, infinity) end,
    case bc_gitops_app_control:with_deadline(Call, Timeout, Details) of
        {ok, Answer} -> Answer;
        {error, _} = Error -> Error
    end.

%% @doc Calls a callback in this process; what it raises becomes an error.
-spec apply_callback(module(), atom(), [term()]) -> term().
apply_callback(Module, Function, Arguments) ->
    try
        apply(Module, Function, Arguments)
    catch
        Class:Reason:Stack ->
            {error, {runtime_failed, #{runtime => Module, callback => Function, class => Class,
                                       reason => Reason, stacktrace => Stack}}}
    end.

%%% gen_server

-spec init([]) -> {ok, #state{}}.
init([]) ->
    process_flag(trap_exit, true),
    {ok, #state{worker = start_worker()}}.

-spec handle_call(tuple(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({call_if_idle, {Module, Function, _}}, _From, State)
        when State#state.current =/= none ->
    {reply, {error, {busy, #{runtime => Module, callback => Function}}}, State};
handle_call({_, Request}, {Caller, _} = From, #state{waiting = Waiting} = State) ->
    Ref = monitor(process, Caller),
    {noreply, next(State#state{waiting = Waiting ++ [{From, Ref, Request}]})}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({answer, Worker, Answer}, #state{worker = Worker, current = {From, Ref, _}} = State) ->
    gen_server:reply(From, Answer),
    demonitor(Ref, [flush]),
    {noreply, next(State#state{current = none})};
handle_info({'EXIT', Worker, Reason}, #state{worker = Worker, current = Current} = State) ->
    died(Current, Reason),
    {noreply, next(State#state{worker = start_worker(), current = none})};
handle_info({'DOWN', Ref, process, _, _}, #state{worker = Worker, current = {_, Ref, _}} = State) ->
    exit(Worker, kill),
    receive {'EXIT', Worker, _} -> ok end,
    {noreply, next(State#state{worker = start_worker(), current = none})};
handle_info({'DOWN', Ref, process, _, _}, #state{waiting = Waiting} = State) ->
    {noreply, State#state{waiting = lists:keydelete(Ref, 2, Waiting)}};
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = Worker}) ->
    exit(Worker, kill),
    ok.

next(#state{current = none, waiting = [{_, _, Request} = Next | Waiting]} = State) ->
    State#state.worker ! {run, self(), Request},
    State#state{current = Next, waiting = Waiting};
next(State) ->
    State.

died(none, _Reason) ->
    ok;
died({From, Ref, {Module, Function, _}}, Reason) ->
    demonitor(Ref, [flush]),
    Details = #{runtime => Module, callback => Function, reason => Reason},
    gen_server:reply(From, {error, {runtime_killed, Details}}).

start_worker() ->
    spawn_link(fun worker/0).

%% Messages that a user's module left behind are dropped.
worker() ->
    receive
        {run, Server, {Module, Function, Arguments}} ->
            Answer = apply_callback(Module, Function, Arguments),
            Server ! {answer, self(), Answer},
            worker();
        _Other ->
            worker()
    end.
