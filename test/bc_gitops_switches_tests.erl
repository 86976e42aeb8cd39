-module(bc_gitops_switches_tests).
-include_lib("eunit/include/eunit.hrl").

switches_test_() ->
    {foreach, fun setup/0, fun cleanup/1, [
        {"one switch at a time for a name", fun one_at_a_time/0},
        {"names do not wait for each other", fun side_by_side/0},
        {"a dead caller is noticed, the switch goes on", fun dead_caller/0},
        {"a crash is an error", fun crash/0},
        {"a lock is held by one", fun lock/0},
        {"a dead holder loses the lock", fun dead_holder/0}
    ]}.

setup() ->
    Workspace = bct_dir:make("switches"),
    {bct_runtime:start(Workspace), Workspace}.

cleanup({Runtime, Workspace}) ->
    bct_runtime:stop(Runtime),
    bct_dir:remove(Workspace).

background(Fun) ->
    Test = self(),
    spawn_monitor(fun() -> Test ! {self(), Fun()} end).

result({Pid, Ref}) ->
    receive {Pid, Result} -> demonitor(Ref, [flush]), Result end.

gate(Result) ->
    Test = self(),
    fun(Proceed) ->
        Test ! {in, self()},
        receive go -> ok end,
        {Result, Proceed()}
    end.

one_at_a_time() ->
    First = background_run(a, gate(first)),
    In = receive {in, Pid} -> Pid end,
    Second = background_run(a, gate(second)),
    receive {in, _} -> error(two_at_once) after 50 -> ok end,
    In ! go,
    ?assertEqual({first, true}, result(First)),
    receive {in, Next} -> Next ! go end,
    ?assertEqual({second, true}, result(Second)).

background_run(Name, Fun) ->
    background(fun() -> bc_gitops_switches:run(Name, Fun) end).

side_by_side() ->
    Runs = [background_run(Name, gate(Name)) || Name <- [a, b]],
    Pids = [receive {in, Pid} -> Pid end || _ <- Runs],
    [Pid ! go || Pid <- Pids],
    ?assertEqual([{a, true}, {b, true}], [result(Run) || Run <- Runs]).

dead_caller() ->
    Test = self(),
    {Caller, Ref} = background_run(a, fun(Proceed) ->
        Test ! {in, self()},
        receive go -> Test ! {proceed, Proceed()} end
    end),
    receive {in, Pid} ->
        exit(Caller, kill),
        receive {'DOWN', Ref, process, Caller, killed} -> ok end,
        Pid ! go
    end,
    receive {proceed, Answer} -> ?assertEqual(false, Answer) end.

crash() ->
    ?assertMatch({error, {switch_crashed, #{app := a}}},
                 bc_gitops_switches:run(a, fun(_) -> exit(oops) end)),
    ?assertEqual(ok, bc_gitops_switches:run(a, fun(_) -> ok end)).

lock() ->
    Test = self(),
    Hold = fun(Name) ->
        background(fun() ->
            bc_gitops_switches:locked(libs, fun() -> Test ! {held, Name, self()}, receive go -> Name end end)
        end)
    end,
    One = Hold(one),
    Holder = receive {held, one, Pid} -> Pid end,
    Two = Hold(two),
    receive {held, two, _} -> error(two_holders) after 50 -> ok end,
    Holder ! go,
    one = result(One),
    receive {held, two, Next} -> Next ! go end,
    two = result(Two),
    ?assertError(oops, bc_gitops_switches:locked(libs, fun() -> error(oops) end)),
    ?assertEqual(free, bc_gitops_switches:locked(libs, fun() -> free end)).

dead_holder() ->
    Test = self(),
    {Pid, _} = background(fun() ->
        bc_gitops_switches:locked(libs, fun() -> Test ! held, receive go -> ok end end)
    end),
    receive held -> ok end,
    exit(Pid, kill),
    ?assertEqual(free, bc_gitops_switches:locked(libs, fun() -> free end)).
