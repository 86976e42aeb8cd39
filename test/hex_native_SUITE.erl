%%% Hex jobs of the native library against registries on loopback, which rebar3's own modules wrote.
-module(hex_native_SUITE).
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([from_a_name_to_files/1, a_lock_needs_no_registry/1, another_repository/1, elixir/1, plugins/1,
         errors/1, a_key_is_never_shown/1, a_job_ends_with_its_process/1]).

-define(TIMEOUT, 20000).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [from_a_name_to_files, a_lock_needs_no_registry, another_repository, elixir, plugins, errors,
     a_key_is_never_shown, a_job_ends_with_its_process].

init_per_suite(Config) ->
    Dir = bct_dir:make("hexnative"),
    [{dir, Dir}, {world, bct_hex:start(Dir)} | Config].

end_per_suite(Config) ->
    bct_hex:stop(proplists:get_value(world, Config)),
    bct_dir:remove(proplists:get_value(dir, Config)).

init_per_testcase(Case, Config) ->
    Dir = filename:join(proplists:get_value(dir, Config), Case),
    KeyFile = filename:join(Dir, "key"),
    ok = filelib:ensure_dir(KeyFile),
    ok = file:write_file(KeyFile, [bct_hex:key(), "\n"]),
    [{case_dir, Dir}, {key_file, KeyFile} | Config].

