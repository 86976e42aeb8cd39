%%% rebar3 plugins of Hex packages, from a commit to what runs: a real registry on loopback, real builds.
-module(hex_plugins_SUITE).
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {minutes, 4}}].

all() ->
    [
        plugins_build_packages_and_are_no_part_of_them, a_plugin_is_locked, a_plugin_may_be_built_with_plugins,
        a_script_may_name_plugins,
        what_no_build_needs_is_left_out, a_plugin_that_is_needed_is_named,
        a_plugin_that_does_not_compile_is_named_where_it_is_needed,
        a_plugin_that_was_changed_on_its_way_is_refused, an_index_that_is_forged_is_no_missing_plugin,
        from_git_rebar3_fetches_plugins_itself
    ].

init_per_testcase(Case, Config) -> hex_SUITE:init_per_testcase(Case, Config).

end_per_testcase(Case, Config) -> hex_SUITE:end_per_testcase(Case, Config).

%% bch_plugged is built with bch_maker, and bch_outer needs bch_plugged. Both sides need bch_low, and
%% not the same.
publish_plugged(Config, Plugins) -> publish_plugged(Config, Plugins, []).

publish_plugged(Config, Plugins, Extra) ->
    Needs = [{"bch_low", "~> 1.0"}],
    Deps = "{deps, [{bch_low, \"~> 1.0\"}]}.\n",
    publish(Config, [bct_hex:erlang("bch_low", "2.0.0", [])]
        ++ [bct_hex:plugin("bch_maker", Version, [{"bch_low", "~> 2.0"}], []) || Version <- ["1.0.0", "1.1.0-rc.1"]]
        ++ [bct_hex:erlang("bch_plugged", Version, Needs, [{"rebar.config", [Deps, Plugins]} | Extra])
            || Version <- ["1.0.0", "1.1.0"]]
        ++ [bct_hex:erlang("bch_outer", "1.0.0", [{"bch_plugged", "~> 1.0"}])]).

plugins(Names) -> ["{plugins, [", lists:join(", ", Names), "]}.\n"].

called(Name) -> ["{provider_hooks, [{pre, [{compile, {", Name, ", generate}}]}]}.\n"].

