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
        ?assertMatch({error, {output_limit, #{limit := 10}}}, sh("yes", #{max_output => 10}))
    end}.

%% Each limit has a name and a sentence of its own.
limits_of_what_it_uses_test_() ->
    {timeout, 60, fun() -> bct_dir:with("command", fun(Dir) ->
        Hungry = "head -c 90000000 /dev/zero | tail -c 80000000 | sleep 60",
        Many = "for n in 1 2 3 4 5 6; do sleep 60 & done; wait",
        Large = "head -c 5000000 /dev/zero > large",
        Open = "exec 3</dev/null 4<&3 5<&3 6<&3 7<&3 8<&3 9<&3; while :; do :; done",
        [begin
            Kind = list_to_atom(Name ++ "_limit"),
            Limits = #{list_to_atom(Limit) => Value},
            {error, {Kind, #{limit := Most}} = Reason} = sh(Script, #{limits => Limits, cd => Dir}),
            Said = unicode:characters_to_list(bc_gitops_command:format_error(Reason)),
            ?assertNotEqual({nomatch, Said}, {string:find(Said, integer_to_list(Most)), Said}),
            ?assertMatch({ok, _}, sh("sleep 0.2", #{limits => Limits, cd => Dir}))
         end || {Name, Limit, Value, Script} <- [
            {"memory", "memory", 50000000, Hungry}, {"process", "processes", 4, Many},
            {"files", "files", 10, Open}]],
        Disk = #{disk => {1000000, Dir}},
        ?assertMatch({error, {disk_limit, #{limit := 1000000}}}, sh(Large, #{limits => Disk, cd => Dir}))
    end) end}.

a_wrapper_runs_the_program_test() ->
    {ok, Env} = bc_gitops_command:find("env"),
    ?assertEqual({ok, #{output => <<"1\n">>, status => 0}},
                 sh("echo $WRAPPED", #{wrapper => {Env, ["WRAPPED=1"]}})).

the_environment_is_written_out_test() ->
    Secret = "BC_GITOPS_TEST_SECRET",
    true = os:putenv(Secret, "canary"),
    try
        {ok, #{output := Output}} = sh("env", #{env => [{"GIVEN", "ä"}]}),
        ?assertEqual(nomatch, binary:match(Output, <<"canary">>)),
        Lines = binary:split(Output, <<"\n">>, [global, trim]),
        Names = [binary_to_list(hd(binary:split(Line, <<"=">>))) || Line <- Lines],
        OfShells = ["PWD", "SHLVL", "_", "OLDPWD"],
        Passing = [Name || {Name, _} <- bc_gitops_build_config:passed_environment()],
        Given = ["GIVEN", "LANG", "PATH" | Passing],
        ?assertEqual([], Names -- (OfShells ++ Given)),
        ?assertNotEqual(nomatch, binary:match(Output, <<"GIVEN=ä"/utf8>>)),
        ok = application:set_env(bc_gitops, build_env, [Secret]),
        {ok, #{output := Passed}} = sh("env"),
        ?assertNotEqual(nomatch, binary:match(Passed, <<"canary">>))
    after
        os:unsetenv(Secret),
        application:unset_env(bc_gitops, build_env)
    end.

secrets_of_the_host_do_not_pass_test_() ->
    Names = ["HEX_API_KEY", "HEX_REPOS_KEY", "RELEASE_COOKIE", "ERLANG_COOKIE", "SSH_AUTH_SOCK",
             "GIT_ASKPASS", "GIT_CONFIG_COUNT", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "ERL_FLAGS",
             "ERL_LIBS", "LD_PRELOAD", "HEX_MIRROR"],
    {setup,
        fun() ->
            Before = [{Name, os:getenv(Name)} || Name <- Names],
            [true = os:putenv(Name, "https://me:canary@host") || Name <- Names],
            Before
        end,
        fun(Before) ->
            [case Value of false -> os:unsetenv(Name); _ -> os:putenv(Name, Value) end
             || {Name, Value} <- Before]
        end,
        fun() ->
            {ok, #{output := Output}} = sh("env"),
            ?assertEqual(nomatch, binary:match(Output, <<"canary">>))
        end}.

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

