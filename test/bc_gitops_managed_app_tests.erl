%%% Every edge of the state machine, with a runtime that records and answers as scripted. This process
%%% stands in for the reconciler.
-module(bc_gitops_managed_app_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

-define(NAME, my_app).
-define(WAIT, 5000).

%% the happy path and its events

an_app_is_prepared_switched_on_and_confirmed_test() ->
    with_app(fun(Pid) ->
        give(Pid, 1, <<"1">>),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        settled(1, ok),
        ?assertMatch(#{state := running, running_version := <<"1">>, last_error := undefined}, details()),
        ?assertMatch(#{confirmed := #{version := <<"1">>, key := <<"key-1">>}, switch := undefined}, on_disk()),
        ?assertMatch({ok, #{current := {?NAME, <<"apps/my_app">>, running, <<"1">>, _, _, embedded, [], []}}},
                     bc_gitops_registry:app(?NAME))
    end).

another_version_is_an_upgrade_another_environment_a_reconfiguration_test() ->
    with_running(fun(Pid) ->
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        called(upgrade, <<"2">>),
        settled(2, ok),
        give(Pid, 3, <<"2">>, #{env_fp => <<"other">>}),
        called(reconfigure, <<"2">>),
        settled(3, ok),
        nothing_called(),
        ?assertMatch(#{previous_version := <<"2">>, confirmed_version := <<"2">>}, details())
    end).

what_is_as_wanted_is_left_alone_test() ->
    with_running(fun(Pid) ->
        give(Pid, 2, <<"1">>),
        settled(2, ok),
        nothing_called()
    end).

a_moved_ref_at_the_same_version_is_an_upgrade_test() ->
    with_running(fun(Pid) ->
        give(Pid, 2, <<"1">>, #{wanted => <<"revision-new">>}),
        called(prepare, <<"1">>),
        called(upgrade, <<"1">>),
        settled(2, ok)
    end).

an_app_is_removed_and_forgotten_test() ->
    with_running(fun(Pid) ->
        Monitor = monitor(process, Pid),
        give_goal(Pid, bc_gitops_goal:remove(?NAME, #{seq => 2})),
        called(remove, undefined),
        settled(2, ok),
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
        ?assertEqual({error, not_found}, bc_gitops_registry:app(?NAME)),
        ?assertEqual(none, on_disk())
    end).

%% failures

a_failed_fetch_is_tried_again_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [{error, {unreachable, #{}}}, {error, {unreachable, #{}}}]),
        give(Pid, 1, <<"1">>),
        settled(1, {error, {unreachable, #{}}}),
        called(prepare, <<"1">>),
        called(prepare, <<"1">>),
        settled(1, {error, {unreachable, #{}}}),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        settled(1, ok),
        ?assertMatch(#{state := running, attempts := 0}, details())
    end).

while_it_backs_off_the_next_try_is_shown_test() ->
    with_app(#{retry_min => 100000, retry_max => 100000}, fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [{error, {unreachable, #{}}}]),
        give(Pid, 1, <<"1">>),
        settled(1, {error, {unreachable, #{}}}),
        ?assertMatch(
            #{state := backing_off, attempts := 1, next_retry := {{_, _, _}, _},
              last_error := #{reason := {unreachable, #{}}, message := _, what_next := _}},
            details()),
        %% a cycle with the same goal changes nothing
        called(prepare, <<"1">>),
        give(Pid, 2, <<"1">>),
        settled(2, {error, {unreachable, #{}}}),
        nothing_called(),
        %% a call by hand does not wait
        give(Pid, 3, <<"1">>, #{by_hand => true}),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        settled(3, ok)
    end).

a_failed_build_leaves_the_old_version_and_is_not_repeated_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [{error, {build_failed, #{}}}]),
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        settled(2, {error, {build_failed, #{}}}),
        ?assertMatch(#{state := quarantined, running_version := <<"1">>}, details()),
        give(Pid, 3, <<"2">>),
        settled(3, {error, {build_failed, #{}}}),
        nothing_called(),
        %% another spec lifts it
        give(Pid, 4, <<"3">>),
        called(prepare, <<"3">>),
        called(upgrade, <<"3">>),
        settled(4, ok),
        ?assertMatch(#{quarantined := undefined, running_version := <<"3">>}, details())
    end).

a_call_by_hand_tries_a_quarantined_version_once_more_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(upgrade, ?NAME, [{error, first}, {error, second}]),
        give(Pid, 2, <<"2">>),
        settled(2, {error, first}),
        give(Pid, 3, <<"2">>, #{by_hand => true}),
        settled(3, {error, second}),
        give(Pid, 4, <<"2">>),
        settled(4, {error, second}),
        ?assertMatch(#{state := quarantined}, details())
    end).

going_back_to_what_runs_ends_a_quarantine_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [{error, {build_failed, #{}}}]),
        give(Pid, 2, <<"2">>),
        settled(2, {error, {build_failed, #{}}}),
        give_goal(Pid, bc_gitops_goal:none(?NAME, #{seq => 3})),
        settled(3, ok),
        ?assertMatch(#{state := running, quarantined := undefined, last_error := undefined}, details())
    end).

a_rollback_shows_the_old_version_and_its_new_process_test() ->
    with_running(fun(Pid) ->
        Reason = {rolled_back, #{running => <<"1">>, reason => {start_failed, #{}}, gap_ms => 3}},
        ok = bct_recorder:script(upgrade, ?NAME, [{error, Reason}]),
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        called(upgrade, <<"2">>),
        called(restore, <<"1">>),
        settled(2, {error, Reason}),
        ?assertMatch(#{state := quarantined, running_version := <<"1">>}, details()),
        ?assertMatch(#{quarantine := #{reason := Reason}, confirmed := #{version := <<"1">>}}, on_disk())
    end).

where_rolling_back_failed_the_old_version_is_started_again_test() ->
    with_running(fun(Pid) ->
        Reason = {rollback_failed, #{reason => a, rollback_reason => b}},
        ok = bct_recorder:script(upgrade, ?NAME, [{failed, Reason}]),
        ok = bct_recorder:script(restore, ?NAME, [{error, still_not}, ok]),
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        called(upgrade, <<"2">>),
        settled(2, {error, Reason}),
        called(restore, <<"1">>),
        called(restore, <<"1">>),
        state_is(quarantined, fun(#{running_version := Version}) -> Version =:= <<"1">> end)
    end).

a_new_app_that_does_not_start_is_quarantined_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(deploy, ?NAME, [{error, {start_failed, #{}}}]),
        give(Pid, 1, <<"1">>),
        settled(1, {error, {start_failed, #{}}}),
        ?assertMatch(#{state := quarantined, running_version := undefined}, details()),
        {ok, App} = bc_gitops_registry:details(?NAME),
        ?assertMatch(#app_state{status = failed, version = <<"1">>}, App)
    end).

an_app_that_crashes_the_callback_harms_nobody_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(deploy, ?NAME, [crash]),
        give(Pid, 1, <<"1">>),
        {error, Reason} = settled(1),
        ?assertMatch({runtime_failed, #{}}, Reason),
        ?assert(is_process_alive(Pid))
    end).

a_callback_that_hangs_is_given_up_and_the_process_answers_meanwhile_test() ->
    with_running(#{start_timeout => 20, stop_timeout => 20}, fun(Pid) ->
        ok = bct_recorder:script(upgrade, ?NAME, [hang]),
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        called(upgrade, <<"2">>),
        {error, {timeout, #{}}} = settled(2),
        %% what the call has left is not known: the old version is asked for
        called(restore, <<"1">>),
        state_is(quarantined, fun(#{running_version := Version}) -> Version =:= <<"1">> end)
    end).

a_failed_removal_is_tried_again_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(remove, ?NAME, [{error, {stop_failed, #{}}}]),
        give_goal(Pid, bc_gitops_goal:remove(?NAME, #{seq => 2})),
        settled(2, {error, {stop_failed, #{}}}),
        called(remove, undefined),
        called(remove, undefined),
        settled(2, ok)
    end).

%% superseding

a_newer_goal_ends_a_preparation_at_once_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [wait]),
        give(Pid, 1, <<"1">>),
        Preparing = waits(prepare),
        Monitor = monitor(process, Preparing),
        give(Pid, 2, <<"2">>),
        receive {'DOWN', Monitor, process, Preparing, killed} -> ok end,
        settled(2, ok),
        ?assertEqual(#{?NAME => <<"2">>}, bct_recorder:running())
    end).

the_same_goal_from_a_newer_commit_goes_on_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [wait]),
        give(Pid, 1, <<"1">>),
        Preparing = waits(prepare),
        give(Pid, 2, <<"1">>, #{wanted => <<"revision-1">>}),
        ok = bct_recorder:go(Preparing, ok),
        settled(2, ok),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        nothing_called()
    end).

a_switch_is_let_finish_before_a_newer_goal_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(upgrade, ?NAME, [wait]),
        give(Pid, 2, <<"2">>),
        Switching = waits(upgrade),
        give(Pid, 3, <<"3">>),
        give(Pid, 4, <<"4">>),
        ?assertMatch(#{state := switching}, details()),
        ok = bct_recorder:go(Switching, ok),
        settled(4, ok),
        called(prepare, <<"2">>),
        called(upgrade, <<"2">>),
        called(prepare, <<"4">>),
        called(upgrade, <<"4">>),
        nothing_called()
    end).

a_commit_that_takes_a_change_back_ends_its_preparation_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [wait]),
        give(Pid, 2, <<"2">>),
        Preparing = waits(prepare),
        Monitor = monitor(process, Preparing),
        give_goal(Pid, bc_gitops_goal:none(?NAME, #{seq => 3})),
        settled(3, ok),
        receive {'DOWN', Monitor, process, Preparing, killed} -> ok end,
        ?assertMatch(#{state := running, running_version := <<"1">>}, details())
    end).

an_app_that_is_no_longer_wanted_before_it_ran_is_forgotten_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [hang]),
        Monitor = monitor(process, Pid),
        give(Pid, 1, <<"1">>),
        called(prepare, <<"1">>),
        give_goal(Pid, bc_gitops_goal:none(?NAME, #{seq => 2})),
        settled(2, ok),
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
        ?assertEqual({error, not_found}, bc_gitops_registry:app(?NAME))
    end).

a_call_by_hand_is_not_undone_by_a_cycle_that_knows_nothing_of_it_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [wait]),
        give(Pid, 1, <<"1">>, #{origin => manual}),
        Preparing = waits(prepare),
        give_goal(Pid, bc_gitops_goal:none(?NAME, #{seq => 2})),
        ok = bct_recorder:go(Preparing, ok),
        settled(2, ok),
        ?assertMatch(#{state := running, origin := manual}, details())
    end).

removed_and_wanted_again_meanwhile_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(remove, ?NAME, [wait]),
        give_goal(Pid, bc_gitops_goal:remove(?NAME, #{seq => 2})),
        Removing = waits(remove),
        give(Pid, 3, <<"3">>),
        ok = bct_recorder:go(Removing, ok),
        settled(3, ok),
        ?assertEqual(#{?NAME => <<"3">>}, bct_recorder:running())
    end).

%% dependencies

a_dependent_prepares_and_waits_for_its_turn_test() ->
    with_app(fun(Pid) ->
        give(Pid, 1, <<"1">>, #{'after' => [db, cache]}),
        called(prepare, <<"1">>),
        state_is(ready, fun(#{waits_for := Names}) -> lists:sort(Names) =:= [cache, db] end),
        ok = bc_gitops_managed_app:dependency(Pid, db, ok),
        nothing_called(),
        ok = bc_gitops_managed_app:dependency(Pid, cache, ok),
        called(deploy, <<"1">>),
        settled(1, ok)
    end).

a_failed_dependency_holds_it_until_that_runs_test() ->
    with_app(fun(Pid) ->
        give(Pid, 1, <<"1">>, #{'after' => [db]}),
        called(prepare, <<"1">>),
        ok = bc_gitops_managed_app:dependency(Pid, db, error),
        settled(1, {error, {dependency_failed, db}}),
        ?assertMatch(#{state := pending, last_error := #{reason := {dependency_failed, db}}}, details()),
        ok = bc_gitops_managed_app:dependency(Pid, db, ok),
        settled(1, ok),
        ?assertMatch(#{state := running}, details())
    end).

%% stopping by itself

an_app_that_stops_by_itself_is_shown_and_started_by_the_next_goal_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:kill_app(?NAME),
        state_is(failed, fun(#{running_version := Version}) -> Version =:= undefined end),
        ?assertMatch({ok, #{current := {_, _, stopped, <<"1">>, _, _, _, _, _}}}, bc_gitops_registry:app(?NAME)),
        give(Pid, 2, <<"1">>, #{reasons => [stopped]}),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        settled(2, ok)
    end).

%% Only who looked after it had landed has seen it stopped.
an_earlier_look_says_nothing_of_what_runs_now_test() ->
    with_running(fun(Pid) ->
        give(Pid, 2, <<"1">>, #{reasons => [stopped]}),
        settled(2, ok),
        nothing_called(),
        Later = bc_gitops_goal:new_seq(),
        give(Pid, Later, <<"1">>, #{reasons => [stopped]}),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        settled(Later, ok)
    end).

what_ran_well_and_does_not_start_again_is_retried_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:kill_app(?NAME),
        state_is(failed, fun(_) -> true end),
        ok = bct_recorder:script(deploy, ?NAME, [{error, {start_failed, #{}}}, ok]),
        give(Pid, 2, <<"1">>, #{reasons => [stopped]}),
        settled(2, {error, {start_failed, #{}}}),
        settled(2, ok)
    end).

the_old_version_that_stops_beside_a_quarantined_one_runs_again_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [{error, {build_failed, #{}}}]),
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        settled(2, {error, {build_failed, #{}}}),
        ok = bct_recorder:kill_app(?NAME),
        state_is(quarantined, fun(#{running_version := Version}) -> Version =:= undefined end),
        give(Pid, 3, <<"2">>, #{reasons => [stopped]}),
        settled(3, {error, {build_failed, #{}}}),
        called(restore, <<"1">>),
        state_is(quarantined, fun(#{running_version := Version}) -> Version =:= <<"1">> end)
    end).

%% blocked

a_goal_that_cannot_be_planned_leaves_what_runs_test() ->
    with_running(fun(Pid) ->
        give_goal(Pid, bc_gitops_goal:blocked(?NAME, {cycle, [?NAME, b]}, #{seq => 2})),
        settled(2, {error, {blocked, {cycle, [?NAME, b]}}}),
        ?assertMatch(#{state := suspended, running_version := <<"1">>}, details()),
        give_goal(Pid, bc_gitops_goal:none(?NAME, #{seq => 3})),
        settled(3, ok),
        ?assertMatch(#{state := running, last_error := undefined}, details()),
        nothing_called()
    end).

%% disk

the_journal_is_on_disk_before_the_app_is_touched_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(upgrade, ?NAME, [wait]),
        give(Pid, 2, <<"2">>),
        Switching = waits(upgrade),
        ?assertMatch(
            #{switch := #{action := upgrade, target := #{version := <<"2">>}}, confirmed := #{version := <<"1">>}},
            on_disk()),
        ok = bct_recorder:go(Switching, ok),
        settled(2, ok),
        ?assertMatch(#{switch := undefined, confirmed := #{version := <<"2">>}}, on_disk())
    end).

what_ran_before_is_restored_and_a_quarantine_kept_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [{error, {build_failed, #{}}}]),
        give(Pid, 2, <<"2">>),
        called(prepare, <<"2">>),
        settled(2, {error, {build_failed, #{}}}),
        stop_app(Pid),
        Stored = on_disk(),
        Again = start_app(Stored, config(#{})),
        give_goal(Again, bc_gitops_goal:restore(?NAME, #{seq => 3})),
        called(restore, <<"1">>),
        settled(3, ok),
        give(Again, 4, <<"2">>),
        settled(4, {error, {build_failed, #{}}}),
        nothing_called()
    end).

what_cannot_be_restored_is_left_to_the_next_cycle_test() ->
    with_running(fun(Pid) ->
        stop_app(Pid),
        Again = start_app(on_disk(), config(#{})),
        ok = bct_recorder:script(restore, ?NAME, [{error, not_in_store}]),
        give_goal(Again, bc_gitops_goal:restore(?NAME, #{seq => 2})),
        settled(2, {error, not_in_store}),
        ?assertMatch(#{state := failed}, details()),
        give(Again, 3, <<"1">>, #{reasons => [stopped]}),
        settled(3, ok)
    end).

%% ending

a_preparation_ends_with_the_process_test() ->
    with_app(fun(Pid) ->
        ok = bct_recorder:script(prepare, ?NAME, [wait]),
        give(Pid, 1, <<"1">>),
        Preparing = waits(prepare),
        Monitor = monitor(process, Preparing),
        stop_app(Pid),
        receive {'DOWN', Monitor, process, Preparing, killed} -> ok end
    end).

a_switch_is_finished_before_the_process_ends_test() ->
    with_running(fun(Pid) ->
        ok = bct_recorder:script(upgrade, ?NAME, [wait]),
        give(Pid, 2, <<"2">>),
        Switching = waits(upgrade),
        Monitor = monitor(process, Pid),
        ok = bc_gitops_managed_app:stop(Pid),
        ok = bct_recorder:go(Switching, ok),
        receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
        ?assertMatch(#{confirmed := #{version := <<"2">>}, switch := undefined}, on_disk())
    end).

events_of_actions_name_app_runtime_and_result_test() ->
    Events = [?TELEMETRY_DEPLOY_START, ?TELEMETRY_DEPLOY_STOP],
    with_app(fun(Pid) ->
        Self = self(),
        ok = bc_gitops_telemetry:attach_many(?MODULE, Events,
            fun(Event, Measurements, Metadata, _) -> Self ! {event, Event, Measurements, Metadata} end, []),
        give(Pid, 1, <<"1">>),
        settled(1, ok),
        ok = bc_gitops_telemetry:detach(?MODULE),
        Start = receive {event, ?TELEMETRY_DEPLOY_START, _, M1} -> M1 end,
        ?assertMatch(#{app := ?NAME, runtime := bct_recorder, isolation := embedded}, Start),
        receive
            {event, ?TELEMETRY_DEPLOY_STOP, #{duration := Duration}, #{app := ?NAME, result := ok}} ->
                ?assert(Duration > 0)
        end
    end).

%% helpers

with_app(Test) -> with_app(#{}, Test).

with_app(Options, Test) ->
    bct_dir:with("bc_gitops_managed_app", fun(Dir) ->
        put(dir, Dir),
        {ok, Telemetry} = start_telemetry(),
        {ok, Worker} = start_worker(),
        ok = bc_gitops_registry:create(),
        true = register(bc_gitops_reconciler, self()),
        ok = bct_recorder:start(),
        Config = config(Options),
        ok = bc_gitops_state:open(Config),
        try
            Pid = start_app(bc_gitops_state:new(?NAME), Config),
            Test(Pid),
            stop_app(Pid)
        after
            kill_apps(),
            bct_recorder:stop(),
            true = unregister(bc_gitops_reconciler),
            [ets:delete(Table) || Table <- [bc_gitops_registry_repo, bc_gitops_registry_apps, bc_gitops_registry_details]],
            stop_processes(Telemetry ++ Worker),
            flush()
        end
    end).

start_telemetry() ->
    {ok, [start_child(Spec) || Spec <- bc_gitops_telemetry:child_specs()]}.

start_worker() ->
    {ok, [start_child(Spec) || Spec <- bc_gitops_runtime:child_specs()]}.

start_child(#{start := {Module, Function, Args}}) ->
    {ok, Pid} = apply(Module, Function, Args),
    Pid.

stop_processes(Pids) ->
    lists:foreach(
        fun(Pid) ->
            unlink(Pid),
            Monitor = monitor(process, Pid),
            exit(Pid, shutdown),
            receive {'DOWN', Monitor, process, _, _} -> ok end
        end,
        Pids
    ).

with_running(Test) -> with_running(#{}, Test).

with_running(Options, Test) ->
    with_app(Options, fun(Pid) ->
        give(Pid, 1, <<"1">>),
        called(prepare, <<"1">>),
        called(deploy, <<"1">>),
        settled(1, ok),
        Test(Pid)
    end).

config(Options) ->
    Dir = get(dir),
    {ok, Config} = bc_gitops_config:load(maps:merge(
        #{
            state_path => filename:join(Dir, "state"), local_path => filename:join(Dir, "clone"),
            runtime_module => bct_recorder, retry_min => 10, retry_max => 20
        },
        Options
    )),
    Config.

start_app(Store, Config) ->
    {ok, Pid} = bc_gitops_managed_app:start_link(Store, Config),
    put({app, Pid}, true),
    Pid.

%% A test that failed has left its process behind.
kill_apps() ->
    Pids = [Pid || {{app, Pid}, true} <- get()],
    [erase({app, Pid}) || Pid <- Pids],
    stop_processes(Pids).

stop_app(Pid) ->
    Monitor = monitor(process, Pid),
    ok = bc_gitops_managed_app:stop(Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> ok after ?WAIT -> error(still_there) end.

give(Pid, Seq, Version) -> give(Pid, Seq, Version, #{}).

give(Pid, Seq, Version, Common) ->
    Spec = #app_spec{name = ?NAME, version = Version},
    Meta = #{
        source_fp => Version, env_fp => maps:get(env_fp, Common, <<"env">>), dir => <<"apps/my_app">>
    },
    give_goal(Pid, bc_gitops_goal:apply(Spec, Meta, Common#{seq => Seq, commit => <<"c">>})).

give_goal(Pid, Goal) -> bc_gitops_managed_app:goal(Pid, Goal).

settled(Seq, Result) -> ?assertEqual(Result, settled(Seq)).

settled(Seq) ->
    receive
        {'$gen_cast', {settled, ?NAME, Seq, Result}} -> Result
    after ?WAIT -> error({not_settled, Seq, process_info(self(), messages), details()})
    end.

called(Callback, Version) ->
    receive
        {runtime, Called, ?NAME, With} -> ?assertEqual({Callback, Version}, {Called, With})
    after ?WAIT -> error({not_called, Callback, details()})
    end.

waits(Callback) ->
    receive {runtime_waits, Pid, Callback, ?NAME} -> Pid after ?WAIT -> error({no_call, Callback}) end.

%% Nothing may have been called: everything the process was sent before is done when it answers.
nothing_called() ->
    {ok, #{pid := Pid}} = bc_gitops_registry:app(?NAME),
    _ = sys:get_status(Pid),
    receive {runtime, Callback, _, Version} -> error({called, Callback, Version}) after 0 -> ok end.

details() ->
    case bc_gitops_registry:details(?NAME) of
        {ok, #app_state{details = Details}} -> Details;
        {error, not_found} -> #{state => none}
    end.

state_is(State, Also) ->
    state_is(State, Also, erlang:monotonic_time(millisecond) + ?WAIT).

state_is(State, Also, Deadline) ->
    Details = details(),
    case Details of
        #{state := State} ->
            case Also(Details) of
                true -> ok;
                false -> again(State, Also, Deadline, Details)
            end;
        _ ->
            again(State, Also, Deadline, Details)
    end.

again(State, Also, Deadline, Details) ->
    case erlang:monotonic_time(millisecond) > Deadline of
        true -> error({not_in_state, State, Details});
        false -> erlang:yield(), state_is(State, Also, Deadline)
    end.

on_disk() ->
    {ok, Apps, []} = bc_gitops_state:read_apps(filename:join(get(dir), <<"state">>)),
    case Apps of
        [App] -> App;
        [] -> none
    end.

flush() ->
    receive _ -> flush() after 0 -> ok end.
