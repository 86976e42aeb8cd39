%%% @doc Small real projects of each build tool, as files for `bct_repo:commit/2'.
-module(bct_app).
-export([rebar3/2, rebar3/3, mix/2, mix/3, erlang_mk/2, erlang_mk/3, app_file/2, server/2]).

%% @doc A rebar3 application with a gen_server that answers its version.
rebar3(App, Version) ->
    rebar3(App, Version, []).

%% @doc Extra files replace those of the same path.
rebar3(App, Version, Extra) ->
    merge([
        {"rebar.config", "{erl_opts, [debug_info]}.\n{deps, []}.\n"},
        {"rebar.lock", "[].\n"},
        {"src/" ++ App ++ ".app.src", app_file(App, Version)},
        {"src/" ++ App ++ ".erl", server(App, Version)},
        {"src/" ++ App ++ "_app.erl", callback(App)},
        {"priv/greeting.txt", "hello"},
        {"include/" ++ App ++ ".hrl", "-define(APP, " ++ App ++ ").\n"}
    ], Extra).

%% @doc A mix application with a protocol.
mix(App, Version) ->
    mix(App, Version, []).

mix(App, Version, Extra) ->
    Module = camel(App),
    merge([
        {"mix.exs", [
            "defmodule ", Module, ".MixProject do\n  use Mix.Project\n"
            "  def project, do: [app: :", App, ", version: \"", Version, "\", elixir: \"~> 1.12\", deps: []]\n"
            "  def application, do: [extra_applications: [:logger]]\nend\n"
        ]},
        {"lib/" ++ App ++ ".ex", [
            "defprotocol ", Module, ".Shape do\n  def area(shape)\nend\n"
            "defmodule ", Module, ".Square do\n  defstruct [:side]\n"
            "  defimpl ", Module, ".Shape do\n    def area(square), do: square.side * square.side\n  end\nend\n"
            "defmodule ", Module, " do\n  def version, do: \"", Version, "\"\n"
            "  def area(side), do: ", Module, ".Shape.area(%", Module, ".Square{side: side})\nend\n"
        ]},
        {"priv/greeting.txt", "hello"}
    ], Extra).

%% @doc An erlang.mk application. Its erlang.mk is a small stand-in with the real one's targets.
erlang_mk(App, Version) ->
    erlang_mk(App, Version, "true").

%% @doc Before it compiles, the build runs a line of shell.
erlang_mk(App, Version, Script) ->
    [
        {"Makefile", ["PROJECT = ", App, "\nPROJECT_VERSION = ", Version, "\ninclude erlang.mk\n"]},
        {"erlang.mk", [
            "app::\n\t", string:replace(Script, "$", "$$", all), "\n\tmkdir -p ebin\n\terlc +debug_info -o ebin src/*.erl\n"
            "\tsed 's/{modules, \\[\\]}/{modules, ['$$(ls src/*.erl | xargs -n1 basename -s .erl | paste -sd,)']}/' "
            "src/$(PROJECT).app.src > ebin/$(PROJECT).app\n"
        ]},
        {"src/" ++ App ++ ".app.src", app_file(App, Version)},
        {"src/" ++ App ++ ".erl", server(App, Version)},
        {"src/" ++ App ++ "_app.erl", callback(App)}
    ].

%% @doc The source of the application resource file.
app_file(App, Version) ->
    io_lib:format(
        "{application, ~s, [{description, \"test\"}, {vsn, \"~s\"}, {registered, [~s]}, {modules, []},\n"
        "  {mod, {~s_app, []}}, {applications, [kernel, stdlib]}, {env, [{colour, red}]}]}.\n",
        [App, Version, App, App]).

callback(App) ->
    io_lib:format(
        "-module(~s_app).\n-behaviour(application).\n-behaviour(supervisor).\n"
        "-export([start/2, stop/1, init/1]).\n"
        "start(_, _) -> supervisor:start_link(?MODULE, []).\nstop(_) -> ok.\n"
        "init([]) -> {ok, {#{}, [#{id => ~s, start => {~s, start_link, []}}]}}.\n", [App, App, App]).

%% @doc The source of the gen_server.
server(App, Version) ->
    io_lib:format(
        "-module(~s).\n-behaviour(gen_server).\n-export([start_link/0, version/0, init/1, handle_call/3, handle_cast/2]).\n"
        "start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).\n"
        "version() -> \"~s\".\ninit([]) -> {ok, 0}.\n"
        "handle_call(version, _, S) -> {reply, version(), S + 1}.\nhandle_cast(_, S) -> {noreply, S}.\n",
        [App, Version]).

camel(App) ->
    [string:titlecase(Part) || Part <- string:split(App, "_", all)].

merge(Files, Extra) ->
    Extra ++ [File || {Path, _} = File <- Files, not lists:keymember(Path, 1, Extra)].
