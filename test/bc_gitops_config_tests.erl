-module(bc_gitops_config_tests).
-include_lib("eunit/include/eunit.hrl").

defaults_hold_without_any_value_test() ->
    {ok, Config} = bc_gitops_config:load(#{}),
    ?assertMatch(
        #{
            repo_url := undefined, local_path := <<"/var/lib/bc_gitops">>, branch := <<"main">>,
            apps_dir := <<"apps">>, reconcile_interval := 60000,
            runtime_module := bc_gitops_runtime_default, build_jobs := 2
        },
        Config
    ).

strings_binaries_and_atoms_are_taken_test() ->
    {ok, Config} = bc_gitops_config:load(#{
        repo_url => "https://example.org/r.git", branch => main, local_path => <<"/tmp/x">>,
        node_prefix => "app_"
    }),
    ?assertMatch(
        #{
            repo_url := <<"https://example.org/r.git">>, branch := <<"main">>,
            local_path := <<"/tmp/x">>, node_prefix := <<"app_">>
        },
        Config
    ).

all_bad_values_are_named_at_once_test() ->
    {error, {bad_config, Problems}} = bc_gitops_config:load(#{
        branch => <<"--upload-pack=touch /tmp/x">>, reconcile_interval => 0,
        apps_dir => "../elsewhere", runtime_module => "my_runtime", allow_http => yes,
        build_sandbox => maybe_so, build_read => "/one"
    }),
    Keys = [allow_http, apps_dir, branch, build_read, build_sandbox, reconcile_interval,
            runtime_module],
    ?assertEqual(Keys, lists:sort([Key || #{key := Key} <- Problems])),
    Text = bc_gitops_config:format_error({bad_config, Problems}),
    ?assertNotEqual(nomatch, string:find(Text, "reconcile_interval is 0, expected a positive number")),
    ?assertNotEqual(nomatch, string:find(Text, "expected auto or required or off")).

one_of_a_few_words_and_lists_of_paths_are_taken_test() ->
    ?assertMatch({ok, #{build_sandbox := auto, build_read := undefined}}, bc_gitops_config:load(#{})),
    [?assertMatch({ok, #{build_sandbox := required}}, bc_gitops_config:load(#{build_sandbox => Value}))
     || Value <- [required, "required", <<"required">>]],
    ?assertMatch({ok, #{build_read := [<<"/opt/tools">>, <<"/srv">>]}},
                 bc_gitops_config:load(#{build_read => ["/opt/tools", <<"/srv">>]})).

variables_are_named_without_values_test() ->
    ?assertMatch({ok, #{build_env := [<<"SSH_AUTH_SOCK">>, <<"_x1">>]}},
                 bc_gitops_config:load(#{build_env => ["SSH_AUTH_SOCK", <<"_x1">>]})),
    [begin
        {error, {bad_config, [#{key := build_env}]} = Error} = bc_gitops_config:load(#{build_env => Bad}),
        Text = bc_gitops_config:format_error(Error),
        ?assertNotEqual(nomatch, string:find(Text, "without their values")),
        ?assertEqual(nomatch, string:find(Text, "secret"))
     end || Bad <- [["TOKEN=secret"], ["1A"], ["A B"], "SSH_AUTH_SOCK", [], [7]]].

a_bad_url_is_not_repeated_test() ->
    {error, Error} = bc_gitops_config:load(#{repo_url => <<"ext::sh -c secret">>}),
    ?assertEqual(nomatch, string:find(bc_gitops_config:format_error(Error), "secret")).

branches_follow_the_grammar_of_git_test_() ->
    Bad = ["-x", "a..b", "a b", "a~1", "a^", "a:b", "/a", "a/", "a//b", "a.lock", "@", "a@{1}", ".a", ""],
    Good = ["main", "feature/x", "v1.0", "release-1"],
    [?_assertMatch({error, _}, bc_gitops_config:load(#{branch => Name})) || Name <- Bad] ++
        [?_assertMatch({ok, _}, bc_gitops_config:load(#{branch => Name})) || Name <- Good].

the_map_stands_over_the_application_environment_test() ->
    ok = application:set_env(bc_gitops, branch, "from_env"),
    ok = application:set_env(bc_gitops, git_timeout, 5),
    try
        {ok, Config} = bc_gitops_config:load(#{branch => "from_map"}),
        ?assertMatch(#{branch := <<"from_map">>, git_timeout := 5}, Config)
    after
        application:unset_env(bc_gitops, branch),
        application:unset_env(bc_gitops, git_timeout)
    end.

current_is_the_active_configuration_test() ->
    {ok, Config} = bc_gitops_config:load(#{branch => "active"}),
    ok = bc_gitops_config:activate(Config),
    try
        ?assertEqual(Config, bc_gitops_config:current())
    after
        bc_gitops_config:deactivate()
    end,
    ?assertMatch(#{branch := <<"main">>}, bc_gitops_config:current()).

current_passes_over_bad_values_test() ->
    ok = application:set_env(bc_gitops, branch, 17),
    try
        ?assertMatch(#{branch := <<"main">>}, bc_gitops_config:current())
    after
        application:unset_env(bc_gitops, branch)
    end.

without_home_the_directories_stand_beside_local_path_test() ->
    Home = os:getenv("HOME"),
    true = os:unsetenv("HOME"),
    try
        {ok, Config} = bc_gitops_config:load(#{local_path => "/srv/gitops"}),
        ?assertMatch(
            #{state_path := <<"/srv/gitops-state">>, workspace_path := <<"/srv/gitops-workspace">>}, Config
        )
    after
        os:putenv("HOME", Home)
    end.
