%%% @doc What a build left, gathered into one tree `lib/APP/{ebin,priv,include,consolidated}': the
%%% application that was asked for, what it needs, and the other dependencies; not the other
%%% applications of the same repository.
-module(bc_gitops_build_output).

-export([collect/3]).

-define(PARTS, ["ebin", "priv", "include", "consolidated"]).

%% @doc Copies into Out/lib and answers the applications there, dependencies first.
-spec collect(Tool :: module(), bc_gitops_build_tool:context(), Out :: file:filename()) ->
    {ok, [bc_gitops_build_app:app()]} | {error, {atom(), map()}}.
collect(Tool, #{app := App, dir := Dir} = Context, Out) ->
    Found = found(Tool:output(Context)),
    case check_names(App, maps:keys(Found), Tool:name()) of
        ok -> collect(App, maps:to_list(Found), Dir, Out, members(Tool, Context));
        {error, _} = Error -> Error
    end.

%% A directory may be there twice (a checkout in place of a dependency): the last one counts.
found(Dirs) ->
    maps:from_list([{Name, Dir} || Dir <- Dirs, Name <- bc_gitops_build_app:app_names(Dir)]).

members(Tool, Context) ->
    [filename:basename(Member) || Member <- Tool:members(Context)].

check_names(App, Names, Tool) ->
    Bad = [Name || Name <- Names, not bc_gitops_build_app:is_name(Name)],
    case {Bad, lists:member(atom_to_list(App), Names)} of
        {[], true} -> ok;
        {[], false} -> {error, {app_not_built, #{app => App, tool => Tool, found => binaries(Names)}}};
        {_, _} -> {error, {bad_name, #{names => binaries(Bad)}}}
    end.

binaries(Names) -> [unicode:characters_to_binary(Name) || Name <- lists:sort(Names)].

collect(App, Found, Root, Out, Members) ->
    case copy_all(Found, Root, Out, bc_gitops_tree:new_budget()) of
        ok -> read_all(App, [Name || {Name, _} <- Found], Out, Members);
        {error, _} = Error -> Error
    end.

copy_all([], _Root, _Out, _Budget) ->
    ok;
copy_all([{Name, From} | Rest], Root, Out, Budget) ->
    To = filename:join([Out, "lib", Name]),
    case copy_parts(?PARTS, From, To, Root, Budget) of
        {ok, Left} -> copy_all(Rest, Root, Out, Left);
        {error, {Kind, Details}} ->
            {error, {Kind, Details#{app => unicode:characters_to_binary(Name)}}}
    end.

copy_parts([], _From, _To, _Root, Budget) ->
    {ok, Budget};
copy_parts([Part | Rest], From, To, Root, Budget) ->
    Source = filename:join(From, Part),
    case file:read_link_info(Source) of
        {error, enoent} ->
            copy_parts(Rest, From, To, Root, Budget);
        _ ->
            case copy_part(Source, filename:join(To, Part), Root, Budget) of
                {ok, Left} -> copy_parts(Rest, From, To, Root, Left);
                {error, _} = Error -> Error
            end
    end.

copy_part(Source, Target, Root, Budget) ->
    case filelib:ensure_dir(Target) of
        ok ->
            bc_gitops_tree:copy({Source, Target}, Root, Budget);
        {error, Reason} ->
            {error, {unwritable, #{path => unicode:characters_to_binary(Target), reason => Reason}}}
    end.

read_all(App, Names, Out, Members) ->
    Read = [bc_gitops_build_app:read(filename:join([Out, "lib", Name]), Name) || Name <- Names],
    case [Error || {error, _} = Error <- Read] of
        [] -> {ok, select(App, [Each || {ok, Each} <- Read], Members)};
        [Error | _] -> Error
    end.

%% Dependencies that no .app file names stay (parse transforms, plugins of a dependency).
select(App, Apps, Members) ->
    Needed = bc_gitops_build_app:closure([App], Apps),
    Wanted = fun(#{name := Name}) ->
        lists:member(Name, Needed) orelse not lists:member(atom_to_list(Name), Members)
    end,
    {Kept, Dropped} = lists:partition(Wanted, Apps),
    lists:foreach(fun(#{dir := Dir}) -> ok = bc_gitops_tree:remove(Dir) end, Dropped),
    bc_gitops_build_app:in_order(Kept).
