%%% Real builds of rebar3, mix and erlang.mk projects from git repositories: what comes out, and how
%%% it is said when nothing does.
-module(build_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_workspace, [source/2]).

all() ->
    [{group, tools}, {group, refs}, {group, shapes}, {group, failures}].

groups() ->
    [
        {tools, [], [
            rebar3_app_is_built_into_the_store, mix_app_brings_elixir, erlang_mk_app_is_built,
            same_commit_in_two_places_gives_the_same_code, events_tell_what_happens
        ]},
        {refs, [], [
            branch_tag_and_commits, moved_branch_is_built_anew, without_ref_the_default_branch,
            version_from_git_tags, submodules_are_there
        ]},
        {shapes, [], [
            one_app_of_an_umbrella, app_that_the_repository_has_not, two_apps_share_a_dependency,
            links_inside_become_copies, links_outside_are_refused, committed_output_is_not_used
        ]},
        {failures, [], [
            compile_error_shows_its_output, dependency_that_does_not_come, version_is_another,
            unknown_project, missing_tool_is_named, module_without_beam, beam_named_otherwise,
            broken_app_file, local_sources_only_when_allowed,
            hostile_names_touch_nothing, hostile_refs_and_urls_run_nothing,
            store_that_cannot_be_written
        ]}
    ].

init_per_testcase(_Case, Config) -> bct_workspace:start(Config).

end_per_testcase(_Case, Config) ->
    application:unset_env(bc_gitops, build_read),
    bct_workspace:stop(Config).

