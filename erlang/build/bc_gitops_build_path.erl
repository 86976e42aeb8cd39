%%% @doc Where the programs of builds are looked for: the node's PATH, without what is not for builds.
%%%
%%% The start scripts of a VM put its own directory in front. That of a release has an `erl' without
%%% compiler: tools are looked for behind it. Shims of asdf and mise ask files in the user's home which
%%% version they stand for, and builds have another home: the programs behind them take their place.
-module(bc_gitops_build_path).

-export([directories/0]).

-define(RESOLVED, {?MODULE, resolved}).
-define(TIMEOUT, 20000).
%% What builds call by name and such managers install.
-define(PROGRAMS, ["erl", "rebar3", "elixir", "mix", "cargo"]).
%% Where the managers find their own files, and which versions were chosen.
-define(VARIABLES, "^(ASDF|MISE|RTX|XDG)_").

%% @doc What commands get as PATH.
-spec directories() -> [file:filename()].
directories() ->
    Root = code:root_dir(),
    Given = string:lexemes(os:getenv("PATH", "/usr/local/bin:/usr/bin:/bin"), ":"),
    Directories = case is_installation(Root) of
        true -> Given;
        false -> [Dir || Dir <- Given, not lists:prefix(Root, Dir)]
    end,
    case lists:partition(fun is_shims/1, Directories) of
        {[], _} -> Directories;
        {_, Others} -> lists:append([in_place(Dir, Others) || Dir <- Directories])
    end.

is_installation(Root) ->
    Release = erlang:system_info(otp_release),
    filelib:is_regular(filename:join([Root, "releases", Release, "OTP_VERSION"])).

is_shims(Dir) ->
    filename:basename(Dir) =:= "shims"
        andalso filelib:is_dir(filename:join(filename:dirname(Dir), "installs")).

in_place(Dir, Others) ->
    case is_shims(Dir) of
        true -> resolved(Dir, Others);
        false -> [Dir]
    end.

%% Asked once for each PATH, and again when a version that was found is gone.
resolved(Shims, Others) ->
    Key = {?RESOLVED, Shims},
    case persistent_term:get(Key, none) of
        {Others, Dirs} ->
            case lists:all(fun filelib:is_dir/1, Dirs) of
                true -> Dirs;
                false -> resolve(Key, Shims, Others)
            end;
        _ ->
            resolve(Key, Shims, Others)
    end.

resolve(Key, Shims, Others) ->
    Found = [Dir || Program <- ?PROGRAMS, {ok, Dir} <- [behind(filename:join(Shims, Program), Others)]],
    Dirs = lists:usort(Found),
    persistent_term:put(Key, {Others, Dirs}),
    Dirs.

behind(Shim, Others) ->
    case filelib:is_regular(Shim) andalso manager(Shim, Others) of
        false -> none;
        Manager -> ask(Manager, filename:basename(Shim), Others)
    end.

%% A shim of mise is a link to it; one of asdf is a script that calls it.
manager(Shim, Others) ->
    Up = filename:dirname(filename:dirname(Shim)),
    case file:read_link(Shim) of
        {ok, Target} -> filename:absname(Target, filename:dirname(Shim));
        {error, _} -> os:find_executable("asdf", lists:append(lists:join(":", Others ++ [Up ++ "/bin"])))
    end.

%% Both know `which'. They stand outside of any project: what holds is what the user's home says.
ask(Manager, Program, Others) ->
    Home = os:getenv("HOME", "/"),
    Command = #{
        program => Manager, args => ["which", Program], cd => Home, timeout => ?TIMEOUT,
        env => [{"HOME", Home}, {"PATH", lists:append(lists:join(":", Others))} | variables()]
    },
    case bc_gitops_command:run(Command) of
        {ok, #{output := Output}} ->
            Path = unicode:characters_to_list(string:trim(Output)),
            case filelib:is_regular(Path) of
                true -> {ok, filename:dirname(Path)};
                false -> none
            end;
        {error, _} ->
            none
    end.

variables() ->
    Pairs = [list_to_tuple(string:split(Variable, "=")) || Variable <- os:getenv()],
    [Pair || {Name, _} = Pair <- Pairs, re:run(Name, ?VARIABLES, [{capture, none}]) =:= match].
