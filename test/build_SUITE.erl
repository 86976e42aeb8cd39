%%% Real builds of rebar3, mix and erlang.mk projects from git repositories.
-module(build_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [{group, tools}].

groups() ->
    [{tools, [], [rebar3_app_is_built_into_the_store, mix_app_brings_elixir, erlang_mk_app_is_built]}].

init_per_testcase(_Case, Config) ->
    Dir = bct_dir:make("build"),
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    ok = bc_gitops_workspace:init(filename:join(Dir, "workspace")),
    [{dir, Dir}, {repo, Repo} | Config].

end_per_testcase(_Case, Config) ->
    ok = gen_server:stop(bc_gitops_workspace_server),
    bct_dir:remove(?config(dir, Config)).

source(Config) -> source(Config, <<"main">>).

source(Config, Ref) ->
    #source_spec{type = git, url = bct_repo:url(?config(repo, Config)), ref = Ref}.

prepare(Name, Source) ->
    prepare(Name, Source, #{}).

prepare(Name, Source, Options) ->
    bc_gitops_workspace:prepare(Name, Source, maps:merge(#{allow_local => true, timeout => 120000}, Options)).

rebar3_app_is_built_into_the_store(Config) ->
    Commit = bct_repo:commit(?config(repo, Config), bct_app:rebar3("demo_one", "1.0.0")),
    {ok, Build} = prepare(demo_one, source(Config)),
    #{key := Key, app := demo_one, version := <<"1.0.0">>, revision := Commit, tool := rebar3,
      path := Path, libs := [#{name := demo_one, path := Path, modules := Modules}]} = Build,
    ?assertEqual([demo_one, demo_one_app], lists:sort(maps:keys(Modules))),
    ?assertEqual({ok, <<"hello">>}, file:read_file(filename:join(Path, "priv/greeting.txt"))),
    ?assertEqual({ok, Build}, bc_gitops_workspace:lookup(Key)),
    ?assertEqual({ok, Build}, bc_gitops_workspace:prepared(demo_one, source(Config))),
    ?assertEqual({ok, Build}, prepare(demo_one, source(Config, Commit))).

mix_app_brings_elixir(Config) ->
    bct_repo:commit(?config(repo, Config), bct_app:mix("demo_mix", "0.3.0")),
    {ok, #{tool := mix, version := <<"0.3.0">>, libs := Libs}} = prepare(demo_mix, source(Config)),
    ?assertEqual([elixir, logger, demo_mix], [Name || #{name := Name} <- Libs]),
    #{consolidated := Consolidated} = lists:last(Libs),
    ?assert(filelib:is_dir(Consolidated)),
    Workspace = bc_gitops_workspace_server:root(),
    [?assert(bc_gitops_tree:is_below(Path, Workspace)) || #{path := Path} <- Libs].

erlang_mk_app_is_built(Config) ->
    bct_repo:commit(?config(repo, Config), bct_app:erlang_mk("demo_mk", "2.1.0")),
    {ok, #{tool := erlang_mk, libs := [#{modules := Modules}]}} =
        prepare(demo_mk, source(Config), #{version => <<"2.1.0">>}),
    ?assertEqual([demo_mk, demo_mk_app], lists:sort(maps:keys(Modules))).
