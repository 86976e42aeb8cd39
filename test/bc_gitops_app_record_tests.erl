-module(bc_gitops_app_record_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

-define(RECORD, bc_gitops_app_record).

a_goal_that_is_taken_up_says_where_it_comes_from_test() ->
    ?assertMatch(#{dir := <<"apps/a">>, commit := <<"c">>, origin := manual},
                 ?RECORD:wanted(goal(<<"1">>, #{origin => manual}), store())),
    ?assertEqual(store(), ?RECORD:wanted(bc_gitops_goal:remove(a, #{commit => <<"c">>}), store())).

the_journal_names_the_switch_until_it_is_closed_test() ->
    Journalled = ?RECORD:journal(upgrade, revision(<<"2">>), store()),
    Vm = bc_gitops_node:incarnation(),
    ?assertMatch(#{status := switching, switch := #{action := upgrade, target := #{version := <<"2">>}, vm := Vm}},
                 Journalled),
    ?assertMatch(#{status := removing, switch := #{target := undefined}},
                 ?RECORD:journal(remove, undefined, store())),
    ?assertMatch(#{switch := undefined}, ?RECORD:unjournal(Journalled)).

what_lands_is_confirmed_and_what_was_is_previous_test() ->
    One = landed(deploy, <<"1">>, #{}, store()),
    ?assertMatch(#{current := #{version := <<"1">>}, confirmed := #{version := <<"1">>}, previous := undefined,
                   status := running}, One),
    Two = landed(upgrade, <<"2">>, #{}, One),
    ?assertMatch(#{confirmed := #{version := <<"2">>}, previous := #{version := <<"1">>}}, Two),
    %% the same once more leaves what was before it
    ?assertEqual(Two, landed(deploy, <<"2">>, #{}, Two)).

what_lands_lifts_a_quarantine_and_a_pin_test() ->
    Failed = ?RECORD:failed(quarantine, no, {goal(<<"2">>), undefined}, landed(deploy, <<"1">>, #{}, store())),
    Pinned = landed(upgrade, <<"3">>, #{pin => true}, Failed),
    ?assertMatch(#{quarantine := undefined, pinned := <<"c">>}, Pinned),
    ?assertMatch(#{pinned := undefined}, landed(upgrade, <<"4">>, #{}, Pinned)),
    %% what is only started again says nothing of what was given up
    ?assertMatch(#{quarantine := #{reason := no}}, landed(restore, <<"1">>, #{}, Failed)).

a_revision_that_lands_has_not_taken_the_vm_down_test() ->
    Id = bc_gitops_goal:revision_id(revision(<<"1">>)),
    ?assertMatch(#{deaths := Deaths} when Deaths =:= #{other => 1},
                 landed(restore, <<"1">>, #{}, (store())#{deaths := #{Id => 1, other => 1}})).

history_begins_with_the_newest_and_is_bounded_test() ->
    Stores = lists:foldl(
        fun(N, Store) -> ?RECORD:remember(ok, entry(integer_to_binary(N), 0), Store) end, store(), lists:seq(1, 50)),
    #{history := [#{to := <<"50">>} | _] = History} = Stores,
    ?assertEqual(20, length(History)).

history_says_what_was_tried_and_how_it_ended_test() ->
    Running = landed(deploy, <<"1">>, #{}, store()),
    Took = erlang:convert_time_unit(7, millisecond, native),
    Result = {error, {dependency_failed, db}},
    #{history := [Line]} = ?RECORD:remember(Result, entry(<<"2">>, Took), Running),
    Said = bc_gitops_failure:describe({dependency_failed, db}),
    ?assertMatch(#{action := upgrade, from := <<"1">>, to := <<"2">>, commit := <<"c">>, result := Said,
                   duration_ms := 7}, Line),
    Removal = #{action => remove, target => undefined, commit => undefined, duration => 0},
    ?assertMatch(#{history := [#{from := <<"1">>, to := undefined, result := ok} | _]},
                 ?RECORD:remember(ok, Removal, Running)).

what_is_given_up_is_the_revision_that_was_found_test() ->
    Goal = goal(<<"2">>),
    {Identity, unknown} = bc_gitops_goal:quarantine_id(Goal),
    Unknown = ?RECORD:failed(quarantine, no, {Goal, undefined}, store()),
    ?assertMatch(#{status := quarantined, quarantine := #{id := {Identity, unknown}, reason := no}}, Unknown),
    ?assertMatch(#{quarantine := #{id := {Identity, <<"r">>}}},
                 ?RECORD:failed(quarantine, no, {Goal, #{revision => <<"r">>}}, store())),
    %% the ref's commit is learnt from a later goal
    Later = goal(<<"2">>, #{wanted => <<"w">>}),
    ?assertMatch(#{quarantine := #{id := {Identity, <<"w">>}}}, ?RECORD:learn(Later, Unknown)),
    ?assertEqual(store(), ?RECORD:learn(Later, store())),
    ?assertMatch(#{quarantine := undefined}, ?RECORD:lift(Unknown)).

what_is_tried_again_is_not_given_up_test() ->
    ?assertMatch(#{status := backing_off, quarantine := undefined},
                 ?RECORD:failed(retry, no, {goal(<<"2">>), undefined}, store())),
    ?assertMatch(#{status := quarantined, quarantine := undefined},
                 ?RECORD:failed(quarantine, no, {bc_gitops_goal:remove(a, #{}), undefined}, store())).

builds_that_stay_test() ->
    ?assertEqual([], ?RECORD:builds(store())),
    Two = landed(upgrade, <<"2">>, #{}, landed(deploy, <<"1">>, #{}, store())),
    ?assertEqual([<<"key1">>, <<"key2">>], ?RECORD:builds(Two)),
    ?assertEqual([<<"key1">>, <<"key2">>, <<"key3">>],
                 ?RECORD:builds(?RECORD:journal(upgrade, revision(<<"3">>), Two))),
    NoKey = (revision(<<"3">>))#{key := undefined},
    ?assertEqual([<<"key1">>, <<"key2">>], ?RECORD:builds(?RECORD:journal(upgrade, NoKey, Two))).

the_old_version_is_started_when_another_one_is_given_up_test() ->
    Store = landed(deploy, <<"1">>, #{}, store()),
    ?assertMatch({ok, #{version := <<"1">>}}, ?RECORD:fallback(goal(<<"2">>), Store)),
    ?assertEqual(none, ?RECORD:fallback(goal(<<"1">>), Store)),
    ?assertEqual(none, ?RECORD:fallback(goal(<<"2">>), store())),
    ?assertEqual(none, ?RECORD:fallback(bc_gitops_goal:remove(a, #{}), Store)),
    ?assertEqual(none, ?RECORD:fallback(undefined, Store)).

%% helpers

store() -> bc_gitops_state:new(a).

goal(Version) -> goal(Version, #{}).

goal(Version, Common) ->
    Meta = #{source_fp => <<"s">>, env_fp => <<"e">>, dir => <<"apps/a">>},
    bc_gitops_goal:apply(#app_spec{name = a, version = Version}, Meta, Common#{commit => <<"c">>}).

revision(Version) ->
    bc_gitops_goal:target(goal(Version), #{key => <<"key", Version/binary>>}).

landed(Action, Version, Common, Store) ->
    ?RECORD:landed(Action, revision(Version), goal(Version, Common), Store).

entry(Version, Duration) ->
    #{action => upgrade, target => revision(Version), commit => <<"c">>, duration => Duration}.
