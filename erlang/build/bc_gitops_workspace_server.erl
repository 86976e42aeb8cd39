%%% @doc Owns the tables of builds and decides who may build: one at a time for each thing that is
%%% built, a bounded number at all. Holds nothing up: fetching, building and removing happen in
%%% other processes. When one that builds dies, its place is free at once and what it left is
%%% removed.
-module(bc_gitops_workspace_server).
-behaviour(gen_server).

-export([start_link/0, ensure/0, set_root/1, root/0, table/0, with/2, with_scratch/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(TABLE, bc_gitops_workspace).
%% See bc_gitops_scratch: a VM that cannot be looked for lives while it says so.
-define(BEAT, 60000).
%% Builds that are read in full at once. Each takes one of the schedulers that the VM reads files with.
-define(CHECKS, 2).

-type resource() :: slot | check | {source, term()}.
-type id() :: reference().

-record(state, {
    incarnation :: binary() | undefined,
    monitors = #{} :: #{reference() => {hold, id()} | {scratch, binary()}},
    holds = #{} :: #{id() => {resource(), Monitor :: reference()}},
    waiting = [] :: [{id(), resource(), gen_server:from(), Monitor :: reference()}],
    scratches = #{} :: #{binary() => Monitor :: reference()}
}).

%% @doc Starts the server under a supervisor. One that `ensure/0' started before gives way.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case gen_server:start_link({local, ?MODULE}, ?MODULE, [], []) of
        {error, {already_started, Pid}} ->
            ok = gen_server:stop(Pid),
            started(gen_server:start_link({local, ?MODULE}, ?MODULE, [], []));
        Result ->
            started(Result)
    end.

started({ok, Pid}) -> {ok, Pid};
started({error, Reason}) -> {error, Reason};
started(ignore) -> {error, ignore}.

%% @doc Starts the server without a supervisor where the application does not run.
-spec ensure() -> ok | {error, term()}.
ensure() ->
    case whereis(?MODULE) of
        undefined ->
            case gen_server:start({local, ?MODULE}, ?MODULE, [], []) of
                {ok, _} -> ok;
                {error, {already_started, _}} -> ok;
                {error, Reason} -> {error, Reason};
                ignore -> {error, ignore}
            end;
        _ ->
            ok
    end.

%% @doc Uses another workspace from now on.
-spec set_root(binary()) -> ok | {error, {unwritable, map()}}.
set_root(Root) ->
    gen_server:call(?MODULE, {set_root, Root}, infinity).

%% @doc The workspace.
-spec root() -> binary().
root() ->
    ets:lookup_element(?TABLE, root, 2).

%% @doc The table of what is prepared and what is in use; anyone may write.
-spec table() -> atom().
table() -> ?TABLE.

%% @doc Runs Fun while holding a resource. Each holder has a deadline, so waiting has an end; who
%% wants to wait no longer ends the process.
-spec with(resource(), fun(() -> Result)) -> Result.
with(Resource, Fun) ->
    Id = make_ref(),
    ok = gen_server:call(?MODULE, {acquire, Resource, Id}, infinity),
    try Fun() after gen_server:cast(?MODULE, {release, Id}) end.

%% @doc Runs Fun with a scratch directory, which is gone afterwards, also when this process dies.
-spec with_scratch(fun((Dir :: binary()) -> Result)) -> Result | {error, {unwritable, map()}}.
with_scratch(Fun) ->
    case gen_server:call(?MODULE, scratch, infinity) of
        {ok, Dir} ->
            use_scratch(Dir, Fun);
        {error, _} = Error ->
            Error
    end.

%% Commands that ended as they should have left no process: only the files remain.
use_scratch(Dir, Fun) ->
    try Fun(Dir) of
        {error, {runner, _}} = Error -> done(Dir, reap), Error;
        Result -> done(Dir, empty), Result
    catch
        Class:Reason:Stack ->
            done(Dir, reap),
            erlang:raise(Class, Reason, Stack)
    end.

done(Dir, How) ->
    Removed = bc_gitops_scratch:remove(Dir, How),
    gen_server:call(?MODULE, {scratch_done, Dir, Removed}, infinity).

%%% gen_server

-spec init([]) -> {ok, #state{}, {continue, open}}.
init([]) ->
    process_flag(trap_exit, true),
    ?TABLE = ets:new(?TABLE, [set, public, named_table, {read_concurrency, true}]),
    ok = bc_gitops_build_log:new(),
    ok = bc_gitops_toolchain:new(),
    true = ets:insert(?TABLE, {root, bc_gitops_build_config:workspace_path()}),
    _ = erlang:send_after(?BEAT, self(), beat),
    {ok, #state{}, {continue, open}}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, State) ->
    case open(State) of
        {ok, Opened} -> {noreply, Opened};
        {error, Reason} ->
            logger:warning("bc_gitops: no build can happen: ~ts", [bc_gitops_build_error:format_error(Reason)]),
            {noreply, State}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({acquire, Resource, Id}, {Pid, _} = From, State) ->
    Monitor = monitor(process, Pid),
    Waiting = State#state.waiting ++ [{Id, Resource, From, Monitor}],
    Monitors = (State#state.monitors)#{Monitor => {hold, Id}},
    {noreply, grant(State#state{waiting = Waiting, monitors = Monitors})};
handle_call(scratch, {Pid, _}, State) ->
    case open(State) of
        {ok, #state{incarnation = Incarnation} = Opened} ->
            new_scratch(bc_gitops_scratch:new(Incarnation), Pid, Opened);
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call({scratch_done, Dir, Removed}, _From, State) ->
    {reply, ok, case Removed of
        ok -> forget_scratch(Dir, State);
        {error, _} -> clean(Dir, forget_scratch(Dir, State))
    end};
handle_call({set_root, Root}, _From, #state{incarnation = Old} = State) ->
    Previous = root(),
    true = ets:insert(?TABLE, {root, Root}),
    case open(State#state{incarnation = undefined}) of
        {ok, Opened} ->
            ok = close_if_empty(Old, State),
            {reply, ok, Opened};
        {error, _} = Error ->
            true = ets:insert(?TABLE, {root, Previous}),
            {reply, Error, State}
    end.

-spec handle_cast({release, id()}, #state{}) -> {noreply, #state{}}.
handle_cast({release, Id}, State) ->
    {noreply, grant(release(Id, State))}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({'DOWN', Monitor, process, _, _}, #state{monitors = Monitors} = State) ->
    case Monitors of
        #{Monitor := {hold, Id}} -> {noreply, grant(release(Id, State))};
        #{Monitor := {scratch, Dir}} -> {noreply, clean(Dir, forget_scratch(Dir, State))};
        #{} -> {noreply, State}
    end;
handle_info(beat, #state{incarnation = Incarnation} = State) ->
    _ = erlang:send_after(?BEAT, self(), beat),
    _ = [bc_gitops_scratch:beat(Incarnation) || Incarnation =/= undefined],
    reap_dead(),
    {noreply, State};
handle_info({'EXIT', _Cleaner, _Reason}, State) ->
    {noreply, State};
handle_info(_Late, State) ->
    {noreply, State}.

%% Who builds is ended before us by our supervisor; where nobody supervises, by the runner.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{incarnation = undefined}) ->
    ok;
terminate(_Reason, #state{incarnation = Incarnation, scratches = Scratches}) ->
    _ = bc_gitops_scratch:remove(Incarnation, case map_size(Scratches) of
        0 -> empty;
        _ -> reap
    end),
    ok.

open(#state{incarnation = undefined} = State) ->
    case bc_gitops_scratch:open(root()) of
        {ok, Incarnation} ->
            reap_dead(),
            {ok, State#state{incarnation = Incarnation}};
        {error, _} = Error ->
            Error
    end;
open(State) ->
    {ok, State}.

%% More than once: a VM that cannot be looked for is dead when it has been silent.
reap_dead() ->
    Root = root(),
    _ = spawn_link(fun() -> bc_gitops_scratch:reap_dead(Root) end),
    ok.

close_if_empty(undefined, _State) ->
    ok;
close_if_empty(_Old, #state{scratches = Scratches}) when map_size(Scratches) > 0 ->
    ok;
close_if_empty(Old, _State) ->
    _ = spawn_link(fun() -> bc_gitops_scratch:remove(Old, reap) end),
    ok.

new_scratch({ok, Dir}, Pid, #state{monitors = Monitors, scratches = Scratches} = State) ->
    Monitor = monitor(process, Pid),
    {reply, {ok, Dir}, State#state{monitors = Monitors#{Monitor => {scratch, Dir}},
                                   scratches = Scratches#{Dir => Monitor}}};
new_scratch({error, _} = Error, _Pid, State) ->
    {reply, Error, State}.

forget_scratch(Dir, #state{scratches = Scratches, monitors = Monitors} = State) ->
    case maps:take(Dir, Scratches) of
        {Monitor, Rest} ->
            true = demonitor(Monitor, [flush]),
            State#state{scratches = Rest, monitors = maps:remove(Monitor, Monitors)};
        error ->
            State
    end.

clean(Dir, State) ->
    _ = spawn_link(fun() -> bc_gitops_scratch:remove(Dir, reap) end),
    State.

%% Whether it was held or waited for.
release(Id, #state{holds = Holds, waiting = Waiting, monitors = Monitors} = State) ->
    Found = [Monitor || #{Id := {_, Monitor}} <- [Holds]]
        ++ [Monitor || {I, _, _, Monitor} <- Waiting, I =:= Id],
    _ = [demonitor(Monitor, [flush]) || Monitor <- Found],
    State#state{holds = maps:remove(Id, Holds), waiting = lists:keydelete(Id, 1, Waiting),
                monitors = maps:without(Found, Monitors)}.

%% Those who waited longest come first; one whose resource is taken does not hold up the others.
grant(#state{waiting = Waiting} = State) ->
    lists:foldl(fun grant/2, State#state{waiting = []}, Waiting).

grant({Id, Resource, From, Monitor} = Waiter, #state{holds = Holds, waiting = Waiting} = State) ->
    Taken = length([Id || {R, _} <- maps:values(Holds), R =:= Resource]),
    case Taken < capacity(Resource) of
        true ->
            gen_server:reply(From, ok),
            State#state{holds = Holds#{Id => {Resource, Monitor}}};
        false ->
            State#state{waiting = Waiting ++ [Waiter]}
    end.

capacity(slot) -> bc_gitops_build_config:build_jobs();
capacity(check) -> ?CHECKS;
capacity({source, _}) -> 1.
