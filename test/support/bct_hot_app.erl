%%% @doc An application for hot upgrades through commits: a server with a state, and a module without one.
-module(bct_hot_app).
-export([files/1, spec/2]).

%% @doc The files of a variant: `version' of the application, the text of `lib', the `server', what it
%% exports more (`change'), an `appup', the text of a dependency (`dep'), what
%% the server's `init' answers.
files(Variant) ->
    Version = maps:get(version, Variant, "1.0.0"),
    with_dependency(Variant, own_files(Version, maps:get(server, Variant, "one"), Variant)).

own_files(Version, Server, Variant) ->
    lists:sublist(bct_app:erlang_mk("bct_hot_app", Version), 2) ++ [
        {"src/bct_hot_app.app.src", io_lib:format(
            "{application, bct_hot_app, [{description, \"test\"}, {vsn, \"~s\"}, {registered, []}, {modules, []},\n"
            "  {mod, {bct_hot_top, []}}, {applications, [kernel, stdlib]}, {env, [{colour, ~s}]}]}.\n",
            [Version, maps:get(colour, Variant, "red")])},
        {"src/bct_hot_top.erl",
            "-module(bct_hot_top).\n-behaviour(application).\n-behaviour(supervisor).\n"
            "-export([start/2, stop/1, init/1, config_change/3]).\n"
            "start(_, _) -> supervisor:start_link(?MODULE, []).\nstop(_) -> ok.\n"
            "config_change(C, N, R) -> persistent_term:put(bct_hot_told, {C, N, R}), ok.\n"
            "init([]) -> {ok, {#{}, [#{id => bct_hot_srv, start => {bct_hot_srv, start_link, []}}]}}.\n"},
        {"src/bct_hot_lib.erl", io_lib:format(
            "-module(bct_hot_lib).\n-export([text/0, wait/0]).\ntext() -> ~s.\n"
            "wait() -> receive go_on -> ok end.\n", [maps:get(lib, Variant, "one")])},
        {"src/bct_hot_srv.erl", io_lib:format(
            "-module(bct_hot_srv).\n-behaviour(gen_server).\n-vsn(\"~s\").\n"
            "-export([start_link/0, init/1, handle_call/3, handle_cast/2~s]).\n"
            "start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).\n"
            "init([]) -> ~s.\n"
            "handle_call(version, _, S) -> {reply, ~s, S};\n"
            "handle_call(state, _, S) -> {reply, S, S};\n"
            "handle_call(lib, _, S) -> {reply, bct_hot_lib:text(), S};\n"
            "handle_call(count, _, {_, N} = S) -> {reply, N, S};\n"
            "handle_call(bump, _, {V, N}) -> {reply, N + 1, {V, N + 1}}.\n"
            "handle_cast({run, F}, S) -> F(), {noreply, S}.\n~s\n",
            [Server, exports(Variant), maps:get(init, Variant, ["{ok, {", Server, ", 0}}"]), Server, maps:get(change, Variant, "")])}
    ] ++ [{"ebin/bct_hot_app.appup", Appup} || #{appup := Appup} <- [Variant]].

%% Two applications in one project of rebar3, of which the first needs the other.
with_dependency(#{dep := Text}, Own) ->
    {[App], Others} = lists:partition(fun({Path, _}) -> filename:extension(Path) =:= ".src" end, Own),
    {Path, Described} = App,
    Needing = {Path, string:replace(lists:flatten(Described), "stdlib]", "stdlib, bct_hot_dep]")},
    Sources = [Needing | [Source || {"src/" ++ _, _} = Source <- Others]],
    Top = [{"rebar.config", "{erl_opts, [debug_info]}.\n{deps, []}.\n"}, {"rebar.lock", "[].\n"}],
    Top ++ [{"apps/bct_hot_app/" ++ P, Content} || {P, Content} <- Sources] ++ [
        {"apps/bct_hot_dep/src/bct_hot_dep.app.src",
            "{application, bct_hot_dep, [{description, \"test\"}, {vsn, \"1.0.0\"}, {registered, []}, {modules, []},\n"
            "  {applications, [kernel, stdlib]}]}.\n"},
        {"apps/bct_hot_dep/src/bct_hot_dep.erl",
            ["-module(bct_hot_dep).\n-export([text/0]).\ntext() -> ", Text, ".\n"]}
    ];
with_dependency(_Variant, Own) ->
    Own.

exports(#{change := _}) -> ", code_change/3";
exports(_Variant) -> "".

%% @doc Its spec: the branch, whatever stands there, or a `ref'.
spec(#{source := Source}, Variant) ->
    More = #{source => #{type => git, url => bct_repo:url(Source), ref => maps:get(ref, Variant, <<"main">>)}},
    Version = maps:get(version, Variant, "1.0.0"),
    bct_gitops:spec(bct_hot_app, Version, maps:merge(More, maps:with([env, upgrade], Variant))).
