-module(bc_gitops_build_log_tests).
-include_lib("eunit/include/eunit.hrl").

with_log(Fun) ->
    fun() ->
        {Owner, Monitor} = spawn_monitor(fun() ->
            case ets:info(bc_gitops_build_log) of
                undefined -> bc_gitops_build_log:new();
                _ -> ok
            end,
            receive stop -> ok end
        end),
        bct_wait:until(fun() -> ets:info(bc_gitops_build_log) =/= undefined end),
        try Fun() after
            bc_gitops_build_log:forget(log_app),
            Owner ! stop,
            receive {'DOWN', Monitor, _, _, _} -> ok end
        end
    end.

log_test_() ->
    [{Name, with_log(Fun)} || {Name, Fun} <- [
        {"the whole is answered in order", fun in_order/0},
        {"the oldest output goes first", fun bounded/0},
        {"the last builds stay", fun last_builds/0},
        {"passwords in urls are left out", fun passwords/0},
        {"bytes that are no text are read as text", fun any_bytes/0},
        {"an unknown application", fun unknown/0}
    ]].

in_order() ->
    Log = bc_gitops_build_log:open(log_app, "title"),
    [ok = bc_gitops_build_log:write(Log, [integer_to_binary(N), $\n]) || N <- lists:seq(1, 20)],
    {ok, Text} = bc_gitops_build_log:read(log_app),
    ?assertEqual([<<"title">> | [integer_to_binary(N) || N <- lists:seq(1, 20)]],
                 binary:split(Text, <<"\n">>, [global, trim])),
    ?assertEqual(<<"19\n20">>, bc_gitops_build_log:tail(Log, 2)).

bounded() ->
    Log = bc_gitops_build_log:open(log_app, "title"),
    Chunk = binary:copy(<<"x">>, 10000),
    [ok = bc_gitops_build_log:write(Log, Chunk) || _ <- lists:seq(1, 100)],
    ok = bc_gitops_build_log:write(Log, "\nlast"),
    {ok, Text} = bc_gitops_build_log:read(log_app),
    ?assert(byte_size(Text) =< 262144),
    ?assertEqual(<<"last">>, bc_gitops_build_log:tail(Log, 1)).

last_builds() ->
    [bc_gitops_build_log:open(log_app, integer_to_list(N)) || N <- lists:seq(1, 5)],
    ?assertEqual({ok, <<"3\n\n4\n\n5\n">>}, bc_gitops_build_log:read(log_app)).

passwords() ->
    Log = bc_gitops_build_log:open(log_app,
        "fetching https://me:canary@example.org/x and https://b.org/y@z"),
    ?assertEqual(<<"fetching https://example.org/x and https://b.org/y@z">>,
        bc_gitops_build_log:tail(Log, 1)).

any_bytes() ->
    Log = bc_gitops_build_log:open(log_app, "title"),
    ok = bc_gitops_build_log:write(Log, <<"a", 255, 254, "\xc3\r\n", "\xc3">>),
    ok = bc_gitops_build_log:write(Log, <<"\xa9\n", (binary:copy(<<"é"/utf8>>, 500))/binary, "\n">>),
    Said = <<"a\x{FFFD}\x{FFFD}\x{FFFD}"/utf8>>,
    ?assertMatch(<<"title\n", Said:10/binary, "\r\né\n"/utf8, _/binary>>, element(2, bc_gitops_build_log:read(log_app))),
    ?assertMatch(<<Said:10/binary, "\r\né\n"/utf8, _/binary>>, bc_gitops_build_log:tail(Log, 3)),
    [Said, <<"é"/utf8>>, Long] = bc_gitops_build_log:last(Log, 3),
    ?assert(is_list(unicode:characters_to_list(Long))).

unknown() ->
    ?assertEqual({error, not_found}, bc_gitops_build_log:read(log_nobody)).
