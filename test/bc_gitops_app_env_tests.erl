-module(bc_gitops_app_env_tests).
-include_lib("eunit/include/eunit.hrl").

changes_as_config_change_takes_them_test() ->
    ?assertEqual({[{b, 3}], [{c, 4}], [a]},
                 bc_gitops_app_env:changes(#{a => 1, b => 2, d => 5}, #{b => 3, c => 4, d => 5})),
    ?assertEqual({[], [], []}, bc_gitops_app_env:changes(#{a => 1}, #{a => 1})).

%% 1 and 1.0 are different values.
changes_are_exact_test() ->
    ?assertEqual({[{a, 1.0}], [], []}, bc_gitops_app_env:changes(#{a => 1}, #{a => 1.0})).

put_back_is_exact_test() ->
    ok = application:set_env(rt_env, old, 1),
    ok = bc_gitops_app_env:put_back(rt_env, #{new => 2}, 1000),
    ?assertEqual(#{new => 2}, bc_gitops_app_env:all(rt_env)),
    ok = bc_gitops_app_env:put_back(rt_env, #{}, 1000),
    ?assertEqual(#{}, bc_gitops_app_env:all(rt_env)).

set_by_hand_test() ->
    ?assertEqual(#{b => 2, c => 3},
                 bc_gitops_app_env:set_by_hand(#{a => 1, b => 2, c => 3}, #{a => 1, b => 1})).
