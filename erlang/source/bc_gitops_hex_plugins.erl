%%% @doc The rebar3 plugins that Hex packages are built with: where rebar3 finds them without a registry.
%%%
%%% They are a project of their own beside the packages, in `_plugins', and are built before these. So
%%% none of them is a library of the application, and both sides may need two versions of one thing.
%%% rebar3 takes what it finds by `project_plugin_dirs' for installed, and asks nobody for it; that is
%%% also how it is told to go on without a plugin: an empty application stands in its place. Without
%%% one it would try to fetch each plugin that a package names for its author alone.
-module(bc_gitops_hex_plugins).

-import(bc_gitops_words, [text/2]).

-export([project/1, is_there/1, files/3, left_out/2, absent/1]).

-export_type([named/0]).

%% A plugin as the rebar.config of a package has it; `called' where a hook of its build is, or may be, one
%% of the plugin.
-type named() :: #{app := binary(), source := hex | elsewhere, called := boolean()}.

-define(PROJECT, "_plugins").
%% Stand-ins: of plugins that a build calls and nobody could fetch, and of all others.
-define(ABSENT, "absent").
-define(UNUSED, "unused").

%% @doc The directory of the plugins' project in the work tree.
-spec project(Dir :: file:filename_all()) -> file:filename_all().
project(Dir) ->
    filename:join(Dir, ?PROJECT).

%% @doc Whether plugins are to be built before the packages.
-spec is_there(Dir :: file:filename_all()) -> boolean().
is_there(Dir) ->
    filelib:is_regular(filename:join(project(Dir), "rebar.config")).

%% @doc The configuration of both projects, and the stand-ins, by their paths in the work tree. App is
%% the application that all packages are for.
-spec files(App :: binary(), Packages, Plugins) -> [{file:filename(), binary()}] when
    Packages :: [bc_gitops_hex_tree:package()], Plugins :: [bc_gitops_hex_tree:package()].
files(App, Packages, Plugins) ->
    StandIns = [{Kind, Name} || {Kind, Name, _} <- stand_ins(Packages, Plugins)],
    Called = [Name || {_, #{app := Name, called := true}} <- named(Packages)],
    Main = [terms(deps, [App]), plugins([Name || Name <- apps(Plugins), lists:member(Name, Called)]),
            dirs(?PROJECT ++ "/", ["_build/default/checkouts" || Plugins =/= []], StandIns)],
    Project = [terms(deps, apps(Plugins)), dirs("", [], StandIns)],
    [{"rebar.config", text("~ts", [Main])}]
        ++ [{filename:join(?PROJECT, "rebar.config"), text("~ts", [Project])} || Plugins =/= []]
        ++ [{filename:join([?PROJECT, Kind, Name, "ebin", <<Name/binary, ".app">>]), empty(Name)}
            || {Kind, Name} <- lists:usort(StandIns)].

terms(Key, Names) ->
    text("{~s, [~ts]}.~n", [Key, lists:join(", ", [["'", Name, "'"] || Name <- Names])]).

%% All in one place: rebar3 asks plugins that it has installed for somebody else no more for what they
%% provide.
plugins([]) -> [];
plugins(Names) -> terms(plugins, Names).

dirs(Prefix, Built, StandIns) ->
    case Built ++ lists:usort([Kind || {Kind, _} <- StandIns]) of
        [] -> [];
        Dirs -> text("{project_plugin_dirs, [~ts]}.~n",
                     [lists:join(", ", [["\"", Prefix, Dir, "/*\""] || Dir <- Dirs])])
    end.

empty(Name) ->
    text("{application, '~ts', [{description, \"left out\"}, {vsn, \"0\"}, {modules, []}, {registered, []},~n"
         "    {applications, [kernel, stdlib]}, {env, [{providers, []}]}]}.~n", [Name]).

%% @doc A line for each plugin that a build may call and that is not there, and one for all others.
-spec left_out([bc_gitops_hex_tree:package()], [bc_gitops_hex_tree:package()]) -> [binary()].
left_out(Packages, Plugins) ->
    StandIns = stand_ins(Packages, Plugins),
    Unused = lists:usort([Name || {?UNUSED, Name, _} <- StandIns]),
    lists:usort([absent(Name, Why) || {?ABSENT, Name, Why} <- StandIns])
        ++ [text("rebar3 plugins that no build here calls are left out: ~ts", [lists:join(", ", Unused)])
            || Unused =/= []].

absent(Name, {Package, elsewhere}) ->
    text("the rebar3 plugin ~ts of ~ts is left out: it does not come from Hex", [Name, Package]);
absent(Name, {Package, hex}) ->
    text("the rebar3 plugin ~ts of ~ts is left out: no registry has it in a version that fits", [Name, Package]).

%% @doc The plugins that a build in Dir may call and that are not there.
-spec absent(Dir :: file:filename()) -> [file:filename()].
absent(Dir) ->
    lists:sort(filelib:wildcard("*", filename:join(project(Dir), ?ABSENT))).

%% What is named and was not fetched. A package of the same name is found as it is.
stand_ins(Packages, Plugins) ->
    There = apps(Packages) ++ apps(Plugins),
    Named = [Each || {_, #{app := App}} = Each <- named(Packages ++ Plugins), not lists:member(App, There)],
    Called = [App || {_, #{app := App, called := true}} <- Named],
    Kind = fun(App) ->
        case lists:member(App, Called) of
            true -> ?ABSENT;
            false -> ?UNUSED
        end
    end,
    [{Kind(App), App, {Package, Source}} || {Package, #{app := App, source := Source}} <- Named].

apps(Packages) ->
    [App || #{app := App} <- Packages].

named(Packages) ->
    [{Package, Plugin} || #{name := Package, plugins := Plugins} <- Packages, Plugin <- Plugins].
