-module(bc_gitops_turns_tests).
-include_lib("eunit/include/eunit.hrl").

turns_test_() ->
    {foreach,
        fun() -> {ok, Pid} = bc_gitops_turns:start_link(), unlink(Pid), Pid end,
        fun(Pid) -> gen_server:stop(Pid) end,
        [fun one_at_a_time_in_order/0, fun a_dead_holder_gives_way/0, fun who_asks_no_longer_is_passed_over/0]}.

one_at_a_time_in_order() ->
    A = asker(a), got(a),
    B = asker(b), _C = asker(c),
    none(),
    A ! done, got(b), none(),
    B ! done, got(c).

a_dead_holder_gives_way() ->
    A = asker(a), got(a),
    _ = asker(b), none(),
    exit(A, kill), got(b).

who_asks_no_longer_is_passed_over() ->
    A = asker(a), got(a),
    B = asker(b), _ = asker(c),
    B ! done, none(),
    A ! done, got(c).

asker(Name) ->
    Test = self(),
    Pid = spawn_link(fun() ->
        ok = bc_gitops_turns:ask(),
        Test ! {asked, Name},
        asking(Test, Name)
    end),
    receive {asked, Name} -> unlink(Pid), Pid end.

asking(Test, Name) ->
    receive
        bc_gitops_turn -> Test ! {turn, Name}, asking(Test, Name);
        done -> ok = bc_gitops_turns:done(), asking(Test, Name)
    end.

got(Name) ->
    receive {turn, Got} -> ?assertEqual(Name, Got) after 60000 -> error(no_turn) end.

%% Everything that was sent before is done when the server has answered.
none() ->
    {error, not_a_call} = gen_server:call(bc_gitops_turns, sync),
    receive {turn, Got} -> error({got, Got}) after 0 -> ok end.
