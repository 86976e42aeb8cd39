%%% @doc Following a repository of 1,000 applications over file://, against the system's git.
-module(bench_git).

-export([run/0]).

-define(COUNT, 1000).
-define(OPTIONS, #{apps_dir => <<"apps">>, atom_room => 100000}).

run() ->
    bct_dir:with("bench", fun(Dir) ->
        {Repo, _} = bench_repo:make(filename:join(Dir, "repo"), config, ?COUNT),
        Url = bct_repo:url(Repo),
        Followed = filename:join(Dir, <<"followed">>),
        _ = bench_repo:follow(Url, Followed),
        _ = bct_repo:git(Dir, ["clone", "-q", Url, "clone"]),
        Clone = filename:join(Dir, "clone"),
        poll(Url, Followed, Clone),
        change(Repo, Url, Followed, Clone)
    end).

poll(Url, Followed, Clone) ->
    bench_rows:row(#{
        what => "poll without a change, 1000 apps",
        ours => fun() -> #{changed := false} = bench_repo:follow(Url, Followed) end,
        theirs => {"git fetch", fun() -> {ok, _} = bench_program:run("git", ["fetch", "-q"], Clone) end}}).

%% Each round has a commit of its own; both sides get from the poll to the changed specification.
change(Repo, Url, Followed, Clone) ->
    {ok, First} = bc_gitops_native:snapshot_open(Followed, head(Repo), ?OPTIONS, undefined),
    Rounds = [one_change(N, Repo, Url, Followed, Clone, First) || N <- lists:seq(2, 16)],
    {Ours, Theirs} = lists:unzip(Rounds),
    bench_rows:add(#{what => "one changed file among 1000, fetched and read", ours => median(Ours),
                     theirs => {"git pull, file:consult of it", median(Theirs)}}).

one_change(N, Repo, Url, Followed, Clone, First) ->
    Path = "apps/" ++ bench_repo:name(7) ++ "/app.config",
    _ = bct_repo:commit(Repo, [{Path, bench_repo:spec(config, 7, N)}]),
    {Ours, _} = timer:tc(fun() ->
        #{changed := true, commit := Commit} = bench_repo:follow(Url, Followed),
        {ok, Next} = bc_gitops_native:snapshot_open(Followed, Commit, ?OPTIONS, First),
        #{parsed := 1, apps := ?COUNT} = bc_gitops_native:snapshot_summary(Next)
    end),
    {Theirs, _} = timer:tc(fun() ->
        {ok, _} = bench_program:run("git", ["pull", "-q"], Clone),
        {ok, [#{}]} = file:consult(filename:join(Clone, Path))
    end),
    {Ours / 1000, Theirs / 1000}.

head(Repo) -> iolist_to_binary(bct_repo:head(Repo)).

median(Samples) -> lists:nth((length(Samples) + 1) div 2, lists:sort(Samples)).
