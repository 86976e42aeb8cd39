%%% @doc What it costs to know that a build in the store is what was stored: reading all of it before it
%%% is first loaded, and looking at it later.
-module(bench_store).

-export([run/0]).

-include_lib("kernel/include/file.hrl").

-define(SIZE, 30 * 1048576).

run() ->
    bct_dir:with("bench_store", fun(Dir) -> rows(filename:join(Dir, <<"build">>)) end).

rows(Dir) ->
    Files = fill(Dir, modules(), 0),
    {ok, #{files := Sealed}} = bc_gitops_native:store_seal(Dir),
    Build = io_lib:format("a build of ~b files and ~b MiB", [length(Files), ?SIZE div 1048576]),
    bench_rows:row(#{
        what => [Build, " compared with what was stored"],
        ours => fun() -> {ok, _} = bc_gitops_native:store_check(Dir, Sealed) end,
        theirs => {"sha256sum --check", summed(Dir, Files)}}),
    bench_rows:row(#{
        what => [Build, " looked at again"],
        ours => fun() -> {ok, _} = bc_gitops_native:store_stamp(Dir) end,
        theirs => {"file:read_file_info/1 of each", fun() -> looked_at(Dir, Files) end}}).

%% Real object files are not all of one size.
modules() ->
    filelib:wildcard(filename:join(code:lib_dir(), "*/ebin/*.beam")).

fill(_Dir, _From, Size) when Size >= ?SIZE ->
    [];
fill(Dir, [File | Rest], Size) ->
    Name = filename:join(["lib", "bench", "ebin", filename:basename(File)]),
    To = filename:join(Dir, Name),
    ok = filelib:ensure_dir(To),
    {ok, Bytes} = file:copy(File, To),
    [unicode:characters_to_list(Name) | fill(Dir, Rest, Size + Bytes)].

summed(Dir, Files) ->
    {ok, Sums} = bench_program:run("sha256sum", Files, Dir),
    List = <<Dir/binary, ".sums">>,
    ok = file:write_file(List, Sums),
    fun() -> {ok, _} = bench_program:run("sha256sum", ["--check", "--quiet", List], Dir) end.

looked_at(Dir, Files) ->
    [{ok, #file_info{}} = file:read_file_info(filename:join(Dir, File)) || File <- Files].
