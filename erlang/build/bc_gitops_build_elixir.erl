%%% @doc Elixir's own libraries for applications that need them: copied into the store once for each
%%% installation, so that a release without Elixir can run what was built with it.
-module(bc_gitops_build_elixir).

-export([libs/3]).

-export_type([places/0]).

-type places() :: #{
    workspace := binary(),
    scratch := binary()
}.

-define(APPLICATIONS, [elixir, logger, eex, iex, mix, ex_unit]).
-define(PRINT_DIR, "IO.write(:code.lib_dir(:elixir))").

%% @doc Elixir's libraries among what the applications need and do not bring, dependencies first,
%% with the key of the store that holds them.
-spec libs([bc_gitops_build_app:app()], Toolchain :: binary(), places()) ->
    {ok, none | {Key :: binary(), [bc_gitops_build_app:lib()]}} | {error, {atom(), map()}}.
libs(Apps, Toolchain, Places) ->
    Brought = [Name || #{name := Name} <- Apps],
    Needed = lists:usort(lists:append([Needs || #{requires := Needs} <- Apps])),
    case [Name || Name <- Needed -- Brought, lists:member(Name, ?APPLICATIONS)] of
        [] -> {ok, none};
        Missing -> stored(Missing, Toolchain, Places)
    end.

stored(Missing, Toolchain, #{workspace := Workspace} = Places) ->
    Key = bc_gitops_store:key(elixir, <<"0000000000">>, Toolchain),
    Found = case whole(Workspace, bc_gitops_store:lookup(Workspace, Key)) of
        {ok, _} = Kept -> Kept;
        {error, not_found} -> store(Key, Toolchain, Places)
    end,
    case Found of
        {ok, #{libs := Libs}} -> {ok, {Key, wanted(Missing, Libs)}};
        {error, _} = Error -> Error
    end.

whole(Workspace, {ok, Build}) ->
    case bc_gitops_store_check:is_whole(Workspace, Build) of
        true -> {ok, Build};
        false -> {error, not_found}
    end;
whole(_Workspace, {error, not_found}) ->
    {error, not_found}.

%% All that is missing, and Elixir itself, which each of its applications needs.
wanted(Missing, Libs) ->
    [Lib || #{name := Name} = Lib <- Libs, Name =:= elixir orelse lists:member(Name, Missing)].

store(Key, Toolchain, #{workspace := Workspace, scratch := Scratch}) ->
    Tree = filename:join(Scratch, "elixir"),
    Env = bc_gitops_build_command:trusted_environment(Workspace),
    case bc_gitops_command:run(#{program => "elixir", args => ["-e", ?PRINT_DIR], env => Env}) of
        {ok, #{output := ElixirDir}} ->
            Root = filename:dirname(unicode:characters_to_list(ElixirDir)),
            publish(copy(Root, Tree), Key, Toolchain, Tree, Workspace);
        {error, _} = Error ->
            Error
    end.

copy(Root, Tree) ->
    Each = fun(App, {ok, Budget}) ->
            Target = filename:join([Tree, "lib", App, "ebin"]),
            ok = filelib:ensure_dir(Target),
            bc_gitops_tree:copy({filename:join([Root, App, "ebin"]), Target}, Root, Budget);
        (_App, Error) -> Error
    end,
    lists:foldl(Each, {ok, bc_gitops_tree:new_budget()}, ?APPLICATIONS).

publish({error, _} = Error, _Key, _Toolchain, _Tree, _Workspace) ->
    Error;
publish({ok, _}, Key, Toolchain, Tree, Workspace) ->
    Read = [bc_gitops_build_app:read(filename:join([Tree, "lib", App]), atom_to_list(App))
            || App <- ?APPLICATIONS],
    Apps = bc_gitops_build_app:in_order([App || {ok, App} <- Read]),
    Path = bc_gitops_store:path(Workspace, Key),
    case bc_gitops_build_app:libs(Apps, Tree, unicode:characters_to_list(Path)) of
        {ok, Libs} ->
            [#{version := Version, path := ElixirPath}] = [L || #{name := elixir} = L <- Libs],
            Build = #{key => Key, app => elixir, version => Version, revision => <<"installation">>,
                      tool => mix, toolchain => Toolchain,
                      otp => list_to_binary(erlang:system_info(otp_release)),
                      path => ElixirPath, libs => Libs, needs => []},
            bc_gitops_store:publish(Workspace, Tree, Key, Build);
        {error, _} = Error ->
            Error
    end.
