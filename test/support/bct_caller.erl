%%% @doc An application with a process that runs what it is given.
-module(bct_caller).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1, start_worker/0, run/1]).

start(_Type, _Args) -> supervisor:start_link(?MODULE, []).

stop(_State) -> ok.

init([]) ->
    {ok, {#{}, [#{id => worker, start => {?MODULE, start_worker, []}}]}}.

start_worker() ->
    Pid = proc_lib:spawn_link(fun loop/0),
    true = register(?MODULE, Pid),
    {ok, Pid}.

loop() ->
    receive {run, From, Ref, Fun} -> From ! {Ref, Fun()} end,
    loop().

%% @doc Runs Fun in a process of the application.
run(Fun) ->
    Ref = make_ref(),
    ?MODULE ! {run, self(), Ref, Fun},
    receive {Ref, Result} -> Result end.
