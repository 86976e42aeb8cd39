-module(bc_gitops_app_deps_tests).
-include_lib("eunit/include/eunit.hrl").

-define(GOAL(After), bc_gitops_goal:remove(a, #{'after' => After})).

nothing_to_wait_for_test() ->
    ?assertEqual(done, bc_gitops_app_deps:outcome(bc_gitops_app_deps:none())),
    ?assertEqual(done, bc_gitops_app_deps:outcome(bc_gitops_app_deps:new(?GOAL([])))).

all_must_have_come_out_well_test() ->
    Deps0 = bc_gitops_app_deps:new(?GOAL([db, cache])),
    ?assertEqual([cache, db], lists:sort(bc_gitops_app_deps:waiting(Deps0))),
    Deps1 = bc_gitops_app_deps:heard(db, ok, Deps0),
    ?assertEqual({waiting, [cache]}, {bc_gitops_app_deps:outcome(Deps1), bc_gitops_app_deps:waiting(Deps1)}),
    ?assertEqual(done, bc_gitops_app_deps:outcome(bc_gitops_app_deps:heard(cache, ok, Deps1))).

one_that_failed_counts_before_the_others_are_heard_of_test() ->
    Deps0 = bc_gitops_app_deps:new(?GOAL([db, cache, web])),
    Deps1 = bc_gitops_app_deps:heard(web, error, Deps0),
    ?assertEqual({failed, web}, bc_gitops_app_deps:outcome(Deps1)),
    Deps2 = bc_gitops_app_deps:heard(cache, error, Deps1),
    ?assertEqual({failed, cache}, bc_gitops_app_deps:outcome(Deps2)),
    %% until they run after all
    Deps3 = bc_gitops_app_deps:heard(web, ok, bc_gitops_app_deps:heard(cache, ok, Deps2)),
    ?assertEqual(waiting, bc_gitops_app_deps:outcome(Deps3)).

others_are_unknown_test() ->
    ?assertEqual(unknown, bc_gitops_app_deps:heard(web, ok, bc_gitops_app_deps:new(?GOAL([db])))).
