-module(bc_gitops_git_tests).
-include_lib("eunit/include/eunit.hrl").

%% These calls work without the application started, and take strings and binaries.

clone_pull_log_checkout_test() ->
    with_repo(fun(Dir, Repo, First) ->
        Clone = binary_to_list(filename:join(Dir, "clone")),
        ?assertEqual(ok, bc_gitops_git:clone(bct_repo:url(Repo), Clone, "main")),
        ?assert(bc_gitops_git:is_repo(Clone)),
        ?assertEqual({ok, First}, bc_gitops_git:get_head_commit(Clone)),
        Second = bct_repo:commit(Repo, [{"a", "2"}], "second subject\n\nand a body"),
        ?assertEqual({ok, Second}, bc_gitops_git:pull(list_to_binary(Clone), <<"main">>)),
        ?assertEqual({ok, Second}, bc_gitops_git:pull(Clone, "main")),
        {ok, [Newest, Oldest]} = bc_gitops_git:get_commit_log(Clone, 10),
        ?assertMatch(
            #{hash := Second, author := <<"Tess Tester">>, email := <<"tess@example.org">>, subject := <<"second subject">>},
            Newest
        ),
        ?assertMatch(#{hash := First, timestamp := Time} when is_integer(Time), Oldest),
        ?assertMatch({ok, [#{hash := Second}]}, bc_gitops_git:get_commit_log(Clone, 1)),
        ?assertEqual(ok, bc_gitops_git:checkout(Clone, First)),
        ?assertEqual({ok, <<"1">>}, file:read_file(filename:join(Clone, "a"))),
        ?assertEqual(ok, bc_gitops_git:checkout(Clone, "main")),
        ?assertEqual({ok, <<"2">>}, file:read_file(filename:join(Clone, "a")))
    end).

log_agrees_with_the_systems_git_test() ->
    with_repo(fun(_Dir, Repo, _First) ->
        [bct_repo:commit(Repo, [{"a", integer_to_list(N)}], "subject " ++ integer_to_list(N)) || N <- lists:seq(2, 9)],
        Lines = string:lexemes(bct_repo:git(Repo, ["log", "--format=%H|%an|%ae|%at|%s"]), "\n"),
        {ok, Log} = bc_gitops_git:get_commit_log(Repo, 100),
        ?assertEqual(Lines, [
            iolist_to_binary([H, "|", A, "|", E, "|", integer_to_list(T), "|", S])
         || #{hash := H, author := A, email := E, timestamp := T, subject := S} <- Log
        ])
    end).

ensure_repo_clones_then_updates_test() ->
    with_repo(fun(Dir, Repo, First) ->
        Clone = filename:join(Dir, "clone"),
        ?assertEqual(ok, bc_gitops_git:ensure_repo(Repo, Clone, <<"main">>)),
        ?assertEqual({ok, First}, bc_gitops_git:get_head_commit(Clone)),
        Second = bct_repo:commit(Repo, [{"a", "2"}]),
        ?assertEqual(ok, bc_gitops_git:ensure_repo(Repo, Clone, <<"main">>)),
        ?assertEqual({ok, Second}, bc_gitops_git:get_head_commit(Clone)),
        ?assertMatch({error, {bad_path, _}}, bc_gitops_git:clone(Repo, Clone, <<"main">>))
    end).

errors_are_named_test() ->
    with_repo(fun(Dir, Repo, _First) ->
        Path = filename:join(Dir, "x"),
        ?assertMatch({error, {branch_not_found, #{ref := <<"none">>}}}, bc_gitops_git:clone(Repo, Path, "none")),
        ?assertMatch({error, {not_found, _}}, bc_gitops_git:clone("/nonexistent/repo", Path, "main")),
        ?assertMatch({error, {not_found, _}}, bc_gitops_git:pull(Path, "main")),
        ?assertMatch({error, {not_found, _}}, bc_gitops_git:get_head_commit(Path)),
        ?assertMatch({error, {not_found, _}}, bc_gitops_git:get_commit_log(Path, 3)),
        ?assertMatch({error, {ref_not_found, _}}, bc_gitops_git:checkout(Repo, "none")),
        ?assertMatch({error, {bad_ref, _}}, bc_gitops_git:checkout(Repo, "--force")),
        ?assertNot(bc_gitops_git:is_repo(Path)),
        ?assertNot(bc_gitops_git:is_repo(Dir)),
        Empty = bct_repo:init(filename:join(Dir, "empty")),
        ?assert(bc_gitops_git:is_repo(Empty)),
        ?assertMatch({error, {empty_repository, _}}, bc_gitops_git:get_head_commit(Empty))
    end).

pull_says_nothing_of_a_password_in_the_configuration_test() ->
    with_repo(fun(_Dir, Repo, _First) ->
        _ = bct_repo:git(Repo, ["remote", "add", "origin", "https://u:canary@127.0.0.1:1/x"]),
        {error, {unreachable, Details}} = bc_gitops_git:pull(Repo, "main"),
        ?assertEqual([], bct_canary:found(Details, [<<"canary">>]))
    end).

auth_of_a_configuration_test() ->
    Closed = #{hosts => [], allow_http => false, allow_local => false},
    ?assertEqual(Closed, bc_gitops_git:auth(#{})),
    ?assertEqual(Closed#{allow_local := true}, bc_gitops_git:auth(#{repo_url => <<"file:///x">>})),
    ?assertEqual(Closed#{allow_local := true}, bc_gitops_git:auth(#{repo_url => "/x"})),
    ?assertEqual(
        Closed#{hosts := [<<"a">>, <<"h:8443">>], ssh_key => <<"/k">>, token_env => <<"T">>, allow_http := true},
        bc_gitops_git:auth(#{repo_url => <<"https://u:p@h:8443/x">>, git_auth_hosts => ["a"], git_ssh_key => "/k",
                             git_token_env => <<"T">>, git_ca_file => undefined, allow_http => true})
    ),
    ?assertEqual([<<"h">>], maps:get(hosts, bc_gitops_git:auth(#{repo_url => <<"https://h/x">>}))),
    ?assertEqual([], maps:get(hosts, bc_gitops_git:auth(#{repo_url => <<"git@h:x">>}))).

bad_requests_raise_test() ->
    ?assertError(badarg, bc_gitops_git:request(#{op => nonsense}, 1000)),
    ?assertError(badarg, bc_gitops_git:request(#{op => follow}, 1000)),
    ?assertError(badarg, bc_gitops_git:request(#{op => list, url => 42}, 1000)).

with_repo(Fun) ->
    bct_dir:with("git-tests", fun(Dir) ->
        Repo = bct_repo:init(filename:join(Dir, "repo")),
        First = bct_repo:commit(Repo, [{"a", "1"}], "first"),
        Fun(Dir, Repo, First)
    end).
