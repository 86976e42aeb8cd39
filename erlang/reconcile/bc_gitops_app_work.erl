%%% @doc The work of one managed app, done in a process of its own: calls of the runtime module, which
%%% may take long, hang or crash. The owner gets `{Ref, Result}' and may kill the worker at any time.
-module(bc_gitops_app_work).

-include("bc_gitops.hrl").

-export([start/1, stop/1, is_result/2]).
-export([prepare/3, switch/4, remove/2, works_side_by_side/1]).
-export([prepare_deadline/2, switch_deadline/3]).

-export_type([worker/0, outcome/0]).

-opaque worker() :: {pid(), MonitorRef :: reference(), Ref :: reference()}.
%% What runs after a failure: `unchanged', nothing, or this.
-type outcome() ::
    {ok, #app_state{}} | {error, Reason :: term(), unchanged | undefined | #app_state{}}.

%% @doc Runs Fun in a worker that ends with its owner.
-spec start(fun(() -> term())) -> worker().
start(Fun) ->
    Owner = self(),
    Ref = make_ref(),
    {Pid, Monitor} = spawn_opt(fun() -> Owner ! {Ref, guarded(Fun)} end, [link, monitor]),
    {Pid, Monitor, Ref}.

%% @doc Kills the worker; nothing of it arrives afterwards.
-spec stop(worker()) -> ok.
stop({Pid, Monitor, Ref}) ->
    true = unlink(Pid),
    true = exit(Pid, kill),
    true = demonitor(Monitor, [flush]),
    receive {Ref, _} -> ok after 0 -> ok end,
    receive {'EXIT', Pid, _} -> ok after 0 -> ok end.

%% @doc Whether a message is this worker's last word.
-spec is_result(Message :: term(), worker()) -> {true, term()} | false.
is_result({Ref, Result}, {_Pid, Monitor, Ref}) ->
    true = demonitor(Monitor, [flush]),
    {true, Result};
is_result({'DOWN', Monitor, process, _, Reason}, {_Pid, Monitor, _Ref}) ->
    {true, {error, {worker_died, Reason}}};
is_result(_Message, _Worker) ->
    false.

%% The reason of a crash may hold the arguments of the call that crashed: only names are kept.
guarded(Fun) ->
    try
        Fun()
    catch
        Class:Reason:Stack ->
            {error, {crashed, #{
                class => Class, kind => bc_gitops_failure:kind(Reason),
                stacktrace => [{M, F, arity(A)} || {M, F, A, _} <- lists:sublist(Stack, 8)]
            }}}
    end.

arity(Args) when is_list(Args) -> length(Args);
arity(Arity) -> Arity.

%% @doc Whether a module's callbacks may run for several apps at once: it says so by `prepare/1'.
-spec works_side_by_side(module()) -> boolean().
works_side_by_side(Module) ->
    _ = code:ensure_loaded(Module),
    erlang:function_exported(Module, prepare, 1).

%% @doc Fetches and builds; nothing that runs is touched.
-spec prepare(module(), #app_spec{}, bc_gitops_runtime:options()) -> {ok, map()} | {error, term()}.
prepare(Module, Spec, Options) ->
    bc_gitops_runtime:prepare(Module, Spec, Options).

%% @doc Makes Target run. Old is what runs now.
-spec switch(deploy | upgrade | reconfigure | restore, module(), bc_gitops_state:revision(),
             Old :: bc_gitops_state:revision() | undefined) -> outcome().
switch(Action, Module, #{spec := Spec} = Target, Old) ->
    Result = case Action of
        deploy -> bc_gitops_runtime:deploy(Module, Spec);
        upgrade -> bc_gitops_runtime:upgrade(Module, Spec, maps:get(version, Old));
        reconfigure -> bc_gitops_runtime:reconfigure(Module, Spec);
        restore -> bc_gitops_runtime:restore(Module, Spec, maps:get(key, Target))
    end,
    case Result of
        {ok, #app_state{} = App} -> {ok, App};
        {error, Reason} -> {error, Reason, left(Action, Reason, Module, Old)}
    end.

%% What a failed action has left running. After a rollback that is the old version in new processes,
%% which the runtime finds again.
left(Action, _Reason, _Module, _Old) when Action =:= deploy; Action =:= restore ->
    undefined;
left(_Action, {rolled_back, _}, Module, #{spec := Spec, key := Key}) ->
    case bc_gitops_runtime:restore(Module, Spec, Key) of
        {ok, #app_state{} = App} -> App;
        {error, _} -> undefined
    end;
left(_Action, {rollback_failed, _}, _Module, _Old) ->
    undefined;
left(_Action, _Reason, _Module, _Old) ->
    unchanged.

-spec remove(module(), atom()) -> ok | {error, term()}.
remove(Module, Name) ->
    bc_gitops_runtime:remove(Module, Name).

%% @doc Milliseconds that preparing may take: a goal may stand in the build pool's queue behind all others
%% of its cycle.
-spec prepare_deadline(bc_gitops_goal:goal(), bc_gitops_config:config()) -> pos_integer().
prepare_deadline(#{share := Share}, Config) ->
    #{git_timeout := Git, build_timeout := Build, build_jobs := Jobs} = Config,
    (Git + Build) * ((Share + Jobs - 1) div Jobs) + grace(Config).

%% @doc Milliseconds that a switch may take. A module that cannot prepare fetches and builds in it.
-spec switch_deadline(bc_gitops_goal:step(), Prepared :: map(), bc_gitops_config:config()) -> pos_integer().
switch_deadline(Action, Prepared, Config)
        when map_size(Prepared) =:= 0, Action =:= deploy orelse Action =:= upgrade ->
    #{git_timeout := Git, build_timeout := Build} = Config,
    Git + Build + grace(Config);
switch_deadline(_Action, _Prepared, Config) ->
    grace(Config).

%% Stop, start, and both again to go back, with as much as one of them for what the runtime's own
%% watchdogs take.
grace(#{start_timeout := Start, stop_timeout := Stop}) ->
    3 * (Start + Stop).
