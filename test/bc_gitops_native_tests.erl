-module(bc_gitops_native_tests).
-include_lib("eunit/include/eunit.hrl").

library_has_the_abi_of_its_stub_test() ->
    ?assertEqual(ok, bc_gitops_native:check()).

another_library_asks_for_a_restart_test() ->
    ?assertMatch({error, {native_abi, #{loaded := 999, expected := _}}}, bc_gitops_native:check(999)).
