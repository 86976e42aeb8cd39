%%% The registry that the Hex tests use is a real one: rebar3 itself fetches, verifies and builds from
%%% it, and refuses what is not as it should be.
-module(hex_registry_SUITE).
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([rebar3_builds_from_it/1, rebar3_refuses_what_is_false/1, it_counts_and_asks_for_keys/1]).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [rebar3_builds_from_it, rebar3_refuses_what_is_false, it_counts_and_asks_for_keys].

init_per_suite(Config) ->
    Dir = bct_dir:make("hexregistry"),
    [{dir, Dir}, {world, bct_hex:start(Dir)} | Config].

end_per_suite(Config) ->
    bct_hex:stop(proplists:get_value(world, Config)),
    bct_dir:remove(proplists:get_value(dir, Config)).

rebar3_builds_from_it(Config) ->
    #{hexpm := Hexpm} = proplists:get_value(world, Config),
    ok = bcg_hex_registry:forget_requests(Hexpm),
    Built = rebar3(Config, "good", "{bch_top, \"1.0.0\"}"),
    ?assertMatch({0, _}, Built),
    Apps = filelib:wildcard("_build/default/lib/*/ebin/*.app", project(Config, "good")),
    Names = [filename:basename(App, ".app") || App <- Apps],
    ?assertEqual(["bch_low", "bch_mid", "bch_top", "bch_util", "user"], lists:sort(Names)),
    ?assertMatch(#{<<"bch_top-1.0.0.tar">> := 1, <<"bch_mid-1.1.0.tar">> := 1}, bct_hex:tarballs(Hexpm)).

rebar3_refuses_what_is_false(Config) ->
    {Tampered, _} = rebar3(Config, "tampered", "{bch_tampered, \"1.0.0\"}"),
    {Forged, _} = rebar3(Config, "forged", "{bch_forged, \"1.0.0\"}"),
    ?assertMatch([_, _], [Status || Status <- [Tampered, Forged], Status =/= 0]).

it_counts_and_asks_for_keys(Config) ->
    #{acme := Acme} = proplists:get_value(world, Config),
    ok = bcg_hex_registry:forget_requests(Acme),
    Url = binary_to_list(bcg_hex_registry:url(Acme)) ++ "/packages/bch_secret",
    Status = fun(Header) ->
        {ok, {{_, Code, _}, _, _}} = httpc:request(get, {Url, Header}, [], []),
        Code
    end,
    Key = binary_to_list(bct_hex:key()),
    ?assertEqual([401, 401, 200], [Status(H) || H <- [[], [{"authorization", "no"}], [{"authorization", Key}]]]),
    ?assertEqual(lists:duplicate(3, <<"/packages/bch_secret">>), bcg_hex_registry:requests(Acme)).

rebar3(Config, Name, Dep) ->
    #{hexpm := Hexpm} = proplists:get_value(world, Config),
    Dir = project(Config, Name),
    Pem = bcg_hex_registry:public_key(Hexpm),
    Rebar = io_lib:format("{deps, [~s]}.~n{hex, [{repos, [#{name => <<\"hexpm\">>, repo_public_key => ~p}]}]}.~n",
                          [Dep, Pem]),
    ok = filelib:ensure_path(filename:join(Dir, "src")),
    ok = file:write_file(filename:join(Dir, "rebar.config"), Rebar),
    ok = file:write_file(filename:join([Dir, "src", "user.app.src"]),
                         "{application, user, [{vsn, \"1\"}, {description, \"\"}, {applications, [kernel, stdlib]}]}.\n"),
    Home = binary_to_list(proplists:get_value(dir, Config)),
    Port = open_port({spawn_executable, bct_server:program("rebar3", "rebar3")}, [
        {args, ["compile"]}, {cd, Dir}, binary, exit_status, stderr_to_stdout, hide,
        {env, [{"HEX_CDN", binary_to_list(bcg_hex_registry:url(Hexpm))}, {"HOME", Home},
               {"REBAR_CACHE_DIR", filename:join(Home, "cache-" ++ Name)}, {"QUIET", false}]}
    ]),
    output(Port, <<>>).

project(Config, Name) ->
    filename:join(binary_to_list(proplists:get_value(dir, Config)), Name).

output(Port, Output) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} ->
            ct:log("~ts", [Output]),
            {Status, Output}
    end.
