-module(bc_gitops_identicon_tests).
-include_lib("eunit/include/eunit.hrl").
-include_lib("xmerl/include/xmerl.hrl").

one_name_has_one_picture_test() ->
    Svg = bc_gitops_identicon:generate(demo_uptime),
    [?assertEqual(Svg, bc_gitops_identicon:generate(I)) || I <- [<<"demo_uptime">>, "demo_uptime"]],
    ?assertEqual(Svg, bc_gitops_identicon:generate(demo_uptime, 64)),
    ?assertNotEqual(Svg, bc_gitops_identicon:generate(other)).

names_in_unicode_test() ->
    Svg = bc_gitops_identicon:generate(<<"søvn_μ"/utf8>>),
    ?assertEqual(Svg, bc_gitops_identicon:generate([$s, $ø, $v, $n, $_, 956])),
    ?assertEqual(Svg, bc_gitops_identicon:generate(binary_to_atom(<<"søvn_μ"/utf8>>))).

%% Read by OTP's own XML parser, as a reader of images would.
a_picture_is_svg_and_mirrored_test() ->
    [begin
         {Root, []} = xmerl_scan:string(binary_to_list(bc_gitops_identicon:generate(N, 32))),
         ?assertMatch(#xmlElement{name = svg}, Root),
         ?assertEqual({"32", "32"}, {attribute(width, Root), attribute(height, Root)}),
         ?assertEqual('http://www.w3.org/2000/svg', (Root#xmlElement.namespace)#xmlNamespace.default),
         Cells = [{attribute(x, R), attribute(y, R)}
                  || #xmlElement{} = R <- xmerl_xpath:string("//g/rect", Root)],
         ?assertNotEqual([], Cells),
         [?assert(lists:member({[$4 - X + $0], Y}, Cells)) || {[X], Y} <- Cells]
     end || N <- ["a", "b", "demo", "", binary_to_list(<<"x">>)]].

a_data_uri_holds_the_picture_test() ->
    <<"data:image/svg+xml;base64,", Base64/binary>> = bc_gitops_identicon:to_data_uri(demo),
    ?assertEqual(bc_gitops_identicon:generate(demo), base64:decode(Base64)),
    ?assertEqual(bc_gitops_identicon:to_data_uri(demo), bc_gitops_identicon:to_data_uri(demo, 64)).

long_input_test() ->
    Long = binary:copy(<<"long">>, 1 bsl 20),
    ?assertMatch(<<"<svg", _/binary>>, bc_gitops_identicon:generate(Long)).

misuse_raises_test() ->
    ?assertError(function_clause, bc_gitops_identicon:generate(demo, 0)),
    ?assertError(function_clause, bc_gitops_identicon:generate(demo, "64")),
    ?assertError(function_clause, bc_gitops_identicon:generate(demo, 1 bsl 40)),
    ?assertError(badarg, bc_gitops_identicon:generate([not_a_character])),
    ?assertError(function_clause, bc_gitops_identicon:generate(1)).

attribute(Name, #xmlElement{attributes = Attributes}) ->
    #xmlAttribute{value = Value} = lists:keyfind(Name, #xmlAttribute.name, Attributes),
    Value.
