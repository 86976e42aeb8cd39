%%% @doc Removes builds that nobody uses. In use is what somebody keeps (see bc_gitops_store_pins),
%%% what stands on the code path of this VM, and what another build in use needs (Elixir's own
%%% libraries).
-module(bc_gitops_workspace_cleaner).

-include_lib("kernel/include/logger.hrl").

-export([forget/1, forget_build/1, delete_unused/1, stored/2]).

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

%% @doc Deletes the unused builds of an application, or of all; what is no build goes as well.
-spec delete_unused(atom() | all) -> ok | {error, {unwritable, map()}}.
delete_unused(Name) ->
    Root = bc_gitops_workspace_server:root(),
    Keys = case Name of
        all -> bc_gitops_store:keys(Root);
        _ -> bc_gitops_store:keys(Root, Name)
    end,
    delete(Root, Keys -- used(Root)).

%% @doc After a build was stored: of its application the newest stay, and the whole store stays within
%% its limit, as far as it is not in use. This build is in use in a moment.
-spec stored(atom(), Key :: binary()) -> ok.
stored(Name, Key) ->
    Root = bc_gitops_workspace_server:root(),
    reported(delete(Root, without(outnumbered(Root, Name, Key), fun() -> used(Root) end))),
    Needed = fun() -> [Key | prepared()] ++ needs(Root, [Key | prepared()]) ++ used(Root) end,
    reported(delete(Root, over_limit(Root, Needed))).

%% Who uses what is asked for only when something would have to go.
without([], _Used) -> [];
without(Keys, Used) -> Keys -- Used().

outnumbered(Root, Name, Newest) ->
    Keys = bc_gitops_store:keys(Root, Name) -- [Newest],
    case length(Keys) + 1 - bc_gitops_build_config:builds_kept() of
        Many when Many > 0 -> lists:sublist(oldest_first(Root, Keys), Many);
        _ -> []
    end.

oldest_first(Root, Keys) ->
    [Key || {_, Key} <- lists:sort([{bc_gitops_store:touched(Root, Key), Key} || Key <- Keys])].

%% What of the unused has to go, oldest first, until the rest fits. What another build needs goes after
%% that one.
over_limit(Root, Used) ->
    Sizes = [{Key, size(Root, Key)} || Key <- bc_gitops_store:keys(Root)],
    Total = lists:sum([Size || {_, Size} <- Sizes]),
    case bc_gitops_build_config:store_size() of
        Limit when Total > Limit -> % every number is less than the atom infinity
            Keys = [Key || {Key, _} <- Sizes],
            Unused = oldest_first(Root, (Keys -- Used()) -- needs(Root, Keys)),
            take(Unused, maps:from_list(Sizes), Total - Limit);
        _ ->
            []
    end.

take([Key | Rest], Sizes, Excess) when Excess > 0 ->
    [Key | take(Rest, Sizes, Excess - maps:get(Key, Sizes))];
take(_Unused, _Sizes, _Excess) ->
    [].

size(Root, Key) ->
    {Size, _Needs} = known(Root, Key),
    Size.

needs(Root, Keys) ->
    [Need || Key <- Keys, Need <- element(2, known(Root, Key))].

%% A build never changes: this is read once.
known(Root, Key) ->
    Table = bc_gitops_workspace_server:table(),
    Row = known_row(Root, Key),
    case ets:lookup(Table, Row) of
        [{_, Known}] ->
            Known;
        [] ->
            Known = bc_gitops_store:known(Root, Key),
            true = ets:insert(Table, {Row, Known}),
            Known
    end.

known_row(Root, Key) -> {known, bc_gitops_store:path(Root, Key)}.

%% What was prepared last under a name is about to be used, or handed out by its path.
prepared() ->
    [Key || [Key] <- ets:match(bc_gitops_workspace_server:table(), {{latest, '_'}, #{key => '$1'}})].

used(Root) ->
    Kept = ets:match(bc_gitops_workspace_server:table(), {{kept, '_'}, '$1', '_'}),
    Said = lists:append(lists:append(Kept)) ++ bc_gitops_store_pins:kept(Root),
    Used = lists:usort(Said ++ on_code_path(Root)),
    lists:usort(needs(Root, Used) ++ Used).

on_code_path(Root) ->
    Store = filename:split(bc_gitops_store:path(Root, <<>>)),
    Dirs = [filename:split(unicode:characters_to_binary(Dir)) || Dir <- code:get_path()],
    [hd(lists:nthtail(length(Store), Dir))
     || Dir <- Dirs, lists:prefix(Store, Dir), length(Dir) > length(Store)].

delete(Root, Keys) ->
    Trash = bc_gitops_workspace_server:trash(),
    Delete = fun(Key, ok) ->
            forget_build(Key),
            true = ets:delete(bc_gitops_workspace_server:table(), known_row(Root, Key)),
            bc_gitops_store:delete(Root, Key, Trash);
        (_Key, Error) ->
            Error
    end,
    lists:foldl(Delete, ok, Keys).

reported(ok) ->
    ok;
reported({error, Reason}) ->
    ?LOG_WARNING("an old build cannot be removed: ~ts", [bc_gitops_build_error:format_error(Reason)],
                 #{application => bc_gitops}).
