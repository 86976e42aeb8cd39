%%% @doc How long an application is away while it is upgraded: a client calls it all the time.
-module(bench_upgrade).

-export([run/0, client/1]).

-define(ROUNDS, 11).

run() ->
    bench_world:with(#{}, fun(World) ->
        Url = bench_world:source(World, ["1.0.0", "1.1.0"], "ok"),
        First = change(World, Url, "1.0.0"),
        bench_rows:add(#{what => "first deployment: clone, rebar3 build, start", ours => First / 1000}),
        Client = spawn_link(?MODULE, client, [self()]),
        {Built, BuiltGap} = upgrade(World, Url, Client, "1.1.0"),
        bench_rows:add(#{what => "upgrade with a build: from the commit to the running version",
                         ours => Built / 1000}),
        bench_rows:add(#{what => "upgrade with a build: longest gap for a client", ours => BuiltGap / 1000}),
        Rounds = [upgrade(World, Url, Client, lists:nth(N rem 2 + 1, ["1.1.0", "1.0.0"]))
                  || N <- lists:seq(1, ?ROUNDS)],
        {Times, Gaps} = lists:unzip(Rounds),
        bench_rows:add(#{what => "upgrade from the store: from the commit to the running version",
                         ours => median(Times) / 1000}),
        Script = script(World),
        bench_rows:add(#{what => "upgrade from the store: longest gap for a client",
                         ours => median(Gaps) / 1000,
                         theirs => {"stop, git checkout, rebar3 compile, start", Script / 1000}}),
        Client ! stop
    end).

change(World, Url, Version) ->
    _ = bench_world:write(World, [bench_world:app_spec(Url, Version, "[]")]),
    {Time, ok} = timer:tc(fun bc_gitops:reconcile/0),
    Time.

upgrade(World, Url, Client, Version) ->
    Client ! {begin_at, self()},
    receive {Client, begun} -> ok end,
    Time = change(World, Url, Version),
    Expected = list_to_binary(Version),
    Expected = bench_probe:version(),
    Client ! {gap, self()},
    receive {Client, Gap} -> {Time, Gap} end.

%% The longest time between two answers, in microseconds.
client(Owner) ->
    ask(Owner, now_us(), 0).

ask(Owner, Last, Gap) ->
    receive
        {begin_at, From} -> From ! {self(), begun}, ask(Owner, now_us(), 0);
        {gap, From} -> From ! {self(), Gap}, ask(Owner, Last, Gap);
        stop -> ok
    after 0 ->
        try bench_probe:version() of
            _ ->
                Now = now_us(),
                erlang:yield(),
                ask(Owner, Now, max(Gap, Now - Last))
        catch
            _:_ -> erlang:yield(), ask(Owner, Last, Gap)
        end
    end.

%% What one would do by hand: the application is away while it is built.
script(#{dir := Dir}) ->
    Checkout = filename:join(Dir, "checkout"),
    _ = bct_repo:git(Dir, ["clone", "-q", "source", "checkout"]),
    Samples = [begin
        {Time, _} = timer:tc(fun() ->
            {ok, _} = bench_program:run("git", ["checkout", "-q", Tag], Checkout),
            {ok, _} = bench_program:run("rebar3", ["compile"], Checkout)
        end),
        Time
    end || Tag <- ["v1.0.0", "v1.1.0", "v1.0.0"]],
    median(Samples).

now_us() -> erlang:monotonic_time(microsecond).

median(Samples) -> lists:nth((length(Samples) + 1) div 2, lists:sort(Samples)).