prepare(Name, Source) -> prepare(Name, Source, #{}).

%% Whatever goes wrong is also said in one line.
prepare(Name, Source, Options) ->
    Result = bct_workspace:prepare(Name, Source, Options),
    case Result of
        {error, {_, #{message := Message}}} ->
            ?assert(is_binary(Message)),
            ?assertEqual(nomatch, binary:match(Message, <<"\n">>)),
            ct:log("~ts", [Message]);
        {ok, _} ->
            ok
    end,
    Result.

commit(Config, Files) -> bct_repo:commit(?config(repo, Config), Files).

%%% tools

rebar3_app_is_built_into_the_store(Config) ->
    Commit = commit(Config, bct_app:rebar3("demo_one", "1.0.0")),
    {ok, Build} = prepare(demo_one, source(Config, <<"main">>)),
    #{key := Key, app := demo_one, version := <<"1.0.0">>, revision := Commit, tool := rebar3,
      path := Path, libs := [#{name := demo_one, path := Path, modules := Modules}]} = Build,
    ?assertEqual([demo_one, demo_one_app], lists:sort(maps:keys(Modules))),
    ?assertEqual({ok, <<"hello">>}, file:read_file(filename:join(Path, "priv/greeting.txt"))),
    ?assert(filelib:is_regular(filename:join(Path, "include/demo_one.hrl"))),
    ?assertEqual(filename:join([?config(workspace, Config), "store", Key, "lib", "demo_one"]),
        Path),
    ?assertEqual({ok, Build}, bc_gitops_workspace:lookup(Key)),
    ?assertEqual({ok, Build}, bc_gitops_workspace:prepared(demo_one, source(Config, <<"main">>))),
    ?assertEqual([], bct_workspace:scratches()).

mix_app_brings_elixir(Config) ->
    commit(Config, bct_app:mix("demo_mix", "0.3.0")),
    {ok, #{tool := mix, version := <<"0.3.0">>, libs := Libs}} =
        prepare(demo_mix, source(Config, <<"main">>)),
    ?assertEqual([elixir, logger, demo_mix], [Name || #{name := Name} <- Libs]),
    #{consolidated := Consolidated} = lists:last(Libs),
    ?assert(filelib:is_regular(filename:join(Consolidated, "Elixir.DemoMix.Shape.beam"))),
    [?assert(bc_gitops_tree:is_below(Path, ?config(workspace, Config))) || #{path := Path} <- Libs],
    [#{path := ElixirPath} | _] = Libs,
    {ok, Elixir} = bc_gitops_native:beam_scan([filename:join(ElixirPath, <<"ebin">>)]),
    ?assert(length(Elixir) > 100).

erlang_mk_app_is_built(Config) ->
    commit(Config, bct_app:erlang_mk("demo_mk", "2.1.0")),
    {ok, #{tool := erlang_mk, libs := [#{modules := Modules}]}} =
        prepare(demo_mk, source(Config, <<"main">>), #{version => <<"2.1.0">>}),
    ?assertEqual([demo_mk, demo_mk_app], lists:sort(maps:keys(Modules))).

same_commit_in_two_places_gives_the_same_code(Config) ->
    Projects = [{demo_r, bct_app:rebar3("demo_r", "1.0.0")},
        {demo_m, bct_app:mix("demo_m", "1.0.0")},
                {demo_k, bct_app:erlang_mk("demo_k", "1.0.0")}],
    Dir = ?config(dir, Config),
    Repos = [{Name, bct_repo:init(filename:join(Dir, Name))} || {Name, _} <- Projects],
    [bct_repo:commit(Repo, Files) || {{_, Files}, {_, Repo}} <- lists:zip(Projects, Repos)],
    Build = fun() ->
        [begin
            Source = #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>},
            {ok, #{libs := Libs, key := Key}} = prepare(Name, Source),
            {Key, [{N, Modules} || #{name := N, modules := Modules} <- Libs]}
         end || {Name, Repo} <- Repos]
    end,
    Here = Build(),
    ok = bc_gitops_workspace:init(filename:join(?config(dir, Config), "an/other/place")),
    ?assertEqual(Here, Build()).

events_tell_what_happens(Config) ->
    [#{start := {M, F, A}} | _] = bc_gitops_telemetry:child_specs(),
    {ok, Owner} = apply(M, F, A),
    Self = self(),
    Events = [?TELEMETRY_GIT_CLONE_START, ?TELEMETRY_GIT_CLONE_STOP, ?TELEMETRY_DEPS_START,
              ?TELEMETRY_DEPS_STOP, ?TELEMETRY_BUILD_START, ?TELEMETRY_BUILD_STOP],
    ok = bc_gitops_telemetry:attach_many(build_suite, [?TELEMETRY_BUILD_PROGRESS | Events],
        fun(Event, _, Metadata, _) -> Self ! {event, Event, Metadata} end, undefined),
    commit(Config, bct_app:mix("demo_mix", "0.3.0")),
    {ok, _} = prepare(demo_mix, source(Config, <<"main">>)),
    ok = bc_gitops_telemetry:detach(build_suite),
    true = unlink(Owner),
    exit(Owner, shutdown),
    All = (fun Next() -> receive {event, E, Metadata} -> [{E, Metadata} | Next()] after 0 -> [] end end)(),
    {Stages, Seen} = lists:partition(fun({E, _}) -> E =:= ?TELEMETRY_BUILD_PROGRESS end, All),
    ?assertEqual(Events, [E || {E, _} <- Seen]),
    ?assertMatch({_, #{app := demo_mix, tool := mix, status := ok}}, lists:last(Seen)),
    ?assertEqual([#{app => demo_mix, stage => Stage}
                  || Stage <- [resolve, wait, fetch, deps, build, store]], [Metadata || {_, Metadata} <- Stages]).

%%% refs

branch_tag_and_commits(Config) ->
    First = commit(Config, bct_app:rebar3("demo_ref", "1.0.0")),
    ok = bct_repo:tag(?config(repo, Config), "v1.0.0"),
    Second = commit(Config, bct_app:rebar3("demo_ref", "2.0.0")),
    Expected = [{<<"main">>, Second}, {<<"v1.0.0">>, First}, {First, First},
                {binary:part(First, 0, 8), First}, {<<"refs/tags/v1.0.0">>, First}],
    [begin
        {ok, #{revision := Revision}} = prepare(demo_ref, source(Config, Ref)),
        ?assertEqual({Ref, Commit}, {Ref, Revision})
     end || {Ref, Commit} <- Expected],
    ?assertEqual(2, bct_workspace:builds(demo_ref, "rebar3 compile")).

moved_branch_is_built_anew(Config) ->
    Main = source(Config, <<"main">>),
    commit(Config, bct_app:erlang_mk("demo_move", "1.0.0")),
    {ok, #{key := Old}} = prepare(demo_move, Main),
    New = commit(Config, [{"src/demo_new.erl", "-module(demo_new).\n"}]),
    {ok, #{key := Key, revision := New, libs := [#{modules := #{demo_new := _}}]}} =
        prepare(demo_move, Main),
    ?assertNotEqual(Old, Key),
    ?assertMatch({ok, #{key := Key}}, bc_gitops_workspace:prepared(demo_move, Main)),
    ?assertMatch({ok, #{key := Old}}, bc_gitops_workspace:lookup(Old)).

without_ref_the_default_branch(Config) ->
    Commit = commit(Config, bct_app:erlang_mk("demo_head", "1.0.0")),
    ?assertMatch({ok, #{revision := Commit}}, prepare(demo_head, source(Config, undefined))).

version_from_git_tags(Config) ->
    AppFile = string:replace(bct_app:app_file("demo_vsn", "X"), "\"X\"", "git"),
    commit(Config, bct_app:rebar3("demo_vsn", "1.0.0", [{"src/demo_vsn.app.src", AppFile}])),
    ok = bct_repo:tag(?config(repo, Config), "3.1.4"),
    ?assertMatch({ok, #{version := <<"3.1.4">>}},
                 prepare(demo_vsn, source(Config, <<"main">>), #{version => <<"3.1.4">>})).

submodules_are_there(Config) ->
    Sub = bct_repo:init(filename:join(?config(dir, Config), "sub")),
    bct_repo:commit(Sub,
        [{"demo_inner.erl", "-module(demo_inner).\n-export([f/0]).\nf() -> 1.\n"}]),
    Repo = ?config(repo, Config),
    commit(Config, bct_app:erlang_mk("demo_sub", "1.0.0", "cp vendor/demo_inner.erl src/")),
    _ = bct_repo:git(Repo, ["submodule", "add", "-q", bct_repo:url(Sub), "vendor"]),
    commit(Config, []),
    {ok, #{libs := [#{modules := Modules}]}} = prepare(demo_sub, source(Config, <<"main">>)),
    ?assert(is_map_key(demo_inner, Modules)).

%%% shapes

umbrella() ->
    Needs = string:replace(bct_app:app_file("demo_a", "1.0.0"), "[kernel, stdlib]",
        "[kernel, stdlib, demo_b]"),
    [{"rebar.config", "{deps, []}.\n"}]
    ++ in("apps/demo_a/", bct_app:rebar3("demo_a", "1.0.0", [{"src/demo_a.app.src", Needs}]))
    ++ in("apps/demo_b/", bct_app:rebar3("demo_b", "1.1.0"))
    ++ in("apps/demo_c/", bct_app:rebar3("demo_c", "1.2.0")).

in(Dir, Files) -> [{Dir ++ Path, Content} || {Path, Content} <- Files].

one_app_of_an_umbrella(Config) ->
    commit(Config, umbrella()),
    {ok, #{version := <<"1.0.0">>, libs := Libs, path := Path}} =
        prepare(demo_a, source(Config, <<"main">>)),
    ?assertEqual([demo_b, demo_a], [Name || #{name := Name} <- Libs]),
    {ok, Dirs} = file:list_dir(filename:dirname(Path)),
    ?assertEqual(["demo_a", "demo_b"], lists:sort(Dirs)).

app_that_the_repository_has_not(Config) ->
    commit(Config, umbrella()),
    ?assertMatch({error,
        {app_not_built, #{app := demo_x, found := [<<"demo_a">>, <<"demo_b">>, <<"demo_c">>]}}},
                 prepare(demo_x, source(Config, <<"main">>))).

%% A dependency on the local disk is for builds that may read it.
two_apps_share_a_dependency(Config) ->
    ok = application:set_env(bc_gitops, build_read, [?config(dir, Config)]),
    Dep = bct_repo:init(filename:join(?config(dir, Config), "dep")),
    bct_repo:commit(Dep, bct_app:rebar3("demo_dep", "4.0.0")),
    Deps = io_lib:format("{deps, [{demo_dep, {git, ~p, {branch, \"main\"}}}]}.~n",
                         [binary_to_list(bct_repo:url(Dep))]),
    [One, Two] = [begin
        Repo = bct_repo:init(filename:join(?config(dir, Config), App)),
        Files = lists:keydelete("rebar.lock", 1,
            bct_app:rebar3(App, "1.0.0", [{"rebar.config", Deps}])),
        bct_repo:commit(Repo, Files),
        Source = #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>},
        {ok, #{libs := Libs}} = prepare(list_to_atom(App), Source),
        [Lib || #{name := demo_dep} = Lib <- Libs]
     end || App <- ["demo_one", "demo_two"]],
    [#{version := <<"4.0.0">>, modules := Modules}] = One,
    ?assertMatch([#{version := <<"4.0.0">>, modules := Modules}], Two),
    ?assertEqual(1, bct_workspace:builds(demo_one, "rebar3 get-deps")).

links_inside_become_copies(Config) ->
    Repo = ?config(repo, Config),
    commit(Config, bct_app:rebar3("demo_link", "1.0.0", [{"assets/a.txt", "asset"}])),
    ok = file:make_symlink("../assets", filename:join(Repo, "priv/assets")),
    commit(Config, []),
    {ok, #{path := Path}} = prepare(demo_link, source(Config, <<"main">>)),
    ?assertEqual({ok, <<"asset">>}, file:read_file(filename:join(Path, "priv/assets/a.txt"))),
    ?assertEqual({error, einval}, file:read_link(filename:join(Path, "priv"))),
    ?assertEqual({error, einval}, file:read_link(filename:join(Path, "priv/assets"))).

links_outside_are_refused(Config) ->
    Repo = ?config(repo, Config),
    commit(Config,
        bct_app:erlang_mk("demo_link", "1.0.0", "mkdir -p priv; ln -s /etc/passwd priv/x")),
    ?assertMatch({error, {link_outside, #{app := <<"demo_link">>, target := <<"/etc/passwd">>}}},
                 prepare(demo_link, source(Config, <<"main">>))),
    %% a link that stands in the repository itself
    bct_repo:commit(Repo, bct_app:erlang_mk("demo_link", "1.0.0")),
    ok = filelib:ensure_path(filename:join(Repo, "priv")),
    ok = file:make_symlink("/etc", filename:join(Repo, "priv/etc")),
    commit(Config, []),
    ?assertMatch({error, {_, #{}}}, prepare(demo_link, source(Config, <<"main">>))),
    ?assertEqual([], bc_gitops_store:keys(?config(workspace, Config))).

committed_output_is_not_used(Config) ->
    Beam = "_build/default/lib/demo_old/ebin/",
    commit(Config, bct_app:rebar3("demo_out", "1.0.0", [
        {Beam ++ "demo_old.app", "{application, demo_old, [{vsn, \"1\"}]}."}])),
    {ok, #{libs := Libs}} = prepare(demo_out, source(Config, <<"main">>)),
    ?assertEqual([demo_out], [Name || #{name := Name} <- Libs]).

%%% failures

compile_error_shows_its_output(Config) ->
    commit(Config,
        bct_app:rebar3("demo_bad", "1.0.0", [{"src/demo_bad.erl", "-module(demo_bad).\noops"}])),
    {error, {build_failed, Details}} = prepare(demo_bad, source(Config, <<"main">>)),
    #{app := demo_bad, tool := rebar3, phase := build, command := <<"rebar3 compile">>, status := 1,
      output := Output, message := <<"its build failed: rebar3 compile ended with status 1">>} = Details,
    ?assertNotEqual(nomatch, binary:match(Output, <<"demo_bad.erl">>)),
    ?assertNotEqual(nomatch, binary:match(Output, <<"syntax error">>)),
    {ok, Log} = bc_gitops_workspace:build_log(demo_bad),
    ?assertNotEqual(nomatch, binary:match(Log, Output)),
    ?assertNotEqual(nomatch, binary:match(Log, <<"failed after">>)),
    ?assertEqual([], bct_workspace:scratches()),
    ?assertEqual([], bc_gitops_store:keys(?config(workspace, Config))).

dependency_that_does_not_come(Config) ->
    Deps = "{deps, [{nothing, {git, \"file:///nowhere/at/all\", {branch, \"main\"}}}]}.\n",
    Files = bct_app:rebar3("demo_dep", "1.0.0", [{"rebar.config", Deps}]),
    commit(Config, lists:keydelete("rebar.lock", 1, Files)),
    ?assertMatch({error, {deps_failed, #{phase := deps, command := <<"rebar3 get-deps">>}}},
                 prepare(demo_dep, source(Config, <<"main">>))).

version_is_another(Config) ->
    commit(Config, bct_app:erlang_mk("demo_v", "1.0.0")),
    ?assertMatch({error,
        {version_mismatch, #{spec := <<"2.0.0">>, app := <<"1.0.0">>, name := demo_v}}},
                 prepare(demo_v, source(Config, <<"main">>), #{version => <<"2.0.0">>})),
    ?assertMatch({ok, _}, prepare(demo_v, source(Config, <<"main">>), #{version => <<"1.0.0">>})).

unknown_project(Config) ->
    commit(Config, [{"README", "nothing to build"}, {"Makefile", "all:\n\ttrue\n"}]),
    ?assertMatch({error, {unknown_project, #{app := demo_u}}},
        prepare(demo_u, source(Config, <<"main">>))).

missing_tool_is_named(Config) ->
    Commit = commit(Config, bct_app:rebar3("demo_t", "1.0.0")),
    Source = source(Config, Commit),
    bct_workspace:path_without_tools(?config(dir, Config), fun() ->
        ?assertMatch({error,
            {tool_missing, #{tool := rebar3, program := <<"rebar3">>, package := <<"rebar3">>}}},
                     prepare(demo_t, Source))
    end),
    {ok, Build} = prepare(demo_t, Source),
    %% what is in the store needs no tool
    bct_workspace:path_without_tools(?config(dir, Config), fun() ->
        ?assertEqual({ok, Build}, prepare(demo_t, Source))
    end).

module_without_beam(Config) ->
    Files = bct_app:erlang_mk("demo_m", "1.0.0"),
    Listed = string:replace(bct_app:app_file("demo_m", "1.0.0"), "{modules, []}",
        "{modules, [demo_gone]}"),
    commit(Config, lists:keystore("src/demo_m.app.src", 1, Files, {"src/demo_m.app.src", Listed})),
    ?assertMatch({error, {modules_missing, #{app := demo_m, modules := [demo_gone]}}},
                 prepare(demo_m, source(Config, <<"main">>))).

beam_named_otherwise(Config) ->
    Script = "mkdir -p ebin; erlc -o ebin src/demo_b.erl; mv ebin/demo_b.beam ebin/demo_other.beam",
    commit(Config, bct_app:erlang_mk("demo_b", "1.0.0", Script)),
    ?assertMatch({error, {beam_misnamed, #{app := demo_b, files := [<<"demo_other.beam">>]}}},
                 prepare(demo_b, source(Config, <<"main">>))).

broken_app_file(Config) ->
    Files = bct_app:erlang_mk("demo_f", "1.0.0"),
    [begin
        commit(Config, lists:keystore("src/demo_f.app.src", 1, Files,
            {"src/demo_f.app.src", Text})),
        ?assertMatch({error, {invalid_app_file, #{message := _}}},
            prepare(demo_f, source(Config, <<"main">>)))
     end || Text <- ["{application, demo_f, ", "{application, other, [{vsn, \"1\"}]}.", "[].",
                     "{application, demo_f, [{vsn, 1}]}.",
                         "{application, demo_f, [{vsn, \"1\"}, {modules, \"x\"}]}.",
                     "{application, demo_f, [{vsn, \"1\"}, {modules, [a|b]}]}.",
                     "{application, demo_f, [{vsn, \"1\"} | x]}."]].

local_sources_only_when_allowed(Config) ->
    commit(Config, bct_app:erlang_mk("demo_l", "1.0.0")),
    ?assertMatch({error, {_, #{message := _}}},
                 prepare(demo_l, source(Config, <<"main">>), #{allow_local => false})),
    ?assertEqual(0, bct_workspace:builds(demo_l, "make app")).

hostile_names_touch_nothing(Config) ->
    commit(Config, bct_app:erlang_mk("demo_h", "1.0.0")),
    Before = files(?config(dir, Config)),
    Names = ['../x', 'a/b', '/etc', '.', '..', 'a.b', '', 'A', '$(touch x)', 'a b', 'a\nb', 'a-b',
        '~root',
             list_to_atom(lists:duplicate(200, $a))],
    [begin
        ?assertMatch({error, {bad_name, _}}, prepare(Name, source(Config, <<"main">>))),
        ?assertMatch({error, {bad_name, _}}, bc_gitops_workspace:delete_package(Name))
     end || Name <- Names],
    ?assertMatch({error, {bad_name, _}}, prepare("text", source(Config, <<"main">>))),
    ?assertEqual(Before, files(?config(dir, Config))).

files(Dir) ->
    lists:sort(filelib:wildcard("**/*", unicode:characters_to_list(Dir))).

hostile_refs_and_urls_run_nothing(Config) ->
    commit(Config, bct_app:erlang_mk("demo_h", "1.0.0")),
    Canary = filename:join(?config(dir, Config), "canary"),
    Touch = <<"touch ", Canary/binary>>,
    Refs = [<<"--upload-pack=", Touch/binary>>, <<"$(", Touch/binary, ")">>, <<"; ", Touch/binary>>,
            <<"-c core.sshCommand=x">>, <<"../../etc">>, <<>>, <<"a..b">>],
    [?assertMatch({error, {_, #{}}}, prepare(demo_h, source(Config, Ref))) || Ref <- Refs],
    Urls = [<<"ext::sh -c ", Touch/binary>>, <<"--upload-pack=", Touch/binary>>,
        <<"file:///nowhere; ", Touch/binary>>,
            <<"ssh://-oProxyCommand=", Touch/binary>>, <<>>, undefined],
    [?assertMatch({error, {_, #{}}},
        prepare(demo_h, #source_spec{type = git, url = Url, ref = <<"main">>}))
     || Url <- Urls],
    ?assertNot(filelib:is_file(Canary)).

store_that_cannot_be_written(Config) ->
    Commit = commit(Config, bct_app:erlang_mk("demo_d", "1.0.0")),
    Store = filename:join(?config(workspace, Config), "store"),
    ok = file:write_file(Store, "in the way"),
    ?assertMatch({error, {unwritable, #{reason := _}}}, prepare(demo_d, source(Config, Commit))),
    ok = file:delete(Store),
    ?assertMatch({ok, _}, prepare(demo_d, source(Config, Commit))),
    ?assertEqual([], bct_workspace:scratches()).
