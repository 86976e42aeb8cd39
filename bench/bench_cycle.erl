%%% @doc A whole cycle that finds nothing to do, against what one would script: pull, and read it all.
-module(bench_cycle).

-export([run/0]).

run() ->
    [rows(Count) || Count <- [100, 1000]],
    ok.

rows(Count) ->
    bench_world:with(#{runtime_module => bench_runtime}, fun(#{dir := Dir} = World) ->
        _ = bench_world:write(World, [{Path, without_source(Text)}
                                      || {Path, Text} <- bench_repo:files(config, Count, 1)]),
        {First, ok} = timer:tc(fun bc_gitops:reconcile/0),
        bench_rows:add(#{what => io_lib:format("first cycle: ~b new apps handed to the runtime", [Count]),
                         ours => First / 1000}),
        _ = bct_repo:git(Dir, ["clone", "-q", "gitops", "clone"]),
        Clone = filename:join(Dir, "clone"),
        Files = [filename:join([Clone, "apps", bench_repo:name(N), "app.config"])
                 || N <- lists:seq(1, Count)],
        bench_rows:row(#{
            what => io_lib:format("cycle without a change, ~b apps", [Count]),
            ours => fun() -> ok = bc_gitops:reconcile() end,
            theirs => {"git pull, file:consult of all", fun() ->
                {ok, _} = bench_program:run("git", ["pull", "-q"], Clone),
                [{ok, [#{}]} = file:consult(F) || F <- Files]
            end},
            aim => case Count of 1000 -> {ms, 15}; _ -> none end})
    end).

%% No network: the sources' hosts do not exist.
without_source(Text) ->
    re:replace(Text, "  source => .*\\n.*\\n", "", []).
