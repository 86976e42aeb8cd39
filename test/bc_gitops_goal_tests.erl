-module(bc_gitops_goal_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

goal(Version, EnvFp) -> goal(Version, EnvFp, #{}).

goal(Version, EnvFp, Common) ->
    Spec = #app_spec{name = a, version = Version},
    bc_gitops_goal:apply(Spec, #{source_fp => Version, env_fp => EnvFp}, Common).

running(Version, EnvFp, Revision) ->
    Goal = goal(Version, EnvFp),
    bc_gitops_goal:target(Goal, #{revision => Revision, key => <<"k">>}).

the_action_follows_from_what_runs_test_() ->
    Goal = goal(<<"2">>, <<"e">>),
    [
        ?_assertEqual(deploy, bc_gitops_goal:action(Goal, undefined)),
        ?_assertEqual(upgrade, bc_gitops_goal:action(Goal, running(<<"1">>, <<"e">>, undefined))),
        ?_assertEqual(reconfigure, bc_gitops_goal:action(Goal, running(<<"2">>, <<"other">>, undefined))),
        ?_assertEqual(none, bc_gitops_goal:action(Goal, running(<<"2">>, <<"e">>, undefined)))
    ].

a_moved_ref_at_the_same_version_is_an_upgrade_test_() ->
    Running = running(<<"2">>, <<"e">>, <<"aaa">>),
    [
        ?_assertEqual(upgrade, bc_gitops_goal:action(goal(<<"2">>, <<"e">>, #{wanted => <<"bbb">>}), Running)),
        ?_assertEqual(none, bc_gitops_goal:action(goal(<<"2">>, <<"e">>, #{wanted => <<"aaa">>}), Running)),
        ?_assertEqual(none, bc_gitops_goal:action(goal(<<"2">>, <<"e">>, #{wanted => unknown}), Running))
    ].

%% How the next upgrade is to be done is no reason for one.
another_strategy_alone_is_the_same_goal_test() ->
    #{spec := Spec} = Goal = goal(<<"2">>, <<"e">>),
    Hot = Goal#{spec := Spec#app_spec{upgrade = #{strategy => hot, force => true}}},
    ?assert(bc_gitops_goal:same(Goal, Hot)),
    ?assertEqual(none, bc_gitops_goal:action(Hot, running(<<"2">>, <<"e">>, undefined))).

drift_and_bad_health_are_mended_by_an_upgrade_test_() ->
    Running = running(<<"2">>, <<"e">>, undefined),
    [
        ?_assertEqual(upgrade, bc_gitops_goal:action(goal(<<"2">>, <<"e">>, #{reasons => [Reason]}), Running))
     || Reason <- [drift, unhealthy]
    ].

the_same_goal_from_another_commit_is_the_same_test_() ->
    [
        ?_assert(bc_gitops_goal:same(
            goal(<<"1">>, <<"e">>, #{commit => <<"x">>}), goal(<<"1">>, <<"e">>, #{commit => <<"y">>}))),
        ?_assert(bc_gitops_goal:same(
            goal(<<"1">>, <<"e">>, #{wanted => <<"x">>}), goal(<<"1">>, <<"e">>))),
        ?_assertNot(bc_gitops_goal:same(
            goal(<<"1">>, <<"e">>, #{wanted => <<"x">>}), goal(<<"1">>, <<"e">>, #{wanted => <<"y">>}))),
        ?_assertNot(bc_gitops_goal:same(goal(<<"1">>, <<"e">>), goal(<<"1">>, <<"f">>))),
        ?_assertNot(bc_gitops_goal:same(goal(<<"1">>, <<"e">>), bc_gitops_goal:remove(a, #{})))
    ].

a_quarantine_ends_with_another_spec_or_revision_test() ->
    Failed = goal(<<"1">>, <<"e">>, #{wanted => <<"x">>}),
    Quarantine = #{id => bc_gitops_goal:quarantine_id(Failed), reason => r, at => 0},
    ?assert(bc_gitops_goal:is_quarantined(Failed, Quarantine)),
    ?assert(bc_gitops_goal:is_quarantined(goal(<<"1">>, <<"e">>), Quarantine)),
    ?assertNot(bc_gitops_goal:is_quarantined(goal(<<"1">>, <<"e">>, #{wanted => <<"y">>}), Quarantine)),
    ?assertNot(bc_gitops_goal:is_quarantined(goal(<<"1">>, <<"f">>, #{wanted => <<"x">>}), Quarantine)),
    ?assertNot(bc_gitops_goal:is_quarantined(Failed, undefined)).

a_quarantine_learns_the_commit_it_was_for_test() ->
    Quarantine = #{id => bc_gitops_goal:quarantine_id(goal(<<"1">>, <<"e">>)), reason => r, at => 0},
    Known = goal(<<"1">>, <<"e">>, #{wanted => <<"x">>}),
    Learned = bc_gitops_goal:learn(Known, Quarantine),
    ?assert(bc_gitops_goal:is_quarantined(Known, Learned)),
    ?assertNot(bc_gitops_goal:is_quarantined(goal(<<"1">>, <<"e">>, #{wanted => <<"y">>}), Learned)),
    ?assertEqual(Learned, bc_gitops_goal:learn(goal(<<"1">>, <<"e">>, #{wanted => <<"y">>}), Learned)).

the_lock_of_the_same_version_and_source_is_used_again_test_() ->
    Lock = [#{name => <<"a">>, version => <<"1">>, repo => <<"hexpm">>, sha256 => <<"00">>}],
    Locked = fun(Version, EnvFp) ->
        bc_gitops_goal:target(goal(Version, EnvFp), #{key => <<"k">>, lock => Lock})
    end,
    Other = bc_gitops_goal:target(goal(<<"1">>, <<"e">>), #{lock => [hd(Lock), hd(Lock)]}),
    Before = maps:remove(lock, running(<<"1">>, <<"e">>, undefined)), % a state file of a former version
    [
        ?_assertEqual(#{lock => Lock}, bc_gitops_goal:lock(goal(<<"1">>, <<"e">>), [undefined, Locked(<<"1">>, <<"other">>)])),
        ?_assertEqual(#{prefer => Lock}, bc_gitops_goal:lock(goal(<<"2">>, <<"e">>), [undefined, Locked(<<"1">>, <<"e">>)])),
        ?_assertEqual(#{lock => Lock}, bc_gitops_goal:lock(goal(<<"2">>, <<"e">>), [Other, Locked(<<"2">>, <<"e">>)])),
        ?_assertEqual(#{}, bc_gitops_goal:lock(goal(<<"1">>, <<"e">>), [undefined, Before]))
    ].

%% Only what is to be fetched or built has nothing prepared.
the_way_to_a_goal_test() ->
    Goal = goal(<<"2">>, <<"e">>),
    Old = running(<<"1">>, <<"e">>, undefined),
    ?assertMatch({deploy, #{version := <<"2">>, key := undefined}, undefined}, bc_gitops_goal:way(Goal, undefined, Old)),
    ?assertMatch({upgrade, #{version := <<"2">>}, undefined}, bc_gitops_goal:way(Goal, Old, Old)),
    Other = running(<<"2">>, <<"other">>, <<"r">>),
    ?assertMatch({reconfigure, #{env_fp := <<"e">>, key := <<"k">>, revision := <<"r">>}, #{key := <<"k">>}},
                 bc_gitops_goal:way(Goal, Other, Old)),
    ?assertEqual(none, bc_gitops_goal:way(Goal, running(<<"2">>, <<"e">>, undefined), Old)),
    ?assertEqual({remove, undefined, #{}}, bc_gitops_goal:way(bc_gitops_goal:remove(a, #{}), Other, Old)),
    ?assertEqual({restore, Old, #{}}, bc_gitops_goal:way(bc_gitops_goal:restore(a, #{}), undefined, Old)).

a_newer_goal_keeps_the_commit_that_is_known_test() ->
    Known = goal(<<"1">>, <<"e">>, #{wanted => <<"x">>, seq => 1}),
    Newer = goal(<<"1">>, <<"e">>, #{seq => 2}),
    ?assertEqual(Newer#{wanted := <<"x">>}, bc_gitops_goal:refreshed(Newer, Known)),
    ?assertEqual(Known, bc_gitops_goal:refreshed(Known, Newer)),
    None = bc_gitops_goal:none(a, #{seq => 3}),
    ?assertEqual(None, bc_gitops_goal:refreshed(None, None)).
