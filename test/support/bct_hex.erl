%%% @doc Two Hex registries on loopback for tests: `hexpm' for everybody and `acme' for who has the key.
%%%
%%% bch_top needs bch_mid and bch_low, bch_mid needs bch_low and bch_util; each has 1.0.0 and 1.1.0, and
%%% a server that says its version. bch_ex is Elixir and needs bch_exlow (Elixir) and bch_low. Some are
%%% not as they should be: bch_tampered (another archive than its index says), bch_forged (its index is
%%% signed by a stranger), bch_retired (1.0.0 is). acme has bch_secret, which needs bch_low of hexpm.
-module(bct_hex).

-export([start/1, start/2, stop/1, config/1, key/0, erlang/3, erlang/4, elixir/3, plugin/4, plugin/5]).
-export([publish/2, tamper/3, forge/2, tarballs/1]).

-define(KEY, <<"key-of-acme-0123456789">>).

%% @doc Serves below Dir.
start(Dir) -> start(Dir, ?KEY).

%% @doc The same with another key to acme.
start(Dir, Key) ->
    Hexpm = bcg_hex_registry:start(#{dir => filename:join(Dir, "hexpm")}),
    Acme = bcg_hex_registry:start(#{dir => filename:join(Dir, "acme"), name => <<"acme">>, auth => Key}),
    KeyFile = filename:join(Dir, "acme.key"),
    ok = file:write_file(KeyFile, [Key, "\n"]),
    World = #{hexpm => Hexpm, acme => Acme, key_file => KeyFile},
    Any = <<"~> 1.0">>,
    Each = fun(Make) -> [Make("1.0.0"), Make("1.1.0")] end,
    Packages = lists:append([
        Each(fun(V) -> erlang("bch_low", V, []) end),
        Each(fun(V) -> erlang("bch_util", V, []) end),
        Each(fun(V) -> erlang("bch_mid", V, [{"bch_low", Any}, {"bch_util", Any}]) end),
        Each(fun(V) -> erlang("bch_top", V, [{"bch_mid", Any}, {"bch_low", Any}]) end),
        Each(fun(V) -> elixir("bch_exlow", V, []) end),
        Each(fun(V) -> elixir("bch_ex", V, [{"bch_exlow", Any}, {"bch_low", Any}]) end),
        Each(fun(V) -> erlang("bch_retired", V, []) end),
        [erlang("bch_tampered", "1.0.0", []), erlang("bch_forged", "1.0.0", [])]
    ]),
    ok = publish(Hexpm, Packages),
    ok = bcg_hex_registry:retire(Hexpm, <<"bch_retired">>, <<"1.0.0">>, 'RETIRED_SECURITY'),
    ok = tamper(Hexpm, <<"bch_tampered">>, <<"1.0.0">>),
    ok = forge(Hexpm, <<"bch_forged">>),
    Low = #{<<"requirement">> => Any, <<"repository">> => <<"hexpm">>},
    ok = publish(Acme, [erlang("bch_secret", "1.0.0", [{"bch_low", Low}])]),
    World.

stop(#{hexpm := Hexpm, acme := Acme}) ->
    lists:foreach(fun bcg_hex_registry:stop/1, [Hexpm, Acme]).

%% @doc The configuration that makes bc_gitops use them. The key to acme is in a file.
config(#{hexpm := Hexpm, acme := Acme, key_file := KeyFile}) ->
    Repo = fun(Name, Registry) ->
        #{name => Name, url => bcg_hex_registry:url(Registry),
          public_key => bcg_hex_registry:public_key(Registry)}
    end,
    #{hex_repos => [(Repo(acme, Acme))#{auth_key_file => KeyFile}, Repo(hexpm, Hexpm)]}.

key() -> ?KEY.

publish(Registry, Packages) ->
    lists:foreach(fun(Package) -> ok = bcg_hex_registry:publish(Registry, Package) end, Packages).

%% @doc The archive becomes another one than the index says.
tamper(Registry, Name, Version) ->
    File = bcg_hex_registry:tarball_file(Registry, Name, Version),
    {ok, Archive} = file:read_file(File),
    Middle = byte_size(Archive) div 2,
    <<Before:Middle/binary, Byte, After/binary>> = Archive,
    file:write_file(File, <<Before/binary, (Byte bxor 255), After/binary>>).

%% @doc The index becomes one that a stranger signed.
forge(Registry, Name) ->
    bcg_hex_registry:write_index(Registry, Name, bcg_hex_registry:new_key()).

%% @doc The archives that were asked for, with how often.
tarballs(Registry) ->
    Paths = [Path || <<"/tarballs/", Path/binary>> <- bcg_hex_registry:requests(Registry)],
    lists:foldl(fun(Path, Seen) -> maps:update_with(Path, fun(N) -> N + 1 end, 1, Seen) end, #{}, Paths).

%% @doc A rebar3 package as its author publishes it: the configuration names dependencies, plugins for
%% the author alone and options; the code includes a header of each dependency.
erlang(App, Version, Needs) ->
    erlang(App, Version, Needs, []).

erlang(App, Version, Needs, Extra) ->
    Deps = lists:join(", ", [["{", Name, ", \"", range(Range), "\"}"] || {Name, Range} <- Needs]),
    Config = ["{erl_opts, [debug_info, warnings_as_errors]}.\n{deps, [", Deps, "]}.\n"
              "{project_plugins, [rebar3_hex, rebar3_ex_doc]}.\n"],
    Names = [Name || {Name, _} <- Needs],
    Files = merge(bct_app:rebar3(App, Version, [
        {"rebar.config", Config},
        {"src/" ++ App ++ ".app.src", app_file(App, Version, Names)},
        {"src/" ++ App ++ "_needs.erl", needs(App, Names)}
    ]), Extra),
    package(App, Version, Needs, <<"rebar3">>, Files).

%% @doc A rebar3 plugin whose provider `generate', of the namespace with its name, gives the application
%% that is built a module APP_PLUGIN. Its `version/0' answers the version of the plugin and what the
%% plugin hears from others.
plugin(Name, Version, Needs, Extra) ->
    plugin(Name, Version, Needs, [N || {N, _} <- Needs], Extra).

plugin(Name, Version, Needs, Asked, Extra) ->
    Versions = lists:join(", ", [[Module, ":version()"] || Module <- Asked]),
    Code = ["-module(", Name, ").\n-export([init/1, do/1, format_error/1]).\n"
        "init(State) ->\n"
        "    {ok, rebar_state:add_provider(State, providers:create([{name, generate}, {namespace, ", Name, "},\n"
        "        {module, ?MODULE}, {bare, true}, {deps, []}, {example, \"\"}, {short_desc, \"\"},\n"
        "        {desc, \"\"}, {opts, []}]))}.\n"
        "do(State) ->\n"
        "    App = rebar_state:current_app(State),\n"
        "    Module = unicode:characters_to_list([rebar_app_info:name(App), \"_", Name, "\"]),\n"
        "    File = filename:join([rebar_app_info:dir(App), \"src\", Module ++ \".erl\"]),\n"
        "    By = {\"", Version, "\", [", Versions, "]},\n"
        "    Text = io_lib:format(\"-module(~s).~n-export([version/0]).~nversion() -> ~p.~n\", [Module, By]),\n"
        "    ok = file:write_file(File, Text),\n    {ok, State}.\n"
        "format_error(Error) -> io_lib:format(\"~p\", [Error]).\n"],
    erlang(Name, Version, Needs, [{"src/" ++ Name ++ ".erl", Code} | Extra]).

%% @doc A mix package; `needs/0' of its module answers the versions of what it needs.
elixir(App, Version, Needs) ->
    Module = [string:titlecase(Part) || Part <- string:split(App, "_", all)],
    Deps = lists:join(", ", [["{:", Name, ", \"", range(Range), "\"}"] || {Name, Range} <- Needs]
                            ++ ["{:bch_docs, \"~> 9.0\", only: :dev}"]),
    Versions = lists:join(", ", [[Name, ": :application.get_key(:", Name, ", :vsn)"] || {Name, _} <- Needs]),
    Files = bct_app:mix(App, Version, [
        {"mix.exs", [
            "defmodule ", Module, ".MixProject do\n  use Mix.Project\n  def project, do: [app: :", App,
            ", version: \"", Version, "\", elixir: \"~> 1.12\", deps: [", Deps, "]]\n"
            "  def application, do: [extra_applications: [:logger]]\nend\n"]},
        {"lib/needs.ex", ["defmodule ", Module, ".Needs do\n  def needs, do: [", Versions, "]\nend\n"]}
    ]),
    package(App, Version, Needs, <<"mix">>, Files).

package(App, Version, Needs, Tool, Files) ->
    #{name => list_to_binary(App), version => list_to_binary(Version), build_tools => [Tool],
      requirements => maps:from_list([{list_to_binary(Name), Range} || {Name, Range} <- Needs]),
      files => Files}.

range(#{<<"requirement">> := Range}) -> Range;
range(Range) -> Range.

app_file(App, Version, Needs) ->
    All = lists:join(", ", ["kernel", "stdlib" | Needs]),
    string:replace(bct_app:app_file(App, Version), "[kernel, stdlib]", ["[", All, "]"]).

%% Compiles only where the headers of what it needs are found.
needs(App, Names) ->
    Includes = [["-include_lib(\"", N, "/include/", N, ".hrl\").\n-undef(APP).\n"] || N <- Names],
    Versions = lists:join(", ", [["{", N, ", ", N, ":version()}"] || N <- Names]),
    ["-module(", App, "_needs).\n-export([versions/0]).\n", Includes,
     "versions() -> [", Versions, "].\n"].

merge(Files, Extra) ->
    Extra ++ [File || {Path, _} = File <- Files, not lists:keymember(Path, 1, Extra)].
