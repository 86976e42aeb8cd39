%%% @doc `bc_gitops:status/0' while something hangs or works: the slowest of 10,000 calls.
-module(bench_status).

-export([run/0]).

-define(CALLS, 10000).

run() ->
    idle(),
    prep_stop_hangs(),
    callback_hangs(),
    server_is_silent(),
    build_runs().

idle() ->
    bench_world:with(#{runtime_module => bench_runtime}, fun(World) ->
        _ = bench_world:write(World, bench_app(1)),
        ok = bc_gitops:reconcile(),
        rows("nothing happens")
    end).

prep_stop_hangs() ->
    bench_world:with(#{stop_timeout => 5000}, fun(World) ->
        Url = bench_world:source(World, ["1.0.0"], "receive after infinity -> ok end"),
        _ = bench_world:write(World, [bench_world:app_spec(Url, "1.0.0", "[]")]),
        ok = bc_gitops:reconcile(),
        _ = bench_world:write(World, [{"apps/bench_probe/app.config", remove}, {"apps/other/app.config",
            "#{name => bench_other, version => <<\"1\">>}.\n"}]),
        during(fun() -> whereis(bench_probe) =/= undefined andalso stopping(bench_probe) end,
               "an app hangs in prep_stop")
    end).

%% The application's master is in prep_stop.
stopping(Name) ->
    Master = application_controller:get_master(Name),
    is_pid(Master) andalso in_prep_stop(process_info(Master, links), Master).

in_prep_stop({links, Links}, Master) ->
    lists:any(fun(Pid) -> is_pid(Pid) andalso hangs(Pid) end, [Master | Links]);
in_prep_stop(undefined, _Master) ->
    false.

hangs(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, {bench_probe_app, prep_stop, 1}} -> true;
        _ -> false
    end.

callback_hangs() ->
    bench_world:with(#{runtime_module => bench_runtime, start_timeout => 5000}, fun(World) ->
        bench_runtime:hang_on(bench_app_1),
        _ = bench_world:write(World, bench_app(1)),
        during(fun() -> is_in(bench_app_1, switching) end, "a user's callback hangs"),
        bench_runtime:hang_on(none)
    end).

server_is_silent() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {backlog, 16}]),
    {ok, Port} = inet:port(Socket),
    Url = io_lib:format("http://127.0.0.1:~b/repo.git", [Port]),
    bct_dir:with("bench", fun(Dir) ->
        Config = #{repo_url => iolist_to_binary(Url), allow_http => true, git_timeout => 5000},
        bench_world:with_url(Dir, Config, fun() ->
            during(fun() -> {ok, #{}} =:= bc_gitops:get_current_state() end, "a git server is silent")
        end)
    end),
    ok = gen_tcp:close(Socket).

build_runs() ->
    bench_world:with(#{}, fun(World) ->
        Url = bench_world:source(World, ["1.0.0"], "ok"),
        _ = bench_world:write(World, [bench_world:app_spec(Url, "1.0.0", "[]")]),
        during(fun() -> is_in(bench_probe, preparing) end, "a build runs")
    end).

is_in(Name, State) ->
    case bc_gitops:get_app_status(Name) of
        {ok, App} -> maps:get(state, element(tuple_size(App), App), none) =:= State;
        {error, not_found} -> false
    end.

%% Measures while a reconcile/0 that does not get on is under way.
during(Condition, What) ->
    {Pid, Monitor} = spawn_monitor(fun() -> bc_gitops:reconcile() end),
    await(Condition),
    rows(What),
    erlang:demonitor(Monitor, [flush]),
    exit(Pid, kill).

await(Condition) ->
    case Condition() of
        true -> ok;
        false -> receive after 1 -> await(Condition) end
    end.

%% A computation of the same length, in turns, shows how long the operating system takes the processor
%% away.
rows(What) ->
    Pairs = [{time(fun() -> {ok, _} = bc_gitops:status() end), time(fun() -> lists:sum(lists:seq(1, 2000)) end)}
             || _ <- lists:seq(1, ?CALLS)],
    {Times, Control} = lists:unzip(Pairs),
    Row = fun(Text, Of, More) ->
        bench_rows:add(More#{what => ["status/0 while ", What, Text], ours => Of(Times) / 1000,
                             theirs => {"a sum of 2,000 numbers", Of(Control) / 1000}})
    end,
    Row(": 99.9 %", fun(Ts) -> lists:nth(?CALLS - ?CALLS div 1000, lists:sort(Ts)) end, #{}),
    Row(": slowest", fun lists:max/1, #{aim => {ms, 5}}).

time(Fun) -> element(1, timer:tc(Fun)).

bench_app(N) ->
    Name = bench_repo:name(N),
    [{"apps/" ++ Name ++ "/app.config", ["#{name => ", Name, ", version => <<\"1.0.0\">>}.\n"]}].
