-module(bc_gitops_build_progress_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

-define(M, bc_gitops_build_progress).

progress_test_() ->
    {setup,
     fun() ->
         Dir = bct_dir:make("progress"),
         ok = bc_gitops_workspace:init(Dir),
         Dir
     end,
     fun(Dir) ->
         ok = gen_server:stop(bc_gitops_workspace_server),
         bct_dir:remove(Dir)
     end,
     [{Name, Fun} || {Name, Fun} <- [
        {"nothing is under way", fun nothing/0},
        {"a stage, and what was received in it", fun received/0},
        {"percent of bytes, else of objects", fun percent/0},
        {"lines of the output", fun lines/0},
        {"of several the one that is furthest", fun furthest/0},
        {"what was killed is not under way", fun killed/0},
        {"every change of the stage is an event", fun events/0}
    ]]}.

nothing() ->
    ?assertEqual(none, ?M:read(pr_app)),
    %% what comes late, or is of nobody, is nothing
    ok = ?M:received(pr_app, #{received_bytes => 1}),
    ok = ?M:log(pr_app, log),
    ?assertEqual(none, ?M:read(pr_app)).

received() ->
    ok = ?M:run(pr_app, fun() ->
        ok = ?M:stage(pr_app, fetch),
        ok = ?M:received(pr_app, #{received_bytes => 10, total_bytes => undefined, package => <<"a">>, step => x}),
        {ok, #{since := Since} = Shown} = ?M:read(pr_app),
        ?assertEqual(#{stage => fetch, received_bytes => 10, package => <<"a">>}, maps:remove(since, Shown)),
        ?assertMatch({{_, _, _}, {_, _, _}}, Since),
        %% the same stage once more changes nothing, the next begins anew
        ok = ?M:stage(pr_app, fetch),
        ?assertEqual({ok, Shown}, ?M:read(pr_app)),
        ok = ?M:stage(pr_app, deps),
        ?assertMatch({ok, #{stage := deps} = Next} when not is_map_key(received_bytes, Next), ?M:read(pr_app))
    end),
    ?assertEqual(none, ?M:read(pr_app)),
    ?assertError(oops, ?M:run(pr_app, fun() -> ok = ?M:stage(pr_app, fetch), error(oops) end)),
    ?assertEqual(none, ?M:read(pr_app)).

percent() ->
    ?M:run(pr_app, fun() ->
        ok = ?M:stage(pr_app, fetch),
        [begin
            ok = ?M:received(pr_app, Told),
            {ok, Shown} = ?M:read(pr_app),
            ?assertEqual(Percent, maps:get(percent, Shown, none))
         end || {Percent, Told} <- [
            {none, #{}}, {none, #{received_bytes => 5}}, {none, #{received_bytes => 0, total_bytes => 0}},
            {50, #{received_bytes => 5, total_bytes => 10}}, {100, #{received_bytes => 11, total_bytes => 10}},
            {33, #{received_bytes => 5, received_objects => 1, total_objects => 3}}
        ]]
    end).

lines() ->
    ?M:run(pr_app, fun() ->
        Log = bc_gitops_build_log:open(pr_app, "== title"),
        ok = ?M:stage(pr_app, wait),
        ok = ?M:log(pr_app, Log),
        ?assertMatch({ok, Shown} when not is_map_key(line, Shown), ?M:read(pr_app)),
        ok = ?M:stage(pr_app, build),
        ?assertMatch({ok, #{line := <<"== title">>}}, ?M:read(pr_app)),
        [ok = bc_gitops_build_log:write(Log, [integer_to_list(N), ":https://me:canary@h/", $\r, $\n])
         || N <- lists:seq(1, 20000)],
        ok = bc_gitops_build_log:write(Log, ["\n\nhalf a "]),
        ok = bc_gitops_build_log:write(Log, ["line ", lists:duplicate(1000, $x)]),
        {ok, #{line := Line, lines := Lines}} = ?M:read(pr_app),
        ?assertMatch(<<"half a line xxx", _/binary>>, Line),
        ?assertEqual(500, byte_size(Line)),
        ?assertEqual([<<"19997:https://h/">>, <<"19998:https://h/">>, <<"19999:https://h/">>,
                      <<"20000:https://h/">>, Line], Lines)
    end),
    bc_gitops_build_log:forget(pr_app).

other(Stage) ->
    Self = self(),
    Pid = spawn(fun() ->
        ?M:run(pr_app, fun() ->
            ok = ?M:stage(pr_app, Stage),
            Self ! {self(), there},
            receive stop -> ok end
        end)
    end),
    receive {Pid, there} -> Pid end.

ended(Pid, End) ->
    Ref = monitor(process, Pid),
    End(Pid),
    receive {'DOWN', Ref, process, Pid, _} -> ok end.

furthest() ->
    [A, B, C] = [other(Stage) || Stage <- [wait, build, resolve]],
    ?assertMatch({ok, #{stage := build}}, ?M:read(pr_app)),
    ended(B, fun(Pid) -> Pid ! stop end),
    ?assertMatch({ok, #{stage := wait}}, ?M:read(pr_app)),
    [ended(Pid, fun(P) -> P ! stop end) || Pid <- [A, C]],
    ?assertEqual(none, ?M:read(pr_app)).

killed() ->
    Pid = other(build),
    ended(Pid, fun(P) -> exit(P, kill) end),
    ?assertEqual(none, ?M:read(pr_app)),
    ?assertEqual(1, ets:info(?M, size)),
    ok = ?M:run(pr_app, fun() -> ?assertEqual(0, ets:info(?M, size)) end).

events() ->
    [#{start := {M, F, A}} | _] = bc_gitops_telemetry:child_specs(),
    {ok, Owner} = apply(M, F, A),
    Self = self(),
    ok = bc_gitops_telemetry:attach(progress_tests, ?TELEMETRY_BUILD_PROGRESS,
        fun(_, #{system_time := _}, Metadata, _) -> Self ! {stage, Metadata} end, undefined),
    ?M:run(pr_app, fun() -> [ok = ?M:stage(pr_app, Stage) || Stage <- [resolve, resolve, wait, fetch]] end),
    ok = bc_gitops_telemetry:detach(progress_tests),
    true = unlink(Owner),
    exit(Owner, shutdown),
    Seen = (fun All() -> receive {stage, Metadata} -> [Metadata | All()] after 0 -> [] end end)(),
    ?assertEqual([#{app => pr_app, stage => Stage} || Stage <- [resolve, wait, fetch]], Seen).
