%%% The reconciler on real repositories, with a runtime that records and answers as scripted.
-module(reconcile_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_gitops, [spec/2, spec/3, push/2, delete/2, version/1, state/1, details/1, start/1, start/2]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        commits_are_followed, reconcile_says_what_failed, two_callers_share_one_cycle,
        a_newer_commit_supersedes_work_under_way, a_stopped_app_is_started_by_the_next_cycle,
        a_failing_app_makes_no_cycle_longer, desired_stands_next_to_running,
        dependencies_come_first, a_failed_dependency_holds_its_dependents,
        one_bad_spec_of_a_hundred_stops_nobody, the_last_good_spec_stands,
        a_cycle_of_dependencies_is_named_and_confined, otp_and_the_host_may_be_depended_on, a_mass_removal_is_refused,
        a_refusal_stands_until_it_is_resolved, refused_apps_are_removed_by_hand,
        missing_apps_remove_nothing, the_remote_goes_and_comes_back,
        deployed_by_hand_until_the_next_cycle, removed_by_hand_until_the_next_cycle,
        upgraded_by_hand_until_the_next_commit, by_hand_what_is_wrong_is_said,
        a_managed_app_cannot_wait_for_itself, stopping_leaves_the_apps,
        stopping_ends_work_under_way, a_restart_of_bc_gitops_alone_adopts,
        configuration_is_checked_at_start, another_repository_must_know_what_runs,
        a_second_node_is_refused, status_never_waits, a_plan_does_nothing,
        a_module_of_07_works_unchanged, a_hung_module_holds_nobody_up,
        a_crashed_reconciler_comes_back, what_is_answered_is_what_is_shown, a_crashed_app_process_is_found_out,
        a_full_disk_stops_nothing, events_of_cycles, the_interval_runs_by_itself,
        a_change_of_mind_costs_nothing, an_env_key_that_goes_is_a_reconfiguration,
        no_credential_is_shown, unknown_current_state_removes_nothing
    ].

init_per_testcase(Case, Config) ->
    ok = bct_recorder:start(),
    [{context, bct_gitops:setup(atom_to_list(Case))} | Config].

end_per_testcase(_Case, Config) ->
    bct_gitops:teardown(context(Config)),
    bct_recorder:stop().

context(Config) -> proplists:get_value(context, Config).

%% the main job

