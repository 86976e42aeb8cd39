%%% @doc Trees of files: copied with their links resolved, written to disk for good, removed.
-module(bc_gitops_tree).

-export([copy/3, new_budget/0, read/2, real_path/1, is_below/2]).
-export([sync_directory/1, write_atomically/2, remove/1]).

-export_type([budget/0]).

-include_lib("kernel/include/file.hrl").

-opaque budget() :: {Files :: non_neg_integer(), Bytes :: non_neg_integer()}.

-define(MAX_FILES, 50000).
-define(MAX_BYTES, 4 * 1024 * 1024 * 1024).
-define(MAX_DEPTH, 64).
%% The largest file that is read as a whole to learn something of a tree.
-define(MAX_READ, 8 * 1024 * 1024).
%% As many as a path lookup of the system follows.
-define(MAX_LINKS, 40).

%% @doc What one build may put into the store.
-spec new_budget() -> budget().
new_budget() -> {?MAX_FILES, ?MAX_BYTES}.

%% @doc Copies a file or a directory, given that it (behind all links) lies below Root. A link
%% inside becomes what it points to; a link out of Root and a device are errors. Answers what is
%% left of the budget.
-spec copy({From :: file:filename_all(), To :: file:filename_all()}, Root :: file:filename_all(),
           budget()) -> {ok, budget()} | {error, {atom(), map()}}.
copy({From, To}, Root, Budget) ->
    {ok, RealRoot} = real_path(Root),
    %% a link may stand anywhere on the way to it
    try {ok, copy_link(From, To, RealRoot, ?MAX_DEPTH, Budget)}
    catch throw:{refused, Kind, Details} -> {error, {Kind, Details}}
    end.

