-module(bc_gitops_config_hex_tests).
-include_lib("eunit/include/eunit.hrl").

-define(PEM, <<"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n">>).

no_repository_is_needed_test() ->
    {ok, Config} = bc_gitops_config:load(#{}),
    ?assertEqual({ok, [#{name => <<"hexpm">>, url => <<"https://repo.hex.pm">>}]},
                 bc_gitops_config_hex:registries(Config)).

repositories_come_before_the_mirror_of_hexpm_test() ->
    {ok, Config} = bc_gitops_config:load(#{
        hex_mirror => "http://localhost:8080/",
        hex_repos => [#{name => "acme", url => "https://hex.acme.example/repo/", public_key => ?PEM,
                        auth_key_env => 'ACME_KEY'},
                      #{name => other, url => <<"https://other.example">>, public_key => ?PEM, auth_key_file => "/run/k"}]
    }),
    ?assertEqual({ok, [
        #{name => <<"acme">>, url => <<"https://hex.acme.example/repo">>, public_key => ?PEM,
          auth_key_env => <<"ACME_KEY">>},
        #{name => <<"other">>, url => <<"https://other.example">>, public_key => ?PEM,
          auth_key_file => <<"/run/k">>},
        #{name => <<"hexpm">>, url => <<"http://localhost:8080">>}
    ]}, bc_gitops_config_hex:registries(Config)).

a_repository_named_hexpm_takes_its_place_test() ->
    {ok, Config} = bc_gitops_config:load(#{hex_repos => [#{name => hexpm, url => "https://a.example"}]}),
    ?assertEqual({ok, [#{name => <<"hexpm">>, url => <<"https://a.example">>}]},
                 bc_gitops_config_hex:registries(Config)).

organizations_of_hexpm_need_no_key_test() ->
    {ok, Config} = bc_gitops_config:load(#{hex_repos => [
        #{name => "hexpm:acme", url => "https://repo.hex.pm/repos/acme", auth_key_env => "K"}]}),
    ?assertMatch({ok, [#{name := <<"hexpm:acme">>}, _]}, bc_gitops_config_hex:registries(Config)).

a_public_key_is_read_from_its_file_test() ->
    bct_dir:with("hexkey", fun(Dir) ->
        File = filename:join(Dir, "key.pem"),
        Repos = [#{name => a, url => "https://a.example", public_key => File}],
        ?assertMatch(<<"as public_key a PEM text or a file that can be read", _/binary>>, expected(Repos)),
        ok = file:write_file(File, "no key"),
        ?assertMatch(<<"a public key in PEM", _/binary>>, expected(Repos)),
        ok = file:write_file(File, ?PEM),
        {ok, Config} = bc_gitops_config:load(#{hex_repos => Repos}),
        ?assertMatch({ok, [#{public_key := ?PEM}, _]}, bc_gitops_config_hex:registries(Config)),
        ok = file:delete(File),
        {error, {hex_public_key, #{message := Message}}} = bc_gitops_config_hex:registries(Config),
        ?assertNotEqual(nomatch, string:find(Message, "put it back"))
    end).

what_is_wrong_is_said_test_() ->
    Url = "https://a.example",
    Cases = [
        {not_a_list, "a list of maps"},
        {["x"], "a list of maps"},
        {[#{url => Url}], "a name in each map"},
        {[#{name => "../x", url => Url}], "a name in each map"},
        {[#{name => a, url => Url}], "a public_key for the repository a"},
        {[#{name => a}], "a string as url for the repository a"},
        {[#{name => a, url => "http://a.example"}], "an https url"},
        {[#{name => a, url => "https://u:p@a.example"}], "without user and password"},
        {[#{name => a, url => "http://u:p@127.0.0.1"}], "without user and password"},
        {[#{name => a, url => "file:///tmp"}], "an https url"},
        {[#{name => a, url => Url, auth_key => "secret"}], "not auth_key"},
        {[#{name => a, url => Url, auth_key_env => "A B"}], "the name of an environment variable"},
        {[#{name => hexpm, url => Url}, #{name => <<"hexpm">>, url => Url}], "one repository named hexpm"}
    ],
    [?_assertNotEqual({Given, nomatch}, {Given, string:find(expected(Given), Part)}) || {Given, Part} <- Cases].

a_mirror_has_a_url_without_a_password_test_() ->
    [?_assertMatch({error, {bad_config, [#{key := hex_mirror, got := '...'}]}},
                   bc_gitops_config:load(#{hex_mirror => Url}))
     || Url <- ["http://hex.example", "https://u:p@hex.example", "hex.example", 7]].

%% Whatever is wrong with it, what was given is not repeated: it may hold a password.
expected(Repos) ->
    {error, {bad_config, [Problem]}} = bc_gitops_config:load(#{hex_repos => Repos}),
    ?assertMatch(#{key := hex_repos, got := '...'}, Problem),
    maps:get(expected, Problem).
