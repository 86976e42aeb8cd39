%%% @doc Builds with mix, for production.
-module(bc_gitops_build_mix).
-behaviour(bc_gitops_build_tool).

-export([name/0, detect/1, programs/0, version/0, environment/1, steps/1, output/1, members/1]).

-spec name() -> mix.
name() -> mix.

-spec detect(file:filename()) -> boolean().
detect(Dir) ->
    filelib:is_regular(filename:join(Dir, "mix.exs")).

-spec programs() -> [{string(), string()}].
programs() -> [{"mix", "elixir"}, {"elixir", "elixir"}].

-spec version() -> {string(), [string()]}.
version() -> {"elixir", ["--version"]}.

%% Hex and rebar for mix live in the build's cache; where the node's user has Hex, it is used.
-spec environment(bc_gitops_build_tool:context()) -> [{string(), string()}].
environment(#{caches := Caches}) ->
    Rebar3 = case bc_gitops_command:find("rebar3") of
        {ok, Program} -> [{"MIX_REBAR3", Program}];
        {error, _} -> []
    end,
    Archives = [{"MIX_ARCHIVES", Dir} || Dir <- user_archives()],
    [{"MIX_ENV", "prod"}, {"MIX_HOME", filename:join(Caches, "mix")},
     {"HEX_HOME", filename:join(Caches, "hex")},
     {"REBAR_CACHE_DIR", filename:join(Caches, "rebar3")} | Rebar3 ++ Archives].

user_archives() ->
    Homes = [filename:join(Home, ".mix") || Home <- [os:getenv("HOME", "")], Home =/= ""],
    [filename:join(Dir, "archives")
     || Dir <- [os:getenv("MIX_HOME", "") | Homes], Dir =/= "",
        filelib:wildcard("archives/hex-*", Dir) =/= []].

-spec steps(bc_gitops_build_tool:context()) -> [bc_gitops_build_tool:step()].
steps(#{dir := Dir}) ->
    Hex = case user_archives() =:= [] andalso needs_hex(Dir) of
        true -> [#{phase => deps, program => "mix",
                   args => ["local.hex", "--force", "--if-missing"]}];
        false -> []
    end,
    Hex ++ [
        #{phase => deps, program => "mix", args => ["deps.get", "--only", "prod"]},
        #{phase => build, program => "mix", args => ["compile"]}
    ].

needs_hex(Dir) ->
    case file:read_file(filename:join(Dir, "mix.lock")) of
        {ok, Lock} -> binary:match(Lock, <<"{:hex,">>) =/= nomatch;
        {error, _} -> false
    end.

-spec output(bc_gitops_build_tool:context()) -> [file:filename()].
output(#{dir := Dir}) ->
    [filename:join(Dir, Lib) || Lib <- filelib:wildcard("_build/prod/lib/*", Dir)].

-spec members(bc_gitops_build_tool:context()) -> [file:filename()].
members(#{dir := Dir}) ->
    [filename:join(Dir, filename:dirname(File)) || File <- filelib:wildcard("apps/*/mix.exs", Dir)].
