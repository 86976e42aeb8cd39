%%% @doc The cycle that is under way: its process, its deadline, and who asked for it.
-module(bc_gitops_cycle_run).

-export([start/2, result/2, over/1, stop/1]).

-export_type([run/0]).

-type run() :: #{
    pid := pid(),
    monitor := reference(),
    deadline := reference(),
    seq := pos_integer(),
    began := integer(),                     % native time
    callers := [gen_server:from()]
}.

%% Beyond the time that git may take, for what happens on this machine.
-define(MARGIN, 60000).

%% @doc Runs a cycle in a process of its own; messages about it are for `result/2'.
-spec start(bc_gitops_cycle:input(), Callers :: [gen_server:from()]) -> run().
start(#{config := #{git_timeout := GitTimeout}, seq := Seq} = Input, Callers) ->
    Owner = self(),
    Began = erlang:monotonic_time(),
    {Pid, Monitor} = spawn_opt(fun() -> Owner ! {?MODULE, self(), bc_gitops_cycle:run(Input)} end, [link, monitor]),
    Deadline = erlang:send_after(2 * GitTimeout + ?MARGIN, Owner, {cycle_deadline, Pid}),
    #{pid => Pid, monitor => Monitor, deadline => Deadline, seq => Seq, began => Began, callers => Callers}.

%% @doc What a message says of this cycle.
-spec result(Message :: term(), run()) -> {done, bc_gitops_cycle:outcome()} | {failed, term()} | none.
result({?MODULE, Pid, Outcome}, #{pid := Pid}) ->
    {done, Outcome};
result({'DOWN', Monitor, process, _Pid, Reason}, #{monitor := Monitor}) ->
    {failed, {cycle_crashed, bc_gitops_failure:kind(Reason)}};
result({cycle_deadline, Pid}, #{pid := Pid} = Run) ->
    ok = stop(Run),
    {failed, {timeout, #{while => cycle}}};
result(_Message, _Run) ->
    none.

%% @doc Nothing is heard of the cycle any more.
-spec over(run()) -> ok.
over(#{monitor := Monitor, deadline := Deadline}) ->
    true = demonitor(Monitor, [flush]),
    _ = erlang:cancel_timer(Deadline),
    ok.

%% @doc Kills the cycle.
-spec stop(run()) -> ok.
stop(#{pid := Pid} = Run) ->
    true = unlink(Pid),
    true = exit(Pid, kill),
    over(Run).
