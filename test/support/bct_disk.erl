%%% @doc Fills disks.
-module(bct_disk).
-export([fill/2]).

%% @doc Writes a file of so many bytes, or as many as there is room for.
fill(File, Bytes) ->
    {ok, Fd} = file:open(File, [write, raw, binary]),
    write(Fd, max(0, Bytes)),
    ok = file:close(Fd).

write(_Fd, 0) ->
    ok;
write(Fd, Left) ->
    Size = min(Left, 4096),
    case file:write(Fd, binary:copy(<<0>>, Size)) of
        ok -> write(Fd, Left - Size);
        {error, enospc} -> ok
    end.
