%%% @doc Virtual machines of their own that run bc_gitops, to be killed.
-module(bct_vm).

-export([start/1, start/2, start_by/2, start_in/2, kill/1, stop/1, call/4, eventually/2, await_down/1]).

-define(WAIT, 600000).

%% @doc A VM with bc_gitops started and Env as its environment.
start(Env) ->
    with_application(start(bare, []), Env).

%% @doc The same; Exec, a program with arguments, is given erl's arguments.
start_by(Exec, Env) ->
    with_application(start(#{exec => Exec}, []), Env).

%% @doc The same with variables of the system's environment, which the native library sees.
start_in(Variables, Env) ->
    with_application(start(#{env => Variables}, []), Env).

with_application(Vm, Env) ->
    ok = call(Vm, application, load, [bc_gitops_app_env(Env)]),
    {ok, _} = call(Vm, application, ensure_all_started, [bc_gitops]),
    Vm.

%% @doc A VM in which nothing is started but what Args say.
start(bare, Args) ->
    start(#{}, Args);
start(Options, Args) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), is_ours(Path)]),
    {ok, Peer, _Node} = peer:start(Options#{
        connection => standard_io, args => Paths ++ Args ++ ["-kernel", "logger_level", "critical"],
        wait_boot => ?WAIT, env => [{"ERL_CRASH_DUMP_SECONDS", "0"} | maps:get(env, Options, [])]
    }),
    #{peer => Peer, os_pid => peer:call(Peer, os, getpid, [], ?WAIT), monitor => monitor(process, Peer)}.

is_ours(Path) -> string:find(Path, "bc_gitops") =/= nomatch.

%% The application's own specification with Env in it.
bc_gitops_app_env(Env) ->
    {ok, [{application, bc_gitops, Keys}]} = file:consult(code:where_is_file("bc_gitops.app")),
    {application, bc_gitops, lists:keystore(env, 1, Keys, {env, maps:to_list(Env)})}.

%% @doc kill -9.
kill(#{os_pid := OsPid} = Vm) ->
    Port = open_port({spawn_executable, os:find_executable("kill")}, [exit_status, {args, ["-9", OsPid]}]),
    receive {Port, {exit_status, _}} -> ok end,
    await_down(Vm).

%% @doc Stops in order.
stop(#{peer := Peer} = Vm) ->
    peer:stop(Peer),
    await_down(Vm).

%% @doc Waits until the VM is gone.
await_down(#{peer := Peer, monitor := Monitor}) ->
    receive {'DOWN', Monitor, process, Peer, _} -> ok after ?WAIT -> error(vm_lives) end.

call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, ?WAIT).

%% @doc Waits until Condition, a fun of the VM, is true.
eventually(Vm, Condition) ->
    eventually(Vm, Condition, erlang:monotonic_time(millisecond) + ?WAIT).

eventually(Vm, Condition, Deadline) ->
    case Condition(Vm) of
        true -> ok;
        false ->
            case erlang:monotonic_time(millisecond) > Deadline of
                true -> error({never, call(Vm, bc_gitops, status, []), call(Vm, bc_gitops, get_current_state, [])});
                false -> receive after 20 -> eventually(Vm, Condition, Deadline) end
            end
    end.
