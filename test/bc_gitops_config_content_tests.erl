-module(bc_gitops_config_content_tests).
-include_lib("eunit/include/eunit.hrl").

no_store_is_the_default_test() ->
    {ok, Config} = bc_gitops_config:load(#{}),
    ?assertEqual([], maps:get(content_stores, Config)).

stores_keep_their_order_test() ->
    {ok, Config} = bc_gitops_config:load(#{content_stores => [
        "/srv/content", <<"https://content.example/a/">>, 'http://localhost:8080', "file:///srv/b",
        {node, 'store@host'}, {node, "other@host.example"}, nodes]}),
    ?assertEqual([{dir, <<"/srv/content">>}, {http, <<"https://content.example/a">>},
                  {http, <<"http://localhost:8080">>}, {dir, <<"/srv/b">>},
                  {node, 'store@host'}, {node, 'other@host.example'}, nodes],
                 maps:get(content_stores, Config)).

a_relative_directory_is_one_of_the_node_test() ->
    {ok, Cwd} = file:get_cwd(),
    {ok, #{content_stores := Stores}} = bc_gitops_config:load(#{content_stores => ["content"]}),
    ?assertEqual([{dir, list_to_binary(filename:join(Cwd, "content"))}], Stores).

what_is_no_store_is_named_without_being_repeated_test_() ->
    [fun() ->
        {error, {bad_config, [#{key := content_stores, expected := Expected}]} = Problem} =
            bc_gitops_config:load(#{content_stores => Bad}),
        ?assertMatch(<<"a list of directories, ", _/binary>>, Expected),
        ?assertEqual(nomatch, string:find(bc_gitops_config:format_error(element(2, {error, Problem})), "s3cret"))
     end
     || Bad <- ["/srv/content", <<"/srv/content">>, #{}, [""], [<<>>], [1], [[1.0]], [{node, node}],
                [{node, "a b@c"}], [{dir, "/a"}], ["ftp://a/b"], ["https://"], ["https:///a"],
                ["https://me:s3cret@a/b"], ["https://a/b?token=s3cret"], ["https://a/b#c"], ["/a\nb"],
                [<<255>>], ["file://host/a"]]].
