%%% @doc Builds with rebar3. A project that is also one of mix is built with rebar3 when its sources
%%% are Erlang: that is what its package on Hex would be built with.
-module(bc_gitops_build_rebar3).
-behaviour(bc_gitops_build_tool).

-export([name/0, detect/1, programs/0, version/0, environment/1, steps/1, output/1, members/1]).
-export([failure/2]).

-define(NEEDS_SOMETHING, "\\{\\s*(deps|(project_)?plugins)\\s*,\\s*\\[\\s*[^\\s\\]]").

-spec name() -> rebar3.
name() -> rebar3.

-spec detect(file:filename()) -> boolean().
detect(Dir) ->
    Configured = any(Dir, ["rebar.config", "rebar.config.script"]),
    Erlang = any(Dir, ["src/*.app.src", "src/*.app.src.script", "apps/*/src/*.app.src",
                       "lib/*/src/*.app.src"]),
    Others = any(Dir, ["mix.exs", "erlang.mk"]),
    (Configured andalso (Erlang orelse not any(Dir, ["mix.exs"])))
        orelse (Erlang andalso not Others).

-spec programs() -> [{string(), string()}].
programs() -> [{"rebar3", "rebar3"}, {"escript", "erlang-nox"}].

-spec version() -> {string(), [string()]}.
version() -> {"rebar3", ["version"]}.

-spec environment(bc_gitops_build_tool:context()) -> [{string(), string()}].
environment(#{caches := Caches} = Context) ->
    [{"REBAR_CACHE_DIR", filename:join(Caches, "rebar3")}, {"REBAR_COLOR", "none"}
     | [{"REBAR_OFFLINE", "1"} || #{deps := here} <- [Context]]].

-spec steps(bc_gitops_build_tool:context()) -> [bc_gitops_build_tool:step()].
steps(#{deps := here, dir := Dir}) ->
    Compile = #{phase => build, program => "rebar3", args => ["compile"]},
    Plugins = filename:basename(bc_gitops_hex_plugins:project(Dir)),
    [Compile#{in => Plugins} || bc_gitops_hex_plugins:is_there(Dir)] ++ [Compile];
steps(#{dir := Dir}) ->
    Deps = [#{phase => deps, program => "rebar3", args => ["get-deps"]} || has_dependencies(Dir)],
    Deps ++ [#{phase => build, program => "rebar3", args => ["compile"]}].

%% Plugins are fetched by the first command that runs.
has_dependencies(Dir) ->
    is_mentioned(Dir, "rebar.config") orelse has_locked(Dir, "rebar.lock").

%% The lock file of a project without dependencies is "[].".
has_locked(Dir, File) ->
    case bc_gitops_tree:read(Dir, File) of
        {ok, Lock} -> re:run(Lock, "\\A\\s*\\[\\s*\\]\\s*\\.\\s*\\z") =:= nomatch;
        none -> false
    end.

is_mentioned(Dir, File) ->
    case bc_gitops_tree:read(Dir, File) of
        {ok, Text} -> re:run(Text, ?NEEDS_SOMETHING) =/= nomatch;
        none -> false
    end.

-spec output(bc_gitops_build_tool:context()) -> [file:filename()].
output(#{dir := Dir}) ->
    [filename:join(Dir, Lib) || Lib <- filelib:wildcard("_build/default/{lib,checkouts}/*", Dir)].

-spec members(bc_gitops_build_tool:context()) -> [file:filename()].
members(#{dir := Dir}) ->
    [filename:dirname(filename:dirname(File))
     || File <- filelib:wildcard("{apps,lib}/*/src/*.app.src", Dir)].

%% @doc A package may be built with a plugin that no registry has, and most plugins that packages name are
%% of use to their authors alone. rebar3 goes on without one until a hook calls it; then 3.19 says so, and
%% 3.24 crashes.
-spec failure(bc_gitops_build_tool:context(), binary()) ->
    {plugin_missing, binary()} | unknown.
failure(#{deps := here, app := App, dir := Dir}, Output) ->
    case called(Output, Dir) andalso missing(Output, Dir) of
        [_ | _] = Plugins ->
            Text = "~ts built with the rebar3 plugin ~ts, which is not to be had from the configured Hex "
                   "registries; take ~s from its git repository (source type git): then rebar3 itself "
                   "fetches what it needs, plugins included",
            Named = lists:join(" or ", Plugins),
            {plugin_missing, bc_gitops_words:text(Text, [users(App, Plugins, Dir), Named, App])};
        _ ->
            unknown
    end;
failure(_Context, _Output) ->
    unknown.

%% Whether a hook found nobody who does what it calls.
called(Output, Dir) ->
    re:run(Output, "Unable to run (pre|post) hooks for .* not found", [{capture, none}]) =:= match
        orelse lists:any(fun is_hook_crash/1, [Dir, bc_gitops_hex_plugins:project(Dir)]).

is_hook_crash(Dir) ->
    case bc_gitops_tree:read(Dir, "rebar3.crashdump") of
        {ok, Text} -> re:run(Text, "badrecord,\\s*not_found", [{capture, none}]) =:= match;
        none -> false
    end.

%% The plugin of the hook's namespace, or all that are not there: a namespace may have any name. What
%% rebar3 could not load by itself was named by a script.
missing(Output, Dir) ->
    Left = bc_gitops_hex_plugins:absent(Dir),
    case [Name || {match, [Name]} <- [run(Output, "in namespace '([^']+)' not found")], lists:member(Name, Left)] of
        [] -> Left ++ [Name || {match, [Name]} <- [run(Output, "Errors loading plugin (.+)\\. Run")]];
        Named -> Named
    end.

run(Output, Pattern) ->
    re:run(Output, Pattern, [{capture, all_but_first, list}]).

%% Whose configuration has the word in it.
users(App, Plugins, Dir) ->
    Pattern = ["\\b(", lists:join("|", [["\\Q", Plugin, "\\E"] || Plugin <- Plugins]), ")\\b"],
    Named = [filename:basename(filename:dirname(File))
             || Project <- [Dir, bc_gitops_hex_plugins:project(Dir)],
                File <- filelib:wildcard("_checkouts/*/rebar.config", Project),
                {ok, Text} <- [bc_gitops_tree:read(Project, File)], re:run(Text, Pattern) =/= nomatch],
    Name = atom_to_list(App),
    case {Named, Named -- [Name]} of
        {[], _} -> [Name, ", or a package that it needs, is"];
        {_, []} -> [Name, " is"];
        {_, Others} -> [lists:join(" and ", Others), ", needed by ", Name, ", ",
                        case Others of [_] -> "is"; _ -> "are" end]
    end.

any(Dir, Patterns) ->
    lists:any(fun(Pattern) -> filelib:wildcard(Pattern, Dir) =/= [] end, Patterns).
