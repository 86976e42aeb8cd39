-module(bc_gitops_outside_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

only_what_no_spec_is_named_is_looked_up_test() ->
    Specs = #{
        a => #app_spec{name = a, version = <<"1">>, depends_on = [b, crypto]},
        b => #app_spec{name = b, version = <<"1">>, depends_on = [crypto, nowhere_at_all]}
    },
    ?assertEqual([crypto, nowhere_at_all], bc_gitops_outside:names(Specs)).

running_and_loadable_applications_are_available_test() ->
    Needs = #{commit => <<"c">>, names => [stdlib, tftp, nowhere_at_all], found => []},
    {Available, #{found := [tftp]} = Found} = bc_gitops_outside:available(Needs, []),
    ?assertEqual([stdlib, tftp], lists:sort(Available)),
    %% again, from what was remembered
    {Again, Found} = bc_gitops_outside:available(Found, []),
    ?assertEqual([stdlib, tftp], lists:sort(Again)).

a_managed_app_is_not_the_hosts_test() ->
    Needs = #{commit => <<"c">>, names => [stdlib], found => []},
    ?assertMatch({[], _}, bc_gitops_outside:available(Needs, [stdlib])).

one_commit_is_looked_through_once_test() ->
    Before = #{commit => <<"c">>, names => [x], found => []},
    ?assertEqual(Before, bc_gitops_outside:needed(make_ref(), <<"c">>, Before)).
