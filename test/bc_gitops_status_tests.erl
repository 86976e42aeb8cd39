-module(bc_gitops_status_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

word(States) -> bc_gitops_status:word({following, undefined}, States, false).

one_word_for_everything_test_() ->
    Running = {running, unknown},
    [
        ?_assertEqual(initializing, bc_gitops_status:word({booting, undefined}, [Running], false)),
        ?_assertEqual(initializing, bc_gitops_status:word({restoring, undefined}, [], false)),
        ?_assertEqual(ready, bc_gitops_status:word({starting, undefined}, [Running], false)),
        ?_assertEqual(error, bc_gitops_status:word({following, {desired_state, x}}, [Running], false)),
        ?_assertEqual(degraded, bc_gitops_status:word({following, undefined}, [Running], true)),
        ?_assertEqual(synced, word([])),
        ?_assertEqual(synced, word([Running, {running, healthy}])),
        ?_assertEqual(out_of_sync, word([Running, {preparing, unknown}])),
        ?_assertEqual(degraded, word([Running, {running, unhealthy}]))
    ] ++ [
        ?_assertEqual(degraded, word([{preparing, unknown}, {State, unknown}]))
     || State <- [backing_off, quarantined, suspended, failed]
    ].

%% A new commit whose goals are on their way to the apps is not reached yet.
goals_on_their_way_are_out_of_sync_test_() ->
    Row = #{phase => following, last_error => undefined, spec_errors => [], refused => none},
    {spawn, fun() ->
        ok = bc_gitops_registry:create(),
        [
            begin
                ok = bc_gitops_registry:put(reconciler, Row#{unsettled => Unsettled}),
                {ok, #{status := Status}} = bc_gitops_status:read(),
                ?assertEqual(Expected, Status)
            end
         || {Unsettled, Expected} <- [{0, synced}, {1, out_of_sync}, {0, synced}]
        ]
    end}.

%% The old version that runs on after a failed upgrade counts; what is being switched does not.
what_runs_is_healthy_whatever_is_tried_with_it_test_() ->
    Runs = {app, "dir", running, <<"1">>, <<>>, <<>>, embedded, [], []},
    Stopped = setelement(3, Runs, stopped),
    {spawn, fun() ->
        ok = bc_gitops_registry:create(),
        [
            ok = bc_gitops_registry:put_app(
                #{name => Name, pid => self(), state => State, health => Health, current => Current,
                  watch => undefined, pinned => undefined},
                #app_state{name = Name, version = <<"1">>}, undefined)
         || {Name, State, Health, Current} <- [
                {a, running, unknown, Runs}, {b, quarantined, healthy, Runs}, {c, backing_off, unknown, Runs},
                {d, preparing, unknown, Runs}, {e, switching, unknown, Runs}, {f, running, unhealthy, Runs},
                {g, failed, unknown, Stopped}, {h, preparing, unknown, undefined}
            ]
        ],
        ?assertEqual(4, bc_gitops_registry:healthy_count())
    end}.

no_credential_of_a_url_is_shown_test_() ->
    Cases = [
        {<<"https://user:secret@example.org/r.git">>, <<"https://example.org/r.git">>},
        {<<"https://token@example.org/r.git">>, <<"https://example.org/r.git">>},
        {<<"https://a:s@b:c@example.org/r.git">>, <<"https://example.org/r.git">>},
        {<<"git@example.org:r.git">>, <<"git@example.org:r.git">>},
        {<<"/srv/repo@home">>, <<"/srv/repo@home">>},
        {<<"https://example.org/a@b">>, <<"https://example.org/a@b">>}
    ],
    [?_assertEqual(Public, bc_gitops_config:public_url(Url)) || {Url, Public} <- Cases].
