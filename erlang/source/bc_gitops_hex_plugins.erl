%%% @doc The rebar3 plugins that Hex packages are built with: where rebar3 finds them without a registry.
%%%
%%% They are a project of their own beside the packages, in `_plugins', and are built before these. So
%%% none of them is a library of the application, and both sides may need two versions of one thing.
%%% rebar3 takes what it finds by `project_plugin_dirs' for installed, and asks nobody for it; that is
%%% also how it is told to go on without a plugin: an empty application stands in its place. Without
%%% one it would try to fetch each plugin that a package names for its author alone. As `src_dirs' of
%%% the packages' project has no such directory, only applications are found that have been built: one plugin that
%%% does not compile would else be tried again, and take all others with it.
-module(bc_gitops_hex_plugins).

-import(bc_gitops_words, [text/2]).

-export([project/1, is_there/1, is_fetched/2, files/3, left_out/2, absent/1]).

-export_type([named/0]).

%% A plugin as the rebar.config of a package has it, and whether a hook of its build is one of the plugin.
-type named() :: #{app := binary(), source := hex | elsewhere, called := yes | perhaps | no}.

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
    Called = called(Packages, Plugins),
    Main = [terms(deps, [App]), [[Called, "{src_dirs, [\"none\"]}.\n"] || Plugins =/= []],
            dirs(?PROJECT ++ "/", ["_build/default/checkouts" || Plugins =/= []], StandIns)],
    Project = [Called, dirs("", [], StandIns)],
    [{"rebar.config", text("~ts", [Main])}]
        ++ [{filename:join(?PROJECT, "rebar.config"), text("~ts", [Project])} || Plugins =/= []]
        ++ [{stand_in(Kind, Name), empty(Name)} || {Kind, Name} <- lists:usort(StandIns)].

stand_in(Kind, Name) ->
    unicode:characters_to_list([?PROJECT, "/", Kind, "/", Name, "/ebin/", Name, ".app"]).

terms(Key, Names) ->
    text("{~s, [~ts]}.~n", [Key, lists:join(", ", [["'", Name, "'"] || Name <- Names])]).

%% One that does not compile ends nothing by itself, but rebar3 3.24 loses some of those that it builds
%% after it: so those that are certainly called come first. All are named at the top of the project: rebar3
%% does not ask a plugin what it provides once it was installed for somebody else.
called(Packages, Plugins) ->
    Named = [Name || Called <- [yes, perhaps], {_, #{app := Name, called := C}} <- named(Packages), C =:= Called],
    There = apps(Plugins),
    terms(plugins, [Name || Name <- uniq(Named), lists:member(Name, There)]).

uniq([]) -> [];
uniq([Name | Rest]) -> [Name | uniq([Other || Other <- Rest, Other =/= Name])].

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

%% @doc Whether this plugin is there, built or not.
-spec is_fetched(file:filename(), Dir :: file:filename()) -> boolean().
is_fetched(Name, Dir) ->
    filelib:is_dir(filename:join([project(Dir), "_checkouts", Name])).

%% @doc The plugins that a build in Dir may call and that are not there, with what stands for them below Dir.
%% A build may have put others there.
-spec absent(Dir :: file:filename()) -> [{Name :: file:filename(), File :: file:filename()}].
absent(Dir) ->
    [{Name, stand_in(?ABSENT, Name)}
     || Name <- lists:sort(filelib:wildcard("*", filename:join(project(Dir), ?ABSENT)))].

%% What is named and was not fetched. A package of the same name is found as it is.
stand_ins(Packages, Plugins) ->
    There = apps(Packages) ++ apps(Plugins),
    Named = [Each || {_, #{app := App}} = Each <- named(Packages ++ Plugins), not lists:member(App, There)],
    Called = [App || {_, #{app := App, called := C}} <- Named, C =/= no],
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
