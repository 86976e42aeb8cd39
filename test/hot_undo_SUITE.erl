%%% @doc A hot upgrade that fails, at whatever step, leaves the old code, the old states and the same
%%% processes, none of them suspended; or says that only a restart leads back.
-module(hot_undo_SUITE).
-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_change_that_returns_an_error/1, a_change_that_raises/1, a_change_that_hangs/1, a_process_that_does_not_suspend/1,
         a_module_that_does_not_load/1, code_that_lacks_what_it_needs/1, a_supervisor_that_fails/1, a_child_that_does_not_start/1,
         the_upgrading_process_is_killed/1, the_journal_is_killed/1, the_caller_is_killed/1, killed_before_anything/1,
         a_state_too_large_to_copy/1, way_down/1, failure_after_it_runs_again/1, work_since_is_kept/1, no_way_back_for_work/1,
         old_code_in_use/1, old_code_nowhere_kept/1, code_paths_come_back/1, a_process_that_dies_meanwhile/1]).

-define(NAMES, [hot_t_sup, hot_a, hot_b, hot_c]).
-define(SAME, "code_change(_, S, _) -> {ok, S}.").

all() ->
    [a_change_that_returns_an_error, a_change_that_raises, a_change_that_hangs, a_process_that_does_not_suspend,
     a_module_that_does_not_load, code_that_lacks_what_it_needs, a_supervisor_that_fails, a_child_that_does_not_start,
     the_upgrading_process_is_killed, the_journal_is_killed, the_caller_is_killed, killed_before_anything,
     a_state_too_large_to_copy, way_down, failure_after_it_runs_again, work_since_is_kept, no_way_back_for_work,
     old_code_in_use, old_code_nowhere_kept, code_paths_come_back, a_process_that_dies_meanwhile].

init_per_testcase(_Case, Config) ->
    true = register(hot_test, self()),
    Config.

end_per_testcase(_Case, _Config) ->
    bct_hot:stop(hot_t).

old() -> old(bct_hot:server("one", ?SAME)).

old(Server) ->
    bct_hot:objects([{hot_t_sup, bct_hot:supervisor("#{}", bct_hot:workers(named()))}, {hot_t_server, Server},
                     {hot_t_lib, "f() -> 1."}]).

named() -> [{Name, hot_t_server} || Name <- [hot_a, hot_b, hot_c]].

%% The new code: every module differs, and one comes.
new(Change) -> new(Change, []).

new(Change, More) ->
    maps:merge(
        bct_hot:objects([{hot_t_sup, bct_hot:supervisor("#{}", ["\n", bct_hot:workers(named())])},
                         {hot_t_server, bct_hot:server("two", Change)}, {hot_t_lib, "f() -> 2."}, {hot_t_new, "f() -> 3."}]),
        bct_hot:objects(More)).

start(Old) ->
    ok = bct_hot:start(hot_t, Old),
    1 = gen_server:call(hot_a, bump),
    bct_hot:moment(?NAMES, modules()).

modules() -> [hot_t_sup, hot_t_server, hot_t_lib, hot_t_new].

%% Old code, old state, the same processes, nobody suspended, nothing left over.
nothing_happened(Before) ->
    ?assertEqual(Before, bct_hot:moment(?NAMES, modules())),
    ?assertEqual([], [M || M <- modules(), erlang:check_old_code(M)]),
    ?assertEqual([one, one, one], [gen_server:call(Name, version) || Name <- [hot_a, hot_b, hot_c]]),
    ?assertEqual(1, hot_t_lib:f()),
    ?assertEqual(2, gen_server:call(hot_a, bump)).

