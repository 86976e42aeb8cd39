%%% @doc Builds with mix, for production.
-module(bc_gitops_build_mix).
-behaviour(bc_gitops_build_tool).

-export([name/0, detect/1, programs/0, version/0, environment/1, steps/1, output/1, members/1]).
-export([ready/2]).

-define(TIMEOUT, 60000).

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
environment(#{caches := Caches} = Context) ->
    Rebar3 = case bc_gitops_command:find("rebar3") of
        {ok, Program} -> [{"MIX_REBAR3", Program}];
        {error, _} -> []
    end,
    Archives = [{"MIX_ARCHIVES", Dir} || Dir <- user_archives()],
    [{"MIX_ENV", "prod"}, {"MIX_HOME", filename:join(Caches, "mix")},
     {"HEX_HOME", filename:join(Caches, "hex")},
     {"REBAR_CACHE_DIR", filename:join(Caches, "rebar3")} | Rebar3 ++ Archives ++ offline(Context)].

offline(#{deps := here}) -> [{"HEX_OFFLINE", "1"}, {"REBAR_OFFLINE", "1"}];
offline(_Context) -> [].

user_archives() ->
    Homes = [filename:join(Home, ".mix") || Home <- [os:getenv("HOME", "")], Home =/= ""],
    [filename:join(Dir, "archives")
     || Dir <- [os:getenv("MIX_HOME", "") | Homes], Dir =/= "",
        filelib:wildcard("archives/hex-*", Dir) =/= []].

-spec steps(bc_gitops_build_tool:context()) -> [bc_gitops_build_tool:step()].
steps(#{deps := here}) ->
    [#{phase => build, program => "mix", args => ["deps.loadpaths"]}];
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
    case bc_gitops_tree:read(Dir, "mix.lock") of
        {ok, Lock} -> binary:match(Lock, <<"{:hex,">>) =/= nomatch;
        none -> false
    end.

-spec output(bc_gitops_build_tool:context()) -> [file:filename()].
output(#{dir := Dir}) ->
    [filename:join(Dir, Lib) || Lib <- filelib:wildcard("_build/prod/lib/*", Dir)].

-spec members(bc_gitops_build_tool:context()) -> [file:filename()].
members(#{dir := Dir}) ->
    [filename:join(Dir, filename:dirname(File)) || File <- filelib:wildcard("apps/*/mix.exs", Dir)].

%% @doc Packages of Hex are compiled by mix with Hex for Mix, whoever fetched them.
-spec ready(bc_gitops_build_tool:context(), [{string(), file:filename_all()}]) ->
    ok | {error, {hex_for_mix_missing, map()}}.
ready(#{deps := here, app := App}, Environment) ->
    Command = #{program => "mix", args => ["hex"], env => Environment, timeout => ?TIMEOUT},
    case bc_gitops_command:run(Command) of
        {ok, _} ->
            ok;
        {error, {exit_status, _}} ->
            Message = io_lib:format(
                "~s is an Elixir package or needs one, and mix builds those with Hex for Mix, which is not "
                "installed; run `mix local.hex' as the user that runs this node, or on Debian 13 and later "
                "apt-get install erlang-hex", [App]),
            {error, {hex_for_mix_missing, #{app => App, message => iolist_to_binary(Message)}}};
        {error, _} = Error ->
            Error
    end;
ready(_Context, _Environment) ->
    ok.
