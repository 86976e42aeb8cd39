-module(bc_gitops_hex_tree_tests).
-include_lib("eunit/include/eunit.hrl").

what_builds_is_said_by_the_metadata_test_() ->
    Cases = [
        {rebar3, [[rebar3], [rebar3], [rebar]]},
        {rebar3, [[make, rebar3], [mix, rebar3]]},
        {rebar3, [[rebar3], [make]]},
        {mix, [[mix]]},
        {mix, [[rebar3], [mix]]},
        {mix, [[mix], [rebar3], [make]]},
        {erlang_mk, [[make], [make]]}
    ],
    [?_assertEqual({Tools, {ok, Tool}}, {Tools, arrange(Tools, plain)}) || {Tool, Tools} <- Cases].

an_unknown_tool_is_named_test() ->
    {error, {build_tool_unknown, #{package := <<"p1">>, message := Message}}} = arrange([[scons]], plain),
    ?assertNotEqual(nomatch, string:find(Message, "scons")),
    ?assertMatch({error, {build_tool_unknown, _}}, arrange([[rebar3], []], plain)).

a_makefile_with_c_is_nothing_for_rebar3_test() ->
    ?assertMatch({error, {build_tools_differ, #{package := <<"p2">>}}}, arrange([[rebar3], [make]], native)).

two_packages_with_one_application_are_named_test() ->
    bct_dir:with("hextree", fun(Root) ->
        Packages = [package(Root, N, [rebar3], plain) || N <- [1, 2, 3]],
        Same = [Package#{app := case Name of <<"p1">> -> App; _ -> <<"lib">> end}
                || #{name := Name, app := App} = Package <- Packages],
        {error, {same_application, Details}} = bc_gitops_hex_tree:arrange(<<"p1">>, Same, [], Root),
        #{app := <<"lib">>, packages := [<<"p2">>, <<"p3">>], message := Message} = Details,
        ?assertEqual([], [Part || Part <- ["p2 1.2.3 and p3 1.2.3", "application, lib,", "p1 needs them"],
                                  string:find(Message, Part) =:= nomatch]),
        ?assertNot(filelib:is_dir(filename:join(Root, "_checkouts")))
    end).

rebar3_finds_applications_in_checkouts_test() ->
    in_tree([[rebar3], [rebar3]], plain, fun({ok, rebar3}, Dir) ->
        ?assertEqual(["app1", "app2"], lists:sort(filelib:wildcard("*", join(Dir, "_checkouts")))),
        ?assertEqual({ok, [{deps, [app1]}]}, file:consult(join(Dir, "rebar.config"))),
        ?assertEqual([], filelib:wildcard("packages/*", Dir))
    end).

make_builds_the_package_itself_test() ->
    in_tree([[make], [make]], native, fun({ok, erlang_mk}, Dir) ->
        ?assert(filelib:is_regular(join(Dir, "src/p1.app.src"))),
        ?assertEqual(["app2"], filelib:wildcard("*", join(Dir, "deps")))
    end).

%% What registries say ends in files that Elixir evaluates.
mix_reads_marks_and_a_lock_test() ->
    in_tree([[mix], [rebar3, mix]], plain, fun({ok, mix}, Dir) ->
        {ok, Mark} = file:read_file(join(Dir, "deps/app2/.hex")),
        ?assertMatch({{hex, 2, 0}, #{name := <<"p2">>, version := <<"1.2.3">>, managers := [rebar3]}},
                     binary_to_term(Mark)),
        {ok, Lock} = file:read_file(join(Dir, "mix.lock")),
        Expected = <<"  \"app1\": {:hex, :p1, \"1.2.3\", \"bb\", [:mix], [{:app2, \"\\\"\\#{exit(1)}\\\\\", "
                     "[hex: :p2, repo: \"acme\", optional: false]}], \"acme\", \"aa\"}">>,
        ?assertNotEqual(nomatch, binary:match(Lock, Expected)),
        {ok, Project} = file:read_file(join(Dir, "mix.exs")),
        ?assertNotEqual(nomatch, binary:match(Project, <<"{:app1, \"== 1.2.3\", hex: \"p1\", repo: \"acme\"}">>))
    end).

%% What is not there is an empty application; the plugins of both sides are found without a registry.
rebar3_finds_plugins_in_a_project_of_their_own_test() ->
    bct_dir:with("hextree", fun(Root) ->
        Plugin = fun(App, Source, Called) -> #{app => App, source => Source, called => Called} end,
        Named = [Plugin(<<"if">>, hex, no), Plugin(<<"own">>, elsewhere, perhaps), Plugin(<<"app3">>, hex, yes)],
        [First, Maker] = [package(Dir, N, [rebar3], plain)
                          || {N, Dir} <- [{1, Root}, {3, bc_gitops_hex_plugins:project(Root)}]],
        {ok, rebar3, Notes} = bc_gitops_hex_tree:arrange(<<"p1">>, [First#{plugins => Named}],
                                                         [Maker#{plugins => [Plugin(<<"gone">>, hex, yes)]}], Root),
        ?assertEqual([<<"the rebar3 plugin gone of p3 is left out: no registry has it in a version that fits">>,
                      <<"the rebar3 plugin own of p1 is left out: it does not come from Hex">>,
                      <<"rebar3 plugins that no build here calls are left out: if">>], Notes),
        Dirs = ["absent/*", "unused/*"],
        ?assertEqual({ok, [{deps, [app1]}, {plugins, [app3]}, {src_dirs, ["none"]},
                           {project_plugin_dirs, ["_plugins/_build/default/checkouts/*"
                                                  | ["_plugins/" ++ Each || Each <- Dirs]]}]},
                     file:consult(join(Root, "rebar.config"))),
        ?assertEqual({ok, [{plugins, [app3]}, {project_plugin_dirs, Dirs}]},
                     file:consult(join(Root, "_plugins/rebar.config"))),
        Absent = bc_gitops_hex_plugins:absent(unicode:characters_to_list(Root)),
        ?assertEqual([{"gone", true}, {"own", true}],
                     [{Name, filelib:is_regular(join(Root, File))} || {Name, File} <- Absent]),
        {ok, [{application, 'if', _}]} = file:consult(join(Root, "_plugins/unused/if/ebin/if.app")),
        ?assert(filelib:is_dir(join(Root, "_plugins/_checkouts/app3")))
    end).

arrange(Tools, Kind) ->
    in_tree(Tools, Kind, fun(Result, _Dir) -> Result end).

%% Packages p1, p2, … with these build tools; p1 needs all others.
in_tree(Tools, Kind, Fun) ->
    bct_dir:with("hextree", fun(Root) ->
        Dir = filename:join(Root, "tree"),
        Numbered = lists:zip(lists:seq(1, length(Tools)), Tools),
        Packages = [package(Dir, N, Each, Kind) || {N, Each} <- Numbered],
        Fun(arranged(Packages, Dir), unicode:characters_to_list(Dir))
    end).

package(Dir, N, Tools, Kind) ->
    Number = integer_to_binary(N),
    Path = filename:join([Dir, <<"packages">>, <<"p", Number/binary>>]),
    Source = <<"src/p", Number/binary, ".app.src">>,
    Native = [<<"c_src/p.c">> || Kind =:= native],
    [begin
        ok = filelib:ensure_dir(filename:join(Path, File)),
        ok = file:write_file(filename:join(Path, File), <<>>)
     end || File <- [Source | Native]],
    #{name => <<"p", Number/binary>>, app => <<"app", Number/binary>>, version => <<"1.2.3">>,
      repo => <<"acme">>, sha256 => <<"aa">>, inner_sha256 => <<"bb">>, path => Path,
      build_tools => [atom_to_binary(Tool) || Tool <- Tools], plugins => []}.

%% Without what is noted of plugins.
arranged(Packages, Dir) ->
    case bc_gitops_hex_tree:arrange(<<"p1">>, with_needs(Packages), [], Dir) of
        {ok, Tool, []} -> {ok, Tool};
        {error, _} = Error -> Error
    end.

with_needs([First | Others]) ->
    Range = <<"\"#{exit(1)}\\">>,
    Needs = [#{name => Name, app => App, requirement => Range, optional => false}
             || #{name := Name, app := App} <- Others],
    [First#{requirements => Needs} | Others].

join(Dir, Path) -> filename:join(Dir, Path).