copy(From, _To, _Root, 0, _Budget) ->
    refuse(too_deep, From, #{});
copy(From, To, Root, Depth, Budget) ->
    case file:read_link_info(From) of
        {ok, #file_info{type = symlink}} -> copy_link(From, To, Root, Depth, Budget);
        {ok, #file_info{type = directory}} -> copy_directory(From, To, Root, Depth, Budget);
        {ok, #file_info{type = regular} = Info} -> copy_file(From, To, Info, Budget);
        {ok, #file_info{type = Type}} -> refuse(special_file, From, #{type => Type});
        {error, Reason} -> refuse(unreadable, From, #{reason => Reason})
    end.

copy_link(From, To, Root, Depth, Budget) ->
    case real_path(From) of
        {ok, Real} ->
            case is_below(Real, Root) of
                true -> copy(Real, To, Root, Depth - 1, Budget);
                false -> refuse(link_outside, From, #{target => to_binary(Real)})
            end;
        {error, enoent} ->
            Budget; % a link to nothing brings nothing
        {error, Reason} ->
            refuse(unreadable, From, #{reason => Reason})
    end.

copy_directory(From, To, Root, Depth, Budget) ->
    ok = made(filelib:ensure_path(To), To),
    case file:list_dir_all(From) of
        {ok, Names} ->
            Each = fun(Name, Left) ->
                copy(filename:join(From, Name), filename:join(To, Name), Root, Depth - 1, Left)
            end,
            lists:foldl(Each, Budget, lists:sort(Names));
        {error, Reason} ->
            refuse(unreadable, From, #{reason => Reason})
    end.

copy_file(From, To, #file_info{size = Size, mode = Mode}, {Files, Bytes}) ->
    Files > 0 orelse refuse(too_many_files, From, #{limit => ?MAX_FILES}),
    Bytes >= Size orelse refuse(too_large, From, #{limit => ?MAX_BYTES}),
    case file:copy(From, To) of
        {ok, Copied} when Copied =< Bytes ->
            ok = made(file:change_mode(To, 8#600 bor (Mode band 8#755)), To),
            {Files - 1, Bytes - Copied};
        {ok, _grew} -> refuse(too_large, From, #{limit => ?MAX_BYTES});
        {error, Reason} -> refuse(unwritable, To, #{reason => Reason})
    end.

made(ok, _) -> ok;
made({error, Reason}, Path) -> refuse(unwritable, Path, #{reason => Reason}).

-spec refuse(atom(), file:filename_all(), map()) -> no_return().
refuse(Kind, Path, Details) ->
    throw({refused, Kind, Details#{path => to_binary(Path)}}).

%% @doc Sees to it that the names in a directory are on the disk.
-spec sync_directory(file:filename_all()) -> ok | {error, {unwritable, map()}}.
sync_directory(Path) ->
    sync(Path, [read, raw, directory]).

sync(Path, Modes) ->
    case file:open(Path, Modes) of
        {ok, File} ->
            Synced = file:sync(File),
            ok = file:close(File),
            synced(Synced, Path);
        {error, _} = Error ->
            synced(Error, Path)
    end.

synced(ok, _) -> ok;
synced({error, Reason}, Path) ->
    {error, {unwritable, #{path => to_binary(Path), reason => Reason}}}.

%% @doc Writes a file whole: whoever looks sees the old content or the new one.
-spec write_atomically(file:filename_all(), iodata()) -> ok | {error, {unwritable, map()}}.
write_atomically(Path, Content) ->
    New = unicode:characters_to_list([Path, ".new"]),
    Steps = [
        fun() -> file:write_file(New, Content) end,
        fun() -> file:change_mode(New, 8#600) end,
        fun() -> sync(New, [read, raw]) end,
        fun() -> file:rename(New, Path) end,
        fun() -> sync_directory(filename:dirname(Path)) end
    ],
    lists:foldl(fun(Step, ok) -> as_unwritable(Step(), Path); (_, Error) -> Error end, ok, Steps).

as_unwritable({error, Reason}, Path) when is_atom(Reason) -> synced({error, Reason}, Path);
as_unwritable(Result, _Path) -> Result.

%% @doc A small file of a tree that strangers wrote, or their build. Behind a link out of it may be what
%% has no end, or never begins: a device, a log of the kernel.
-spec read(Root :: file:filename_all(), Name :: file:filename_all()) -> {ok, binary()} | none.
read(Root, Name) ->
    case {real_path(Root), real_path(filename:join(Root, Name))} of
        {{ok, Real}, {ok, File}} ->
            case is_below(File, Real) andalso file:read_file_info(File) of
                {ok, #file_info{type = regular, size = Size}} when Size =< ?MAX_READ -> read_ok(file:read_file(File));
                _ -> none
            end;
        _ ->
            none
    end.

read_ok({ok, _} = Ok) -> Ok;
read_ok({error, _}) -> none.

%% @doc The path with every link on the way resolved.
-spec real_path(file:filename_all()) -> {ok, file:filename()} | {error, file:posix()}.
real_path(Path) ->
    real_path(filename:split(filename:absname(to_list(Path))), "/", ?MAX_LINKS).

real_path([], Real, _Links) ->
    {ok, Real};
real_path(["/" | Rest], _Real, Links) ->
    real_path(Rest, "/", Links);
real_path(["." | Rest], Real, Links) ->
    real_path(Rest, Real, Links);
real_path([".." | Rest], Real, Links) ->
    real_path(Rest, filename:dirname(Real), Links);
real_path([Name | Rest], Real, Links) ->
    Next = filename:join(Real, Name),
    case file:read_link_all(Next) of
        {ok, _} when Links =:= 0 -> {error, eloop};
        {ok, Target} -> real_path(filename:split(to_list(Target)) ++ Rest, Real, Links - 1);
        {error, einval} -> real_path(Rest, Next, Links);
        {error, Reason} -> {error, Reason}
    end.

%% @doc Whether a path without links and dots is the directory or lies in it.
-spec is_below(file:filename_all(), file:filename_all()) -> boolean().
is_below(Path, Dir) ->
    lists:prefix(filename:split(to_list(Dir)), filename:split(to_list(Path))).

%% @doc Removes a tree, links as links. It need not exist.
-spec remove(file:filename_all()) -> ok | {error, {unwritable, map()}}.
remove(Path) ->
    case file:read_link_info(Path) of
        {error, enoent} -> ok;
        {ok, #file_info{type = directory}} -> removed(remove_directory(Path), Path);
        {ok, _} -> removed(file:delete(Path), Path);
        {error, Reason} -> removed({error, Reason}, Path)
    end.

%% A build may leave directories that cannot be written or read, and the store makes such: then the
%% ones above are said not to be empty.
remove_directory(Path) ->
    case file:del_dir_r(Path) of
        {error, Reason} when Reason =:= eacces; Reason =:= eexist; Reason =:= enotempty ->
            open_up(Path),
            file:del_dir_r(Path);
        Result ->
            Result
    end.

open_up(Path) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = directory}} ->
            _ = file:change_mode(Path, 8#700),
            open_up_each(Path, file:list_dir_all(Path));
        _ ->
            ok
    end.

open_up_each(Path, {ok, Names}) ->
    lists:foreach(fun(Name) -> open_up(filename:join(Path, Name)) end, Names);
open_up_each(_Path, {error, _}) ->
    ok.

removed(ok, _) -> ok;
removed({error, enoent}, _) -> ok;
removed({error, Reason}, Path) -> synced({error, Reason}, Path).

to_list(Path) when is_binary(Path) ->
    case unicode:characters_to_list(Path) of
        List when is_list(List) -> List;
        _ -> binary_to_list(Path)
    end;
to_list(Path) -> Path.

to_binary(Path) when is_binary(Path) -> Path;
to_binary(Path) -> unicode:characters_to_binary(Path).
