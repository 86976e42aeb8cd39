%%% @doc Removes builds that nobody uses. In use is what the runtime said so of, what stands on the
%%% code path of this VM, and what another build in use needs (Elixir's own libraries).
-module(bc_gitops_workspace_cleaner).

-export([forget/1, forget_build/1, delete_unused/1, prune/2]).

%% @doc Forgets what was prepared under a name, or under all with `_'.
-spec forget(atom()) -> ok.
forget(Name) ->
    ok = bc_gitops_workspace_server:ensure(),
    Table = bc_gitops_workspace_server:table(),
    true = ets:match_delete(Table, {{prepared, Name, '_'}, '_'}),
    true = ets:match_delete(Table, {{latest, Name}, '_'}),
    ok.

%% @doc Sees to it that no one is handed a build that is gone or damaged.
-spec forget_build(Key :: binary()) -> ok.
forget_build(Key) ->
    Table = bc_gitops_workspace_server:table(),
    lists:foreach(fun
        ({Row, #{key := K}}) when K =:= Key -> true = ets:delete(Table, Row);
        (_) -> ok
    end, ets:tab2list(Table)).

%% @doc Deletes the unused builds that Choose chooses.
-spec delete_unused(fun((bc_gitops_store:build()) -> boolean())) ->
    ok | {error, {unwritable, map()}}.
delete_unused(Choose) ->
    Root = bc_gitops_workspace_server:root(),
    Builds = builds(Root, bc_gitops_store:keys(Root)),
    Used = used(Builds),
    Needed = [Key || #{key := K, needs := Needs} <- Builds, lists:member(K, Used), Key <- Needs],
    delete(Root, [Key || #{key := Key} = Build <- Builds, Choose(Build),
                         not lists:member(Key, Used), not lists:member(Key, Needed)]).

%% @doc Keeps the newest builds of an application, the one with this key, and those in use.
-spec prune(atom(), Key :: binary()) -> ok.
prune(Name, Newest) ->
    Root = bc_gitops_workspace_server:root(),
    Builds = builds(Root, bc_gitops_store:keys(Root, Name)),
    Aged = lists:sort([{bc_gitops_store:touched(Root, Key), Key} || #{key := Key} <- Builds, Key =/= Newest]),
    Old = lists:sublist(Aged, max(0, length(Aged) + 1 - bc_gitops_build_config:builds_kept())),
    case delete(Root, [Key || {_, Key} <- Old] -- used(Builds)) of
        ok ->
            ok;
        {error, {unwritable, Details}} ->
            logger:warning("bc_gitops: an old build of ~s cannot be removed: ~ts",
                           [Name, bc_gitops_build_error:format_error({unwritable, Details})])
    end.

builds(Root, Keys) ->
    [Build || Key <- Keys, {ok, Build} <- [bc_gitops_store:lookup(Root, Key)]].

used(Builds) ->
    Table = bc_gitops_workspace_server:table(),
    Said = [Key || [Key] <- ets:match(Table, {{in_use, '$1', '_'}})],
    Paths = [unicode:characters_to_binary(filename:dirname(Dir)) || Dir <- code:get_path()],
    [Key || #{key := Key, libs := Libs} <- Builds,
            lists:member(Key, Said)
                orelse lists:any(fun(#{path := Path}) -> lists:member(Path, Paths) end, Libs)].

delete(Root, Keys) ->
    Delete = fun(Key, ok) ->
            forget_build(Key),
            bc_gitops_store:delete(Root, Key, filename:join(Root, <<"scratch">>));
        (_Key, Error) ->
            Error
    end,
    lists:foldl(Delete, ok, Keys).