undone(Change) -> undone(Change, #{}).

undone(Change, More) ->
    Old = old(),
    Before = start(Old),
    {undone, Reason} = bct_hot:upgrade(hot_t, Old, new(Change), More),
    nothing_happened(Before),
    Reason.

%% The others had changed when the one in the middle did not.
a_change_that_returns_an_error(_Config) ->
    Reason = undone("code_change(_, {_, _, hot_b}, _) -> {error, unwilling}; code_change(_, S, _) -> {ok, {new, S}}."),
    ?assertMatch({code_change_failed, #{module := hot_t_server, reason := unwilling, process := _}}, Reason).

a_change_that_raises(_Config) ->
    Reason = undone("code_change(_, {_, _, hot_b}, _) -> error(oops); code_change(_, S, _) -> {ok, {new, S}}."),
    ?assertMatch({code_change_failed, #{reason := {'EXIT', {oops, _}}}}, Reason).

%% The one that does not answer costs a restart; the others are as they were.
a_change_that_hangs(_Config) ->
    Old = old(),
    {Processes, Code} = start(Old),
    Change = "code_change(_, {_, _, hot_b} = S, _) -> receive go_on -> {ok, {new, S}} end; code_change(_, S, _) -> {ok, {new, S}}.",
    Result = bct_hot:upgrade(hot_t, Old, new(Change)),
    {restart, {not_undone, #{reason := Reason, problems := [{silent, [Pid]}]}}} = Result,
    ?assertMatch({code_change_failed, #{reason := timeout, process := Pid}}, Reason),
    ?assertEqual(whereis(hot_b), Pid),
    Others = [hot_t_sup, hot_a, hot_c],
    ?assertEqual({[P || {Name, _, _, _} = P <- Processes, Name =/= hot_b], Code}, bct_hot:moment(Others, modules())),
    Pid ! go_on,
    ?assertEqual(one, gen_server:call(hot_b, version)).

a_process_that_does_not_suspend(_Config) ->
    Old = old(),
    Before = start(Old),
    ok = gen_server:cast(hot_b, {run, fun() -> hot_test ! busy, receive go_on -> ok end end}),
    receive busy -> ok end,
    {undone, Reason} = bct_hot:upgrade(hot_t, Old, new("code_change(_, S, _) -> {ok, {new, S}}.")),
    Pid = whereis(hot_b),
    ?assertMatch({not_suspended, #{processes := [{Pid, #{registered_name := hot_b}}]}}, Reason),
    ?assertEqual([one, one], [gen_server:call(Name, version) || Name <- [hot_a, hot_c]]),
    Pid ! go_on,
    nothing_happened(Before).

a_module_that_does_not_load(_Config) ->
    Old = old(),
    Before = start(Old),
    {File, Code} = map_get(hot_t_new, new(?SAME)),
    Broken = (new(?SAME))#{hot_t_new => {File, binary:part(Code, 0, byte_size(Code) - 40)}},
    ?assertMatch({undone, {code_refused, #{modules := [{hot_t_new, badfile}]}}},
                 bct_hot:upgrade(hot_t, Old, Broken, #{steps => [{update, hot_t_server, {advanced, []}}, {add_module, hot_t_new}]})),
    nothing_happened(Before).

%% Functions that are not there are found when they are called, in code_change here.
code_that_lacks_what_it_needs(_Config) ->
    Reason = undone("code_change(_, S, _) -> {ok, hot_t_nowhere:f(S)}."),
    ?assertMatch({code_change_failed, #{reason := {'EXIT', {undef, [{hot_t_nowhere, f, _, _} | _]}}}}, Reason).

a_supervisor_that_fails(_Config) ->
    Old = old(),
    Before = start(Old),
    [begin
        Bad = new("code_change(_, S, _) -> {ok, {new, S}}.", [{hot_t_sup, bct_hot:supervisor("#{}", Children)}]),
        ?assertMatch({undone, {supervisor_init_failed, #{module := hot_t_sup}}}, bct_hot:upgrade(hot_t, Old, Bad)),
        ?assertEqual(Before, bct_hot:moment(?NAMES, modules()))
     end || Children <- ["[nonsense]", "begin error(oops) end", "begin receive never -> [] end end"]],
    nothing_happened(Before).

a_child_that_does_not_start(_Config) ->
    Old = old(),
    Before = start(Old),
    More = "#{id => bad, start => {hot_t_new, start_link, []}}, ",
    "[" ++ Rest = lists:flatten(bct_hot:workers(named())),
    New = new("code_change({down, _}, {new, S}, _) -> {ok, S}; code_change(_, S, _) -> {ok, {new, S}}.",
              [{hot_t_sup, bct_hot:supervisor("#{}", ["[#{id => good, start => {hot_t_server, start_link, [hot_g]}}, ", More, Rest])}]),
    ?assertMatch({undone, {child_not_started, #{child := bad}}}, bct_hot:upgrade(hot_t, Old, New)),
    ?assertEqual(undefined, whereis(hot_g)),
    ?assertEqual([hot_a, hot_b, hot_c], lists:sort([Id || {Id, _, _, _} <- supervisor:which_children(hot_t_sup)])),
    %% the supervisor worked in between: its state is another term that says the same
    {Processes, Code} = Before,
    {Now, Code} = bct_hot:moment(?NAMES, modules()),
    ?assertEqual([{N, P, S} || {N, P, _, S} <- Processes], [{N, P, S} || {N, P, _, S} <- Now]),
    ?assertEqual([State || {N, _, State, _} <- Processes, N =/= hot_t_sup],
                 [State || {N, _, State, _} <- Now, N =/= hot_t_sup]),
    exit(whereis(hot_b), kill),
    bct_wait:until(fun() -> is_pid(whereis(hot_b)) end),
    ?assertEqual(one, gen_server:call(hot_b, version)).

%%% Processes that are killed

in_the_middle(Old, Change) ->
    Test = self(),
    Caller = spawn(fun() ->
        Test ! {result, self(), bct_hot:upgrade(hot_t, Old, new(Change), #{suspend_timeout => 5000})}
    end),
    Changing = receive {changing, Process} -> Process end,
    bct_wait:until(fun() -> length(watched(Caller)) =:= 2 end),
    Pids = watched(Caller),
    [Journal] = [Pid || Pid <- Pids, bc_gitops_hot_processes:initial(Pid) =:= bc_gitops_hot_journal],
    [Worker] = Pids -- [Journal],
    #{caller => Caller, journal => Journal, worker => Worker, changing => Changing}.

watched(Caller) ->
    {monitors, Monitors} = process_info(Caller, monitors),
    [Pid || {process, Pid} <- Monitors].

waits() ->
    "code_change({down, _}, {new, S}, _) -> {ok, S};\n"
    "code_change(_, {_, _, hot_b} = S, _) -> hot_test ! {changing, self()}, receive go_on -> {ok, {new, S}} end;\n"
    "code_change(_, S, _) -> {ok, {new, S}}.".

killed(Which) ->
    Old = old(),
    Before = start(Old),
    #{caller := Caller, changing := Changing} = Running = in_the_middle(Old, waits()),
    Victim = map_get(Which, Running),
    Refs = [{Pid, monitor(process, Pid)} || Pid <- maps:values(Running) -- [Changing]],
    exit(Victim, kill),
    receive {'DOWN', _, process, Victim, killed} -> ok end,
    Changing ! go_on,
    [receive {'DOWN', Ref, process, Pid, _} -> ok end || {Pid, Ref} <- Refs, Pid =/= Victim],
    nothing_happened(Before),
    receive {result, Caller, Result} -> Result after 0 -> none end.

the_upgrading_process_is_killed(_Config) ->
    ?assertMatch({undone, {upgrade_killed, #{reason := killed}}}, killed(worker)).

%% What was saved is lost with it: code_change leads back.
the_journal_is_killed(_Config) ->
    ?assertMatch({undone, {upgrade_killed, _}}, killed(journal)).

the_caller_is_killed(_Config) ->
    ?assertEqual(none, killed(caller)).

killed_before_anything(_Config) ->
    Old = old(),
    Before = start(Old),
    ok = gen_server:cast(hot_b, {run, fun() -> hot_test ! {changing, self()}, receive go_on -> ok end end}),
    #{worker := Worker, caller := Caller, changing := Pid} = in_the_middle(Old, ?SAME),
    bct_wait:until(fun() -> {message_queue_len, 2} =:= process_info(Pid, message_queue_len) end),
    exit(Worker, kill),
    Pid ! go_on,
    receive {result, Caller, Result} -> ?assertMatch({undone, {upgrade_killed, _}}, Result) end,
    nothing_happened(Before).

%%% Ways back

%% 20 MB: the code itself leads back.
a_state_too_large_to_copy(_Config) ->
    Old = old([bct_hot:server("one", ?SAME)]),
    ok = bct_hot:start(hot_t, Old),
    Large = lists:seq(1, 1500000),
    _ = sys:replace_state(hot_a, fun(S) -> setelement(3, S, Large) end),
    Before = bct_hot:moment(?NAMES, modules()),
    Change = "code_change({down, _}, {new, {V, N, E}}, _) -> hot_test ! came_down, {ok, {V, N, E}};\n"
             "code_change(_, {_, _, hot_b}, _) -> {error, unwilling}; code_change(_, S, _) -> {ok, {new, S}}.",
    {undone, _} = bct_hot:upgrade(hot_t, Old, new(Change)),
    ?assertEqual(Before, bct_hot:moment(?NAMES, modules())),
    receive came_down -> ok end,
    receive came_down -> error(more_than_one) after 0 -> ok end.

%% On the way down it is the code that goes which changed the states.
way_down(_Config) ->
    Change = "code_change({down, _}, {_, _, hot_b}, _) -> {error, unwilling}; code_change({down, _}, S, _) -> {ok, {older, S}}.",
    Old = old(bct_hot:server("one", Change)),
    Before = start(Old),
    {undone, {code_change_failed, _}} = bct_hot:upgrade(hot_t, Old, new(?SAME), #{direction => down}),
    nothing_happened(Before).

later_failure(Change, Between) ->
    Old = old(),
    Before = start(Old),
    Settle = {fun() -> Between(), {error, {state_not_written, #{}}} end, fun() -> hot_test ! unsettled, ok end},
    Result = bct_hot:upgrade(hot_t, Old, new(Change), #{settle => Settle}),
    receive unsettled -> ok end,
    {Before, Result}.

failure_after_it_runs_again(_Config) ->
    {Before, Result} = later_failure("code_change(_, S, _) -> {ok, {new, S}}.", fun() -> ok end),
    ?assertMatch({undone, {state_not_written, _}}, Result),
    nothing_happened(Before).

%% One has counted on under the new code: its count comes down with it.
work_since_is_kept(_Config) ->
    Change = "code_change({down, _}, {new, N, E}, _) -> {ok, {one, N, E}}; code_change(_, {one, N, E}, _) -> {ok, {new, N, E}}.",
    {_, Result} = later_failure(Change, fun() -> 2 = gen_server:call(hot_a, bump) end),
    ?assertMatch({undone, {state_not_written, _}}, Result),
    ?assertEqual([{one, 2, hot_a}, {one, 0, hot_b}], [gen_server:call(Name, state) || Name <- [hot_a, hot_b]]).

no_way_back_for_work(_Config) ->
    Change = "code_change({down, _}, _, _) -> {error, no_way}; code_change(_, {one, N, E}, _) -> {ok, {new, N, E}}.",
    {_, Result} = later_failure(Change, fun() -> 2 = gen_server:call(hot_a, bump) end),
    Pid = whereis(hot_a),
    ?assertMatch({restart, {not_undone, #{problems := [{code_change_failed, #{process := Pid, reason := no_way}}]}}}, Result),
    ?assertEqual([false, false], [bct_hot:suspended(Name) || Name <- [hot_a, hot_b]]).

%% A process that loops in the former code keeps it from coming back as the present one.
old_code_in_use(_Config) ->
    Lib = fun(N) -> {hot_t_lib, io_lib:format("f() -> ~b.\nrun() -> hot_test ! runs, receive stop -> ok end, ~b.", [N, N])} end,
    Old = maps:merge(old(), bct_hot:objects([Lib(1)])),
    _ = start(Old),
    Pid = spawn(fun() -> hot_t_lib:run(), ok end),
    receive runs -> ok end,
    Result = bct_hot:upgrade(hot_t, Old, new("code_change(_, _, _) -> {error, unwilling}.", [Lib(2)])),
    ?assertMatch({restart, {not_undone, #{problems := [{code_in_use, #{modules := [hot_t_lib], processes := [{Pid, _}]}}]}}}, Result),
    ?assert(is_process_alive(Pid)),
    ?assertEqual([false, false, false], [bct_hot:suspended(Name) || Name <- [hot_a, hot_b, hot_c]]),
    Ref = monitor(process, Pid),
    Pid ! stop,
    receive {'DOWN', Ref, process, Pid, normal} -> ok end.

%% As when files were overwritten in place: nobody is left suspended.
old_code_nowhere_kept(_Config) ->
    Old = old(),
    _ = start(Old),
    Pids = [whereis(Name) || Name <- ?NAMES],
    Result = bct_hot:upgrade(hot_t, #{}, new("code_change(_, _, _) -> {error, unwilling}."),
                             #{steps => bct_hot:steps({Old, new(?SAME)})}),
    ?assertMatch({restart, {not_undone, #{problems := [{former_code_not_kept, _} | _]}}}, Result),
    ?assertEqual(Pids, [whereis(Name) || Name <- ?NAMES]),
    ?assertEqual([false, false, false, false], [bct_hot:suspended(Name) || Name <- ?NAMES]).

code_paths_come_back(_Config) ->
    Dir = bct_dir:make("hot_paths"),
    [From, To] = [filename:join([binary_to_list(iolist_to_binary(Dir)), V, "hot_t", "ebin"]) || V <- ["one", "two"]],
    [ok = filelib:ensure_path(D) || D <- [From, To]],
    true = code:add_pathz(From),
    Reason = undone("code_change(_, _, _) -> {error, code:lib_dir(hot_t)}.", #{paths => [{From, To}]}),
    ?assertMatch({code_change_failed, #{reason := _}}, Reason),
    {_, #{reason := Seen}} = Reason,
    ?assertEqual(filename:dirname(To), Seen),
    ?assertEqual({true, false}, {lists:member(From, code:get_path()), lists:member(To, code:get_path())}),
    code:del_path(From),
    bct_dir:remove(Dir).

%% Nobody waits for a process that is gone; its supervisor has started it anew.
a_process_that_dies_meanwhile(_Config) ->
    Old = old(),
    _ = start(Old),
    #{caller := Caller, changing := Pid} = in_the_middle(Old, waits()),
    Ref = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, killed} -> ok end,
    receive {result, Caller, Result} -> ?assertMatch({ok, _}, Result) end,
    bct_wait:until(fun() -> is_pid(whereis(hot_b)) end),
    ?assertEqual([two, two, two], [gen_server:call(Name, version) || Name <- [hot_a, hot_b, hot_c]]).
