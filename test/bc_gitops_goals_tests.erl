-module(bc_gitops_goals_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

whoever_asked_is_answered_when_the_last_goal_is_settled_test() ->
    Goals0 = hand_out([goal(a, 1), goal(b, 1)], asked(1, cycle, [caller]), bc_gitops_goals:new()),
    ?assertEqual(2, bc_gitops_goals:count(Goals0)),
    {[], Goals1} = bc_gitops_goals:done(settle(a, 1, ok, Goals0)),
    {[Group], Goals2} = bc_gitops_goals:done(settle(b, 1, ok, Goals1)),
    ?assertMatch(#{kind := cycle, callers := [caller], began := 7}, Group),
    ?assertEqual(ok, bc_gitops_goals:answer(Group, undefined)),
    ?assertEqual(0, bc_gitops_goals:count(Goals2)),
    ?assertEqual({[], Goals2}, bc_gitops_goals:done(Goals2)).

a_group_without_goals_is_done_at_once_with_its_own_failures_test() ->
    Failure = #{app => undefined, action => parse, commit => <<"c">>, reason => x},
    Asked = (asked(1, cycle, []))#{failures => [Failure]},
    {[Group], _} = bc_gitops_goals:done(hand_out([], Asked, bc_gitops_goals:new())),
    ?assertEqual({error, {actions_failed, [Failure]}}, bc_gitops_goals:answer(Group, undefined)).

a_goal_is_settled_by_a_newer_one_for_the_same_app_test() ->
    First = hand_out([goal(a, 1)], asked(1, cycle, [one]), bc_gitops_goals:new()),
    Both = hand_out([goal(a, 2)], asked(2, cycle, [two]), First),
    ?assertEqual(superseded, bc_gitops_goals:settle(a, 1, ok, true, Both)),
    {Done, _} = bc_gitops_goals:done(settle(a, 2, ok, Both)),
    ?assertEqual([[one], [two]], lists:sort([Callers || #{callers := Callers} <- Done])).

an_older_goal_that_is_settled_says_nothing_of_a_newer_group_test() ->
    %% it was settled while a group that does not know it yet was formed
    Goals = hand_out([goal(a, 1)], asked(2, hand, [two]), bc_gitops_goals:new()),
    ?assertMatch({[], _}, bc_gitops_goals:done(settle(a, 1, ok, Goals))).

what_is_expected_is_not_settled_yet_test() ->
    Goals = bc_gitops_goals:expect([goal(a, 3)], bc_gitops_goals:new()),
    ?assertEqual(1, bc_gitops_goals:count(Goals)),
    ?assertEqual({ok, goal(a, 3)}, bc_gitops_goals:newest(a, Goals)),
    ?assertEqual({3, 0}, {bc_gitops_goals:newest_seq(a, Goals), bc_gitops_goals:newest_seq(b, Goals)}),
    ?assertEqual(superseded, bc_gitops_goals:settle(a, 2, ok, true, Goals)).

dependents_are_named_with_and_without_a_goal_that_waits_test() ->
    New = [goal(db, 1), (goal(web, 1))#{'after' := [db]}, (goal(api, 1))#{'after' := [db, web]}],
    Goals = hand_out(New, asked(1, cycle, []), bc_gitops_goals:new()),
    {Dependents, Rest} = bc_gitops_goals:settle(db, 1, ok, true, Goals),
    ?assertEqual([api, web], lists:sort(Dependents)),
    %% it came up again by itself
    {Again, Rest} = bc_gitops_goals:settle(db, 1, ok, true, Rest),
    ?assertEqual([api, web], lists:sort(Again)),
    ?assertEqual({[], Rest}, bc_gitops_goals:settle(unheard_of, 0, ok, false, Rest)).

failures_say_what_was_tried_test() ->
    New = [goal(new, 1), goal(known, 1), bc_gitops_goal:remove(old, #{seq => 1, commit => <<"c">>}),
           bc_gitops_goal:blocked(odd, {cycle, [odd]}, #{seq => 1, commit => <<"c">>})],
    Goals0 = hand_out(New, asked(1, cycle, []), bc_gitops_goals:new()),
    Goals = lists:foldl(
        fun({Name, IsHere}, Acc) -> settle(Name, 1, {error, no}, IsHere, Acc) end, Goals0,
        [{new, false}, {known, true}, {old, true}, {odd, true}]),
    {[Group], _} = bc_gitops_goals:done(Goals),
    {error, {actions_failed, Failures}} = bc_gitops_goals:answer(Group, undefined),
    ?assertEqual(
        [{known, upgrade, no, <<"c">>}, {new, deploy, no, <<"c">>}, {odd, plan, no, <<"c">>},
         {old, remove, no, <<"c">>}],
        lists:sort([{A, Action, R, C} || #{app := A, action := Action, reason := R, commit := C} <- Failures])).

a_call_by_hand_gets_its_own_reason_whatever_the_last_cycle_said_test() ->
    {ok, Good} = by_hand(ok),
    ?assertEqual(ok, bc_gitops_goals:answer(Good, {desired_state, unreachable})),
    {ok, Bad} = by_hand({error, {build_failed, #{}}}),
    ?assertEqual({error, {build_failed, #{}}}, bc_gitops_goals:answer(Bad, {desired_state, unreachable})).

by_hand(Result) ->
    Goals = hand_out([goal(a, 1)], asked(1, hand, [caller]), bc_gitops_goals:new()),
    {[Group], _} = bc_gitops_goals:done(settle(a, 1, Result, Goals)),
    {ok, Group}.

a_cycle_that_could_not_read_says_that_test() ->
    {[Group], _} = bc_gitops_goals:done(hand_out([], asked(1, cycle, []), bc_gitops_goals:new())),
    ?assertEqual({error, {desired_state, x}}, bc_gitops_goals:answer(Group, {desired_state, x})).

a_superseded_cycle_ends_once_and_its_callers_wait_on_test() ->
    Cycle = hand_out([goal(a, 1)], asked(1, cycle, [one]), bc_gitops_goals:new()),
    Both = hand_out([goal(b, 2)], asked(2, hand, [two]), Cycle),
    {Ended, Goals} = bc_gitops_goals:supersede(Both),
    ?assertMatch([#{seq := 1}], Ended),
    ?assertEqual({[], Goals}, bc_gitops_goals:supersede(Goals)),
    {[Group], _} = bc_gitops_goals:done(settle(a, 1, ok, Goals)),
    ?assertMatch(#{kind := superseded, callers := [one]}, Group).

abandoned_goals_have_no_callers_test() ->
    Goals = hand_out([goal(a, 1)], asked(1, cycle, [one, two]), bc_gitops_goals:new()),
    {Callers, Rest} = bc_gitops_goals:abandon(Goals),
    ?assertEqual([one, two], Callers),
    ?assertMatch({[], _}, bc_gitops_goals:abandon(Rest)),
    %% it is still under way
    ?assertEqual(1, bc_gitops_goals:count(Rest)).

%% helpers

goal(Name, Seq) ->
    Spec = #app_spec{name = Name, version = <<"1">>},
    bc_gitops_goal:apply(Spec, #{source_fp => <<"s">>, env_fp => <<"e">>}, #{seq => Seq, commit => <<"c">>}).

asked(Seq, Kind, Callers) ->
    #{seq => Seq, kind => Kind, began => 7, callers => Callers}.

hand_out(New, Asked, Goals) ->
    bc_gitops_goals:hand_out(New, Asked, Goals).

settle(Name, Seq, Result, Goals) ->
    settle(Name, Seq, Result, true, Goals).

settle(Name, Seq, Result, IsHere, Goals) ->
    {_Dependents, Rest} = bc_gitops_goals:settle(Name, Seq, Result, IsHere, Goals),
    Rest.
