-module(bc_gitops_recovery_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

-define(VM, {1, <<"now">>}).
-define(OLD_VM, {1, <<"before">>}).

revision(Version) -> revision(Version, []).

revision(Version, DependsOn) ->
    #{
        version => Version, key => <<"key", Version/binary>>, revision => <<"rev", Version/binary>>,
        spec => #app_spec{name = a, version = Version, depends_on = DependsOn},
        source_fp => Version, env_fp => <<"env">>
    }.

app(Confirmed, Switch) ->
    (bc_gitops_state:new(a))#{current := Confirmed, confirmed := Confirmed, switch := Switch}.

switch(Action, Target, Vm) -> #{action => Action, target => Target, at => 0, vm => Vm}.

what_ran_is_restored_test() ->
    App = app(revision(<<"1">>), undefined),
    ?assertEqual({restore, App}, bc_gitops_recovery:judge(App, ?VM)).

what_never_ran_waits_for_its_goal_test() ->
    ?assertMatch({wait, _}, bc_gitops_recovery:judge(app(undefined, undefined), ?VM)).

a_removal_that_was_cut_off_is_finished_test() ->
    App = app(revision(<<"1">>), switch(remove, undefined, ?OLD_VM)),
    ?assertMatch({remove, #{switch := undefined}}, bc_gitops_recovery:judge(App, ?VM)).

an_upgrade_that_was_cut_off_goes_back_to_what_ran_test() ->
    App = app(revision(<<"1">>), switch(upgrade, revision(<<"2">>), ?OLD_VM)),
    {restore, Judged} = bc_gitops_recovery:judge(App, ?VM),
    ?assertMatch(#{quarantine := undefined, switch := undefined}, Judged),
    ?assertEqual([1], maps:values(maps:get(deaths, Judged))).

the_second_time_it_is_set_aside_test() ->
    App0 = app(revision(<<"1">>), switch(upgrade, revision(<<"2">>), ?OLD_VM)),
    {restore, App1} = bc_gitops_recovery:judge(App0, ?VM),
    {restore, App2} = bc_gitops_recovery:judge(App1#{switch := switch(upgrade, revision(<<"2">>), ?OLD_VM)}, ?VM),
    ?assertMatch(#{quarantine := #{reason := {vm_died_in_start, 2}}}, App2).

what_ran_well_is_set_aside_when_starting_it_took_the_vm_down_twice_test() ->
    Switch = switch(restore, revision(<<"1">>), ?OLD_VM),
    {restore, App1} = bc_gitops_recovery:judge(app(revision(<<"1">>), Switch), ?VM),
    {aside, App2} = bc_gitops_recovery:judge(App1#{switch := Switch}, ?VM),
    %% and stays so
    ?assertMatch({aside, _}, bc_gitops_recovery:judge(App2, ?VM)).

a_restart_of_bc_gitops_alone_counts_nothing_test() ->
    App = app(revision(<<"1">>), switch(upgrade, revision(<<"2">>), ?VM)),
    ?assertMatch({restore, #{deaths := Deaths}} when Deaths =:= #{}, bc_gitops_recovery:judge(App, ?VM)).

dependencies_are_restored_first_and_circles_wait_for_nobody_test() ->
    Apps = [
        (app(revision(<<"1">>, [b, gone]), undefined))#{name := a},
        (app(revision(<<"1">>), undefined))#{name := b},
        (app(revision(<<"1">>, [d, b]), undefined))#{name := c},
        (app(revision(<<"1">>, [c]), undefined))#{name := d}
    ],
    ?assertEqual(#{a => [b], b => [], c => [b], d => []}, bc_gitops_recovery:order(Apps)).

%% What ran is started after what it needs, what was half removed is removed, the rest has no goal.
the_goals_of_what_was_found_test() ->
    Ran = (app(revision(<<"1">>, [b]), undefined))#{name := a, commit := <<"c">>},
    Needed = (app(revision(<<"1">>), undefined))#{name := b},
    Removed = (app(revision(<<"1">>), switch(remove, undefined, ?OLD_VM)))#{name := c},
    Never = (app(undefined, undefined))#{name := d},
    {Apps, Goals} = bc_gitops_recovery:goals([Ran, Needed, Removed, Never], ?VM, 5),
    ?assertEqual([Ran, Needed, Removed#{switch := undefined}, Never], Apps),
    ?assertEqual(
        [{a, restore, [b], 5}, {b, restore, [], 5}, {c, remove, [], 5}],
        [{Name, What, After, Seq} || #{name := Name, what := What, 'after' := After, seq := Seq} <- Goals]),
    ?assertMatch([#{commit := <<"c">>} | _], Goals).