from_a_name_to_files(Config) ->
    {ok, #{lock := Lock, retired := []}} = resolve(Config, <<"bch_top">>, <<"1.0.0">>, []),
    ?assertEqual([{<<"bch_low">>, <<"1.1.0">>}, {<<"bch_mid">>, <<"1.1.0">>},
                  {<<"bch_top">>, <<"1.0.0">>}, {<<"bch_util">>, <<"1.1.0">>}], versions(Lock)),
    {ok, #{packages := Packages}} = fetch(Config, Lock),
    ?assertEqual(versions(Lock), versions(Packages)),
    [#{path := Path, build_tools := Tools, app := App} = Low | _] = Packages,
    ?assertEqual({[<<"rebar3">>], <<"bch_low">>}, {Tools, App}),
    ?assert(filelib:is_regular(filename:join([Path, "src", "bch_low.app.src"]))),
    File = bcg_hex_registry:tarball_file(hexpm(Config), <<"bch_low">>, <<"1.1.0">>),
    {ok, Archive} = file:read_file(File),
    {ok, #{inner_checksum := Inner, outer_checksum := Outer}} = r3_hex_tarball:unpack(Archive, memory),
    ?assertEqual([binary:encode_hex(Inner), binary:encode_hex(Outer)],
                 [string:uppercase(maps:get(Key, Low)) || Key <- [inner_sha256, sha256]]).

a_lock_needs_no_registry(Config) ->
    {ok, #{lock := Lock}} = resolve(Config, <<"bch_top">>, <<"1.0.0">>, []),
    {ok, _} = fetch(Config, Lock),
    ok = bcg_hex_registry:forget_requests(hexpm(Config)),
    Again = resolve(Config, <<"bch_top">>, <<"1.0.0">>, Lock),
    ?assertEqual({ok, #{lock => Lock, retired => []}}, Again),
    {ok, #{packages := Packages}} = fetch(Config, Lock),
    ?assertEqual([true, true, true, true], [Cached || #{cached := Cached} <- Packages]),
    ?assertEqual([], bcg_hex_registry:requests(hexpm(Config))),
    Bare = [maps:with([name, version, repo, sha256], Locked) || Locked <- Lock],
    {ok, #{lock := Same}} = resolve(Config, <<"bch_top">>, <<"1.0.0">>, Bare),
    ?assertEqual(versions(Lock), versions(Same)).

another_repository(Config) ->
    {ok, #{lock := Lock}} = resolve(Config, <<"bch_secret">>, <<"1.0.0">>, []),
    ?assertEqual([{<<"bch_low">>, <<"hexpm">>}, {<<"bch_secret">>, <<"acme">>}],
                 [{Name, Repo} || #{name := Name, repo := Repo} <- Lock]),
    ?assertMatch({ok, #{packages := [_, _]}}, fetch(Config, Lock)).

elixir(Config) ->
    {ok, #{lock := Lock}} = resolve(Config, <<"bch_ex">>, <<"1.1.0">>, []),
    {ok, #{packages := [Ex | _]}} = fetch(Config, Lock),
    ?assertMatch(#{name := <<"bch_ex">>, build_tools := [<<"mix">>], requirements := [_, _]}, Ex).

plugins(Config) ->
    Settings = "{deps, []}.\n{plugins, [bch_maker, {bch_own, {git, \"u\"}}, bch_none]}.\n"
               "{provider_hooks, [{pre, [{compile, {bch_maker, generate}}, {compile, {other, run}}]}]}.\n",
    ok = bct_hex:publish(hexpm(Config), [
        bct_hex:plugin("bch_maker", "1.0.0", [{"bch_low", "~> 1.0"}], []),
        bct_hex:erlang("bch_plugged", "1.0.0", [{"bch_util", "~> 1.0"}], [{"rebar.config", Settings}])]),
    {ok, #{lock := Lock}} = resolve(Config, <<"bch_plugged">>, <<"1.0.0">>, []),
    Choose = fun(Before) ->
        run((request(Config))#{op => plugins, name => <<"bch_plugged">>, packages => Lock, lock => Before})
    end,
    {ok, #{lock := Plugins, retired := []}} = Choose([]),
    ?assertEqual([{<<"bch_low">>, <<"1.1.0">>}, {<<"bch_maker">>, <<"1.0.0">>}], versions(Plugins)),
    ok = bct_hex:publish(hexpm(Config), [bct_hex:plugin("bch_maker", "1.1.0", [], [])]),
    ?assertEqual({ok, #{lock => Plugins, retired => []}}, Choose(Plugins)),
    {ok, #{packages := Packages}} = fetch(Config, Lock),
    Named = fun(App, Source, Called) -> #{app => App, source => Source, called => Called} end,
    ?assertEqual([[Named(<<"bch_maker">>, hex, yes), Named(<<"bch_own">>, elsewhere, perhaps),
                   Named(<<"bch_none">>, hex, perhaps)], []],
                 [Each || #{plugins := Each} <- Packages]),
    ok = bct_hex:tamper(hexpm(Config), <<"bch_maker">>, <<"1.1.0">>),
    ?assertMatch({error, {checksum_mismatch, #{package := <<"bch_maker">>, version := <<"1.1.0">>}}}, Choose([])).

errors(Config) ->
    Resolve = fun(Name, Version) -> kind(resolve(Config, Name, Version, [])) end,
    ?assertEqual(package_not_found, Resolve(<<"bch_none">>, <<"1.0.0">>)),
    ?assertEqual(version_not_found, Resolve(<<"bch_top">>, <<"3.0.0">>)),
    ?assertEqual(version_retired, Resolve(<<"bch_retired">>, <<"1.0.0">>)),
    ?assertEqual(bad_signature, Resolve(<<"bch_forged">>, <<"1.0.0">>)),
    ?assertEqual(bad_name, Resolve(<<"../x">>, <<"1.0.0">>)),
    {ok, #{lock := Lock}} = resolve(Config, <<"bch_tampered">>, <<"1.0.0">>, []),
    ?assertEqual(checksum_mismatch, kind(fetch(Config, Lock))),
    [Locked] = Lock,
    Other = Locked#{sha256 := binary:copy(<<"0">>, 64)},
    ?assertEqual(checksum_changed, kind(fetch(Config, [Other]))),
    ?assertEqual(bad_lock, kind(fetch(Config, [Locked#{sha256 := <<"../../x">>}]))),
    Closed = #{name => <<"hexpm">>, url => <<"http://127.0.0.1:1">>},
    Nowhere = (request(Config))#{repos := [Closed], op => resolve, name => <<"a">>,
                                 version => <<"1.0.0">>},
    ?assertEqual(registry_unreachable, kind(run(Nowhere))),
    Abroad = Nowhere#{repos := [Closed#{url := <<"http://192.0.2.1/">>}]},
    ?assertEqual(registry_unreachable, kind(run(Abroad))).

a_key_is_never_shown(Config) ->
    Wrong = proplists:get_value(key_file, Config),
    ok = file:write_file(Wrong, <<"WRONG-KEY-1234">>),
    {error, {registry_unauthorized, Details}} = resolve(Config, <<"bch_secret">>, <<"1.0.0">>, []),
    ?assertEqual(nomatch, string:find(io_lib:format("~tp", [Details]), "WRONG-KEY")),
    ok = file:delete(Wrong),
    ?assertEqual(bad_key, kind(resolve(Config, <<"bch_secret">>, <<"1.0.0">>, []))).

a_job_ends_with_its_process(Config) ->
    {ok, Listen} = gen_tcp:listen(0, [binary, {active, true}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listen),
    Url = <<"http://127.0.0.1:", (integer_to_binary(Port))/binary>>,
    Request = (request(Config))#{repos := [#{name => <<"hexpm">>, url => Url}], op => resolve,
                                 name => <<"a">>, version => <<"1.0.0">>},
    {Pid, Monitor} = spawn_monitor(fun() -> run(Request) end),
    {ok, Socket} = gen_tcp:accept(Listen, ?TIMEOUT),
    receive {tcp, Socket, <<"GET /packages/a ", _/binary>>} -> ok end,
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    receive {tcp_closed, Socket} -> ok end,
    ok = gen_tcp:close(Listen).

versions(Packages) -> [{Name, Version} || #{name := Name, version := Version} <- Packages].

kind({error, {Kind, #{message := Message}}}) when is_binary(Message) -> Kind.

hexpm(Config) -> maps:get(hexpm, proplists:get_value(world, Config)).

resolve(Config, Name, Version, Lock) ->
    run((request(Config))#{op => resolve, name => Name, version => Version, lock => Lock}).

fetch(Config, Lock) ->
    Dir = filename:join(proplists:get_value(case_dir, Config), "deps"),
    Binary = unicode:characters_to_binary(Dir),
    run((request(Config))#{op => fetch, packages => Lock, dir => Binary}).

request(Config) ->
    Repo = fun(Name, Registry) ->
        #{name => Name, url => bcg_hex_registry:url(Registry),
          public_key => bcg_hex_registry:public_key(Registry)}
    end,
    #{hexpm := Hexpm, acme := Acme} = proplists:get_value(world, Config),
    Binary = fun(Key, Sub) ->
        unicode:characters_to_binary(filename:join(proplists:get_value(Key, Config), Sub))
    end,
    Secret = (Repo(<<"acme">>, Acme))#{auth_key_file => Binary(key_file, "")},
    #{timeout => ?TIMEOUT, cache => Binary(case_dir, "cache"),
      repos => [Secret, Repo(<<"hexpm">>, Hexpm)]}.

run(Request) ->
    Start = fun(ReplyTo, Ref) -> bc_gitops_native:hex_start(Request, ReplyTo, Ref) end,
    bc_gitops_job:run(Start, ?TIMEOUT).
