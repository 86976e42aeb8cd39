%%% @doc Runs one function over many things, some at once. The processes that do it end with the one
%%% that asked, and with the first failure.
-module(bc_gitops_content_pool).

-export([run/4]).

-type failure() :: {error, {Kind :: atom(), Details :: map()}}.
-type tell() :: fun((non_neg_integer()) -> any()).

%% @doc Every call answers what it adds to the sum; Tell is called with the sum after each.
-spec run(fun((Thing) -> {ok, non_neg_integer()} | failure()), [Thing], AtOnce, tell()) ->
    ok | failure() when AtOnce :: pos_integer().
run(Fun, Things, AtOnce, Tell) ->
    {First, Rest} = lists:split(min(AtOnce, length(Things)), Things),
    Running = maps:from_list([start(Fun, Thing) || Thing <- First]),
    await(Fun, Rest, Running, 0, Tell).

%% The link ends the worker when the caller is killed.
start(Fun, Thing) ->
    Caller = self(),
    Tag = make_ref(),
    {Pid, Monitor} = spawn_opt(fun() ->
        Result = Fun(Thing),
        true = unlink(Caller),
        Caller ! {Tag, Result}
    end, [link, monitor]),
    {Monitor, {Pid, Tag}}.

await(_Fun, [], Running, _Sum, _Tell) when map_size(Running) =:= 0 ->
    ok;
await(Fun, Waiting, Running, Sum, Tell) ->
    receive
        {'DOWN', Monitor, process, Pid, Reason} when is_map_key(Monitor, Running) ->
            {{Pid, Tag}, Left} = maps:take(Monitor, Running),
            case result(Tag, Reason) of
                {ok, More} ->
                    _ = Tell(Sum + More),
                    {Next, Rest} = lists:split(min(1, length(Waiting)), Waiting),
                    Started = maps:from_list([start(Fun, Thing) || Thing <- Next]),
                    await(Fun, Rest, maps:merge(Left, Started), Sum + More, Tell);
                {error, _} = Error ->
                    lists:foreach(fun stop/1, maps:to_list(Left)),
                    Error
            end
    end.

%% What a worker sent was sent before it ended.
result(Tag, Reason) ->
    receive {Tag, Result} -> Result
    after 0 -> exit(Reason)
    end.

stop({Monitor, {Pid, Tag}}) ->
    true = unlink(Pid),
    true = exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    receive {Tag, _} -> ok after 0 -> ok end.
