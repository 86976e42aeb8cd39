%%% @doc Object files, digests and identicons.
-module(bench_files).

-export([run/0]).

-define(MIB, 1048576).

run() ->
    beams(),
    identicons(),
    bct_dir:with("bench", fun digests/1).

%% What is compared is each module of OTP on disk.
beams() ->
    Dirs = [unicode:characters_to_binary(D)
            || D <- filelib:wildcard(filename:join(code:lib_dir(), "*/ebin"))],
    Files = [F || D <- Dirs, F <- filelib:wildcard(binary_to_list(D) ++ "/*.beam")],
    bench_rows:row(#{
        what => io_lib:format("MD5 of the code of OTP's ~b modules", [length(Files)]),
        ours => fun() -> {ok, [_ | _]} = bc_gitops_native:beam_scan(Dirs) end,
        theirs => {"beam_lib:md5", fun() -> [{ok, _} = beam_lib:md5(F) || F <- Files] end},
        aim => {times, 5}}),
    Loaded = maps:from_list([{atom_to_binary(M), M} || {M, P} <- code:all_loaded(), is_list(P)]),
    Paths = [unicode:characters_to_binary(code:which(M)) || M <- maps:values(Loaded)],
    bench_rows:row(#{
        what => io_lib:format("which of ~b loaded modules changed on disk", [maps:size(Loaded)]),
        ours => fun() ->
            {ok, Found} = bc_gitops_native:beam_scan(Paths),
            [] = [N || {N, _, Md5} <- Found, Md5 =/= (map_get(N, Loaded)):module_info(md5)]
        end,
        theirs => {"beam_lib:md5", fun() ->
            [] = [M || M <- maps:values(Loaded), changed(M, code:which(M))]
        end}}).

changed(Module, Path) ->
    {ok, {Module, Md5}} = beam_lib:md5(Path),
    Md5 =/= Module:module_info(md5).

identicons() ->
    bench_rows:row(#{
        what => "identicon", batch => 10000, aim => {ms, 0.005},
        ours => fun() -> bc_gitops_identicon:generate(demo_uptime) end}),
    bench_rows:row(#{
        what => "identicon as a data URI", batch => 10000, aim => {ms, 0.005},
        ours => fun() -> bc_gitops_identicon:to_data_uri(demo_uptime) end}).

digests(Dir) ->
    [digest(Dir, Size, Algorithm) || Size <- [1, 64, 512], Algorithm <- [sha256, blake3]],
    ok.

digest(Dir, Size, Algorithm) ->
    File = filename:join(Dir, integer_to_binary(Size)),
    filelib:is_file(File) orelse fill(File, Size),
    What = io_lib:format("~s of ~b MiB", [label(Algorithm), Size]),
    Ours = fun() -> {ok, _} = bc_gitops_native:digest_file(Algorithm, File) end,
    _ = [bench_rows:row(Row#{what => What, ours => Ours}) || Row <- against(Algorithm, File, Size)],
    Size =:= 512 andalso memory(What, Ours).

label(sha256) -> "SHA-256";
label(blake3) -> "BLAKE3".

against(sha256, File, Size) ->
    Openssl = fun() -> {ok, _} = bench_program:run("openssl", ["dgst", "-sha256", File], ".") end,
    Aim = if Size =:= 512 -> {times, 0.9}; true -> none end,
    [#{theirs => {"openssl dgst -sha256", Openssl}, aim => Aim},
     #{theirs => {"crypto:hash_update of 64 KiB", fun() -> streamed(sha256, File) end}}];
against(blake3, File, _Size) ->
    [#{theirs => {"crypto:hash_update, BLAKE2b", fun() -> streamed(blake2b, File) end}}].

streamed(Algorithm, File) ->
    {ok, Device} = file:open(File, [read, raw, binary]),
    Digest = streamed_from(Device, crypto:hash_init(Algorithm)),
    ok = file:close(Device),
    Digest.

streamed_from(Device, State) ->
    case file:read(Device, 65536) of
        {ok, Bytes} -> streamed_from(Device, crypto:hash_update(State, Bytes));
        eof -> crypto:hash_final(State)
    end.

%% The peak of resident memory while it runs, over what was resident before.
memory(What, Fun) ->
    true = erlang:garbage_collect(),
    case file:write_file("/proc/self/clear_refs", "5") of
        ok ->
            Before = resident("VmRSS"),
            _ = Fun(),
            bench_rows:add(#{what => [What, ": memory added"], mib => max(0, resident("VmHWM") - Before) / 1024,
                             aim => {mib, 16}});
        {error, _NotLinux} ->
            ok
    end.

resident(Field) ->
    {ok, Status} = file:read_file("/proc/self/status"),
    {match, [Kb]} = re:run(Status, Field ++ ":\\s*(\\d+)", [{capture, all_but_first, list}]),
    list_to_integer(Kb).

fill(File, Size) ->
    Chunk = rand:bytes(?MIB),
    {ok, Device} = file:open(File, [write, raw, binary]),
    _ = [ok = file:write(Device, Chunk) || _ <- lists:seq(1, Size)],
    ok = file:close(Device).
