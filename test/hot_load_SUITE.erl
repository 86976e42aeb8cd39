%%% @doc Twenty hot upgrades up and down while clients here and in another VM call the application about
%%% every millisecond: nobody's call fails, and no count is lost.
-module(hot_load_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, up_and_down/1, begin_with/1, upgrades/0, states/1]).

-define(ROUNDS, 10).
%% So many calls are made before each upgrade, and others while it goes on.
-define(CALLS, 5).

suite() -> [{timetrap, {minutes, 10}}].

all() -> [up_and_down].

up_and_down(_Config) ->
    {Node, Args} = bct_epmd:args("hot"),
    {_, FarArgs} = bct_epmd:args("far"),
    Vm = bct_vm:start(bare, Args),
    Far = bct_vm:start(bare, FarArgs),
    try
        [with_clients([{Vm, hot_first}, {Far, {hot_first, Node}}], Vm, Processes) || Processes <- [1, 100, 1000, 10000]]
    after
        [bct_vm:stop(One) || One <- [Vm, Far]]
    end.

with_clients(Callers, Vm, Processes) ->
    ok = bct_vm:call(Vm, ?MODULE, begin_with, [Processes]),
    Clients = [{Caller, bct_vm:call(Caller, bct_load, start, [Server])} || {Caller, Server} <- Callers],
    Pauses = bct_vm:call(Vm, ?MODULE, upgrades, []),
    Told = [bct_vm:call(Caller, bct_load, stop, [Client]) || {Caller, Client} <- Clients],
    ct:pal("~b processes: longest pause ~b us, longest call ~p us",
           [Processes, lists:max(Pauses), [Longest || #{longest := Longest} <- Told]]),
    ?assertEqual(2 * ?ROUNDS, length(Pauses)),
    ?assertEqual([[], []], [Failed || #{failed := Failed} <- Told]),
    Calls = [Made || #{calls := Made} <- Told],
    ?assert(lists:min(Calls) > 1),
    ?assert(lists:sum(Calls) >= 2 * ?ROUNDS * ?CALLS),
    %% every call was counted once, by the one process that they called
    ?assertEqual([{one, lists:sum(Calls), 1} | [{one, 0, N} || N <- lists:seq(2, Processes)]],
                 bct_vm:call(Vm, ?MODULE, states, [Processes])).

%%% In the VM of the application

begin_with(Processes) ->
    ok = bct_hot:start(hot_t, old()),
    Pids = [element(2, {ok, _} = supervisor:start_child(hot_many, [N])) || N <- lists:seq(1, Processes)],
    true = register(hot_first, hd(Pids)),
    ok.

upgrades() ->
    Old = old(),
    New = new(),
    [begin
        Count = count(),
        bct_wait:until(fun() -> count() >= Count + ?CALLS end),
        paused(Way, Old, New)
     end || _ <- lists:seq(1, ?ROUNDS), Way <- [up, down]].

count() ->
    {_, Count, _} = gen_server:call(hot_first, state, infinity),
    Count.

%% By number, and the application is gone.
states(Processes) ->
    States = [gen_server:call(Pid, state) || {_, Pid, _, _} <- supervisor:which_children(hot_many)],
    Processes = length(States),
    ok = bct_hot:stop(hot_t),
    lists:keysort(3, States).

old() -> objects("one", "code_change({down, _}, {two, N, E}, _) -> {ok, {one, N, E}}.").

new() ->
    objects("two", "code_change({down, _}, {two, N, E}, _) -> {ok, {one, N, E}};\n"
                   "code_change(_, {one, N, E}, _) -> {ok, {two, N, E}}.").

paused(up, Old, New) -> pause(bct_hot:upgrade(hot_t, Old, New, patience()));
paused(down, Old, New) -> pause(bct_hot:upgrade(hot_t, New, Old, (patience())#{direction => down})).

patience() -> #{suspend_timeout => 30000, start_timeout => 30000}.

pause({ok, #{pause_us := Pause, lingering := []}}) -> Pause.

objects(Version, Change) ->
    bct_hot:objects([
        {hot_t_sup, bct_hot:supervisor("#{}",
            "[#{id => many, start => {hot_t_many, start_link, []}, type => supervisor}]")},
        {hot_t_many, "-behaviour(supervisor).\n"
            "start_link() -> supervisor:start_link({local, hot_many}, ?MODULE, []).\n"
            "init([]) -> {ok, {#{strategy => simple_one_for_one},\n"
            "    [#{id => s, start => {hot_t_server, start_many, []}}]}}."},
        {hot_t_server, [bct_hot:server(Version, Change),
            "start_many(N) -> gen_server:start_link(?MODULE, N, []).\n"]}
    ]).
