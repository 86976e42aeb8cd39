%%% @doc Programs of the system that serve tests: they end with the port, so with the VM as well.
-module(bct_server).
-export([program/2, start/3, stop/1, free_port/0, wait_tcp/1, run/3, user/0]).

%% @doc The path of a program, or an error that says which Debian package has it.
program(Name, Package) ->
    Path = "/usr/sbin:/sbin:/usr/local/sbin:/usr/lib/git-core:" ++ os:getenv("PATH", "/usr/bin:/bin"),
    case os:find_executable(Name, Path) of
        false -> error({missing_program, Name, "apt-get install " ++ Package});
        Program -> Program
    end.

%% @doc Starts a program that stays in the foreground; its output goes to the file Log. It ends with
%% `stop/1' or the VM, not with the caller: common test runs each function in a process of its own.
start(Program, Args, Log) ->
    Caller = self(),
    Keeper = spawn(fun() ->
        Port = open(Program, Args, Log),
        {os_pid, Pid} = erlang:port_info(Port, os_pid),
        Caller ! {self(), Pid},
        receive stop -> port_close(Port) end
    end),
    receive {Keeper, Pid} -> {Keeper, Pid} end.

open(Program, Args, Log) ->
    Script = "log=$1; shift; setsid \"$@\" >\"$log\" 2>&1 </dev/null & pid=$!; cat >/dev/null; kill -- -$pid; wait",
    open_port({spawn_executable, "/bin/sh"},
              [{args, ["-c", Script, "sh", Log, Program | Args]}, binary, hide, exit_status]).

%% @doc Ends the program; answers when it is gone.
stop({Keeper, Pid}) ->
    Keeper ! stop,
    bct_wait:until(fun() -> not filelib:is_dir("/proc/" ++ integer_to_list(Pid)) end, fun() -> {still_running, Pid} end).

%% @doc A port for a program that cannot choose one itself. It is not of those that the system gives
%% to connections and to listeners without a wish: nobody else takes it in between.
free_port() ->
    Port = 10000 + rand:uniform(20000),
    case gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}, {reuseaddr, true}]) of
        {ok, Socket} -> ok = gen_tcp:close(Socket), Port;
        {error, eaddrinuse} -> free_port()
    end.

%% @doc Waits until something listens.
wait_tcp(Port) ->
    bct_wait:until(fun() ->
        case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
            {ok, Socket} -> gen_tcp:close(Socket), true;
            {error, _} -> false
        end
    end, fun() -> {nobody_listens, Port} end).

%% @doc Runs a program to its end; any failure is an error with its output.
run(Program, Args, Dir) ->
    Port = open_port({spawn_executable, Program},
                     [{args, Args}, {cd, Dir}, binary, exit_status, stderr_to_stdout, hide]),
    collect(Port, Program, <<>>).

%% @doc The user that runs the tests.
user() ->
    binary_to_list(string:trim(run(program("id", "coreutils"), ["-un"], "/"))).

collect(Port, Program, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, Program, <<Output/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> Output;
        {Port, {exit_status, Status}} -> error({program_failed, Program, Status, Output})
    end.
