-module(bc_gitops_source_watch_tests).
-include_lib("eunit/include/eunit.hrl").

watch_test_() ->
    {foreach, fun start/0, fun stop/1, [
        fun(State) -> {atom_to_list(Name), fun() -> Test(State) end} end
     || {Name, Test} <- [
            {knows_branches_tags_and_head, fun knows_branches_tags_and_head/1},
            {commit_ids_are_never_listed, fun commit_ids_are_never_listed/1},
            {moved_sources_are_told, fun moved_sources_are_told/1},
            {a_failing_remote_keeps_what_was_known, fun a_failing_remote_keeps_what_was_known/1},
            {one_listing_for_all_refs_of_a_url, fun one_listing_for_all_refs_of_a_url/1},
            {no_password_stands_in_its_state, fun no_password_stands_in_its_state/1},
            {silence_ends_a_wait_and_stops_nobody, fun silence_ends_a_wait_and_stops_nobody/1}
        ]
    ]}.

unknown_without_the_process_test() ->
    ?assertEqual(unknown, bc_gitops_source_watch:wanted(<<"https://h/x">>, <<"main">>)).

knows_branches_tags_and_head({Dir, _}) ->
    {Repo, Commit} = repo(Dir),
    bct_repo:tag(Repo, "v1"),
    Url = bct_repo:url(Repo),
    Refs = [<<"main">>, <<"v1">>, <<"HEAD">>, <<"refs/heads/main">>, <<"refs/tags/v1">>],
    ?assertEqual(unknown, bc_gitops_source_watch:wanted(Url, <<"main">>)),
    ?assertEqual(ok, bc_gitops_source_watch:refresh_wait([{Url, Ref} || Ref <- [<<"none">> | Refs]], 5000)),
    [?assertEqual({Ref, {ok, Commit}}, {Ref, bc_gitops_source_watch:wanted(Url, Ref)}) || Ref <- Refs],
    ?assertEqual(unknown, bc_gitops_source_watch:wanted(Url, <<"none">>)).

commit_ids_are_never_listed(_) ->
    Id = binary:copy(<<"aB">>, 20),
    ?assertEqual(ok, bc_gitops_source_watch:refresh_wait([{<<"https://host.invalid/x">>, Id}], 5000)),
    ?assertEqual({ok, string:lowercase(Id)}, bc_gitops_source_watch:wanted(<<"https://host.invalid/x">>, Id)).

moved_sources_are_told({Dir, _}) ->
    {Repo, _} = repo(Dir),
    Source = {bct_repo:url(Repo), <<"main">>},
    true = register(bc_gitops_reconciler, self()),
    try
        ok = bc_gitops_source_watch:refresh_wait([Source], 5000),
        ok = bc_gitops_source_watch:refresh_wait([Source], 5000),
        Next = bct_repo:commit(Repo, [{"x", "2"}]),
        ok = bc_gitops_source_watch:refresh([Source]),
        receive Message -> ?assertEqual({source_moved, [Source]}, Message) after 60000 -> error(not_told) end,
        ?assertEqual({ok, Next}, bc_gitops_source_watch:wanted(element(1, Source), <<"main">>))
    after
        unregister(bc_gitops_reconciler)
    end.

a_failing_remote_keeps_what_was_known({Dir, _}) ->
    {Repo, Commit} = repo(Dir),
    Url = bct_repo:url(Repo),
    ok = bc_gitops_source_watch:refresh_wait([{Url, <<"main">>}], 5000),
    ok = file:rename(Repo, <<Repo/binary, "-away">>),
    ?assertMatch({error, [{not_found, #{url := Url}}]}, bc_gitops_source_watch:refresh_wait([{Url, <<"main">>}], 5000)),
    ?assertEqual({ok, Commit}, bc_gitops_source_watch:wanted(Url, <<"main">>)),
    ok = file:rename(<<Repo/binary, "-away">>, Repo),
    ?assertEqual(ok, bc_gitops_source_watch:refresh_wait([{Url, <<"main">>}], 5000)).

%% The auth function is called once for each listing.
one_listing_for_all_refs_of_a_url({Dir, Counter}) ->
    {Repo, _} = repo(Dir),
    [bct_repo:branch(Repo, "b" ++ integer_to_list(N)) || N <- lists:seq(1, 20)],
    Url = bct_repo:url(Repo),
    Sources = [{Url, <<"b", (integer_to_binary(N))/binary>>} || N <- lists:seq(1, 20)],
    ok = bc_gitops_source_watch:refresh_wait(Sources, 5000),
    [?assertMatch({ok, _}, bc_gitops_source_watch:wanted(Url, Ref)) || {_, Ref} <- Sources],
    ?assertEqual(1, counters:get(Counter, 1)).

silence_ends_a_wait_and_stops_nobody({Dir, Counter}) ->
    {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listen),
    Silent = [{iolist_to_binary(io_lib:format("http://127.0.0.1:~b/~b", [Port, N])), <<"main">>} || N <- lists:seq(1, 3)],
    ?assertEqual({error, timeout}, bc_gitops_source_watch:refresh_wait(Silent, 300)),
    {Repo, Commit} = repo(Dir),
    Source = {bct_repo:url(Repo), <<"main">>},
    ?assertEqual(ok, bc_gitops_source_watch:refresh_wait([Source], 5000)),
    ?assertEqual({ok, Commit}, bc_gitops_source_watch:wanted(element(1, Source), <<"main">>)),
    ?assertEqual(4, counters:get(Counter, 1)),
    ok = gen_tcp:close(Listen).

%% While urls are being listed and wait for it, and after a listing failed.
no_password_stands_in_its_state({_Dir, _}) ->
    Canary = <<"canary+SECRET/of=watch42">>,
    User = ["http://user:", uri_string:quote(Canary), "@127.0.0.1:"],
    {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listen),
    Silent = [{iolist_to_binary([User, io_lib:format("~b/~b", [Port, N])]), <<"main">>} || N <- lists:seq(1, 6)],
    ?assertMatch({error, [_]}, bc_gitops_source_watch:refresh_wait([{iolist_to_binary([User, "1/x"]), <<"main">>}], 5000)),
    ?assertEqual({error, timeout}, bc_gitops_source_watch:refresh_wait(Silent, 100)),
    Seen = io_lib:format("~0tp", [[
        sys:get_state(bc_gitops_source_watch), sys:get_status(bc_gitops_source_watch),
        ets:tab2list(bc_gitops_source_watch)
    ]]),
    ?assertEqual([], bct_canary:found(unicode:characters_to_binary(Seen), bct_canary:forms(Canary))),
    ok = gen_tcp:close(Listen).

repo(Dir) ->
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    {Repo, bct_repo:commit(Repo, [{"x", "1"}])}.

start() ->
    Counter = counters:new(1, []),
    Auth = fun() -> counters:add(Counter, 1, 1), #{allow_local => true} end,
    {ok, _} = bc_gitops_source_watch:start_link(#{auth => Auth, timeout => 20000}),
    {bct_dir:make("watch"), Counter}.

stop({Dir, _}) ->
    ok = gen_server:stop(bc_gitops_source_watch),
    bct_dir:remove(Dir).
