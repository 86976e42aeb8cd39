-module(bc_gitops_failure_tests).
-include_lib("eunit/include/eunit.hrl").

before_the_switch_the_kind_decides_test_() ->
    Retry = [{unreachable, #{}}, {timeout, #{}}, {auth_failed, #{}}, {io, #{}}, econnrefused, {unheard_of, 1}],
    Lasting = [{build_failed, #{}}, {version_mismatch, #{}}, {not_supported_yet, #{}}, {bad_ref, #{}}, {module_conflict, #{}}],
    [?_assertEqual(retry, bc_gitops_failure:class(prepare, Reason)) || Reason <- Retry] ++
        [?_assertEqual(quarantine, bc_gitops_failure:class(prepare, Reason)) || Reason <- Lasting].

after_the_switch_began_every_failure_is_quarantined_test() ->
    ?assertEqual(quarantine, bc_gitops_failure:class(switch, {timeout, #{}})).

what_ran_well_before_is_tried_again_test() ->
    ?assertEqual(retry, bc_gitops_failure:class(restore, {start_failed, #{}})),
    ?assertEqual(retry, bc_gitops_failure:class(remove, {stop_failed, #{}})).

backoff_doubles_within_its_limits_and_moves_by_a_fifth_test() ->
    Waits = fun(Attempt) -> [bc_gitops_failure:backoff(Attempt, 100, 1000) || _ <- lists:seq(1, 200)] end,
    Within = fun(Attempt, Low, High) ->
        All = Waits(Attempt),
        ?assert(lists:min(All) >= Low),
        ?assert(lists:max(All) =< High),
        ?assert(length(lists:usort(All)) > 3)
    end,
    Within(1, 81, 100),
    Within(2, 161, 200),
    Within(3, 321, 400),
    Within(30, 801, 1000).

every_reason_is_said_in_bounded_words_test_() ->
    Huge = lists:duplicate(100000, {secret, <<"x">>}),
    Reasons = [
        {dependency_failed, db}, {blocked, {cycle, [a, b]}}, {blocked, {missing_dependency, [c]}},
        {blocked, {self_dependency}}, {blocked, {blocked_dependency, a}},
        {blocked, {duplicate, [<<"x">>, <<"y">>]}}, {vm_died_in_start, 2}, {weird, Huge},
        {rolled_back, #{running => <<"1">>, reason => {start_failed, #{}}, gap_ms => 12}},
        {rollback_failed, #{reason => a, rollback_reason => b}},
        {unreachable, #{message => <<"no route"/utf8>>}}, "text", <<"binary">>, 17
    ],
    [
        ?_assert(byte_size(bc_gitops_failure:describe(Reason)) < 2000)
     || Reason <- Reasons
    ].
