%%% @doc Runs the programs that we are compared with.
-module(bench_program).

-export([run/3]).

%% @doc What Name prints, run in Dir; a failure raises.
run(Name, Args, Dir) ->
    Port = open_port({spawn_executable, os:find_executable(Name)},
                     [{args, Args}, {cd, Dir}, binary, exit_status, stderr_to_stdout,
                      {env, [{"GIT_CONFIG_NOSYSTEM", "1"}, {"GIT_TERMINAL_PROMPT", "0"}]}]),
    wait(Port, []).

wait(Port, Output) ->
    receive
        {Port, {data, Data}} -> wait(Port, [Output, Data]);
        {Port, {exit_status, 0}} -> {ok, iolist_to_binary(Output)};
        {Port, {exit_status, Status}} -> error({exit_status, Status, iolist_to_binary(Output)})
    end.