commits_are_followed(Config) ->
    Context = context(Config),
    First = push(Context, [spec(a, "1"), spec(b, "1", #{env => #{k => 1}})]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertMatch(
        {ok, #{status := synced, last_commit := First, app_count := 2, healthy_count := 2}},
        bc_gitops:status()),
    {ok, Desired} = bc_gitops:get_desired_state(),
    ?assertMatch(#{a := #app_spec{version = <<"1">>}, b := #app_spec{env = #{k := 1}}}, Desired),
    {ok, Current} = bc_gitops:get_current_state(),
    ?assertMatch(#{a := #app_state{version = <<"1">>, status = running}, b := #app_state{}}, Current),
    Second = push(Context, [spec(a, "2"), spec(b, "1", #{env => #{k => 2}}), spec(c, "1")]),
    ok = bc_gitops:sync(),
    ?assertMatch({ok, #{status := synced, last_commit := Second, app_count := 3}}, bc_gitops:status()),
    ?assertEqual({<<"2">>, <<"1">>, <<"1">>}, {version(a), version(b), version(c)}),
    _ = delete(Context, [b]),
    ok = bc_gitops:reconcile(),
    ?assertEqual({error, not_found}, bc_gitops:get_app_status(b)),
    ?assertEqual(#{a => <<"2">>, c => <<"1">>}, bct_recorder:running()),
    Calls = [{Call, Name} || {runtime, Call, Name, _} <- messages()],
    ?assertEqual([{prepare, a}, {deploy, a}, {prepare, a}, {upgrade, a}], [C || {_, a} = C <- Calls]),
    ?assertEqual([{prepare, b}, {deploy, b}, {reconfigure, b}, {remove, b}], [C || {_, b} = C <- Calls]).

reconcile_says_what_failed(Config) ->
    Context = context(Config),
    Commit = push(Context, [spec(a, "1"), spec(b, "1")]),
    ok = bct_recorder:script(prepare, a, [{error, {unreachable, #{}}}, {error, {build_failed, #{}}}]),
    _ = start(Context),
    Failed = fun(Reason) ->
        {error, {actions_failed, [#{app => a, action => deploy, reason => Reason, commit => Commit}]}}
    end,
    %% the cycle of the start may have been the first try
    {error, {actions_failed, [#{app := a, action := deploy}]}} = Error = bc_gitops:reconcile(),
    ?assert(is_binary(bc_gitops:format_error(element(2, Error)))),
    ?assertMatch({ok, #{status := degraded, healthy_count := 1}}, bc_gitops:status()),
    case Failed({build_failed, #{}}) of
        Error -> ok;
        Expected -> ?assertEqual(Expected, bc_gitops:reconcile())
    end,
    ?assertMatch(#{state := quarantined}, details(a)),
    %% by hand it is tried once more
    ok = bc_gitops:reconcile(),
    ?assertMatch({ok, #{status := synced}}, bc_gitops:status()).

two_callers_share_one_cycle(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    Self = self(),
    ok = bc_gitops_telemetry:attach(?FUNCTION_NAME, ?TELEMETRY_RECONCILE_START,
        fun(_, _, _, _) -> Self ! cycle_began end, []),
    ok = sys:suspend(bc_gitops_reconciler),
    Callers = [spawn_monitor(fun() -> exit(bc_gitops:reconcile()) end) || _ <- lists:seq(1, 5)],
    ok = bct_gitops:wait_for(fun() ->
        {messages, Queue} = process_info(whereis(bc_gitops_reconciler), messages),
        length([1 || {'$gen_call', _, reconcile} <- Queue]) =:= 5
    end),
    ok = sys:resume(bc_gitops_reconciler),
    [receive {'DOWN', Ref, process, Pid, Result} -> ?assertEqual(ok, Result) end || {Pid, Ref} <- Callers],
    ok = bc_gitops_telemetry:detach(?FUNCTION_NAME),
    %% the first caller begins a cycle, the others share the next one
    ?assertEqual(2, length([1 || cycle_began <- messages()])).

a_newer_commit_supersedes_work_under_way(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bct_recorder:script(prepare, a, [hang]),
    _ = push(Context, [spec(a, "2")]),
    Waiting = spawn_monitor(fun() -> exit(bc_gitops:reconcile()) end),
    ok = bct_gitops:wait_state(a, preparing),
    _ = push(Context, [spec(a, "3")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"3">>, version(a)),
    %% whoever waited for the older commit is answered as well
    {Pid, Ref} = Waiting,
    receive {'DOWN', Ref, process, Pid, Result} -> ?assertEqual(ok, Result) end,
    ?assertNot(lists:member({runtime, upgrade, a, <<"2">>}, messages())).

a_stopped_app_is_started_by_the_next_cycle(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bct_recorder:kill_app(a),
    ok = bct_gitops:wait_state(a, failed),
    ?assertMatch({ok, #{status := degraded, healthy_count := 1}}, bc_gitops:status()),
    ok = bc_gitops:reconcile(),
    ?assertMatch(#{state := running, running_version := <<"1">>}, details(a)),
    ?assertMatch({ok, #{status := synced}}, bc_gitops:status()).

a_failing_app_makes_no_cycle_longer(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    ok = bct_recorder:script(deploy, a, [hang]),
    _ = start(Context, #{reconcile_interval => 20}),
    ok = bct_gitops:wait_state(b, running),
    %% cycles go on while a hangs: a new app arrives
    _ = push(Context, [spec(c, "1")]),
    ok = bct_gitops:wait_state(c, running),
    ?assertEqual(switching, state(a)),
    {ok, #{last_cycle := #{duration_us := Took}}} = bc_gitops:status(),
    ?assert(Took < 20000000).

desired_stands_next_to_running(Config) ->
    Context = context(Config),
    First = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bct_recorder:script(prepare, a, [{error, {unreachable, #{message => <<"no route">>}}}]),
    Second = push(Context, [spec(a, "2")]),
    {error, _} = bc_gitops:reconcile(),
    {ok, #app_state{version = <<"1">>, status = running, details = Details}} = bc_gitops:get_app_status(a),
    ?assertMatch(
        #{
            state := backing_off, running_version := <<"1">>, desired_version := <<"2">>,
            commit := Second, desired_commit := Second, next_retry := {_, _}, attempts := 1,
            last_error := #{reason := {unreachable, _}, message := <<"no route">>, what_next := _},
            history := [#{action := upgrade, from := <<"1">>, to := <<"2">>, result := <<"no route">>},
                        #{action := deploy, to := <<"1">>, result := ok, commit := First}]
        },
        Details).

%% dependencies

dependencies_come_first(Config) ->
    Context = context(Config),
    _ = push(Context, [
        spec(web, "1", #{depends_on => [api]}), spec(api, "1", #{depends_on => [db]}), spec(db, "1")
    ]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual([db, api, web], [Name || {runtime, deploy, Name, _} <- messages()]),
    _ = delete(Context, [web, api]),
    ok = bc_gitops:reconcile(),
    ?assertEqual([web, api], [Name || {runtime, remove, Name, _} <- messages()]).

a_failed_dependency_holds_its_dependents(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(web, "1", #{depends_on => [db]}), spec(db, "1"), spec(other, "1")]),
    ok = bct_recorder:script(prepare, db, [wait]),
    _ = start(Context),
    Preparing = receive {runtime_waits, Pid, prepare, db} -> Pid end,
    ok = bct_recorder:script(prepare, db, [{error, {unreachable, #{}}}]),
    ok = bct_recorder:go(Preparing, {error, {unreachable, #{}}}),
    {error, {actions_failed, Failures}} = bc_gitops:reconcile(),
    ?assertMatch(
        [#{app := db, reason := {unreachable, _}}, #{app := web, reason := {dependency_failed, db}}], Failures),
    ?assertMatch(#{state := pending, last_error := #{message := <<"its dependency db failed; mend that one">>}}, details(web)),
    ?assertEqual(running, state(other)),
    %% it starts when its dependency runs
    ok = bc_gitops:reconcile(),
    ?assertEqual({running, running}, {state(db), state(web)}).

a_cycle_of_dependencies_is_named_and_confined(Config) ->
    Context = context(Config),
    _ = push(Context, [
        spec(a, "1", #{depends_on => [b]}), spec(b, "1", #{depends_on => [a]}),
        spec(c, "1", #{depends_on => [a]}), spec(d, "1"), spec(e, "1", #{depends_on => [nowhere]})
    ]),
    _ = start(Context),
    {error, {actions_failed, Failures}} = bc_gitops:reconcile(),
    Reasons = maps:from_list([{Name, Reason} || #{app := Name, reason := {blocked, Reason}} <- Failures]),
    ?assertMatch(
        #{a := {cycle, _}, b := {cycle, _}, c := {blocked_dependency, a}, e := {missing_dependency, [nowhere]}},
        Reasons),
    ?assertEqual(#{d => <<"1">>}, bct_recorder:running()),
    ?assertMatch(#{state := suspended}, details(a)),
    _ = push(Context, [spec(b, "1"), spec(e, "1")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(5, map_size(bct_recorder:running())).

otp_and_the_host_may_be_depended_on(Config) ->
    #{dir := Dir} = Context = context(Config),
    Ebin = filename:join([unicode:characters_to_list(Dir), "bct_hostlib", "ebin"]),
    AppFile = filename:join(Ebin, "bct_hostlib.app"),
    ok = filelib:ensure_dir(AppFile),
    ok = file:write_file(AppFile, "{application, bct_hostlib, [{vsn, \"1\"}, {modules, []}]}.\n"),
    %% running, only on the code path, of the host; not here
    _ = push(Context, [
        spec(a, "1", #{depends_on => [kernel, crypto, sasl]}), spec(b, "1", #{depends_on => [a, bct_hostlib]})
    ]),
    _ = start(Context),
    {error, {actions_failed, [#{app := b, reason := Reason}]}} = bc_gitops:reconcile(),
    ?assertEqual({blocked, {missing_dependency, [bct_hostlib]}}, Reason),
    ?assertEqual(running, state(a)),
    true = code:add_pathz(Ebin),
    try
        ok = bc_gitops:reconcile(),
        ?assertEqual(running, state(b)),
        ok = bc_gitops:reconcile(),
        ?assertMatch({ok, #{actions := [], blocked := []}}, bc_gitops:plan())
    after
        true = code:del_path(Ebin)
    end.

%% what is read

one_bad_spec_of_a_hundred_stops_nobody(Config) ->
    Context = context(Config),
    Names = [list_to_atom("app" ++ integer_to_list(N)) || N <- lists:seq(1, 99)],
    _ = push(Context, [{"apps/bad/app.config", "#{name => bad, version => ."} | [spec(Name, "1") || Name <- Names]]),
    _ = start(Context),
    {error, {actions_failed, [#{action := parse, reason := {spec_errors, [Error]}}]}} = bc_gitops:reconcile(),
    ?assertMatch(#{file := <<"apps/bad/app.config">>, problems := [#{line := 1} | _]}, Error),
    ?assertEqual(99, map_size(bct_recorder:running())),
    ?assertMatch({ok, #{status := degraded, spec_errors := [_], app_count := 99}}, bc_gitops:status()).

the_last_good_spec_stands(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    _ = push(Context, [{"apps/a/app.config", "not a spec"}, spec(b, "2")]),
    {error, _} = bc_gitops:reconcile(),
    ?assertEqual(#{a => <<"1">>, b => <<"2">>}, bct_recorder:running()),
    %% after a restart no good spec is known, and it still is no orphan
    ok = application:stop(bc_gitops),
    _ = start(Context),
    {error, _} = bc_gitops:reconcile(),
    ?assertEqual(#{a => <<"1">>, b => <<"2">>}, bct_recorder:running()).

a_mass_removal_is_refused(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    _ = push(Context, [spec(c, "1")]),
    _ = delete(Context, [a, b]),
    Result = bc_gitops:reconcile(),
    ?assertMatch({error, {actions_failed, [#{reason := {removal_refused, #{names := [_, _]}}}]}}, Result),
    ?assertEqual(#{a => <<"1">>, b => <<"1">>, c => <<"1">>}, bct_recorder:running()),
    {ok, Status} = bc_gitops:status(),
    ?assertMatch(#{status := degraded, refused := #{names := [_, _]}}, Status).

a_refusal_stands_until_it_is_resolved(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    _ = push(Context, [spec(c, "1")]),
    Refused = delete(Context, [a, b]),
    %% not by looking again, and not by trying by hand
    [ok = is_refused(Refused, [a, b]) || _ <- [1, 2, 3]],
    ?assertMatch({ok, #{refused := #{names := [a, b]}, actions := []}}, bc_gitops:plan()),
    %% not by a further commit
    _ = push(Context, [spec(d, "1")]),
    ok = is_refused(Refused, [a, b]),
    _ = delete(Context, [c]),
    ok = is_refused(Refused, [a, b, c]),
    %% not by a restart
    ok = application:stop(bc_gitops),
    _ = start(Context),
    ok = is_refused(Refused, [a, b, c]),
    ?assertEqual([a, b, c, d], lists:sort(maps:keys(bct_recorder:running()))),
    %% a commit that has one of them again means what it says
    _ = push(Context, [spec(a, "1")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual([a, d], lists:sort(maps:keys(bct_recorder:running()))),
    _ = delete(Context, [a]),
    ok = bc_gitops:reconcile(),
    ?assertEqual([d], maps:keys(bct_recorder:running())),
    ?assertMatch({ok, #{status := synced, refused := none}}, bc_gitops:status()).

is_refused(Commit, Names) ->
    {error, {actions_failed, [#{action := remove, reason := {removal_refused, Details}}]}} = bc_gitops:reconcile(),
    ?assertMatch(#{names := Names, commit := Commit, message := _}, Details),
    ?assertMatch({ok, #{status := degraded, refused := Details}}, bc_gitops:status()),
    ok.

refused_apps_are_removed_by_hand(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    _ = push(Context, [spec(c, "1")]),
    Refused = delete(Context, [a, b]),
    ok = is_refused(Refused, [a, b]),
    ok = bc_gitops:remove(a),
    ok = is_refused(Refused, [b]),
    ok = bc_gitops:remove(b),
    ok = bc_gitops:reconcile(),
    ?assertEqual(#{c => <<"1">>}, bct_recorder:running()),
    ?assertMatch({ok, #{status := synced, refused := none}}, bc_gitops:status()).

missing_apps_remove_nothing(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), {"README", "x"}]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    _ = delete(Context, [a]),
    ?assertMatch({error, {desired_state, {apps_dir_missing, _}}}, bc_gitops:reconcile()),
    ?assertMatch({ok, #{status := error}}, bc_gitops:status()),
    ?assertEqual(#{a => <<"1">>}, bct_recorder:running()).

the_remote_goes_and_comes_back(Config) ->
    #{repo := Repo} = Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = file:rename(Repo, <<Repo/binary, ".away">>),
    {error, {desired_state, {_, _}}} = bc_gitops:reconcile(),
    {ok, #{status := error, last_error := {desired_state, _}}} = bc_gitops:status(),
    %% what stops meanwhile is started all the same
    ok = bct_recorder:kill_app(a),
    ok = bct_gitops:wait_state(a, failed),
    {error, {desired_state, _}} = bc_gitops:reconcile(),
    ?assertEqual(running, state(a)),
    ok = file:rename(<<Repo/binary, ".away">>, Repo),
    _ = push(Context, [spec(a, "2")]),
    ok = bc_gitops:reconcile(),
    ?assertMatch({ok, #{status := synced, last_error := undefined}}, bc_gitops:status()),
    ?assertEqual(<<"2">>, version(a)).

an_env_key_that_goes_is_a_reconfiguration(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1", #{env => #{kept => 1, gone => 2}})]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    _ = push(Context, [spec(a, "1", #{env => #{kept => 1}})]),
    ok = bc_gitops:reconcile(),
    ?assertMatch([_], [1 || {runtime, reconfigure, a, _} <- messages()]),
    {ok, #app_state{env = Env}} = bc_gitops:get_app_status(a),
    ?assertEqual(#{kept => 1}, Env).

a_change_of_mind_costs_nothing(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bct_recorder:script(prepare, a, [hang]),
    _ = push(Context, [spec(a, "2")]),
    _ = spawn(fun bc_gitops:reconcile/0),
    ok = bct_gitops:wait_state(a, preparing),
    _ = push(Context, [spec(a, "1")]),
    ok = bc_gitops:reconcile(),
    ?assertMatch(#{state := running, running_version := <<"1">>}, details(a)),
    ?assertMatch({ok, #{status := synced}}, bc_gitops:status()).

unknown_current_state_removes_nothing(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context, #{runtime_module => bct_plain_runtime}),
    ok = bc_gitops:reconcile(),
    ?assertMatch({ok, #{current_state := unknown, status := synced}}, bc_gitops:status()),
    _ = messages(),
    ok = bc_gitops:reconcile(),
    ?assertEqual([], [Call || {runtime, _, _, _} = Call <- messages()]).

%% by hand

deployed_by_hand_until_the_next_cycle(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bc_gitops:deploy(#app_spec{name = manual, version = <<"1">>, source = #source_spec{type = hex}}),
    ?assertMatch(#{state := running, origin := manual}, details(manual)),
    ok = bc_gitops:deploy(#{name => manual, version => <<"2">>}),
    ?assertEqual(<<"2">>, version(manual)),
    ok = bc_gitops:reconcile(),
    ?assertEqual({error, not_found}, bc_gitops:get_app_status(manual)).

removed_by_hand_until_the_next_cycle(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bc_gitops:remove(a),
    ?assertEqual({error, not_found}, bc_gitops:get_app_status(a)),
    ok = bc_gitops:reconcile(),
    ?assertEqual(running, state(a)).

upgraded_by_hand_until_the_next_commit(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bc_gitops:upgrade(a, "2"),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"2">>, version(a)),
    %% over a restart as well
    ok = application:stop(bc_gitops),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"2">>, version(a)),
    _ = push(Context, [spec(b, "1")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"1">>, version(a)).

by_hand_what_is_wrong_is_said(Config) ->
    Context = context(Config),
    Archive = #{type => release, url => <<"https://files.example.org/r-1.tar.gz">>, sha256 => binary:copy(<<"0">>, 64)},
    _ = push(Context, [spec(a, "1"), spec(r, "1", #{source => Archive})]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    {error, {source_is_one_version, _} = Reason} = bc_gitops:upgrade(r, <<"2">>),
    ?assertMatch(<<"the release source of r is of one version, 1;", _/binary>>, iolist_to_binary(bc_gitops:format_error(Reason))),
    ?assertEqual({error, not_found}, bc_gitops:remove(nobody)),
    ?assertEqual({error, not_found}, bc_gitops:upgrade(nobody, <<"1">>)),
    ?assertEqual({error, {missing_field, version}}, bc_gitops:deploy(#{name => x})),
    ?assertMatch({error, _}, bc_gitops:deploy(#app_spec{name = '../x', version = <<"1">>})),
    ok = bct_recorder:script(deploy, x, [{error, {start_failed, #{}}}]),
    ?assertEqual({error, {start_failed, #{}}}, bc_gitops:deploy(#{name => x, version => <<"1">>})).

a_managed_app_cannot_wait_for_itself(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(bct_caller, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = application:load({application, bct_caller, [
        {vsn, "1"}, {modules, [bct_caller]}, {registered, []}, {applications, [kernel, stdlib]},
        {mod, {bct_caller, []}}
    ]}),
    ok = application:start(bct_caller),
    try
        Expected = {error, {called_from_managed_app, bct_caller}},
        ?assertEqual(Expected, bct_caller:run(fun bc_gitops:reconcile/0)),
        ?assertEqual(Expected, bct_caller:run(fun() -> bc_gitops:remove(bct_caller) end)),
        ?assertMatch({ok, _}, bct_caller:run(fun bc_gitops:status/0))
    after
        application:stop(bct_caller),
        application:unload(bct_caller)
    end.

%% starting and stopping

stopping_leaves_the_apps(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1", #{depends_on => [a]})]),
    Pid = start(Context),
    ?assertEqual({error, {already_started, Pid}}, bc_gitops:start_reconciler(bct_gitops:config(Context, #{}))),
    ok = bc_gitops:reconcile(),
    ok = bc_gitops:stop_reconciler(),
    ?assertEqual({error, not_running}, bc_gitops:status()),
    ?assertEqual({error, not_running}, bc_gitops:reconcile()),
    ?assertEqual({error, not_running}, bc_gitops:stop_reconciler()),
    ?assertEqual({error, not_running}, bc_gitops:get_current_state()),
    ?assertEqual(2, map_size(bct_recorder:running())),
    _ = messages(),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertMatch({ok, #{status := synced, app_count := 2}}, bc_gitops:status()),
    Calls = [Call || {runtime, Call, _, _} <- messages()],
    ?assertEqual([restore, restore], Calls).

stopping_ends_work_under_way(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    ok = bct_recorder:script(prepare, a, [wait]),
    ok = bct_recorder:script(deploy, b, [wait]),
    _ = start(Context),
    {Caller, Ref} = spawn_monitor(fun() -> exit(bc_gitops:reconcile()) end),
    Preparing = receive {runtime_waits, P, prepare, a} -> P end,
    Switching = receive {runtime_waits, S, deploy, b} -> S end,
    Monitor = monitor(process, Preparing),
    Stopper = spawn_monitor(fun() -> exit(bc_gitops:stop_reconciler()) end),
    %% a preparation ends at once, a switch is finished
    receive {'DOWN', Monitor, process, Preparing, _} -> ok end,
    receive {'DOWN', Ref, process, Caller, Result} -> ?assertMatch({error, stopped}, Result) end,
    ok = bct_recorder:go(Switching, ok),
    {StopPid, StopRef} = Stopper,
    receive {'DOWN', StopRef, process, StopPid, Stopped} -> ?assertEqual(ok, Stopped) end,
    ?assertEqual(#{b => <<"1">>}, bct_recorder:running()).

a_restart_of_bc_gitops_alone_adopts(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = application:stop(bc_gitops),
    ?assertEqual(2, map_size(bct_recorder:running())),
    _ = messages(),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ?assertEqual([], [Call || {runtime, Call, _, _} <- messages(), Call =/= restore]),
    ?assertMatch({ok, #{status := synced, healthy_count := 2}}, bc_gitops:status()).

configuration_is_checked_at_start(Config) ->
    Context = context(Config),
    {ok, _} = application:ensure_all_started(bc_gitops),
    ?assertEqual({error, not_running}, bc_gitops:status()),
    ?assertMatch({error, {bad_config, [#{key := repo_url}]}}, bc_gitops:start_reconciler(#{})),
    {error, {bad_config, Problems}} = bc_gitops:start_reconciler(
        bct_gitops:config(Context, #{branch => "-x", reconcile_interval => never})),
    ?assertEqual([branch, reconcile_interval], lists:sort([Key || #{key := Key} <- Problems])),
    %% and at the start of the application
    ok = application:stop(bc_gitops),
    ok = application:set_env(bc_gitops, git_timeout, soon),
    try
        Log = bct_log:capture(fun() ->
            {error, {Reason, _}} = application:start(bc_gitops),
            ?assertMatch({bad_config, [#{key := git_timeout}]}, Reason)
        end),
        ?assertMatch([_], [Line || Line <- Log, string:find(Line, "git_timeout is soon, expected") =/= nomatch])
    after
        application:unset_env(bc_gitops, git_timeout)
    end.

another_repository_must_know_what_runs(Config) ->
    #{dir := Dir} = Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    ok = bc_gitops:stop_reconciler(),
    Other = Context#{repo := bct_repo:init(filename:join(Dir, "other"))},
    _ = push(Other, [spec(a, "2"), spec(c, "1")]),
    _ = start(Other),
    {error, {desired_state, {other_repository, #{missing := [b]}}}} = bc_gitops:reconcile(),
    ?assertMatch({ok, #{status := error}}, bc_gitops:status()),
    ?assertEqual(#{a => <<"1">>, b => <<"1">>}, bct_recorder:running()),
    %% with the missing app in it the other repository is taken over
    _ = push(Other, [spec(b, "1")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(#{a => <<"2">>, b => <<"1">>, c => <<"1">>}, bct_recorder:running()).

a_second_node_is_refused(Config) ->
    #{dir := Dir} = Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    {ok, _} = application:ensure_all_started(bc_gitops),
    Port = open_port({spawn_executable, os:find_executable("cat")}, [binary]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    {ok, Started} = bc_gitops_node:start_time(OsPid),
    Holder = #{os_pid => OsPid, started => Started, node => other@host},
    State = filename:join(Dir, "state"),
    ok = filelib:ensure_path(State),
    ok = file:write_file(filename:join(State, "bc_gitops.lock"), io_lib:format("~0tp.~n", [Holder])),
    {error, {locked, #{holder := Holder}}} = bc_gitops:start_reconciler(bct_gitops:config(Context, #{})),
    true = port_close(Port),
    ok = bct_gitops:wait_for(fun() -> bc_gitops_node:start_time(OsPid) =:= {error, not_running} end),
    {ok, _} = bc_gitops:start_reconciler(bct_gitops:config(Context, #{})),
    ok = bc_gitops:reconcile().

%% nobody waits

status_never_waits(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    ok = bct_recorder:script(deploy, a, [hang]),
    ok = bct_recorder:script(prepare, b, [hang]),
    _ = start(Context),
    ok = bct_gitops:wait_state(a, switching),
    ok = bct_gitops:wait_state(b, preparing),
    [?assertMatch({ok, _}, bc_gitops:status()) || _ <- lists:seq(1, 2000)],
    %% both still hang, and were not waited for: the benchmark has the figures
    ?assertEqual({switching, preparing}, {state(a), state(b)}).

a_hung_module_holds_nobody_up(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    ok = bct_recorder:script(deploy, a, [hang]),
    _ = start(Context, #{runtime_module => bct_plain_runtime, git_timeout => 200, build_timeout => 200,
                         start_timeout => 50, stop_timeout => 50}),
    {error, {actions_failed, [#{app := a, reason := {timeout, _}}]}} = bc_gitops:reconcile(),
    %% the process that hung was killed, the next call finds another
    ok = bc_gitops:reconcile(),
    ?assertEqual(running, state(a)).

a_module_of_07_works_unchanged(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context, #{runtime_module => bct_plain_runtime}),
    ok = bc_gitops:reconcile(),
    _ = push(Context, [spec(a, "2"), spec(b, "1", #{env => #{k => 1}})]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(#{a => <<"2">>, b => <<"1">>}, bct_recorder:running()),
    _ = delete(Context, [b]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(#{a => <<"2">>}, bct_recorder:running()),
    ?assertEqual([], [Call || {runtime, Call, _, _} <- messages(), Call =:= prepare]).

a_plan_does_nothing(Config) ->
    #{dir := Dir} = Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    {ok, Nothing} = bc_gitops:plan(),
    ?assertMatch(#{actions := [], blocked := [], refused := none, error := undefined}, Nothing),
    Commit = push(Context, [spec(a, "2"), spec(c, "1", #{depends_on => [a]})]),
    _ = delete(Context, [b]),
    _ = messages(),
    Before = {files(Dir), code:get_path(), code:all_loaded(), application:get_all_env(bc_gitops)},
    {ok, Plan} = bc_gitops:plan(),
    ?assertEqual(Before, {files(Dir), code:get_path(), code:all_loaded(), application:get_all_env(bc_gitops)}),
    #{actions := Actions, commit := Head} = Plan,
    ?assertNotEqual(Commit, Head),
    Named = maps:from_list([{Name, {Action, Reasons}} || #{name := Name, action := Action, reasons := Reasons} <- Actions]),
    ?assertMatch(
        #{a := {upgrade, [{version, <<"1">>, <<"2">>} | _]}, b := {remove, [orphan]}, c := {deploy, [absent]}}, Named),
    ?assertEqual([], [Call || {runtime, Call, _, _} <- messages(), Call =/= get_current_state]),
    ?assertEqual(#{a => <<"1">>, b => <<"1">>}, bct_recorder:running()).

files(Dir) ->
    filelib:fold_files(binary_to_list(Dir), ".*", true, fun(File, Acc) ->
        {ok, Content} = file:read_file(File),
        [{File, erlang:md5(Content)} | Acc]
    end, []).

%% crashes

a_crashed_reconciler_comes_back(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    Pid = start(Context),
    ok = bc_gitops:reconcile(),
    _ = messages(),
    exit(Pid, kill),
    ok = bct_gitops:wait_for(fun() ->
        is_pid(whereis(bc_gitops_reconciler)) andalso whereis(bc_gitops_reconciler) =/= Pid
    end),
    _ = push(Context, [spec(a, "2")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"2">>, version(a)),
    ?assertEqual([prepare, upgrade], [Call || {runtime, Call, _, _} <- messages()]).

what_is_answered_is_what_is_shown(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "0")]),
    _ = start(Context),
    [begin
        Version = integer_to_list(N),
        _ = push(Context, [spec(a, Version)]),
        ok = bc_gitops:reconcile(),
        ?assertMatch(#{state := running}, details(a)),
        ?assertEqual(list_to_binary(Version), version(a)),
        ?assertMatch({ok, #{status := synced}}, bc_gitops:status())
     end || N <- lists:seq(1, 30)].

a_crashed_app_process_is_found_out(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1"), spec(b, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    {ok, #{pid := Pid}} = bc_gitops_registry:app(a),
    _ = messages(),
    exit(Pid, kill),
    ok = bct_gitops:wait_for(fun() ->
        {ok, #{apps := States}} = bc_gitops:status(),
        maps:is_key(failed, States)
    end),
    ok = bc_gitops:reconcile(),
    ?assertMatch(#{state := running, running_version := <<"1">>}, details(a)),
    ?assertEqual([restore], [Call || {runtime, Call, a, _} <- messages()]).

a_full_disk_stops_nothing(Config) ->
    #{dir := Dir} = Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    Apps = filename:join([Dir, "state", "apps"]),
    ok = file:rename(Apps, <<Apps/binary, ".away">>),
    ok = file:write_file(Apps, "in the way"),
    _ = push(Context, [spec(a, "2"), spec(b, "1")]),
    ok = bc_gitops:reconcile(),
    ?assertEqual(#{a => <<"2">>, b => <<"1">>}, bct_recorder:running()),
    ?assertMatch({ok, #{status := degraded, state_error := {state_not_written, _}}}, bc_gitops:status()),
    ok = file:delete(Apps),
    ok = file:rename(<<Apps/binary, ".away">>, Apps),
    _ = push(Context, [spec(a, "3")]),
    ok = bc_gitops:reconcile(),
    ?assertMatch({ok, #{status := synced, state_error := undefined}}, bc_gitops:status()).

%% events

events_of_cycles(Config) ->
    Context = context(Config),
    Self = self(),
    Events = [?TELEMETRY_RECONCILE_START, ?TELEMETRY_RECONCILE_STOP, ?TELEMETRY_RECONCILE_ERROR,
              ?TELEMETRY_GIT_PULL, ?TELEMETRY_PARSE_START, ?TELEMETRY_PARSE_STOP],
    {ok, _} = application:ensure_all_started(bc_gitops),
    ok = bc_gitops_telemetry:attach_many(?FUNCTION_NAME, Events,
        fun(Event, Measurements, Metadata, _) -> Self ! {event, Event, Measurements, Metadata} end, []),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context),
    ok = bc_gitops:reconcile(),
    {event, _, #{duration := _}, #{branch := <<"main">>, repo := _}} = event(?TELEMETRY_GIT_PULL),
    _ = event(?TELEMETRY_PARSE_START),
    {event, _, #{duration := Parsed}, _} = event(?TELEMETRY_PARSE_STOP),
    ?assert(Parsed > 0),
    _ = event(?TELEMETRY_RECONCILE_START),
    {event, _, #{duration := _}, #{status := Status}} = event(?TELEMETRY_RECONCILE_STOP),
    ?assert(lists:member(Status, [out_of_sync, synced])),
    ok = file:del_dir_r(maps:get(repo, Context)),
    {error, _} = bc_gitops:reconcile(),
    {event, _, #{duration := _}, #{error := {desired_state, _}}} = event(?TELEMETRY_RECONCILE_ERROR),
    ok = bc_gitops_telemetry:detach(?FUNCTION_NAME).

event(Event) ->
    receive {event, Event, _, _} = Message -> Message after 60000 -> error({no_event, Event}) end.

the_interval_runs_by_itself(Config) ->
    Context = context(Config),
    _ = push(Context, [spec(a, "1")]),
    _ = start(Context, #{reconcile_interval => 10}),
    ok = bct_gitops:wait_state(a, running),
    _ = push(Context, [spec(a, "2")]),
    ok = bct_gitops:wait_for(fun() -> version(a) =:= <<"2">> end),
    ?assertMatch({ok, #{next_reconcile := _}}, bc_gitops:status()).

no_credential_is_shown(Config) ->
    Context = context(Config),
    Secret = "canary-5fd924625f6ab16a",
    Url = "http://user:" ++ Secret ++ "@127.0.0.1:1/repo.git",
    _ = start(Context, #{repo_url => Url, allow_http => true}),
    {error, _} = Error = bc_gitops:reconcile(),
    Everything = io_lib:format("~tp", [[
        Error, bc_gitops:status(), [ets:tab2list(T) || T <- ets:all(), is_atom(T), ets:info(T, protection) =/= private],
        [sys:get_state(Name) || Name <- [bc_gitops_reconciler, bc_gitops_sup, bc_gitops_managed_sup]],
        sys:get_status(bc_gitops_reconciler), persistent_term:get(),
        [Content || {_, Content} <- contents(maps:get(dir, Context))]
    ]]),
    ?assertEqual(nomatch, string:find(Everything, Secret)).

contents(Dir) ->
    filelib:fold_files(binary_to_list(Dir), ".*", true, fun(File, Acc) ->
        {ok, Content} = file:read_file(File),
        [{File, Content} | Acc]
    end, []).

%% What this process was sent so far.
messages() ->
    receive Message -> [Message | messages()] after 0 -> [] end.
