%%% @doc Runs the runtime's processes alone, and waits for conditions.
-module(bct_runtime).
-export([start/0, stop/1, spec/2, spec/3, spec_for/2, until/1, state/1, cleanup/0]).

-include("bc_gitops.hrl").

start() ->
    missing(bc_gitops_telemetry, "execute(_, _, _) -> ok."),
    missing(bc_gitops_config,
            "current() -> #{stop_timeout => application:get_env(bc_gitops, stop_timeout, 10000),"
            " start_timeout => application:get_env(bc_gitops, start_timeout, 60000), build_timeout => 60000}."),
    missing(bc_gitops_workspace,
            "prepare(N, S, _) -> case prepared(N, S) of {ok, B} -> {ok, B}; _ -> {error, {unreachable, #{}}} end.\n"
            "prepared(N, S) -> find({N, S}).\nlookup(K) -> find({key, K}).\n"
            "find(K) -> case ets:lookup(bc_gitops_workspace_prepared, K) of [{_, B}] -> {ok, B}; [] -> {error, not_found} end."),
    Owner = self(),
    Pid = spawn(fun() ->
        _ = ets:new(bc_gitops_workspace_prepared, [named_table, public]),
        process_flag(trap_exit, true),
        Started = [start_child(Spec) || Spec <- bc_gitops_runtime:child_specs()],
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

missing(Module, Text) ->
    case code:ensure_loaded(Module) of
        {module, _} -> ok;
        {error, _} ->
            {ok, Tokens} = scan(lists:flatten(["-module(", atom_to_list(Module), ").\n-compile([export_all, nowarn_export_all]).\n", Text])),
            {ok, Module, Code} = compile:forms(Tokens),
            {module, Module} = code:load_binary(Module, atom_to_list(Module), Code),
            ok
    end.

scan(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text),
    {ok, forms(Tokens, [])}.

forms([], []) -> [];
forms([{dot, _} = Dot | Rest], Form) ->
    {ok, Parsed} = erl_parse:parse_form(lists:reverse([Dot | Form])),
    [Parsed | forms(Rest, [])];
forms([Token | Rest], Form) ->
    forms(Rest, [Token | Form]).

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

%% @doc Waits until the condition holds; fails after ten seconds.
until(Condition) ->
    until(Condition, erlang:monotonic_time(millisecond) + 10000).

until(Condition, Until) ->
    case Condition() of
        true -> ok;
        _ ->
            true = erlang:monotonic_time(millisecond) < Until,
            receive after 5 -> until(Condition, Until) end
    end.
