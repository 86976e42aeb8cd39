-module(bc_gitops_app_work_tests).
-include_lib("eunit/include/eunit.hrl").

config() ->
    #{git_timeout => 1000, build_timeout => 10000, build_jobs => 4, start_timeout => 100, stop_timeout => 10}.

%% A goal is given the time of all that may be built before it.
a_deadline_counts_the_queue_test_() ->
    [
        ?_assertEqual(Rounds * 11000 + 330,
                      bc_gitops_app_work:prepare_deadline(bc_gitops_goal:remove(a, #{share => Share}), config()))
     || {Share, Rounds} <- [{1, 1}, {4, 1}, {5, 2}, {40, 10}]
    ].

a_switch_has_time_to_go_back_and_to_build_where_nothing_is_prepared_test_() ->
    Deadline = fun(Action, Prepared) -> bc_gitops_app_work:switch_deadline(Action, Prepared, config()) end,
    [
        ?_assertEqual(330, Deadline(upgrade, #{key => <<"k">>})),
        ?_assertEqual(11330, Deadline(upgrade, #{})),
        ?_assertEqual(11330, Deadline(deploy, #{})),
        ?_assertEqual(330, Deadline(remove, #{})),
        ?_assertEqual(330, Deadline(restore, #{}))
    ].

%% The arguments of a call that crashed may hold secrets.
a_crash_is_told_without_arguments_test() ->
    Worker = bc_gitops_app_work:start(fun() -> binary_to_atom(secret()) end),
    {error, {crashed, #{kind := badarg, stacktrace := Stack}}} = result(Worker),
    ?assertMatch([{erlang, binary_to_atom, Arity} | _] when is_integer(Arity), Stack).

secret() -> list_to_tuple([secret]).

a_worker_that_is_killed_is_told_test() ->
    Before = process_flag(trap_exit, true),
    Worker = bc_gitops_app_work:start(fun() -> exit(self(), kill), receive never -> ok end end),
    ?assertMatch({error, {worker_died, _}}, result(Worker)),
    process_flag(trap_exit, Before).

nothing_is_heard_of_a_worker_that_was_stopped_test() ->
    Worker = bc_gitops_app_work:start(fun() -> receive never -> ok end end),
    ok = bc_gitops_app_work:stop(Worker),
    receive Message -> error(Message) after 0 -> ok end.

result(Worker) ->
    receive
        Message ->
            case bc_gitops_app_work:is_result(Message, Worker) of
                {true, Result} -> Result;
                false -> result(Worker)
            end
    end.
