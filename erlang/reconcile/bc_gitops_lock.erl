%%% @doc Keeps two nodes from using one directory: a file in it that names its holder by the
%%% operating system's process number and that process's start time.
%%%
%%% A holder that no longer runs holds nothing. A lock is of one machine: a shared disk under two
%%% machines is not what it can tell.
-module(bc_gitops_lock).

-export([acquire/1, release/1]).

-export_type([holder/0]).

-type holder() :: #{os_pid := pos_integer(), started := binary(), node := node()}.

-define(FILE_NAME, "bc_gitops.lock").
%% Each round either ends or has seen another node take the lock: more than a few mean a fight.
-define(ROUNDS, 5).

%% @doc Takes the lock of a directory that exists. This VM may take it again.
-spec acquire(Dir :: binary()) ->
    ok | {error, {locked, #{path := binary(), holder := holder()}} | {lock_failed, map()}}.
acquire(Dir) ->
    File = filename:join(Dir, ?FILE_NAME),
    Mine = mine(),
    Own = unicode:characters_to_binary([File, ".", integer_to_list(maps:get(os_pid, Mine))]),
    case file:write_file(Own, io_lib:format("~0tp.~n", [Mine])) of
        ok ->
            Result = take(File, Own, Mine, ?ROUNDS),
            _ = file:delete(Own),
            Result;
        {error, Reason} ->
            failed(File, Reason)
    end.

%% @doc Gives the lock back when it is this VM's.
-spec release(Dir :: binary()) -> ok.
release(Dir) ->
    File = filename:join(Dir, ?FILE_NAME),
    Mine = mine(),
    case read(File) of
        {ok, Mine} -> _ = file:delete(File), ok;
        _ -> ok
    end.

take(File, _Own, _Mine, 0) ->
    failed(File, contended);
take(File, Own, Mine, Rounds) ->
    case file:make_link(Own, File) of
        ok ->
            ok;
        {error, eexist} ->
            case read(File) of
                {ok, Mine} -> ok;
                {ok, Holder} -> judge(File, Own, Mine, Holder, Rounds);
                {error, enoent} -> take(File, Own, Mine, Rounds - 1);
                {error, _Unreadable} -> replace(File, Own, Mine, unreadable, Rounds)
            end;
        {error, Reason} ->
            failed(File, Reason)
    end.

judge(File, Own, Mine, Holder, Rounds) ->
    case is_running(Holder) of
        true -> {error, {locked, #{path => filename:dirname(File), holder => Holder}}};
        false -> replace(File, Own, Mine, Holder, Rounds)
    end.

%% Two nodes may find the same dead holder. Only one of them moves its file aside; a node that moved
%% a living holder's file puts it back.
replace(File, Own, Mine, Dead, Rounds) ->
    Aside = <<Own/binary, ".stale">>,
    case file:rename(File, Aside) of
        ok ->
            case {read(Aside), Dead} of
                {{ok, Dead}, _} -> ok;
                {{error, _}, unreadable} -> ok;
                _ -> put_back(Aside, File)
            end,
            _ = file:delete(Aside),
            take(File, Own, Mine, Rounds - 1);
        {error, enoent} ->
            take(File, Own, Mine, Rounds - 1);
        {error, Reason} ->
            failed(File, Reason)
    end.

put_back(Aside, File) ->
    _ = file:make_link(Aside, File),
    ok.

is_running(#{os_pid := OsPid, started := Started}) ->
    bc_gitops_node:start_time(OsPid) =:= {ok, Started}.

mine() ->
    OsPid = bc_gitops_node:os_pid(),
    {ok, Started} = bc_gitops_node:start_time(OsPid),
    #{os_pid => OsPid, started => Started, node => node()}.

read(File) ->
    case file:consult(File) of
        {ok, [#{os_pid := OsPid, started := Started, node := _} = Holder]}
            when is_integer(OsPid), is_binary(Started) ->
            {ok, Holder};
        {ok, _} ->
            {error, unreadable};
        {error, enoent} ->
            {error, enoent};
        {error, _} ->
            {error, unreadable}
    end.

failed(File, Reason) ->
    {error, {lock_failed, #{path => filename:dirname(File), reason => Reason}}}.
