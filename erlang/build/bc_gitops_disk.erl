%%% @doc Full disks. Whatever a build was doing when its disk ran full, its error says so, with the
%%% place and the space that was left: what failed for want of space passes when there is some.
-module(bc_gitops_disk).

-export([explained/2]).

%% With less than this nothing can be built, whatever a failing program says.
-define(FULL, 256 * 1024).
%% What programs, libraries and this VM say of a full disk or a used up quota.
-define(SAYS, "no space left on device|enospc|disk quota exceeded|edquot").

%% @doc The same result; an error that comes of a full disk is `disk_full'. To be asked before anything
%% is removed from Path, a directory on the disk in question.
-spec explained(Result, Path :: binary()) -> Result | {error, {disk_full, map()}}
    when Result :: {ok, term()} | {error, {atom(), map()}}.
explained({ok, _} = Ok, _Path) ->
    Ok;
explained({error, {disk_full, #{free := _}}} = Error, _Path) ->
    Error;
explained({error, {Kind, Details}} = Error, Path) ->
    Space = bc_gitops_native:disk_space(Path),
    case is_named(Kind, Details, Path) orelse (is_of_files(Kind) andalso is_full(Space)) of
        true ->
            Known = maps:with([app, phase, tool, command, output], Details),
            Message = unicode:characters_to_binary(sentence(Path, Space)),
            {error, {disk_full, Known#{path => Path, free => free(Space), failed => Kind,
                                       message => Message}}};
        false ->
            Error
    end.

is_named(disk_full, _Details, _Path) ->
    true;
is_named(_Kind, #{reason := Reason}, _Path) when Reason =:= enospc; Reason =:= edquot ->
    true;
is_named(Kind, Details, Path) ->
    Message = maps:get(message, Details, <<>>),
    (says(Message) andalso (is_of_files(Kind) orelse names(Path, Message)))
        orelse (is_of_programs(Kind) andalso says(maps:get(output, Details, <<>>))).

%% A full disk of the other side is not ours: a message of a transfer has to name our place.
names(Path, Message) ->
    Place = filename:join(lists:nthtail(max(0, length(filename:split(Path)) - 2), filename:split(Path))),
    binary:match(Message, Place) =/= nomatch.

is_of_files(Kind) ->
    is_of_programs(Kind) orelse lists:member(Kind, [io, unwritable, corrupt, cannot_run]).

is_of_programs(Kind) ->
    lists:member(Kind, [build_failed, deps_failed, tool_version, app_not_built, modules_missing,
                        invalid_app_file, invalid_beam]).

says(Text) when is_binary(Text) ->
    re:run(Text, ?SAYS, [caseless, {capture, none}]) =:= match;
says(_) ->
    false.

is_full({ok, #{free := Free, free_files := Files, total_files := Total}}) ->
    Free < ?FULL orelse (Total > 0 andalso Files =:= 0);
is_full({error, _}) ->
    false.

free({ok, #{free := Free}}) -> Free;
free({error, _}) -> unknown.

sentence(Path, {ok, #{free := Free, total := Total, free_files := Files, total_files := AllFiles}})
        when Free < ?FULL; AllFiles =:= 0; Files > 0 ->
    io_lib:format("the disk of ~ts is full: ~ts of ~ts are free; make room there, or give "
                  "workspace_path another disk", [Path, amount(Free), amount(Total)]);
sentence(Path, {ok, #{total_files := Total}}) ->
    io_lib:format("the disk of ~ts has room for no more files (it holds ~b); make room there, or give "
                  "workspace_path another disk", [Path, Total]);
sentence(Path, {error, _}) ->
    io_lib:format("the disk of ~ts is full; make room there, or give workspace_path another disk",
                  [Path]).

amount(Bytes) when Bytes < 10000 -> io_lib:format("~b bytes", [Bytes]);
amount(Bytes) when Bytes < 10000000 -> io_lib:format("~b kB", [Bytes div 1000]);
amount(Bytes) -> io_lib:format("~b MB", [Bytes div 1000000]).
