-module(bc_gitops_lock_tests).
-include_lib("eunit/include/eunit.hrl").

with_dir(Test) -> bct_dir:with("bc_gitops_lock", Test).

file(Dir) -> filename:join(Dir, "bc_gitops.lock").

hold(Dir, Holder) ->
    ok = file:write_file(file(Dir), io_lib:format("~0tp.~n", [Holder])).

this_vm_may_take_it_again_test() ->
    with_dir(fun(Dir) ->
        ok = bc_gitops_lock:acquire(Dir),
        ok = bc_gitops_lock:acquire(Dir),
        ok = bc_gitops_lock:release(Dir),
        ?assertEqual({ok, []}, file:list_dir(Dir))
    end).

a_living_holder_is_named_test() ->
    with_dir(fun(Dir) ->
        Port = open_port({spawn_executable, os:find_executable("cat")}, [binary]),
        {os_pid, OsPid} = erlang:port_info(Port, os_pid),
        {ok, Started} = bc_gitops_node:start_time(OsPid),
        Holder = #{os_pid => OsPid, started => Started, node => other@host},
        hold(Dir, Holder),
        ?assertEqual({error, {locked, #{path => Dir, holder => Holder}}}, bc_gitops_lock:acquire(Dir)),
        %% and it is not ours to release
        ok = bc_gitops_lock:release(Dir),
        ?assertMatch({error, {locked, _}}, bc_gitops_lock:acquire(Dir)),
        true = port_close(Port)
    end).

a_dead_holder_holds_nothing_test() ->
    with_dir(fun(Dir) ->
        hold(Dir, #{os_pid => bc_gitops_node:os_pid(), started => <<"1">>, node => other@host}),
        ?assertEqual(ok, bc_gitops_lock:acquire(Dir)),
        {ok, [File]} = file:list_dir(Dir),
        ?assertEqual("bc_gitops.lock", File)
    end).

an_unreadable_lock_holds_nothing_test() ->
    with_dir(fun(Dir) ->
        ok = file:write_file(file(Dir), <<"#{os_pid =>">>),
        ?assertEqual(ok, bc_gitops_lock:acquire(Dir))
    end).

a_directory_that_is_not_there_is_an_error_test() ->
    ?assertMatch(
        {error, {lock_failed, #{reason := enoent}}}, bc_gitops_lock:acquire(<<"/nonexistent/dir">>)
    ).
