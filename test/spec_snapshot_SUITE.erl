%%% @doc Snapshots as Erlang sees them, of commits made with the system's git.
-module(spec_snapshot_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([three_formats_are_one_spec/1, a_broken_spec_is_reported_and_the_last_good_one_stands/1, warnings_are_reported/1,
         symlink_reads_nothing/1, fetched_commits_are_read_without_a_checkout/1, errors_have_kinds/1, nobody_waits/1]).

all() ->
    [three_formats_are_one_spec, a_broken_spec_is_reported_and_the_last_good_one_stands, warnings_are_reported,
     symlink_reads_nothing, fetched_commits_are_read_without_a_checkout, errors_have_kinds, nobody_waits].

init_per_testcase(_Case, Config) ->
    Dir = bct_dir:make("snapshot"),
    [{dir, Dir}, {repo, bct_repo:init(filename:join(Dir, "repo"))} | Config].

end_per_testcase(_Case, Config) ->
    bct_dir:remove(?config(dir, Config)).

three_formats_are_one_spec(Config) ->
    Commit = bct_repo:commit(?config(repo, Config), [
        {"apps/one/app.config", "#{name => one, version => <<\"1.0.0\">>, env => #{a => #{b => [1, <<\"x\">>, true, undefined]}}}."},
        {"apps/two/app.yaml", "name: two\nversion: 1.0.0\nenv: {a: {b: [1, x, true, ~]}}\n"},
        {"apps/three/app.json", "{\"name\": \"three\", \"version\": \"1.0.0\", \"env\": {\"a\": {\"b\": [1, \"x\", true, null]}}}"}
    ]),
    {ok, Snapshot} = open(?config(repo, Config), Commit, undefined),
    ?assertEqual([one, three, two], bc_gitops_native:snapshot_names(Snapshot)),
    Specs = bc_gitops_native:snapshot_specs(Snapshot),
    Prints = [begin
        {ok, Spec, #{source_fp := Source, env_fp := Env, stale := false}} = bc_gitops_native:snapshot_spec(Snapshot, Name),
        ?assertEqual(maps:get(Name, Specs), Spec),
        ?assertEqual({Source, Env}, bc_gitops_native:spec_fingerprint(Spec)),
        ?assertEqual(#{a => #{b => [1, <<"x">>, true, undefined]}}, Spec#app_spec.env),
        {Source, Env}
    end || Name <- [one, two, three]],
    ?assertMatch([_], lists:usort(Prints)),
    ?assertEqual({error, not_found}, bc_gitops_native:snapshot_spec(Snapshot, four)),
    ?assertMatch(#{commit := Commit, parsed := 3, reused := 0, apps := 3, errors := [], warnings := []},
        bc_gitops_native:snapshot_summary(Snapshot)).

a_broken_spec_is_reported_and_the_last_good_one_stands(Config) ->
    Repo = ?config(repo, Config),
    Good = bct_repo:commit(Repo, [{"apps/a/app.config", "#{name => a, version => <<\"1\">>}."}, {"apps/b/app.config", "#{name => b, version => <<\"1\">>}."}]),
    Bad = bct_repo:commit(Repo, [{"apps/a/app.config", "#{name => a, version => 2}."}]),
    {ok, First} = open(Repo, Good, undefined),
    {ok, Second} = open(Repo, Bad, First),
    #{parsed := 1, reused := 1, apps := 2, errors := [Error]} = bc_gitops_native:snapshot_summary(Second),
    ?assertMatch(#{dir := <<"a">>, file := <<"apps/a/app.config">>, name := a, stale := true, problems := [#{line := 1, kind := invalid_type}]}, Error),
    ?assertMatch({ok, #app_spec{version = <<"1">>}, #{stale := true, dir := <<"a">>}}, bc_gitops_native:snapshot_spec(Second, a)),
    ?assertMatch({ok, #app_spec{}, #{stale := false}}, bc_gitops_native:snapshot_spec(Second, b)).

warnings_are_reported(Config) ->
    Commit = bct_repo:commit(?config(repo, Config), [{"apps/a/app.yaml", "name: a\nversion: 1.0.0\ndepend_on: [b]\n"}]),
    {ok, Snapshot} = open(?config(repo, Config), Commit, undefined),
    ?assertMatch(#{errors := [], warnings := [#{kind := unknown_key, file := <<"apps/a/app.yaml">>, line := 3, hint := <<"did you mean depends_on?">>}]},
        bc_gitops_native:snapshot_summary(Snapshot)).

symlink_reads_nothing(Config) ->
    Repo = ?config(repo, Config),
    _ = bct_repo:commit(Repo, [{"apps/a/app.config", "#{name => a, version => <<\"1\">>}."}]),
    Secret = filename:join(?config(dir, Config), "secret.config"),
    ok = file:write_file(Secret, "#{name => stolen, version => <<\"1\">>}."),
    ok = filelib:ensure_path(filename:join(Repo, "apps/b")),
    ok = file:make_symlink(Secret, filename:join(Repo, "apps/b/app.config")),
    ok = file:make_symlink(?config(dir, Config), filename:join(Repo, "apps/c")),
    Commit = bct_repo:commit(Repo, []),
    {ok, Snapshot} = open(Repo, Commit, undefined),
    ?assertEqual([a], bc_gitops_native:snapshot_names(Snapshot)),
    #{errors := Errors} = bc_gitops_native:snapshot_summary(Snapshot),
    ?assertEqual([{<<"b">>, symlink}, {<<"c">>, symlink}], [{Dir, Kind} || #{dir := Dir, problems := [#{kind := Kind}]} <- Errors]).

fetched_commits_are_read_without_a_checkout(Config) ->
    Repo = ?config(repo, Config),
    Commit = bct_repo:commit(Repo, [{"apps/a/app.config", "#{name => a, version => <<\"1\">>}."}]),
    Bare = bct_repo:init_bare(filename:join(?config(dir, Config), "bare")),
    _ = bct_repo:git(Repo, ["push", "-q", Bare, "HEAD:refs/heads/main"]),
    {ok, Snapshot} = open(Bare, Commit, undefined),
    ?assertEqual([a], bc_gitops_native:snapshot_names(Snapshot)),
    _ = bct_repo:git(Bare, ["repack", "-adq"]),
    {ok, Packed} = open(Bare, Commit, undefined),
    ?assertEqual([a], bc_gitops_native:snapshot_names(Packed)).

errors_have_kinds(Config) ->
    Repo = ?config(repo, Config),
    None = bct_repo:commit(Repo, [{"README", "x"}]),
    Empty = bct_repo:commit(Repo, [{"apps/README", "x"}]),
    Kind = fun(Result) -> {error, {Name, #{message := Message}}} = Result, ?assert(is_binary(Message)), Name end,
    ?assertEqual(apps_dir_missing, Kind(open(Repo, None, undefined))),
    ?assertEqual(apps_dir_empty, Kind(open(Repo, Empty, undefined))),
    ?assertEqual(commit_missing, Kind(open(Repo, binary:copy(<<"1">>, 40), undefined))),
    ?assertEqual(not_found, Kind(open(filename:join(Repo, "nowhere"), Empty, undefined))),
    ?assertError(badarg, open(Repo, Empty, not_a_snapshot)).

%% A large parse holds no scheduler: a process that only counts goes on beside it.
nobody_waits(Config) ->
    Repo = ?config(repo, Config),
    Commit = bct_repo:commit(Repo, [
        {io_lib:format("apps/app~p/app.yaml", [N]), io_lib:format("name: app~p\nversion: 1.0.0\nenv: {a: [~s]}\n", [N, lists:join(",", lists:duplicate(2000, "x"))])}
        || N <- lists:seq(1, 300)
    ]),
    _ = erlang:system_monitor(self(), [{long_schedule, 20}]),
    {ok, Snapshot} = open(Repo, Commit, undefined),
    ?assertEqual(300, map_size(bc_gitops_native:snapshot_specs(Snapshot))),
    _ = erlang:system_monitor(undefined),
    receive
        {monitor, Pid, long_schedule, Info} when Pid =:= self() ->
            %% dirty schedulers are not watched by long_schedule: this is a normal one
            ct:fail({long_schedule, Info})
    after 0 -> ok
    end.

open(Repo, Commit, Previous) ->
    Options = #{apps_dir => <<"apps">>, atom_room => bc_gitops_parser:atom_room()},
    bc_gitops_native:snapshot_open(unicode:characters_to_binary(Repo), Commit, Options, Previous).
