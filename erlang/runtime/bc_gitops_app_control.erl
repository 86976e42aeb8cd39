%%% @doc Starts, stops, loads and unloads one application, each within a deadline.
%%%
%%% The application controller is shared by the whole VM: `application:stop/1' runs the
%%% application's `prep_stop/1' inside it, and one that hangs there blocks everybody. So
%%% applications are stopped through their application master, as the controller itself does it;
%%% the controller only learns of the result. Whoever is not done at the deadline is killed with
%%% every process it owns. Requests to the controller are made by a process of their own, which is
%%% given up at the deadline.
-module(bc_gitops_app_control).

-include_lib("kernel/include/logger.hrl").

-export([start/2, abandon/1, stop/2, load/2, unload/2]).
-export([is_running/1, is_up/1, master/1, root/1, running/1]).
-export([with_deadline/3, ask_controller/3]).

-export_type([error/0]).

-type error() :: {error, {Kind :: atom(), Details :: map()}}.

%% How long the application controller may take for an answer that needs no application's code.
-define(CONTROLLER_TIMEOUT, 10000).
%% How long killed processes may take to be gone.
-define(KILL_TIMEOUT, 5000).

%% @doc Starts an application that is loaded, as `temporary'. At the deadline its application
%% master is killed, with all that it started.
-spec start(atom(), timeout()) -> ok | error().
start(App, Timeout) ->
    Starter = ask(fun() -> application:start(App, temporary) end),
    case answer(Starter, Timeout) of
        {ok, ok} -> ok;
        {ok, {error, {already_started, App}}} -> ok;
        {ok, {error, Reason}} -> {error, {start_failed, #{app => App, reason => Reason}}};
        {down, Reason} -> {error, {start_failed, #{app => App, reason => Reason}}};
        timeout -> abandon_start(App, Starter, Timeout)
    end.

abandon_start(App, Starter, Timeout) ->
    free_controller(),
    kill(master(App)),
    case answer(Starter, ?CONTROLLER_TIMEOUT) of
        {ok, ok} ->
            %% It came up while we gave up on it: what counts is the deadline.
            _ = stop(App, ?CONTROLLER_TIMEOUT),
            {error, {start_timeout, #{app => App, timeout => Timeout}}};
        timeout ->
            give_up(Starter),
            {error, {controller_blocked, #{app => App, timeout => Timeout}}};
        _Failed ->
            {error, {start_timeout, #{app => App, timeout => Timeout}}}
    end.

%% @doc Kills what hangs in its start among an application and those that it needs.
-spec abandon(atom()) -> ok.
abandon(App) ->
    case running(?CONTROLLER_TIMEOUT) of
        {ok, Running} ->
            Starting = [Name || Name <- needs([App], []), not lists:member(Name, Running)],
            lists:foreach(fun(Name) -> kill(master(Name)) end, Starting);
        {error, _} ->
            ok
    end.

needs([], Seen) ->
    Seen;
needs([App | Rest], Seen) ->
    case application:get_key(App, applications) of
        {ok, Needs} -> needs((Needs -- [App | Seen]) ++ Rest, lists:usort([App | Seen]));
        undefined -> needs(Rest, Seen)
    end.

%% @doc Stops an application. `killed' says that it did not stop by itself within the timeout.
%% Afterwards none of its processes is alive and it is not among the running applications.
-spec stop(atom(), timeout()) -> {ok, stopped | killed | not_running} | error().
stop(App, Timeout) ->
    Outcome = stop_master(master(App), Timeout),
    case ask_controller(fun() -> application:stop(App) end, ?CONTROLLER_TIMEOUT, #{app => App}) of
        {ok, ok} when Outcome =:= not_running -> {ok, stopped};
        {ok, _} -> {ok, Outcome};
        {error, _} = Error -> Error
    end.

stop_master(undefined, _Timeout) ->
    not_running;
stop_master(Master, Timeout) ->
    case is_starting(Master) of
        true ->
            kill(Master),
            killed;
        false ->
            ask_to_stop(Master, Timeout)
    end.

%% A master that is stopped while its application starts ends without a word to the controller, from
%% OTP 26 on, and the start stays under way there.
is_starting(Master) ->
    process_info(Master, current_function) =:= {current_function, {application_master, init_loop, 4}}.

ask_to_stop(Master, Timeout) ->
    Stopper = ask(fun() -> application_master:stop(Master) end),
    case answer(Stopper, Timeout) of
        timeout ->
            kill(Master),
            give_up(Stopper),
            killed;
        _Stopped ->
            stopped
    end.

%% @doc Loads an application from the term of its .app file. What was loaded before must be
%% unloaded.
-spec load({application, atom(), list()}, timeout()) -> ok | error().
load({application, App, _} = Description, Timeout) ->
    case ask_controller(fun() -> application:load(Description) end, Timeout, #{app => App}) of
        {ok, ok} -> ok;
        {ok, {error, Reason}} -> {error, {load_failed, #{app => App, reason => Reason}}};
        {error, _} = Error -> Error
    end.

%% @doc Unloads an application that does not run; one that is not loaded is fine.
-spec unload(atom(), timeout()) -> ok | error().
unload(App, Timeout) ->
    case ask_controller(fun() -> application:unload(App) end, Timeout, #{app => App}) of
        {ok, ok} -> ok;
        {ok, {error, {not_loaded, App}}} -> ok;
        {ok, {error, Reason}} -> {error, {unload_failed, #{app => App, reason => Reason}}};
        {error, _} = Error -> Error
    end.

%% @doc Whether the application's master is alive. Never asks the application controller, so that it
%% answers at once; an application without a callback module has no master.
-spec is_running(atom()) -> boolean().
is_running(App) ->
    case master(App) of
        undefined -> false;
        Master -> is_process_alive(Master)
    end.

%% @doc Whether an application that was started is up. One without a callback module has no
%% processes: it is up while it is loaded. Answers at once.
-spec is_up(atom()) -> boolean().
is_up(App) ->
    case application:get_key(App, mod) of
        {ok, []} -> true;
        {ok, _} -> is_running(App);
        undefined -> false
    end.

%% @doc The names of all running applications, also those without processes; asks the controller.
-spec running(timeout()) -> {ok, [atom()]} | error().
running(Timeout) ->
    case ask_controller(fun() -> application:which_applications(infinity) end, Timeout, #{}) of
        {ok, Apps} -> {ok, [App || {App, _, _} <- Apps]};
        {error, _} = Error -> Error
    end.

-spec master(atom()) -> pid() | undefined.
master(App) ->
    application_controller:get_master(App).

%% @doc The root supervisor of a running application. Asks the application, so only for a moment
%% when it is known to answer, and never for long.
-spec root(atom()) -> pid() | undefined.
root(App) ->
    case master(App) of
        undefined ->
            undefined;
        Master ->
            Child = with_deadline(fun() -> application_master:get_child(Master) end, 1000, #{}),
            case Child of
                {ok, {Root, _Module}} when is_pid(Root) -> Root;
                _ -> undefined
            end
    end.

%% @doc Asks the application controller for something that needs no application's code. When it
%% does not answer because it waits in a callback of an application of ours (somebody called
%% `application:stop/1' for one that hangs), that application is killed, which frees the
%% controller.
-spec ask_controller(fun(() -> Result), timeout(), map()) ->
    {ok, Result} | {error, {crashed | controller_blocked, map()}}.
ask_controller(Fun, Timeout, Details) ->
    Asker = ask(Fun),
    Answer = case answer(Asker, Timeout) of
        timeout ->
            free_controller(),
            answer(Asker, Timeout);
        InTime ->
            InTime
    end,
    case Answer of
        {ok, Result} ->
            {ok, Result};
        {down, Reason} ->
            {error, {crashed, Details#{reason => Reason}}};
        timeout ->
            give_up(Asker),
            {error, {controller_blocked, Details#{timeout => Timeout}}}
    end.

free_controller() ->
    case process_info(whereis(application_controller), [current_function, monitors]) of
        [{current_function, {application_master, call, 2}}, {monitors, Monitors}] ->
            Ours = maps:keys(bc_gitops_runtime_table:libs()),
            Waiting = [App || App <- Ours, {process, Pid} <- Monitors, master(App) =:= Pid],
            lists:foreach(fun kill_blocker/1, Waiting);
        _ ->
            ok
    end.

kill_blocker(App) ->
    ?LOG_WARNING("~p hangs in its stop and blocks the application controller: killing it", [App],
                 #{application => bc_gitops, app => App}),
    kill(master(App)).

%% An application's processes are those whose group leader is its master. They go before it: the
%% master sees that, and tells the controller what became of a start that was under way. From OTP 26 on
%% nobody else does, and the caller of a start whose master is killed waits for ever.
kill(undefined) ->
    ok;
kill(Master) ->
    Ref = monitor(process, Master),
    kill_group(Master, erlang:monotonic_time(millisecond) + ?KILL_TIMEOUT),
    receive
        {'DOWN', Ref, process, Master, _} -> ok
    after ?KILL_TIMEOUT ->
        exit(Master, kill),
        receive {'DOWN', Ref, process, Master, _} -> ok end
    end,
    kill_group(Master, erlang:monotonic_time(millisecond) + ?KILL_TIMEOUT).

kill_group(Master, Until) ->
    Members = [Pid || Pid <- processes(), Pid =/= Master,
                      process_info(Pid, group_leader) =:= {group_leader, Master}],
    lists:foreach(fun(Pid) -> exit(Pid, kill) end, Members),
    case Members =:= [] orelse erlang:monotonic_time(millisecond) > Until of
        true -> ok;
        false -> kill_group(Master, Until)
    end.

%% @doc Runs Fun in a process of its own, which is killed at the deadline and with the caller.
-spec with_deadline(fun(() -> Result), timeout(), map()) ->
    {ok, Result} | {error, {timeout | crashed, map()}}.
with_deadline(Fun, Timeout, Details) ->
    Worker = ask(Fun),
    case answer(Worker, Timeout) of
        {ok, Result} ->
            {ok, Result};
        {down, Reason} ->
            {error, {crashed, Details#{reason => Reason}}};
        timeout ->
            give_up(Worker),
            {error, {timeout, Details#{timeout => Timeout}}}
    end.

%% The worker watches its caller from a third process: a link would need the caller to trap exits.
ask(Fun) ->
    Caller = self(),
    Tag = make_ref(),
    {Worker, Ref} = spawn_monitor(fun() ->
        Worker = self(),
        _ = spawn(fun() -> guard(Caller, Worker) end),
        Caller ! {Tag, run(Fun)}
    end),
    {Worker, Ref, Tag}.

guard(Caller, Worker) ->
    CallerRef = monitor(process, Caller),
    WorkerRef = monitor(process, Worker),
    receive
        {'DOWN', CallerRef, process, _, _} -> exit(Worker, kill);
        {'DOWN', WorkerRef, process, _, _} -> true
    end.

run(Fun) ->
    try
        {ok, Fun()}
    catch
        Class:Reason:Stack -> {down, {Class, Reason, Stack}}
    end.

answer({Worker, Ref, Tag}, Timeout) ->
    receive
        {Tag, Outcome} ->
            demonitor(Ref, [flush]),
            Outcome;
        {'DOWN', Ref, process, Worker, Reason} ->
            {down, Reason}
    after Timeout -> timeout
    end.

%% What it sent before it died arrives before the news of its death.
give_up({Worker, Ref, Tag}) ->
    exit(Worker, kill),
    receive {'DOWN', Ref, process, Worker, _} -> ok end,
    receive {Tag, _} -> ok after 0 -> ok end.
