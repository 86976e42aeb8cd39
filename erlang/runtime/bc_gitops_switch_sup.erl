%%% @doc Supervises running switches.
%%%
%%% When bc_gitops stops they end at once: the application controller, which stops it, would answer none
%%% of their requests before. What they leave half done is on record (see bc_gitops_runtime_table), and
%%% the next switch of the application, when bc_gitops is back, takes it from there.
-module(bc_gitops_switch_sup).
-behaviour(supervisor).

-export([start_link/0, start_switch/2]).
-export([init/1, start_process/2, run/2]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Starts a process that runs Fun and sends `{bc_gitops_switch, Pid, Result}' to the caller.
-spec start_switch(pid(), fun((bc_gitops_switches:proceed()) -> term())) -> {ok, pid()}.
start_switch(Caller, Fun) ->
    {ok, Pid} = supervisor:start_child(?MODULE, [Caller, Fun]),
    true = is_pid(Pid),
    {ok, Pid}.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Switch = #{
        id => switch,
        start => {?MODULE, start_process, []},
        restart => temporary,
        shutdown => brutal_kill
    },
    {ok, {#{strategy => simple_one_for_one}, [Switch]}}.

%% @private
-spec start_process(pid(), fun((bc_gitops_switches:proceed()) -> term())) -> {ok, pid()}.
start_process(Caller, Fun) ->
    proc_lib:start_link(?MODULE, run, [Caller, Fun]).

%% @private
-spec run(pid(), fun((bc_gitops_switches:proceed()) -> term())) -> ok.
run(Caller, Fun) ->
    proc_lib:init_ack({ok, self()}),
    Ref = monitor(process, Caller),
    Result = Fun(fun() -> is_wanted(Ref) end),
    Caller ! {bc_gitops_switch, self(), Result},
    ok.

is_wanted(Ref) ->
    receive
        {'DOWN', Ref, process, _, _} -> false
    after 0 -> true
    end.