plugins_build_packages_and_are_no_part_of_them(Config) ->
    ok = publish_plugged(Config, [plugins(["bch_maker", "bch_docs"]), called("bch_maker")]),
    _ = push(Config, [{bch_outer, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.0.0", ["2.0.0"]}, bch_plugged_bch_maker:version()),
    ?assertEqual([{bch_low, "1.1.0"}], bch_plugged_needs:versions()),
    #{libs := Libs, lock := Lock} = build(bch_outer),
    ?assertEqual([bch_low, bch_outer, bch_plugged], lists:sort([Name || #{name := Name} <- Libs])),
    ?assertEqual([{<<"bch_low">>, <<"2.0.0">>}, {<<"bch_maker">>, <<"1.0.0">>}],
                 lists:sort([{Name, V} || #{name := Name, version := V, plugin := true} <- Lock])),
    ?assertEqual(non_existing, code:which(bch_maker)),
    ?assert(is_logged(bch_outer, ["that no build here calls are left out: bch_docs"])),
    ?assertNot(lists:member(<<"/packages/bch_docs">>, bcg_hex_registry:requests(hexpm(Config)))).

a_plugin_is_locked(Config) ->
    ok = publish_plugged(Config, [plugins(["{bch_maker, \"~> 1.0\"}"]), called("bch_maker")]),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    #{revision := Revision} = bct_gitops:details(bch_plugged),
    ok = publish(Config, [bct_hex:plugin("bch_maker", "1.2.0", [{"bch_low", "~> 2.0"}], [])]),
    Made = fun() -> bch_plugged_bch_maker:version() end,
    forget_builds(Config),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertMatch(#{revision := Revision}, bct_gitops:details(bch_plugged)),
    ?assertEqual({"1.0.0", ["2.0.0"]}, Made()),
    ?assertEqual([], [Path || <<"/packages/", _/binary>> = Path <- bcg_hex_registry:requests(hexpm(Config))]),
    %% another version of the application keeps it, and without the application nothing is preferred
    _ = push(Config, [{bch_plugged, "1.1.0"}]),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.1.0", {"1.0.0", ["2.0.0"]}}, {bch_plugged:version(), Made()}),
    ok = bc_gitops:remove(bch_plugged),
    ok = bc_gitops_workspace:cleanup(),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.2.0", ["2.0.0"]}, Made()).

%% bch_maker asks a module that bch_forge makes for it.
a_plugin_may_be_built_with_plugins(Config) ->
    ok = publish_plugged(Config, [plugins(["{bch_maker, \"2.0.0\"}"]), called("bch_maker")]),
    Config1 = [{"rebar.config", ["{deps, []}.\n", plugins(["bch_forge", "bch_docs"]), called("bch_forge")]}],
    ok = publish(Config, [
        bct_hex:plugin("bch_forge", "3.0.0", [], []),
        bct_hex:plugin("bch_maker", "2.0.0", [], ["bch_maker_bch_forge"], Config1)]),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"2.0.0", [{"3.0.0", []}]}, bch_plugged_bch_maker:version()).

%% As packages have it that rebar2 built as well. The script is read here, and run by rebar3 alone.
a_script_may_name_plugins(Config) ->
    Script = ["case os:getenv(\"REBAR_OFFLINE\") of\n  \"1\" -> CONFIG ++ [{plugins, [{bch_maker, \"~> 1.0\"}]},\n"
              "    {provider_hooks, [{pre, [{compile, {bch_maker, generate}}]}]}];\n  _ -> CONFIG\nend.\n"],
    ok = publish_plugged(Config, [], [{"rebar.config.script", Script}]),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.0.0", ["2.0.0"]}, bch_plugged_bch_maker:version()).

%% A script that says something of hooks may mean any of the plugins.
what_no_build_needs_is_left_out(Config) ->
    Own = "{bch_own, {git, \"https://127.0.0.1:1/own.git\", {branch, \"main\"}}}",
    Names = ["bch_nowhere", Own, "{bch_maker, \"~> 1.0\"}", "{bch_util, \"~> 9.0\"}"],
    Script = [{"rebar.config.script", "%% no provider_hooks more\nCONFIG.\n"}],
    ok = publish_plugged(Config, [plugins(Names), called("bch_maker")], Script),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.0.0", ["2.0.0"]}, bch_plugged_bch_maker:version()),
    ?assert(is_logged(bch_plugged, [
        "the rebar3 plugin bch_nowhere of bch_plugged is left out: no registry has it",
        "the rebar3 plugin bch_own of bch_plugged is left out: it does not come from Hex",
        "the rebar3 plugin bch_util of bch_plugged is left out: no registry has it in a version that fits"])).

a_plugin_that_is_needed_is_named(Config) ->
    ok = publish_plugged(Config, [plugins(["bch_docs", "bch_nowhere"]), called("bch_nowhere")]),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_plugged, plugin_missing, ["bch_plugged is built", "plugin bch_nowhere,", "git"]),
    ?assertMatch(#{state := quarantined}, bct_gitops:details(bch_plugged)),
    _ = push(Config, [{bch_outer, "1.0.0"}]),
    {error, {actions_failed, [_, _]}} = bc_gitops:reconcile(),
    _ = is_said(bch_outer, plugin_missing, ["bch_plugged, needed by bch_outer, is built", "take bch_outer from"]).

%% bch_broken is named first, and may be called: a script says something of hooks.
a_plugin_that_does_not_compile_is_named_where_it_is_needed(Config) ->
    Script = [{"rebar.config.script", "%% no provider_hooks more\nCONFIG.\n"}],
    ok = publish(Config, [bct_hex:plugin("bch_broken", "1.0.0", [], [{"src/bch_broken_x.erl", "x y z"}])]),
    ok = publish_plugged(Config, [plugins(["bch_broken", "bch_maker"]), called("bch_maker")], Script),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    ok = said(bc_gitops:reconcile()),
    ?assertEqual({"1.0.0", ["2.0.0"]}, bch_plugged_bch_maker:version()),
    ok = publish(Config, [bct_hex:erlang("bch_needy", "1.0.0", [], [
        {"rebar.config", ["{deps, []}.\n", plugins(["bch_broken"]), called("bch_broken")]}])]),
    _ = push(Config, [{bch_needy, "1.0.0"}]),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_needy, build_failed, ["bch_needy is built", "plugin bch_broken", "could not be built itself"]),
    ?assert(is_logged(bch_needy, ["bch_broken_x.erl"])).

a_plugin_that_was_changed_on_its_way_is_refused(Config) ->
    ok = publish_plugged(Config, [plugins(["bch_maker"]), called("bch_maker")]),
    ok = bct_hex:tamper(hexpm(Config), <<"bch_maker">>, <<"1.0.0">>),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_plugged, checksum_mismatch, ["bch_maker 1.0.0", "hexpm"]).

an_index_that_is_forged_is_no_missing_plugin(Config) ->
    ok = publish_plugged(Config, [plugins(["bch_maker"]), called("bch_maker")]),
    ok = bct_hex:forge(hexpm(Config), <<"bch_maker">>),
    _ = push(Config, [{bch_plugged, "1.0.0"}]),
    _ = start(Config),
    {error, {actions_failed, [_]}} = bc_gitops:reconcile(),
    _ = is_said(bch_plugged, bad_signature, ["bch_maker", "hexpm"]).

%% What the error says to do.
from_git_rebar3_fetches_plugins_itself(Config) ->
    #{dir := Dir} = context(Config),
    ok = publish(Config, [bct_hex:plugin("bch_maker", "1.0.0", [], [])]),
    Hex = io_lib:format("{hex, [{repos, [#{name => <<\"hexpm\">>, repo_public_key => ~p}]}]}.~n",
                        [bcg_hex_registry:public_key(hexpm(Config))]),
    Repo = bct_repo:init(filename:join(Dir, "plugged")),
    Files = [{"rebar.config", ["{deps, []}.\n", plugins(["bch_maker"]), called("bch_maker"), Hex]}],
    _ = bct_repo:commit(Repo, bct_app:rebar3("bch_plugged", "1.0.0", Files)),
    true = os:putenv("HEX_CDN", binary_to_list(bcg_hex_registry:url(hexpm(Config)))),
    Source = #{source => #{type => git, url => bct_repo:url(Repo), ref => <<"main">>}},
    _ = bct_gitops:push(context(Config), [bct_gitops:spec(bch_plugged, "1.0.0", Source)]),
    _ = start(Config),
    Result = bc_gitops:reconcile(),
    true = os:unsetenv("HEX_CDN"),
    ok = said(Result),
    ?assertEqual({"1.0.0", []}, bch_plugged_bch_maker:version()).

%%% Helpers

publish(Config, Packages) -> bct_hex:publish(hexpm(Config), Packages).

hexpm(Config) -> maps:get(hexpm, hex_SUITE:world(Config)).

build(App) ->
    {ok, Build} = bc_gitops_workspace:lookup(maps:get(build, bct_gitops:details(App))),
    Build.

is_logged(App, Lines) ->
    {ok, Log} = bc_gitops:build_log(App),
    ct:log("~ts", [Log]),
    lists:all(fun(Line) -> string:find(Log, Line) =/= nomatch end, Lines).

context(Config) -> hex_SUITE:context(Config).
push(Config, Specs) -> hex_SUITE:push(Config, Specs).
start(Config) -> hex_SUITE:start(Config).
forget_builds(Config) -> hex_SUITE:forget_builds(Config, [bch_plugged, bch_low]).
said(Result) -> hex_SUITE:said(Result).
is_said(App, Kind, Parts) -> hex_SUITE:is_said(App, Kind, Parts).
