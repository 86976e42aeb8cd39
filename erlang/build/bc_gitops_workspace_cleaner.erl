%%% @doc Removes builds that nobody uses. In use is what the runtime said so of, what stands on the
%%% code path of this VM, and what another build in use needs (Elixir's own libraries).
-module(bc_gitops_workspace_cleaner).

-export([forget/1, delete_unused/1, prune/1]).

-include_lib("kernel/include/file.hrl").

%% @doc Forgets what was prepared under a name, or under all with `_'.
-spec forget(atom()) -> ok.
forget(Name) ->
    ok = bc_gitops_workspace_server:ensure(),
    Table = bc_gitops_workspace_server:table(),
    true = ets:match_delete(Table, {{prepared, Name, '_'}, '_'}),
    true = ets:match_delete(Table, {{latest, Name}, '_'}),
    ok.

%% @doc Deletes the unused builds that Choose chooses.
-spec delete_unused(fun((bc_gitops_store:build()) -> boolean())) -> ok | {error, {unwritable, map()}}.
delete_unused(Choose) ->
    Root = bc_gitops_workspace_server:root(),
    Builds = builds(Root),
    Used = used(Builds),
    delete(Root, [Key || #{key := Key} = Build <- Builds, not lists:member(Key, Used), Choose(Build)]).

%% @doc Keeps the newest builds of an application, and those in use.
-spec prune(atom()) -> ok.
prune(Name) ->
    Root = bc_gitops_workspace_server:root(),
    Mine = [{age(Root, Key), Key} || #{key := Key, app := App} <- builds(Root), App =:= Name],
    Kept = lists:sublist(lists:reverse(lists:sort(Mine)), bc_gitops_build_config:builds_kept()),
    Old = [Key || {_, Key} <- Mine -- Kept],
    case Old =/= [] andalso delete_unused(fun(#{key := Key}) -> lists:member(Key, Old) end) of
        {error, {unwritable, Details}} ->
            logger:warning("bc_gitops: an old build of ~s cannot be removed: ~p", [Name, Details]);
        _ ->
            ok
    end.

builds(Root) ->
    [Build || Key <- bc_gitops_store:keys(Root), {ok, Build} <- [bc_gitops_store:lookup(Root, Key)]].

age(Root, Key) ->
    Manifest = filename:join(bc_gitops_store:path(Root, Key), "manifest"),
    case file:read_file_info(Manifest) of
        {ok, #file_info{mtime = Time}} -> Time;
        {error, _} -> {{1970, 1, 1}, {0, 0, 0}}
    end.

used(Builds) ->
    Table = bc_gitops_workspace_server:table(),
    Said = [Key || [Key] <- ets:match(Table, {{in_use, '$1', '_'}})],
    Paths = [unicode:characters_to_binary(filename:dirname(Dir)) || Dir <- code:get_path()],
    Direct = [Key || #{key := Key, libs := Libs} <- Builds,
                     lists:member(Key, Said)
                         orelse lists:any(fun(#{path := Path}) -> lists:member(Path, Paths) end, Libs)],
    Direct ++ [Needed || #{key := Key, needs := Needs} <- Builds, lists:member(Key, Direct), Needed <- Needs].

delete(Root, Keys) ->
    Delete = fun(Key, ok) ->
            forget_build(Key),
            bc_gitops_store:delete(Root, Key, filename:join(Root, <<"scratch">>));
        (_Key, Error) ->
            Error
    end,
    lists:foldl(Delete, ok, Keys).

%% No one shall be handed a build that is gone.
forget_build(Key) ->
    Table = bc_gitops_workspace_server:table(),
    lists:foreach(fun
        ({Row, #{key := K}}) when K =:= Key -> true = ets:delete(Table, Row);
        (_) -> ok
    end, ets:tab2list(Table)).
