-module(bc_gitops_refusal_tests).
-include_lib("eunit/include/eunit.hrl").

-define(REFUSAL, #{commit => <<"0123456789">>, names => [a, b]}).

it_stands_until_a_commit_knows_one_or_none_is_left_test_() ->
    Cases = [
        %% desired, managed, stands
        {[c], [a, b], true}, {[c], [a, b, c], true}, {[], [b], true}, {[c, d], [b, c], true},
        {[a, c], [a, b, c], false}, {[b], [b], false}, {[c], [c], false}, {[a], [b, c], false}
    ],
    [
        ?_assertEqual(Stands, bc_gitops_refusal:stands(?REFUSAL, Desired, Managed) =:= ?REFUSAL)
     || {Desired, Managed, Stands} <- Cases
    ] ++ [?_assertEqual(undefined, bc_gitops_refusal:stands(undefined, [], [a]))].

it_begins_with_a_refused_plan_test() ->
    Refused = #{refused => #{reason => all_orphans, names => [a, b]}},
    ?assertEqual(?REFUSAL, bc_gitops_refusal:after_plan(undefined, Refused, <<"0123456789">>)),
    ?assertEqual(undefined, bc_gitops_refusal:after_plan(undefined, #{refused => none}, <<"1">>)),
    ?assertEqual(?REFUSAL, bc_gitops_refusal:after_plan(?REFUSAL, #{refused => none}, <<"1">>)).

it_says_what_to_do_test() ->
    Many = [list_to_atom("app" ++ integer_to_list(N)) || N <- lists:seq(10, 30)],
    #{refused := #{names := Many, message := Message}} =
        bc_gitops_refusal:show(?REFUSAL, Many, #{refused => none}),
    [
        ?assertNotEqual(nomatch, string:find(Message, Part))
     || Part <- ["0123456", "app10", "and 11 more", "bc_gitops:remove/1", "two commits"]
    ].
