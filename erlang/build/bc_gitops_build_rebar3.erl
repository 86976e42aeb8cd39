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

%% @doc A package may be built with a plugin that no registry has, or that does not compile, and most
%% plugins that packages name are of use to their authors alone. rebar3 goes on without one until a hook
%% calls it; then 3.19 says so, and 3.24 crashes.
-spec failure(bc_gitops_build_tool:context(), binary()) ->
    {plugin_missing | build_failed, binary()} | unknown.
failure(#{deps := here, app := App, dir := Dir}, Output) ->
    Plugins = case is_call_of_nobody(Output, Dir) of
        true -> suspects(Output, Dir);
        false -> []
    end,
    {Broken, Missing} = lists:partition(fun(Name) -> bc_gitops_hex_plugins:is_fetched(Name, Dir) end, Plugins),
    case {Missing, Broken} of
        {[], []} ->
            unknown;
        {[], _} ->
            Text = "~ts built with the rebar3 plugin ~ts, which could not be built itself; the build's log says why",
            {build_failed, said(Text, [users(App, Broken, Dir), any_of(Broken)])};
        {_, _} ->
            Text = "~ts built with the rebar3 plugin ~ts, which is not to be had from the configured Hex "
                   "registries; take ~s from its git repository (source type git): then rebar3 itself "
                   "fetches what it needs, plugins included",
            {plugin_missing, said(Text, [users(App, Missing, Dir), any_of(Missing), App])}
    end;
failure(_Context, _Output) ->
    unknown.

said(Format, Args) -> bc_gitops_words:text(Format, Args).

any_of(Names) -> lists:join(" or ", Names).

%% Whether a hook found no plugin that does what it calls.
is_call_of_nobody(Output, Dir) ->
    re:run(Output, "Unable to run (pre|post) hooks for .* not found", [{capture, none}]) =:= match
        orelse is_hook_crash(Dir).

is_hook_crash(Dir) ->
    case bc_gitops_tree:read(Dir, "rebar3.crashdump") of
        {ok, Text} -> re:run(Text, "badrecord,\\s*not_found", [{capture, none}]) =:= match;
        none -> false
    end.

%% The plugin of the hook's namespace, or all that are not there: a namespace may have any name. Those
%% that a script names are known from what rebar3 could not load.
suspects(Output, Dir) ->
    Absent = [Name || {Name, File} <- bc_gitops_hex_plugins:absent(Dir), bc_gitops_tree:read(Dir, File) =/= none],
    Gone = lists:usort(Absent ++ words(Output, "Errors loading plugin (.+)\\. Run")),
    case words(Output, "in namespace '([^']+)' not found") of
        [Name] -> case lists:member(Name, Gone) of true -> [Name]; false -> Gone end;
        _ -> Gone
    end.

words(Output, Pattern) ->
    case re:run(Output, Pattern, [global, {capture, all_but_first, list}]) of
        {match, Found} -> lists:append(Found);
        nomatch -> []
    end.

%% Whose configuration has the word in it.
users(App, Plugins, Dir) ->
    Pattern = ["\\b(", lists:join("|", [["\\Q", Plugin, "\\E"] || Plugin <- Plugins]), ")\\b"],
    Named = [filename:basename(filename:dirname(File))
             || Place <- [".", bc_gitops_hex_plugins:project(".")],
                File <- filelib:wildcard(filename:join(Place, "_checkouts/*/rebar.config"), Dir),
                {ok, Text} <- [bc_gitops_tree:read(Dir, File)], re:run(Text, Pattern) =/= nomatch],
    Name = atom_to_list(App),
    case {Named, Named -- [Name]} of
        {[], _} -> [Name, ", or a package that it needs, is"];
        {_, []} -> [Name, " is"];
        {_, Others} -> [lists:join(" and ", Others), ", needed by ", Name, ", ",
                        case Others of [_] -> "is"; _ -> "are" end]
    end.

any(Dir, Patterns) ->
    lists:any(fun(Pattern) -> filelib:wildcard(Pattern, Dir) =/= [] end, Patterns).
