%%% @doc Appups: which entry is for two given builds, and what its instructions mean for a hot upgrade.
%%%
%%% Up is an entry of the appup of the new build, for the version that runs; where it has none, down is
%%% one of the appup of the build that runs, for the new version. Instructions between two calls of
%%% functions are one part, whose modules are loaded all at once: which of them come first (DepMods) and
%%% how code is purged says nothing more then, and no process is ever killed for it.
-module(bc_gitops_hot_appup).

-export([find/3, steps/1]).

-export_type([found/0]).

-type found() :: #{direction := up | down, instructions := [tuple() | atom()]}.
%% Atoms that an appup may bring, and how full the table of atoms may be for it.
-define(ATOMS, 1000).
-define(ATOM_LIMIT_PERCENT, 80).

-type build() :: #{path := binary(), version := binary(), _ => _}.

%% @doc The entry for exactly these builds of the application; what is wrong with an appup is a sentence.
-spec find(atom(), Old :: build(), New :: build()) -> none | {ok, found()} | {error, binary()}.
find(App, #{version := OldVersion} = Old, #{version := NewVersion} = New) ->
    case read(App, New) of
        {ok, #{version := NewVersion, up := Up}} ->
            case entry(OldVersion, Up) of
                none -> find_down(App, Old, NewVersion);
                {ok, Instructions} -> {ok, #{direction => up, instructions => Instructions}}
            end;
        {error, _} = Error ->
            Error;
        _NoneOrForAnother ->
            find_down(App, Old, NewVersion)
    end.

%% What runs may have a bad appup: that is no reason against a new build.
find_down(App, #{version := OldVersion} = Old, NewVersion) when OldVersion =/= NewVersion ->
    case read(App, Old) of
        {ok, #{version := OldVersion, down := Down}} ->
            case entry(NewVersion, Down) of
                none -> none;
                {ok, Instructions} -> {ok, #{direction => down, instructions => Instructions}}
            end;
        _ ->
            none
    end;
find_down(_App, _Old, _SameVersion) ->
    none.

read(App, #{path := Path}) ->
    File = filename:join([Path, <<"ebin">>, <<(atom_to_binary(App))/binary, ".appup">>]),
    case bc_gitops_native:appup_read(File, atom_room()) of
        {ok, Appup} -> {ok, Appup};
        {error, {not_found, _}} -> none;
        {error, {_Kind, #{message := Message}}} -> {error, Message}
    end.

atom_room() ->
    Limit = erlang:system_info(atom_limit) * ?ATOM_LIMIT_PERCENT div 100,
    max(0, min(?ATOMS, Limit - erlang:system_info(atom_count))).

entry(_Version, []) ->
    none;
entry(Version, [{Version, Instructions} | _]) ->
    {ok, Instructions};
entry(Version, [{{regex, Regex}, Instructions} | Rest]) ->
    case matches(Version, Regex) of
        true -> {ok, Instructions};
        false -> entry(Version, Rest)
    end;
entry(Version, [_ | Rest]) ->
    entry(Version, Rest).

%% As release_handler does: the expression has to match the whole.
matches(Version, Regex) ->
    try re:run(Version, Regex, [unicode, {capture, first, binary}]) of
        {match, [Version]} -> true;
        _ -> false
    catch
        error:badarg -> false
    end.

%% @doc The instructions as steps, in their order, or which of them is not for a hot upgrade.
-spec steps([tuple() | atom()]) -> {ok, [bc_gitops_hot_upgrade:step()]} | {error, binary()}.
steps(Instructions) ->
    steps(Instructions, []).

steps([], Steps) ->
    {ok, lists:reverse(Steps)};
steps([Instruction | Rest], Steps) ->
    case step(Instruction) of
        unknown ->
            {error, bc_gitops_words:text("the appup asks for ~ts, which is done by a restart", [name(Instruction)])};
        Step ->
            steps(Rest, [Step | Steps])
    end.

step({update, Module}) -> {update, Module, soft};
step({update, Module, supervisor}) -> {update, Module, supervisor};
step({update, Module, Mods}) when is_list(Mods) -> {update, Module, soft};
step({update, Module, Change}) -> {update, Module, Change};
step({update, Module, Change, Mods}) when is_list(Mods) -> {update, Module, Change};
step({update, Module, Change, _Pre, _Post, _Mods}) -> {update, Module, Change};
step({update, Module, _Timeout, Change, _Pre, _Post, _Mods}) -> {update, Module, Change};
step({update, Module, _Type, _Timeout, Change, _Pre, _Post, _Mods}) -> {update, Module, Change};
step({apply, Call}) -> {apply, Call};
step(Instruction) when is_tuple(Instruction) ->
    case lists:member(element(1, Instruction), [load_module, add_module, delete_module]) of
        true -> {element(1, Instruction), element(2, Instruction)};
        false -> unknown
    end;
step(_Word) ->
    unknown.

name(Instruction) when is_tuple(Instruction) -> bc_gitops_words:value(element(1, Instruction));
name(Word) -> bc_gitops_words:value(Word).
