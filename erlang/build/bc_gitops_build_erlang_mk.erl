%%% @doc Builds projects whose Makefile includes erlang.mk.
-module(bc_gitops_build_erlang_mk).
-behaviour(bc_gitops_build_tool).

-export([name/0, detect/1, programs/0, version/0, environment/1, steps/1, output/1, members/1]).

-spec name() -> erlang_mk.
name() -> erlang_mk.

-spec detect(file:filename()) -> boolean().
detect(Dir) ->
    lists:any(fun(Makefile) -> has(Dir, Makefile, "^-?s?include\\s.*erlang\\.mk") end,
              ["GNUmakefile", "makefile", "Makefile"]).

has(Dir, Makefile, Pattern) ->
    case bc_gitops_tree:read(Dir, Makefile) of
        {ok, Text} -> re:run(Text, Pattern, [multiline]) =/= nomatch;
        none -> false
    end.

-spec programs() -> [{string(), string()}].
programs() -> [{"make", "make"}, {"erl", "erlang-nox"}, {"erlc", "erlang-nox"}].

-spec version() -> {string(), [string()]}.
version() ->
    Print = "io:format(\"erlang.mk on OTP ~s Erts ~s~n\", [erlang:system_info(otp_release), "
            "erlang:system_info(version)]), halt().",
    {"erl", ["-noshell", "-boot", "no_dot_erlang", "-eval", Print]}.

-spec environment(bc_gitops_build_tool:context()) -> [{string(), string()}].
environment(#{caches := Caches}) ->
    [{"REBAR_CACHE_DIR", filename:join(Caches, "rebar3")}].

-spec steps(bc_gitops_build_tool:context()) -> [bc_gitops_build_tool:step()].
steps(#{deps := here}) ->
    [#{phase => build, program => "make", args => ["app"]}];
steps(#{dir := Dir}) ->
    Deps = [#{phase => deps, program => "make", args => ["deps"]} || has_dependencies(Dir)],
    Deps ++ [#{phase => build, program => "make", args => ["app"]}].

has_dependencies(Dir) ->
    has(Dir, "Makefile", "^\\s*DEPS\\s*[+:?]?=\\s*\\S").

-spec output(bc_gitops_build_tool:context()) -> [file:filename()].
output(#{dir := Dir}) ->
    [Dir | [filename:join(Dir, Lib) || Lib <- filelib:wildcard("{apps,deps}/*", Dir)]].

-spec members(bc_gitops_build_tool:context()) -> [file:filename()].
members(#{dir := Dir}) ->
    [filename:join(Dir, App) || App <- filelib:wildcard("apps/*", Dir)].
