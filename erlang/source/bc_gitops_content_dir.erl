%%% @doc A directory as a store: each content is a file that is named by its content id. What other
%%% nodes may read of it goes through here as well.
-module(bc_gitops_content_dir).
-behaviour(bc_gitops_content_store).

-export([get/2, name/1, find/2]).

-import(bc_gitops_words, [text/2]).

-include_lib("kernel/include/file.hrl").

-spec get({dir, binary()}, bc_gitops_content_store:asked()) ->
    {ok, binary()} | not_found | {error, {atom(), map()}}.
get({dir, Dir}, #{mcid := Mcid}) ->
    case find(Dir, Mcid) of
        {ok, Path, _Size} -> {ok, Path};
        Other -> Other
    end.

-spec name({dir, binary()}) -> binary().
name({dir, Dir}) -> Dir.

%% @doc The file of a content id, which is well formed. A directory that is not there at all is told
%% from one that does not have it: it may come back.
-spec find(Dir :: binary(), Mcid :: binary()) ->
    {ok, Path :: binary(), Size :: non_neg_integer()} | not_found | {error, {atom(), map()}}.
find(Dir, Mcid) ->
    Path = filename:join(Dir, Mcid),
    case file:read_file_info(Path) of
        {ok, #file_info{type = regular, size = Size}} -> {ok, Path, Size};
        {ok, #file_info{type = Type}} -> unreadable(Path, io_lib:format("it is a ~s", [Type]));
        {error, enoent} ->
            case filelib:is_dir(Dir) of
                true -> not_found;
                false -> unreadable(Dir, "there is no such directory")
            end;
        {error, Reason} -> unreadable(Path, file:format_error(Reason))
    end.

unreadable(Path, Why) ->
    {error, {unreadable, #{path => Path, message => text("~ts cannot be read: ~ts", [Path, Why])}}}.
