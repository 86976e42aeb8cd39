%%% @doc Sees to it that nothing is loaded from a build whose files are not those that were stored.
%%%
%%% A build is read in full and compared with its list of files when it is first wanted in a VM;
%%% after that its files are only looked at, and read again when one was touched. All of this happens
%%% before anything is stopped for it. What other entries of the store are part of a build is
%%% compared with it.
-module(bc_gitops_store_check).

-include_lib("kernel/include/logger.hrl").

-export([check/2, is_whole/2]).

-type damaged() :: {error, {build_damaged, #{app := atom(), key := binary(), path := binary(),
                                             message := binary()}}}.

%% @doc Compares a build, and what it needs of others, with what was stored.
-spec check(Workspace :: file:filename_all(), bc_gitops_store:build()) -> ok | damaged().
check(Workspace, #{app := App, needs := Needs} = Build) ->
    case check_one(Workspace, Build) of
        ok -> check_needs(Workspace, App, Needs);
        {error, {Kind, Details}} -> damaged(App, Build, Kind, Details)
    end.

%% @doc The same as a question.
-spec is_whole(Workspace :: file:filename_all(), bc_gitops_store:build()) -> boolean().
is_whole(Workspace, Build) ->
    check(Workspace, Build) =:= ok.

check_needs(_Workspace, _App, []) ->
    ok;
check_needs(Workspace, App, [Key | Rest]) ->
    Checked = case bc_gitops_store:lookup(Workspace, Key) of
        {ok, Needed} -> check_one(Workspace, Needed);
        {error, not_found} ->
            {error, {not_found, #{path => bc_gitops_store:path(Workspace, Key),
                                  message => <<"it is missing, or its manifest is damaged">>}}}
    end,
    case Checked of
        ok -> check_needs(Workspace, App, Rest);
        {error, {Kind, Details}} -> damaged(App, #{key => Key}, Kind, Details)
    end.

damaged(App, #{key := Key}, Kind, Details) ->
    #{message := Message, path := Path} = Details,
    Text = io_lib:format("the build ~ts in the store is damaged: ~ts", [Key, Message]),
    {error, {build_damaged, #{app => App, key => Key, path => Path, reason => Kind,
                              message => unicode:characters_to_binary(Text)}}}.

check_one(Workspace, #{key := Key, files := Files}) ->
    Dir = bc_gitops_store:path(Workspace, Key),
    Row = {checked, Dir, Files},
    case {recall(Row), bc_gitops_native:store_stamp(Dir)} of
        {Stamp, {ok, Stamp}} ->
            ok;
        _ ->
            compare(Dir, Files, Row)
    end;
check_one(Workspace, #{key := Key} = Build) ->
    bc_gitops_workspace_server:with({source, {store, Key}}, fun() ->
        adopt(Workspace, Build, bc_gitops_store:lookup(Workspace, Key))
    end).

%% Few at a time: many builds are wanted at once after a start, and all others want the disk as well.
compare(Dir, Files, Row) ->
    bc_gitops_workspace_server:with(check, fun() ->
        case bc_gitops_native:store_check(Dir, Files) of
            {ok, Stamp} -> remember(Row, Stamp);
            {error, _} = Error -> Error
        end
    end).

recall(Row) ->
    case ets:lookup(bc_gitops_workspace_server:table(), Row) of
        [{_, Stamp}] -> Stamp;
        [] -> none
    end.

remember(Row, Stamp) ->
    true = ets:insert(bc_gitops_workspace_server:table(), {Row, Stamp}),
    ok.

%% A build of format 1 says of its beams alone what they were. When they still are, it is taken as it
%% stands and its files are listed, so that from now on all of them are compared.
adopt(Workspace, _Build, {ok, #{files := _} = Sealed}) ->
    check_one(Workspace, Sealed);
adopt(Workspace, #{key := Key} = Build, _AsItIs) ->
    case modules_fit(Build) of
        ok ->
            seal(Workspace, Key, bc_gitops_store:seal(Workspace, Build));
        {error, _} = Error ->
            Error
    end.

%% A disk that is full or cannot be written is no reason not to start what is there.
seal(_Workspace, _Key, {ok, _Sealed}) ->
    ok;
seal(_Workspace, Key, {error, {_, #{path := Path}}}) ->
    ?LOG_WARNING("the build ~ts stays as an older version of bc_gitops stored it: ~ts cannot be written",
                 [Key, Path], #{application => bc_gitops}).

modules_fit(#{libs := Libs}) ->
    Own = [Lib || Lib <- Libs, not fits(Lib)],
    case Own of
        [] -> ok;
        [#{path := Path} | _] ->
            {error, {changed, #{path => Path, message => <<Path/binary, " has other modules">>}}}
    end.

fits(#{path := Path, modules := Modules}) ->
    case bc_gitops_native:beam_scan([filename:join(Path, <<"ebin">>)]) of
        {ok, Beams} ->
            Found = maps:from_list([{Module, MD5} || {Module, _, MD5} <- Beams]),
            Found =:= maps:from_list([{atom_to_binary(M), H} || {M, H} <- maps:to_list(Modules)]);
        {error, _} ->
            false
    end.
