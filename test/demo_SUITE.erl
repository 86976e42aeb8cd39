%%% @doc `make demo' as CI sees it: a program that prints a timeline and has an exit status.
-module(demo_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([the_demo_holds_its_claims/1, a_false_claim_fails_the_demo/1]).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [the_demo_holds_its_claims, a_false_claim_fails_the_demo].

init_per_suite(Config) ->
    ok = filelib:ensure_path(temporary()),
    Config.

end_per_suite(_Config) ->
    _ = file:del_dir_r(temporary()),
    ok.

the_demo_holds_its_claims(_Config) ->
    {Status, Output} = demo([]),
    ?assertEqual({0, []}, {Status, lines_with(Output, "NOT TRUE")}),
    Told = [
        "git push", "deployed (rebar3", "deployed (mix", "deployed (erlang.mk",
        "environment changed", "upgraded", "refused", "not built, 1.1.0 stays",
        "not started, 1.1.0 is back", "upgraded hot", "undone, 1.4.0 runs on", "deployed (Hex", "deployed (archive",
        "removed", "claims held"
    ],
    ?assertEqual([], [Missing || Missing <- Told, lines_with(Output, Missing) =:= []]),
    ?assertEqual([], filelib:wildcard(filename:join(temporary(), "bc_gitops-demo.*"))).

a_false_claim_fails_the_demo(_Config) ->
    {Status, Output} = demo([{"DEMO_WRONG_CLAIM", "deploy_code"}]),
    ?assertEqual(1, Status),
    ?assertMatch([_], lines_with(Output, "NOT TRUE")),
    ?assertMatch([_], lines_with(Output, "Not as claimed: deploy_code")),
    ?assertEqual([], filelib:wildcard(filename:join(temporary(), "bc_gitops-demo.*"))).

demo(Env) ->
    Lib = code:lib_dir(bc_gitops),
    Script = filename:join([root(), "examples", "demo.sh"]),
    Port = open_port({spawn_executable, os:find_executable("sh")}, [
        binary, exit_status, stderr_to_stdout, hide, {args, [Script]},
        {env, [{"BC_GITOPS_LIB", Lib}, {"TMPDIR", temporary()}, {"LC_ALL", "C.UTF-8"} | Env]}
    ]),
    collect(Port, []).

%% A directory of this test alone, so that what a demo leaves is seen.
temporary() ->
    filename:join("/tmp", "bc_gitops-demo-test-" ++ os:getpid()).

%% The suite runs in rebar3's log directory; the sources are where this project's root is.
root() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    {ok, Real} = find_root(filename:dirname(Source)),
    Real.

find_root("/") ->
    {error, no_root};
find_root(Dir) ->
    case filelib:is_regular(filename:join([Dir, "examples", "demo.sh"])) of
        true -> {ok, Dir};
        false -> find_root(filename:dirname(Dir))
    end.

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Output, Data]);
        {Port, {exit_status, Status}} ->
            Text = unicode:characters_to_list(iolist_to_binary(Output)),
            ct:log("~ts", [Text]),
            {Status, Text}
    end.

lines_with(Output, Part) ->
    [Line || Line <- string:split(Output, "\n", all), string:find(Line, Part) =/= nomatch].
