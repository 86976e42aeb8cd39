%%% @doc Where the refs of git sources point: a cache of {Url, Ref} to commit, filled by listing
%%% remotes, one listing per url for all its refs.
%%%
%%% Reads (`wanted/2') come from ETS and never wait. Refreshes run side by side, at most ?LISTINGS at a
%%% time. The process called `bc_gitops_reconciler', when there is one, is told
%%% `{source_moved, [{Url, Ref}]}' when a commit that was known has changed. A full commit id is never
%%% listed. What a failed listing leaves is what was known before. A url may carry a password: table and
%%% state hold digests of urls, and where the url itself is needed a fun that answers it.
-module(bc_gitops_source_watch).
-behaviour(gen_server).

-export([child_specs/0, start_link/0, start_link/1]).
-export([refresh/1, refresh_wait/2, wanted/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([source/0, options/0]).

-type source() :: {Url :: binary(), Ref :: binary()}.
%% How to ask: `auth' is called for each listing, so that a changed configuration counts at once.
-type options() :: #{auth => fun(() -> bc_gitops_git:auth()), timeout => pos_integer()}.

-record(state, {
    options :: options(),
    %% urls to list, in order, and the refs that are wanted of each
    queue = queue:new() :: queue:queue(digest()),
    refs = #{} :: #{digest() => {url(), ordsets:ordset(binary())}},
    %% listings under way
    running = #{} :: #{reference() => {digest(), url(), [binary()]}},
    %% callers that wait, with the urls they still wait for
    waiting = [] :: [waiter()],
    %% urls whose last listing failed: one log line for each failure that is new
    failing = #{} :: #{digest() => atom()}
}).
-type digest() :: binary().
-type url() :: fun(() -> binary()).
-type waiter() :: {gen_server:from(), TimerOrRef :: reference(), Urls :: ordsets:ordset(digest()), Errors :: [term()]}.

-define(TABLE, ?MODULE).
-define(LISTINGS, 4).
-define(TIMEOUT, 30000).

%%% API

%% @doc For the application's supervisor.
-spec child_specs() -> [supervisor:child_spec()].
child_specs() ->
    [#{id => ?MODULE, start => {?MODULE, start_link, []}}].

-spec start_link() -> gen_server:start_ret().
start_link() ->
    start_link(#{auth => fun() -> bc_gitops_git:auth(bc_gitops_config:current()) end}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(Options) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Options, []).

%% @doc Lists the remotes of these sources; answers at once.
-spec refresh([source()]) -> ok.
refresh(Sources) ->
    gen_server:cast(?MODULE, {refresh, Sources}).

%% @doc Lists the remotes of these sources and waits until each has answered or failed.
-spec refresh_wait([source()], timeout()) -> ok | {error, timeout | [{Kind :: atom(), Details :: map()}]}.
refresh_wait(Sources, Timeout) ->
    gen_server:call(?MODULE, {refresh, Sources, Timeout}, infinity).

%% @doc The commit that a ref named when its remote was last listed. `HEAD' is the remote's default
%% branch; a branch goes before a tag of the same name.
-spec wanted(Url :: binary(), Ref :: binary()) -> {ok, Commit :: binary()} | unknown.
wanted(Url, Ref) ->
    case is_commit(Ref) of
        true -> {ok, string:lowercase(Ref)};
        false -> cached(key(Url, Ref))
    end.

%%% gen_server

-spec init(options()) -> {ok, #state{}}.
init(Options) ->
    _ = ets:new(?TABLE, [named_table, protected, {read_concurrency, true}]),
    {ok, #state{options = Options}}.

-spec handle_call({refresh, [source()], timeout()}, gen_server:from(), #state{}) ->
    {reply, ok, #state{}} | {noreply, #state{}}.
handle_call({refresh, Sources, Timeout}, From, State) ->
    Listed = listed(Sources),
    case lists:usort([digest(Url) || {Url, _} <- Listed]) of
        [] ->
            {reply, ok, State};
        Digests ->
            Waiter = {From, timer(Timeout), Digests, []},
            {noreply, next(enqueue(Listed, State#state{waiting = [Waiter | State#state.waiting]}))}
    end.

-spec handle_cast({refresh, [source()]}, #state{}) -> {noreply, #state{}}.
handle_cast({refresh, Sources}, State) ->
    {noreply, next(enqueue(listed(Sources), State))}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({bc_gitops_job, Ref, Result}, #state{running = Running} = State) ->
    case maps:take(Ref, Running) of
        {{Digest, Url, Refs}, Rest} ->
            State1 = log(Digest, Result, State#state{running = Rest}),
            _ = moved(store(Url(), Refs, Result)),
            {noreply, next(release(Digest, Result, State1))};
        error ->
            {noreply, State}
    end;
handle_info({timeout, Timer, waiter}, #state{waiting = Waiting} = State) ->
    case lists:keytake(Timer, 2, Waiting) of
        {value, {From, _, _, _}, Rest} ->
            gen_server:reply(From, {error, timeout}),
            {noreply, State#state{waiting = Rest}};
        false ->
            {noreply, State}
    end;
handle_info(_Other, State) ->
    {noreply, State}.

%% Urls may carry a password: neither sys:get_status/1 nor a crash report shows them.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun
            (state, State) -> hidden(State);
            (message, _) -> hidden;
            (log, _) -> [];
            (_, Value) -> Value
        end,
        Status
    ).

hidden(#state{running = Running, queue = Queue, waiting = Waiting}) ->
    #{running => map_size(Running), queued => queue:len(Queue), waiting => length(Waiting)}.

%%% The queue

listed(Sources) ->
    [Source || {Url, Ref} = Source <- Sources, is_binary(Url), is_binary(Ref), not is_commit(Ref)].

enqueue(Sources, State) ->
    lists:foldl(fun enqueue_one/2, State, Sources).

%% A url that is being listed may be wanted for another ref: it is listed once more after that.
enqueue_one({Url, Ref}, #state{refs = Refs, queue = Queue, running = Running} = State) ->
    Digest = digest(Url),
    case Refs of
        #{Digest := {Hidden, Wanted}} ->
            State#state{refs = Refs#{Digest := {Hidden, ordsets:add_element(Ref, Wanted)}}};
        #{} ->
            IsAsked = fun({Listing, _, Asked}) -> Listing =:= Digest andalso lists:member(Ref, Asked) end,
            case lists:any(IsAsked, maps:values(Running)) of
                true ->
                    State;
                false ->
                    Hidden = fun() -> Url end,
                    State#state{refs = Refs#{Digest => {Hidden, [Ref]}}, queue = queue:in(Digest, Queue)}
            end
    end.

next(#state{running = Running} = State) when map_size(Running) >= ?LISTINGS ->
    State;
next(#state{queue = Queue, refs = Refs, running = Running} = State) ->
    case queue:out(Queue) of
        {empty, _} ->
            State;
        {{value, Digest}, Rest} ->
            {{Url, Wanted}, Refs1} = maps:take(Digest, Refs),
            Ref = list(Url(), Wanted, State#state.options),
            next(State#state{queue = Rest, refs = Refs1, running = Running#{Ref => {Digest, Url, Wanted}}})
    end.

list(Url, Refs, Options) ->
    Auth = (maps:get(auth, Options))(),
    Request = #{op => list, url => Url, auth => Auth, only => lists:map(fun short/1, Refs)},
    {ok, _Job, Ref, _Deadline} = bc_gitops_git:start(Request, maps:get(timeout, Options, ?TIMEOUT)),
    Ref.

%% Answers the callers for whom this was the last url.
release(Digest, Result, #state{waiting = Waiting, refs = Refs, running = Running} = State) ->
    Again = is_map_key(Digest, Refs) orelse lists:keymember(Digest, 1, maps:values(Running)),
    State#state{waiting = lists:flatmap(fun(Waiter) -> released(Waiter, Digest, Again, Result) end, Waiting)}.

released(Waiter, _Digest, true, _Result) ->
    [Waiter];
released({From, Timer, Digests, Errors}, Digest, false, Result) ->
    Errors1 = case lists:member(Digest, Digests) of true -> errors(Result) ++ Errors; false -> Errors end,
    case {ordsets:del_element(Digest, Digests), Errors1} of
        {[], []} -> reply(From, Timer, ok);
        {[], _} -> reply(From, Timer, {error, Errors1});
        {Rest, _} -> [{From, Timer, Rest, Errors1}]
    end.

errors({ok, _}) -> [];
errors({error, Error}) -> [Error].

reply(From, Timer, Reply) ->
    _ = erlang:cancel_timer(Timer),
    gen_server:reply(From, Reply),
    [].

timer(infinity) -> make_ref();
timer(Timeout) -> erlang:start_timer(Timeout, self(), waiter).

%%% The cache

%% Stores what a listing says; answers the sources whose known commit has changed.
store(_Url, _Refs, {error, _}) ->
    [];
store(Url, Refs, {ok, Listing}) ->
    [{Url, Ref} || Ref <- Refs, {ok, Commit} <- [commit(Ref, Listing)], put_commit(key(Url, Ref), Commit) =:= moved].

commit(<<"HEAD">>, #{refs := Refs, head := Head}) when is_binary(Head) ->
    maps:find(<<"refs/heads/", Head/binary>>, Refs);
commit(<<"refs/", _/binary>> = Ref, #{refs := Refs}) ->
    maps:find(Ref, Refs);
commit(Ref, #{refs := Refs}) ->
    case maps:find(<<"refs/heads/", Ref/binary>>, Refs) of
        {ok, Commit} -> {ok, Commit};
        error -> maps:find(<<"refs/tags/", Ref/binary>>, Refs)
    end.

put_commit(Key, Commit) ->
    Before = cached(Key),
    true = ets:insert(?TABLE, {Key, Commit}),
    case Before of
        {ok, Commit} -> same;
        {ok, _Other} -> moved;
        unknown -> new
    end.

cached(Key) ->
    case ets:whereis(?TABLE) =/= undefined andalso ets:lookup(?TABLE, Key) of
        [{_, Commit}] -> {ok, Commit};
        _ -> unknown
    end.

key(Url, Ref) ->
    erlang:md5([Url, 0, Ref]).

digest(Url) ->
    key(Url, <<>>).

moved([]) ->
    ok;
moved(Sources) ->
    case whereis(bc_gitops_reconciler) of
        undefined -> ok;
        Pid -> Pid ! {source_moved, Sources}
    end.

%% The short name, as listings are asked for.
short(<<"refs/heads/", Name/binary>>) -> Name;
short(<<"refs/tags/", Name/binary>>) -> Name;
short(Ref) -> Ref.

is_commit(Ref) when byte_size(Ref) =:= 40 ->
    match =:= re:run(Ref, "^[0-9a-fA-F]+$", [{capture, none}]);
is_commit(_) ->
    false.

%%% One line when a remote starts failing, one when it is back

log(Key, {ok, _}, #state{failing = Failing} = State) ->
    case is_map_key(Key, Failing) of
        true -> logger:notice("bc_gitops: a source's repository can be listed again");
        false -> ok
    end,
    State#state{failing = maps:remove(Key, Failing)};
log(Key, {error, {Kind, Details}}, #state{failing = Failing} = State) ->
    case Failing of
        #{Key := Kind} -> ok;
        #{} ->
            logger:warning("bc_gitops: the repository ~ts can't be listed (~ts): ~ts",
                           [maps:get(url, Details, <<>>), Kind, maps:get(message, Details, <<>>)])
    end,
    State#state{failing = Failing#{Key => Kind}}.
