%%% @doc Runs the runtime's processes alone.
-module(bct_runtime).
-export([start/1, stop/1, spec/2, spec/3, spec_for/2, state/1, cleanup/0]).

-include("bc_gitops.hrl").

%% @doc Runs the workspace in a directory, and the runtime's processes.
start(Workspace) ->
    ok = bc_gitops_workspace:init(Workspace),
    Owner = self(),
    Pid = spawn(fun() ->
        process_flag(trap_exit, true),
        Started = [start_child(Spec) || Spec <- bc_gitops_telemetry:child_specs() ++ bc_gitops_runtime:child_specs()],
        Owner ! {self(), ready},
        receive {stop, From} ->
            lists:foreach(fun stop_child/1, Started),
            From ! {self(), stopped}
        end
    end),
    receive {Pid, ready} -> Pid end.

start_child(#{start := {M, F, A}}) ->
    {ok, Pid} = apply(M, F, A),
    Pid.

stop_child(Pid) ->
    Ref = monitor(process, Pid),
    exit(Pid, shutdown),
    receive {'DOWN', Ref, process, _, _} -> ok end.

stop(Pid) ->
    Pid ! {stop, self()},
    receive {Pid, stopped} -> ok end.

%% @doc Removes everything that is deployed.
cleanup() ->
    {ok, States} = bc_gitops_runtime_default:get_current_state(),
    lists:foreach(fun(Name) -> ok = bc_gitops_runtime_default:remove(Name) end, maps:keys(States)).

spec(Name, Version) ->
    spec(Name, Version, #{}).

spec(Name, Version, Env) ->
    #app_spec{name = Name, version = Version, env = Env,
              source = #source_spec{type = git, url = <<"https://example.org/", (atom_to_binary(Name))/binary>>,
                                    ref = <<"v", Version/binary>>}}.

%% @doc The spec of a build, which the workspace is made to know.
spec_for(#{app := Name, version := Version} = Build, Env) ->
    Spec = spec(Name, Version, Env),
    ok = bct_build:offer(Build, Spec#app_spec.source),
    Spec.

state(Name) ->
    {ok, States} = bc_gitops_runtime_default:get_current_state(),
    maps:get(Name, States, none).

