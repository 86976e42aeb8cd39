%%% Everything that leaves this machine goes through the proxy that the environment names: the followed
%%% repository, Hex and release archives, each over TLS, from names that only the proxy can reach.
-module(proxy_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-define(LOGIN, "porter:canary-5e1f").

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [all_goes_through_the_proxy, a_login_of_the_proxy_is_shown_to_it_alone, exempt_hosts_are_asked_directly,
     plain_http_goes_through_a_tunnel_as_well, what_is_no_proxy_is_said].

init_per_suite(Config) ->
    Dir = bct_dir:make("proxy"),
    World = bct_hex:start(filename:join(Dir, "registries")),
    Archive = bct_release:pack(Dir, bct_release:small(bct_small, "1.0.0", [])),
    Files = bct_files:start(fun(<<"/small.tar.gz">>, _) -> bct_files:whole(Archive) end),
    Server = bct_https:start(filename:join(Dir, "web"), #{
        root => Dir, user => "u", password => "p",
        pass => #{"hex" => maps:get(port, maps:get(hexpm, World)), "files" => port(Files)}}),
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    Release = #{type => release, url => <<"https://files.example.test/files/small.tar.gz">>,
                sha256 => bct_release:sha256(Archive)},
    Specs = [bct_gitops:spec(bch_top, "1.0.0"), bct_gitops:spec(bct_small, "1.0.0", #{source => Release})],
    _ = bct_repo:commit(Repo, [{unicode:characters_to_list(Path), Text} || {Path, Text} <- Specs]),
    [{dir, Dir}, {world, World}, {files, Files}, {server, Server} | Config].

end_per_suite(Config) ->
    bct_https:stop(?config(server, Config)),
    bct_hex:stop(?config(world, Config)),
    bct_dir:remove(?config(dir, Config)).

port(#{url := Url}) ->
    #{port := Port} = uri_string:parse(Url),
    Port.

all_goes_through_the_proxy(Config) ->
    Proxy = proxy(Config, none),
    Vm = start(Config, [{"https_proxy", bct_proxy:url(Proxy)}, {"no_proxy", "example.org"}]),
    ?assertEqual(ok, reconcile(Vm)),
    ?assertEqual(["1.0.0", "1.0.0"], versions(Vm)),
    ?assertEqual([<<"files.example.test:443">>, <<"git.example.test:443">>, <<"hex.example.test:443">>],
                 bct_proxy:asked(Proxy)),
    stop(Vm, Proxy).

a_login_of_the_proxy_is_shown_to_it_alone(Config) ->
    Proxy = proxy(Config, <<?LOGIN>>),
    Url = fun(Login) -> "http://" ++ Login ++ "@" ++ string:prefix(bct_proxy:url(Proxy), "http://") end,
    Vm = start(Config, [{"HTTPS_PROXY", Url(?LOGIN)}]),
    ?assertEqual(ok, reconcile(Vm)),
    ?assertEqual(["1.0.0", "1.0.0"], versions(Vm)),
    ok = bct_vm:stop(Vm),
    Stranger = start(Config, [{"ALL_PROXY", Url("porter:canary-wrong")}]),
    Failed = reconcile(Stranger),
    ?assertMatch({error, {desired_state, {unreachable, _}}}, Failed),
    Download = download(Stranger, <<"https://files.example.test/files/small.tar.gz">>),
    ?assertMatch({error, {unreachable, #{url := _}}}, Download),
    Shown = io_lib:format("~tp", [{Failed, Download, bct_vm:call(Stranger, bc_gitops, status, [])}]),
    ?assertNotEqual(nomatch, string:find(Shown, "proxy")),
    ?assertEqual(nomatch, string:find(Shown, "canary")),
    ?assert(lists:member({refused, <<"git.example.test:443">>}, bct_proxy:asked(Proxy))),
    stop(Stranger, Proxy).

%% Nobody knows these names, so that they cannot be reached at all.
exempt_hosts_are_asked_directly(Config) ->
    Proxy = proxy(Config, none),
    Vm = start(Config, [{"https_proxy", bct_proxy:url(Proxy)}, {"no_proxy", "a.b, .example.test"}]),
    ?assertMatch({error, {desired_state, {unreachable, _}}}, reconcile(Vm)),
    ?assertMatch({error, {unreachable, _}},
                 download(Vm, <<"https://files.example.test/files/small.tar.gz">>)),
    %% and this machine never
    Files = ?config(files, Config),
    ?assertMatch({ok, _}, download(Vm, bct_files:url(Files, "/small.tar.gz"))),
    ?assertEqual([], bct_proxy:asked(Proxy)),
    stop(Vm, Proxy).

plain_http_goes_through_a_tunnel_as_well(Config) ->
    Proxy = bct_proxy:start(port(?config(files, Config))),
    Vm = start(Config, [{"http_proxy", bct_proxy:url(Proxy)}]),
    ?assertMatch({ok, _}, download(Vm, <<"http://files.example.test/small.tar.gz">>)),
    ?assertEqual([<<"files.example.test:80">>], bct_proxy:asked(Proxy)),
    stop(Vm, Proxy).

what_is_no_proxy_is_said(Config) ->
    Vm = start(Config, [{"https_proxy", "socks5://u:canary@127.0.0.1:1"}]),
    Url = <<"https://files.example.test/files/small.tar.gz">>,
    {error, {unreachable, #{message := Message}}} = download(Vm, Url),
    ?assertNotEqual(nomatch, string:find(Message, "https_proxy names no http proxy")),
    Failed = reconcile(Vm),
    ?assertMatch({error, {desired_state, {unreachable, _}}}, Failed),
    ?assertEqual(nomatch, string:find(io_lib:format("~tp", [{Message, Failed}]), "canary")),
    ok = bct_vm:stop(Vm).

%%% Helpers

proxy(Config, Login) ->
    #{port := Port} = ?config(server, Config),
    bct_proxy:start(Port, Login).

stop(Vm, Proxy) ->
    ok = bct_vm:stop(Vm),
    ok = bct_proxy:stop(Proxy).

%% A VM in which nothing of the tests' own environment names a proxy.
start(Config, Variables) ->
    #{ca := Ca} = ?config(server, Config),
    #{hexpm := Hexpm} = ?config(world, Config),
    Dir = filename:join(?config(dir, Config), integer_to_list(erlang:unique_integer([positive]))),
    ok = filelib:ensure_path(Dir),
    Empty = [{Name, ""} || Name <- ["https_proxy", "http_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY",
                                    "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"]],
    Repo = #{name => hexpm, url => <<"https://hex.example.test/hex">>,
             public_key => bcg_hex_registry:public_key(Hexpm)},
    Context = #{dir => Dir, repo => <<"none">>},
    Mine = #{repo_url => <<"https://git.example.test/public/repo">>, git_ca_file => Ca,
             hex_repos => [Repo], runtime_module => bc_gitops_runtime_default},
    bct_vm:start_in(lists:ukeymerge(1, lists:sort(Variables), lists:sort(Empty)),
                    bct_gitops:config(Context, Mine)).

reconcile(Vm) ->
    bct_vm:call(Vm, bc_gitops, reconcile, []).

versions(Vm) ->
    [bct_vm:call(Vm, bch_top, version, []), bct_vm:call(Vm, bct_small, version, [])].

download(Vm, Url) ->
    bct_vm:call(Vm, ?MODULE, download, [Url]).

%% In the VM.
download(Url) ->
    #{git_ca_file := Ca, local_path := Near} = bc_gitops_config:current(),
    Path = filename:join(filename:dirname(Near), "downloaded"),
    Request = #{url => Url, path => Path, timeout => 60000, auth => #{allow_http => true, ca_file => Ca}},
    Start = fun(Pid, Ref) -> bc_gitops_native:download_start(Request, Pid, Ref) end,
    bc_gitops_job:run(Start, 60000, fun(_) -> ok end).
