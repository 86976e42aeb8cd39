%%% @doc What it is like to depend on bc_gitops: a rebar3 and a mix project take this work tree as a
%%% git dependency, compile once, follow a repository with their own configuration, are released,
%%% and upgrade the dependency. A machine on which it cannot be built says what to install.
-module(consumer_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-export([all/0, groups/0, suite/0]).
-export([init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([starts_from_its_own_configuration/1, release_runs_what_is_in_the_store/1,
         upgrade_rebuilds_the_library/1]).
-export([missing_cargo/1, missing_c_compiler/1, missing_openssl_headers/1, missing_pkg_config/1,
         old_rust/1, broken_build_is_shown/1, missing_cargo_for_mix/1, nothing_to_do_touches_nothing/1]).

-define(BUILD_TOOLS, ["rebar3", "mix", "elixir", "elixirc", "iex", "erl", "erlc", "escript", "make",
                      "git", "gcc", "cc", "cargo", "rustc"]).

-define(RUNS, "^shop: till 1\\.0\\.0 running, error: :?undefined$").

suite() -> [{timetrap, {minutes, 20}}].

all() -> [{group, rebar3}, {group, mix}, {group, build}].

groups() ->
    Life = [starts_from_its_own_configuration, release_runs_what_is_in_the_store,
            upgrade_rebuilds_the_library],
    [
        {rebar3, [sequence], Life},
        {mix, [sequence], Life},
        {build, [], [missing_cargo, missing_c_compiler, missing_openssl_headers, missing_pkg_config,
                     old_rust, broken_build_is_shown, missing_cargo_for_mix, nothing_to_do_touches_nothing]}
    ].

init_per_suite(Config) ->
    Dir = bct_consumer:dir(),
    Library = bct_consumer:snapshot(filename:join(Dir, "bc_gitops.git")),
    NoTools = bct_consumer:path_without(filename:join(Dir, "no-tools"), ?BUILD_TOOLS),
    [{dir, Dir}, {library, Library}, {no_tools, NoTools} | Config].

end_per_suite(Config) ->
    bct_dir:remove(dir(Config)).

init_per_group(build, Config) ->
    Config;
init_per_group(Tool, Config) ->
    Dir = filename:join(dir(Config), atom_to_list(Tool)),
    Project = filename:join(Dir, "project"),
    ok = filelib:ensure_path(Project),
    bct_consumer:copy(atom_to_list(Tool), Project, [
        {<<"BC_GITOPS">>, url(library(Config))},
        {<<"REPO">>, url(filename:join(Dir, "gitops"))},
        {<<"DIR">>, filename:join(Dir, "data")}
    ]),
    GitOps = bct_repo:init(filename:join(Dir, "gitops")),
    _ = bct_repo:commit(GitOps, spec(Tool, Dir, "till")),
    [{tool, Tool}, {group_dir, Dir}, {project, Project}, {gitops, GitOps} | Config].

end_per_group(_Group, Config) ->
    Config.

%% Compiles the project once, nothing else prepared, and starts it as its own tool does.
starts_from_its_own_configuration(Config) ->
    compile(tool(Config), project(Config)),
    Shop = start(tool(Config), project(Config)),
    _ = bct_consumer:await(Shop, ["^shop: abi ", integer_to_list(abi()), "$"]),
    _ = bct_consumer:await(Shop, ?RUNS),
    stopped(Shop).

%% The release is unpacked elsewhere and finds neither build tools nor Erlang on its PATH.
release_runs_what_is_in_the_store(Config) ->
    Unpacked = filename:join(proplists:get_value(group_dir, Config), "release"),
    ok = filelib:ensure_path(Unpacked),
    {0, _} = bct_consumer:run(Unpacked, "tar", ["-xzf", release(tool(Config), project(Config))]),
    Shop = bct_consumer:start(Unpacked, foreground(tool(Config), Unpacked), [
        {"PATH", proplists:get_value(no_tools, Config)} | distribution(tool(Config))
    ]),
    _ = bct_consumer:await(Shop, ?RUNS),
    %% the till goes on, and what cannot be built says what it misses
    _ = bct_repo:commit(proplists:get_value(gitops, Config),
                        spec(tool(Config), proplists:get_value(group_dir, Config), "cart")),
    [Error] = bct_consumer:await(Shop, "^shop: cart 1\\.0\\.0 failed, error: (.*)$"),
    says(Error, ["tool_missing", atom_to_list(tool(Config))]),
    stopped(Shop),
    no_port_mapper(tool(Config), Unpacked).

%% A new commit of the dependency with another library: the project gets both sides of it.
upgrade_rebuilds_the_library(Config) ->
    [Old, New] = [integer_to_list(N) || N <- [abi(), abi() + 1]],
    Rust = {"const ABI: u32 = " ++ Old ++ ";", "const ABI: u32 = " ++ New ++ ";"},
    Erlang = {"-define\\(ABI, " ++ Old ++ "\\)", "-define(ABI, " ++ New ++ ")"},
    _ = bct_consumer:change(library(Config), "native/nif/src/lib.rs", Rust),
    _ = bct_consumer:change(library(Config), "erlang/bc_gitops_native.erl", Erlang),
    try
        upgrade(tool(Config), project(Config)),
        Shop = start(tool(Config), project(Config)),
        _ = bct_consumer:await(Shop, ["^shop: abi ", New, "$"]),
        _ = bct_consumer:await(Shop, ?RUNS),
        stopped(Shop)
    after
        _ = bct_repo:git(library(Config), ["revert", "--no-edit", "HEAD~2..HEAD"])
    end.

%% What both sides of the library say of their shapes.
abi() ->
    {ok, Text} = file:read_file(filename:join([bct_layout:root(), "erlang", "bc_gitops_native.erl"])),
    {match, [Number]} = re:run(Text, "-define\\(ABI, ([0-9]+)\\)", [{capture, all_but_first, list}]),
    list_to_integer(Number).

missing_cargo(Config) ->
    Said = refused(Config, ["cargo"], []),
    says(Said, ["cargo is missing", "https://rustup.rs"]).

missing_c_compiler(Config) ->
    Said = refused(Config, ["cc", "gcc"], []),
    says(Said, ["C compiler", "apt-get install gcc"]).

missing_openssl_headers(Config) ->
    Said = refused(Config, [], [{"pkg-config", "exit 1"}]),
    says(Said, ["headers of OpenSSL", "libssl-dev"]).

missing_pkg_config(Config) ->
    Said = refused(Config, ["pkg-config"], []),
    says(Said, ["pkg-config is missing", "apt-get install pkgconf"]).

old_rust(Config) ->
    Said = refused(Config, [], [{"rustc", "echo 'rustc 1.63.0 (abc 2022-08-08)'"}]),
    says(Said, ["Rust 1.91 or newer is needed, this is 1.63.0", "rustup update"]).

%% What cargo says of code that does not compile is not swallowed.
broken_build_is_shown(Config) ->
    Said = refused(Config, [], [{"cargo", "echo 'error: this is what cargo said' >&2; exit 101"}]),
    says(Said, ["error: this is what cargo said", "could not be built"]).

missing_cargo_for_mix(Config) ->
    Project = fresh_project(mix, Config),
    {0, _} = bct_consumer:run(Project, "mix", ["deps.get"]),
    Path = bct_consumer:path_without(filename:join(Project, "path"), ["cargo"]),
    {Status, Said} = bct_consumer:run(Project, "mix", ["compile"], [{"PATH", Path}]),
    ?assertNotEqual(0, Status),
    says(Said, ["cargo is missing", "https://rustup.rs"]).

%% The hook runs at every compile: it does not touch what is there.
nothing_to_do_touches_nothing(Config) ->
    Library = library(Config),
    {0, _} = bct_consumer:run(Library, "sh", ["native/build.sh"]),
    Files = [filename:join([Library, "priv", Name])
             || Name <- ["bc_gitops_nif.so", "bc_gitops_runner"]],
    Before = [written(File) || File <- Files],
    {0, <<>>} = bct_consumer:run(Library, "sh", ["native/build.sh"]),
    ?assertEqual(Before, [written(File) || File <- Files]).

%% A file that was written again has another inode, since build.sh renames into place.
written(File) ->
    {ok, #file_info{inode = Inode, mtime = Time, size = Size}} = file:read_file_info(File),
    {Inode, Time, Size}.

%% A project that was never compiled is compiled with these programs missing or replaced.
refused(Config, Missing, Scripts) ->
    Project = fresh_project(rebar3, Config),
    Path = bct_consumer:path_with(filename:join(Project, "path"), Missing, Scripts),
    {Status, Said} = bct_consumer:run(Project, "rebar3", ["compile"], [{"PATH", Path}]),
    ?assertNotEqual(0, Status),
    Said.

fresh_project(Tool, Config) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Project = filename:join([dir(Config), "fresh", Unique]),
    ok = filelib:ensure_path(Project),
    bct_consumer:copy(atom_to_list(Tool), Project, [{<<"BC_GITOPS">>, url(library(Config))}]),
    Project.

says(Said, Parts) ->
    ?assertEqual([], [Part || Part <- Parts, string:find(Said, Part) =:= nomatch], Said).

compile(rebar3, Project) ->
    succeeds(Project, "rebar3", ["compile"]);
compile(mix, Project) ->
    succeeds(Project, "mix", ["deps.get"]),
    succeeds(Project, "mix", ["compile"]).

upgrade(rebar3, Project) ->
    succeeds(Project, "rebar3", ["upgrade", "bc_gitops"]),
    succeeds(Project, "rebar3", ["compile"]);
upgrade(mix, Project) ->
    succeeds(Project, "mix", ["deps.update", "bc_gitops"]),
    succeeds(Project, "mix", ["compile"]).

start(rebar3, Project) ->
    Paths = filelib:wildcard(filename:join(Project, "_build/default/lib/*/ebin")),
    Start = "{ok, _} = application:ensure_all_started(shop)",
    Args = ["-noshell", "-config", "config/sys", "-pa"] ++ Paths ++ ["-eval", Start],
    bct_consumer:start(Project, ["erl" | Args], []);
start(mix, Project) ->
    bct_consumer:start(Project, ["mix", "run", "--no-halt"], []).

%% The archive of a release.
release(rebar3, Project) ->
    succeeds(Project, "rebar3", ["tar"]),
    filename:join(Project, "_build/default/rel/shop/shop-1.0.0.tar.gz");
release(mix, Project) ->
    succeeds(Project, "mix", ["release", "--quiet"], [{"MIX_ENV", "prod"}]),
    Archive = filename:join(Project, "shop.tar.gz"),
    succeeds(filename:join(Project, "_build/prod/rel/shop"), "tar", ["-czf", Archive, "."]),
    Archive.

%% A release is a distributed node unless told otherwise (mix), or anyway (rebar3): then with a port
%% mapper of its own, which is ended afterwards.
distribution(rebar3) ->
    put(port_mapper, {"ERL_EPMD_PORT", integer_to_list(bct_server:free_port())}),
    [get(port_mapper)];
distribution(mix) ->
    [{"RELEASE_DISTRIBUTION", "none"}].

no_port_mapper(rebar3, Unpacked) ->
    [Program] = filelib:wildcard(filename:join(Unpacked, "erts-*/bin/epmd")),
    {0, _} = bct_consumer:run(Unpacked, Program, ["-kill"], [erase(port_mapper)]);
no_port_mapper(mix, _Unpacked) ->
    ok.

foreground(rebar3, Dir) -> [filename:join(Dir, "bin/shop"), "foreground"];
foreground(mix, Dir) -> [filename:join(Dir, "bin/shop"), "start"].

succeeds(Dir, Command, Args) ->
    succeeds(Dir, Command, Args, []).

succeeds(Dir, Command, Args, Env) ->
    {Status, Said} = bct_consumer:run(Dir, Command, Args, Env),
    ?assertEqual(0, Status, unicode:characters_to_list(Said)).

stopped(Shop) ->
    {Status, Said} = bct_consumer:stop(Shop),
    ?assertEqual(0, Status, unicode:characters_to_list(Said)).

%% The specification of an application, and the repository that it comes from.
spec(Tool, Dir, App) ->
    Source = filename:join(Dir, App),
    _ = bct_repo:commit(bct_repo:init(Source), app(Tool, App)),
    ok = bct_repo:tag(Source, "v1.0.0"),
    Spec = io_lib:format(
        "name: ~s~nversion: \"1.0.0\"~nsource:~n  type: git~n  url: ~ts~n  ref: v1.0.0~n",
        [App, url(Source)]),
    [{"apps/" ++ App ++ "/app.yaml", unicode:characters_to_binary(Spec)}].

app(rebar3, App) -> bct_app:rebar3(App, "1.0.0");
app(mix, App) -> bct_app:mix(App, "1.0.0").

url(Dir) -> ["file://", Dir].

dir(Config) -> proplists:get_value(dir, Config).
library(Config) -> proplists:get_value(library, Config).
tool(Config) -> proplists:get_value(tool, Config).
project(Config) -> proplists:get_value(project, Config).
