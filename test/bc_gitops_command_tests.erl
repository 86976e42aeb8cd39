-module(bc_gitops_command_tests).
-include_lib("eunit/include/eunit.hrl").

sh(Script) -> sh(Script, #{}).

sh(Script, More) ->
    bc_gitops_command:run(maps:merge(#{program => "sh", args => ["-c", Script]}, More)).

output_and_status_test() ->
    ?assertEqual({ok, #{output => <<"out\nerr\n">>, status => 0}}, sh("echo out; echo err >&2")),
    ?assertMatch({error, {exit_status, #{status := 3, output := <<"x\n">>}}}, sh("echo x; exit 3")),
    ?assertMatch({error, {signal, #{signal := 9}}}, sh("kill -9 $$")).

arguments_are_not_read_by_a_shell_test() ->
    Args = ["$(touch /tmp/never)", "; true", "a b", "*"],
    ?assertEqual({ok, #{output => <<"$(touch /tmp/never)|; true|a b|*|">>, status => 0}},
                 bc_gitops_command:run(#{program => "printf", args => ["%s|" | Args]})).

a_program_that_is_not_there_test() ->
    ?assertEqual({error, {not_found, #{program => <<"no_such_program">>}}},
                 bc_gitops_command:run(#{program => "no_such_program"})).

a_directory_that_is_not_there_test() ->
    ?assertMatch({error, {cannot_run, #{message := <<"No such file", _/binary>>}}},
                 sh("true", #{cd => "/nowhere/at/all"})).

limits_test_() ->
    {timeout, 30, fun() ->
        ?assertMatch({error, {timeout, #{timeout := 100, output := <<"a\n">>}}},
                     sh("echo a; sleep 60", #{timeout => 100})),
        ?assertMatch({error, {output_limit, #{limit := 10}}}, sh("yes", #{max_output => 10})),
        Hungry = "head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null",
        ?assertMatch({ok, _}, sh(Hungry)),
        ?assertMatch({error, {exit_status, _}}, sh(Hungry, #{memory => 50000000}))
    end}.

the_environment_is_written_out_test() ->
    Secret = "BC_GITOPS_TEST_SECRET",
    true = os:putenv(Secret, "canary"),
    try
        {ok, #{output := Output}} = sh("env", #{env => [{"GIVEN", "ä"}]}),
        ?assertEqual(nomatch, binary:match(Output, <<"canary">>)),
        Lines = binary:split(Output, <<"\n">>, [global, trim]),
        Names = [binary_to_list(hd(binary:split(Line, <<"=">>))) || Line <- Lines],
        OfShells = ["PWD", "SHLVL", "_", "OLDPWD"],
        Given = ["GIVEN", "LANG", "PATH" | bc_gitops_build_config:passed_variables()],
        ?assertEqual([], Names -- (OfShells ++ Given)),
        ?assertNotEqual(nomatch, binary:match(Output, <<"GIVEN=ä"/utf8>>)),
        ok = application:set_env(bc_gitops, build_env, [Secret]),
        {ok, #{output := Passed}} = sh("env"),
        ?assertNotEqual(nomatch, binary:match(Passed, <<"canary">>))
    after
        os:unsetenv(Secret),
        application:unset_env(bc_gitops, build_env)
    end.

input_is_empty_test() ->
    ?assertEqual({ok, #{output => <<"end\n">>, status => 0}}, sh("cat; echo end")).

output_comes_while_it_runs_test() ->
    Self = self(),
    {ok, #{output := <<>>}} = sh("echo one; sleep 0.1; echo two",
        #{keep_output => false, on_output => fun(Output) -> Self ! {output, Output} end}),
    Received = [receive {output, Each} -> Each after 0 -> none end || _ <- [1, 2]],
    ?assertEqual([<<"one\n">>, <<"two\n">>], Received).

nothing_stays_in_the_mailbox_test() ->
    process_flag(trap_exit, true),
    {ok, _} = sh("true"),
    {error, _} = sh("yes", #{max_output => 10}),
    ?assertEqual(nothing, receive Any -> Any after 0 -> nothing end).

a_daemon_is_gone_after_a_normal_end_test_() ->
    {timeout, 30, fun() ->
        Daemon = bct_daemon:script("command-normal"),
        ?assertMatch({ok, _}, sh(Daemon ++ " sleep 0.2")),
        ?assertNot(bct_daemon:lives("command-normal"))
    end}.

a_daemon_is_gone_after_the_deadline_test_() ->
    {timeout, 30, fun() ->
        ?assertMatch({error, {timeout, _}},
                     sh(bct_daemon:script("command-deadline") ++ " sleep 60", #{timeout => 300})),
        ?assertNot(bct_daemon:lives("command-deadline"))
    end}.

a_daemon_is_gone_when_the_caller_was_killed_test_() ->
    {timeout, 60, fun() ->
        Caller = spawn(fun() -> sh(bct_daemon:script("command-caller") ++ " sleep 60") end),
        bct_wait:until(fun() -> bct_daemon:lives("command-caller") end),
        exit(Caller, kill),
        bct_wait:until(fun() -> not bct_daemon:lives("command-caller") end)
    end}.

a_daemon_is_gone_after_kill_9_of_the_vm_test_() ->
    {timeout, 60, fun() ->
        Ebin = filename:dirname(code:which(bc_gitops_command)),
        Script = bct_daemon:script("command-vm") ++ " sleep 60",
        Eval = lists:flatten(io_lib:format(
            "bc_gitops_command:run(#{program => \"sh\", args => [\"-c\", ~p]}).", [Script])),
        Vm = open_port({spawn_executable, os:find_executable("erl")},
                       [{args, ["-noinput", "-pa", Ebin, "-eval", Eval]}, exit_status]),
        {os_pid, Pid} = erlang:port_info(Vm, os_pid),
        bct_wait:until(fun() -> bct_daemon:lives("command-vm") end),
        {ok, _} = sh("kill -9 " ++ integer_to_list(Pid)),
        receive {Vm, {exit_status, _}} -> ok end,
        bct_wait:until(fun() -> not bct_daemon:lives("command-vm") end)
    end}.

