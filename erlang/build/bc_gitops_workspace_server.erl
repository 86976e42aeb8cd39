%%% @doc Decides who may build: one at a time for each thing that is built, a bounded number at all.
%%% Holds nothing up: fetching, building and removing happen in other processes. When one that builds
%%% dies, its place is free at once and what it left is removed.
%%%
%%% The tables belong to the root supervisor where the application runs: what is prepared and kept,
%%% what was printed, and who builds where outlive a crash of this process.
-module(bc_gitops_workspace_server).
-behaviour(gen_server).

-export([create/0, start_link/0, ensure/0, set_root/1, root/0, table/0, trash/0]).
-export([with/2, with_scratch/1]).
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

%% @doc Makes the tables; the caller owns them. A server that `ensure/0' started before gives way.
-spec create() -> ok.
create() ->
    case whereis(?MODULE) of
        undefined -> ok;
        Pid -> ok = gen_server:stop(Pid)
    end,
    new_tables().

new_tables() ->
    ?TABLE = ets:new(?TABLE, [set, public, named_table, {read_concurrency, true}]),
    ok = bc_gitops_build_log:new(),
    ok = bc_gitops_build_progress:new(),
    bc_gitops_toolchain:new().

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

%% @doc Where what is removed goes first: on the same disk, and gone with this VM.
-spec trash() -> binary().
trash() ->
    case ets:lookup(?TABLE, incarnation) of
        [{_, Dir}] -> Dir;
        [] -> filename:join(root(), <<"scratch">>)
    end.

%% @doc Runs Fun while holding a resource. Each holder has a deadline, so waiting has an end; who
%% wants to wait no longer ends the process.
-spec with(resource(), fun(() -> Result)) -> Result | {error, {interrupted, map()}}.
with(Resource, Fun) ->
    Id = make_ref(),
    case call({acquire, Resource, Id}) of
        ok -> try Fun() after gen_server:cast(?MODULE, {release, Id}) end;
        {error, _} = Error -> Error
    end.

%% Whoever waits when this server ends may come again.
call(Request) ->
    try gen_server:call(?MODULE, Request, infinity)
    catch
        exit:{_, {gen_server, call, _}} ->
            {error, {interrupted, #{message => <<"the workspace was restarted while this waited for it">>}}}
    end.

%% @doc Runs Fun with a scratch directory, which is gone afterwards, also when this process dies.
-spec with_scratch(fun((Dir :: binary()) -> Result)) ->
    Result | {error, {unwritable | interrupted, map()}}.
with_scratch(Fun) ->
    case call(scratch) of
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
    call({scratch_done, Dir, Removed}).

%%% gen_server

-spec init([]) -> {ok, #state{}, {continue, open}}.
init([]) ->
    process_flag(trap_exit, true),
    ok = case ets:whereis(?TABLE) of
        undefined -> new_tables();
        _ -> ok
    end,
    _ = ets:insert_new(?TABLE, {root, bc_gitops_build_config:workspace_path()}),
    _ = erlang:send_after(?BEAT, self(), beat),
    {ok, taken_over(#state{}), {continue, open}}.

%% What the server before this one knew of who builds.
taken_over(State) ->
    Rows = ets:select(?TABLE, [{{{held, '$1'}, '$2', '$3'}, [], [{{hold, '$1', '$2', '$3'}}]},
                               {{{scratch, '$1'}, '$2'}, [], [{{scratch, '$1', '$2'}}]},
                               {{incarnation, '$1'}, [], [{{incarnation, '$1'}}]}]),
    lists:foldl(fun take_over/2, State, Rows).

take_over({hold, Id, Resource, Pid}, #state{holds = Holds, monitors = Monitors} = State) ->
    Monitor = monitor(process, Pid),
    State#state{holds = Holds#{Id => {Resource, Monitor}}, monitors = Monitors#{Monitor => {hold, Id}}};
take_over({scratch, Dir, Pid}, #state{scratches = Scratches, monitors = Monitors} = State) ->
    Monitor = monitor(process, Pid),
    State#state{scratches = Scratches#{Dir => Monitor}, monitors = Monitors#{Monitor => {scratch, Dir}}};
take_over({incarnation, Dir}, State) ->
    State#state{incarnation = Dir}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, State) ->
    case open(swept(State)) of
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
    _ = bc_gitops_store_pins:beat(root()),
    reap_dead(),
    {noreply, State};
handle_info({'EXIT', _Cleaner, _Reason}, State) ->
    {noreply, State};
handle_info(_Late, State) ->
    {noreply, State}.

%% Who builds is ended before us by our supervisor; where nobody supervises, by the runner. After a
%% crash builds go on, and the next server knows of them.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{incarnation = undefined}) ->
    ok;
terminate(Reason, _State) when Reason =/= normal, Reason =/= shutdown ->
    ok;
terminate(_Reason, #state{incarnation = Incarnation, scratches = Scratches}) ->
    true = ets:match_delete(?TABLE, {{held, '_'}, '_', '_'}),
    true = ets:match_delete(?TABLE, {{scratch, '_'}, '_'}),
    true = ets:delete(?TABLE, incarnation),
    _ = bc_gitops_scratch:remove(Incarnation, case map_size(Scratches) of
        0 -> empty;
        _ -> reap
    end),
    ok.

%% What was being removed when the server before this one ended.
swept(#state{incarnation = undefined} = State) ->
    State;
swept(#state{incarnation = Incarnation, scratches = Scratches} = State) ->
    Dirs = [filename:join(Incarnation, Name) || Name <- names(Incarnation), Name =/= <<"owner">>],
    lists:foldl(fun clean/2, State, [Dir || Dir <- Dirs, not is_map_key(Dir, Scratches)]).

names(Dir) ->
    case file:list_dir(Dir) of
        {ok, Names} -> [unicode:characters_to_binary(Name) || Name <- Names];
        {error, _} -> []
    end.

open(#state{incarnation = undefined} = State) ->
    case bc_gitops_scratch:open(root()) of
        {ok, Incarnation} ->
            true = ets:insert(?TABLE, {incarnation, Incarnation}),
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
    true = ets:insert(?TABLE, {{scratch, Dir}, Pid}),
    {reply, {ok, Dir}, State#state{monitors = Monitors#{Monitor => {scratch, Dir}},
                                   scratches = Scratches#{Dir => Monitor}}};
new_scratch({error, _} = Error, _Pid, State) ->
    {reply, Error, State}.

forget_scratch(Dir, #state{scratches = Scratches, monitors = Monitors} = State) ->
    case maps:take(Dir, Scratches) of
        {Monitor, Rest} ->
            true = demonitor(Monitor, [flush]),
            true = ets:delete(?TABLE, {scratch, Dir}),
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
    true = ets:delete(?TABLE, {held, Id}),
    State#state{holds = maps:remove(Id, Holds), waiting = lists:keydelete(Id, 1, Waiting),
                monitors = maps:without(Found, Monitors)}.

%% Those who waited longest come first; one whose resource is taken does not hold up the others.
grant(#state{waiting = Waiting} = State) ->
    lists:foldl(fun grant/2, State#state{waiting = []}, Waiting).

grant({Id, Resource, {Pid, _} = From, Monitor} = Waiter, #state{holds = Holds, waiting = Waiting} = State) ->
    Taken = length([Id || {R, _} <- maps:values(Holds), R =:= Resource]),
    case Taken < capacity(Resource) of
        true ->
            true = ets:insert(?TABLE, {{held, Id}, Resource, Pid}),
            gen_server:reply(From, ok),
            State#state{holds = Holds#{Id => {Resource, Monitor}}};
        false ->
            State#state{waiting = Waiting ++ [Waiter]}
    end.

capacity(slot) -> bc_gitops_build_config:build_jobs();
capacity(check) -> ?CHECKS;
capacity({source, _}) -> 1.
