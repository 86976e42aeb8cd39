%%% @doc Git over file://: following, checkouts, hostile content, interruptions.
-module(git_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_testcase/2, end_per_testcase/2]).
-export([follows_a_branch/1, force_push_is_followed/1, branch_missing/1, empty_repository/1, remote_down_then_back/1,
         foreign_paths_are_left_alone/1, clone_with_work_tree_is_adopted/1, changed_url_is_followed/1,
         branch_below_an_old_branch/1, user_configuration_is_ignored/1, no_change_poll_fetches_nothing/1]).
-export([stale_locks_and_half_packs/1, head_left_behind/1, damaged_repositories_heal/1, damaged_tree_is_repaired_on_request/1,
         killed_during_fetch/1, killed_between_renames/1, silent_server/1, jobs_on_one_path_wait/1,
         dead_caller_cancels/1, cancelled_while_silent/1, many_packs_become_one/1]).
-export([lists_peeled_tags/1, checkout_of_every_kind_of_ref/1, checkout_follows_moved_refs/1, clean_checkout/1,
         submodules/1, refused_submodules/1, endless_submodules/1, links_out_of_the_tree/1, hostile_trees/1,
         hostile_names_run_nothing/1, limits/1, local_needs_permission/1]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [{group, follow}, {group, recovery}, {group, checkout}].

groups() ->
    [
        {follow, [], [follows_a_branch, force_push_is_followed, branch_missing, empty_repository, remote_down_then_back,
                      foreign_paths_are_left_alone, clone_with_work_tree_is_adopted, changed_url_is_followed,
                      branch_below_an_old_branch, user_configuration_is_ignored, no_change_poll_fetches_nothing]},
        {recovery, [], [stale_locks_and_half_packs, head_left_behind, damaged_repositories_heal, damaged_tree_is_repaired_on_request,
                        killed_during_fetch, killed_between_renames, silent_server, jobs_on_one_path_wait,
                        dead_caller_cancels, cancelled_while_silent, many_packs_become_one]},
        {checkout, [], [lists_peeled_tags, checkout_of_every_kind_of_ref, checkout_follows_moved_refs, clean_checkout,
                        submodules, refused_submodules, endless_submodules, links_out_of_the_tree, hostile_trees,
                        hostile_names_run_nothing, limits, local_needs_permission]}
    ].

init_per_testcase(Case, Config) ->
    Dir = bct_dir:make("git-" ++ atom_to_list(Case)),
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    Commit = bct_repo:commit(Repo, [{"apps/a/app.config", "x"}], "the first"),
    [{dir, Dir}, {repo, Repo}, {commit, Commit}, {clone, filename:join(Dir, "clone")} | Config].

end_per_testcase(_Case, Config) ->
    bct_dir:remove(?config(dir, Config)).

%%% Following

follows_a_branch(Config) ->
    #{repo := Repo, clone := Clone, commit := First} = maps:from_list(Config),
    ?assertMatch({ok, #{commit := First, changed := true, previous := undefined}}, follow(Config)),
    ?assertMatch({ok, #{commit := First, changed := false, previous := First, fetched_bytes := 0}}, follow(Config)),
    Next = bct_repo:commit(Repo, [{"apps/a/app.config", "y"}], "the next"),
    ?assertMatch({ok, #{commit := Next, changed := true, previous := First}}, follow(Config)),
    ?assertEqual({ok, [".git"]}, file:list_dir(Clone)),
    ?assertEqual(<<"the next\nthe first\n">>, bct_repo:git(Clone, ["log", "--format=%s"])),
    ?assertEqual(Next, string:trim(bct_repo:git(Clone, ["rev-parse", "origin/main"]))).

force_push_is_followed(Config) ->
    #{repo := Repo, commit := First} = maps:from_list(Config),
    _ = bct_repo:commit(Repo, [{"x", "1"}]),
    {ok, _} = follow(Config),
    _ = bct_repo:git(Repo, ["reset", "-q", "--hard", First]),
    Forced = bct_repo:commit(Repo, [{"x", "2"}]),
    ?assertMatch({ok, #{commit := Forced, changed := true}}, follow(Config)).

branch_missing(Config) ->
    {error, {branch_not_found, #{ref := <<"none">>, message := Message, url := _}}} = follow(Config, #{branch => <<"none">>}),
    ?assertNotEqual(nomatch, binary:match(Message, <<"main">>)),
    ?assertNot(filelib:is_dir(filename:join(?config(clone, Config), ".git"))).

empty_repository(Config) ->
    Empty = bct_repo:init_bare(filename:join(?config(dir, Config), "empty")),
    Url = bct_repo:url(Empty),
    ?assertMatch({error, {empty_repository, #{url := Url}}}, follow(Config, #{url => Url})),
    Commit = bct_repo:commit_to(?config(repo, Config), Empty, "main", [{"x", "1"}]),
    ?assertMatch({ok, #{commit := Commit}}, follow(Config, #{url => Url})).

remote_down_then_back(Config) ->
    #{repo := Repo, clone := Clone, commit := First} = maps:from_list(Config),
    {ok, _} = follow(Config),
    Away = <<Repo/binary, "-away">>,
    ok = file:rename(Repo, Away),
    ?assertMatch({error, {not_found, _}}, follow(Config)),
    ?assertEqual({ok, First}, bc_gitops_git:get_head_commit(Clone)),
    ok = file:rename(Away, Repo),
    ?assertMatch({ok, #{changed := false}}, follow(Config)).

foreign_paths_are_left_alone(Config) ->
    #{dir := Dir, repo := Repo} = maps:from_list(Config),
    Refused = fun(Path) -> {error, {bad_path, #{path := _}}} = follow(Config, #{path => Path}) end,
    File = filename:join(Dir, "file"),
    ok = file:write_file(File, "mine"),
    _ = Refused(File),
    ?assertEqual({ok, <<"mine">>}, file:read_file(File)),
    Full = filename:join(Dir, "full"),
    ok = filelib:ensure_dir(filename:join(Full, "x")),
    ok = file:write_file(filename:join(Full, "x"), "mine"),
    _ = Refused(Full),
    ?assertEqual({ok, <<"mine">>}, file:read_file(filename:join(Full, "x"))),
    Strange = filename:join(Dir, "strange"),
    ok = filelib:ensure_dir(filename:join(Strange, ".git/x")),
    ok = file:write_file(filename:join(Strange, ".git/x"), "mine"),
    _ = Refused(Strange),
    Pointer = filename:join(Dir, "pointer"),
    ok = filelib:ensure_path(Pointer),
    ok = file:write_file(filename:join(Pointer, ".git"), "gitdir: /nonexistent"),
    _ = Refused(Pointer),
    Before = bct_repo:git(Repo, ["for-each-ref"]),
    _ = Refused(Repo),
    ?assertEqual(Before, bct_repo:git(Repo, ["for-each-ref"])),
    _ = [Refused(Path) || Path <- [<<"relative">>, <<"/">>, <<"/tmp/../etc/x">>, <<"/tmp/a\nb">>]].

%% As 0.7 leaves it: a clone with a work tree, perhaps with a password in its configuration.
clone_with_work_tree_is_adopted(Config) ->
    #{dir := Dir, repo := Repo, clone := Clone, commit := First} = maps:from_list(Config),
    _ = bct_repo:git(Dir, ["clone", "-q", Repo, Clone]),
    ok = file:write_file(filename:join(Clone, "local"), "mine"),
    _ = bct_repo:git(Clone, ["config", "remote.origin.url", "https://u:canary@example.org/x"]),
    Next = bct_repo:commit(Repo, [{"apps/a/app.config", "y"}]),
    ?assertMatch({ok, #{commit := Next, previous := First, changed := true}}, follow(Config)),
    ?assertEqual({ok, <<"x">>}, file:read_file(filename:join(Clone, "apps/a/app.config"))),
    ?assertEqual({ok, <<"mine">>}, file:read_file(filename:join(Clone, "local"))),
    ?assertEqual(<<"refs/heads/main\n">>, bct_repo:git(Clone, ["symbolic-ref", "HEAD"])),
    {ok, Git} = file:read_file(filename:join(Clone, ".git/config")),
    ?assertEqual(nomatch, binary:match(Git, <<"canary">>)).

changed_url_is_followed(Config) ->
    #{dir := Dir, clone := Clone} = maps:from_list(Config),
    {ok, #{commit := Old}} = follow(Config),
    Other = bct_repo:init(filename:join(Dir, "other")),
    New = bct_repo:commit(Other, [{"other", "x"}]),
    Url = bct_repo:url(Other),
    ?assertMatch({ok, #{commit := New, previous := Old, changed := true}}, follow(Config, #{url => Url})),
    ?assertEqual(Url, string:trim(bct_repo:git(Clone, ["config", "remote.origin.url"]))).

branch_below_an_old_branch(Config) ->
    Repo = ?config(repo, Config),
    bct_repo:branch(Repo, "a"),
    {ok, _} = follow(Config, #{branch => <<"a">>}),
    bct_repo:branch(Repo, "b"),
    _ = bct_repo:git(Repo, ["branch", "-D", "a"]),
    bct_repo:branch(Repo, "a/b"),
    Commit = bct_repo:commit(Repo, [{"x", "1"}]),
    ?assertMatch({ok, #{commit := Commit}}, follow(Config, #{branch => <<"a/b">>})).

%% A user's ~/.gitconfig sends urls elsewhere: not those of a job.
user_configuration_is_ignored(Config) ->
    Home = filename:join(?config(dir, Config), "home"),
    ok = filelib:ensure_path(Home),
    ok = file:write_file(filename:join(Home, ".gitconfig"),
                         ["[url \"file:///nonexistent\"]\n insteadOf = ", bct_repo:url(?config(repo, Config)), "\n"]),
    with_peer([{"HOME", binary_to_list(Home)}], fun(Peer) ->
        ?assertMatch({ok, _}, bct_peer:call(Peer, bc_gitops_git, request, [request(Config), 60000]))
    end).

no_change_poll_fetches_nothing(Config) ->
    {ok, _} = follow(Config),
    Objects = filename:join([?config(clone, Config), ".git", "objects"]),
    Before = filelib:wildcard("**", binary_to_list(Objects)),
    Polls = [follow(Config) || _ <- lists:seq(1, 50)],
    [?assertMatch({ok, #{changed := false, fetched_bytes := 0}}, Poll) || Poll <- Polls],
    ?assertEqual(Before, filelib:wildcard("**", binary_to_list(Objects))).

%%% Recovery

stale_locks_and_half_packs(Config) ->
    #{repo := Repo, clone := Clone} = maps:from_list(Config),
    {ok, _} = follow(Config),
    Left = [filename:join([Clone, ".git", File])
            || File <- ["HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "index.lock",
                        "refs/remotes/origin/main.lock", "objects/pack/tmp_pack_abc", "objects/pack/pack_git2_xyz"]],
    [ok = file:write_file(File, "") || File <- Left],
    Next = bct_repo:commit(Repo, [{"x", "1"}]),
    ?assertMatch({ok, #{commit := Next}}, follow(Config)),
    ?assertEqual([], [File || File <- Left, filelib:is_file(File)]),
    Work = filename:join(?config(dir, Config), "work"),
    {ok, _} = checkout(Config, <<"main">>, #{path => Work}),
    [ok = file:write_file(filename:join([Work, ".git", Lock]), "") || Lock <- ["index.lock", "HEAD.lock"]],
    Last = bct_repo:commit(Repo, [{"x", "2"}]),
    ?assertMatch({ok, #{commit := Last}}, checkout(Config, <<"main">>, #{path => Work})).

%% Killed between the branch's ref and HEAD: the next poll finds no change and ends what was begun.
head_left_behind(Config) ->
    #{repo := Repo, clone := Clone, commit := First} = maps:from_list(Config),
    {ok, _} = follow(Config),
    Next = bct_repo:commit(Repo, [{"x", "1"}]),
    {ok, _} = follow(Config),
    Git = filename:join(Clone, ".git"),
    ok = file:write_file(filename:join(Git, "HEAD"), [First, $\n]),
    [ok = file:write_file(filename:join(Git, Lock), "") || Lock <- ["HEAD.lock", "config.lock"]],
    ?assertMatch({ok, #{commit := Next, changed := false}}, follow(Config)),
    ?assertEqual({ok, Next}, bc_gitops_git:get_head_commit(Clone)).

damaged_repositories_heal(Config) ->
    #{clone := Clone, commit := Commit} = maps:from_list(Config),
    Git = filename:join(Clone, ".git"),
    Damages = [
        fun() -> ok = file:write_file(filename:join(Git, "HEAD"), "rubbish") end,
        fun() -> ok = file:delete(filename:join(Git, "HEAD")) end,
        fun() -> ok = file:write_file(filename:join(Git, "config"), "[rubbish") end,
        fun() -> ok = file:write_file(filename:join(Git, "refs/remotes/origin/main"), "rubbish\n") end,
        fun() -> ok = file:del_dir_r(filename:join(Git, "objects")) end,
        fun() -> [ok = file:delete(F) || F <- filelib:wildcard(binary_to_list(Git) ++ "/objects/pack/*.pack")] end,
        fun() ->
            [begin ok = file:change_mode(F, 8#600), {ok, B} = file:read_file(F), ok = file:write_file(F, binary:part(B, 0, 20)) end
             || F <- filelib:wildcard(binary_to_list(Git) ++ "/objects/pack/*.pack")]
        end,
        fun() -> ok = file:del_dir_r(Git), ok = filelib:ensure_path(Git) end
    ],
    lists:foreach(
        fun({N, Damage}) ->
            {ok, _} = follow(Config),
            _ = Damage(),
            ?assertMatch({N, {ok, #{commit := Commit}}}, {N, follow(Config)}),
            ?assertEqual({N, {ok, Commit}}, {N, bc_gitops_git:get_head_commit(Clone)}),
            _ = bct_repo:git(Clone, ["fsck", "--full"])
        end,
        lists:enumerate(Damages)
    ).

%% A blob that is missing is found by whoever reads it; `repair' clones anew.
damaged_tree_is_repaired_on_request(Config) ->
    #{repo := Repo, clone := Clone, commit := Commit} = maps:from_list(Config),
    {ok, _} = follow(Config),
    Inode = fun() -> element(12, element(2, file:read_file_info(filename:join(Clone, ".git")))) end,
    Before = Inode(),
    ?assertMatch({ok, #{commit := Commit, changed := false}}, follow(Config, #{repair => true})),
    ?assertNotEqual(Before, Inode()),
    ?assertEqual({ok, [".git"]}, file:list_dir(Clone)),
    ok = file:rename(Repo, <<Repo/binary, "-away">>),
    ?assertMatch({error, {not_found, _}}, follow(Config, #{repair => true})),
    ?assertEqual({ok, Commit}, bc_gitops_git:get_head_commit(Clone)).

%% A VM that is killed while it fetches, at times from a seed; the next one goes on.
killed_during_fetch(Config) ->
    #{repo := Repo, clone := Clone} = maps:from_list(Config),
    Seed = rand:seed(exsss, {1, 2, 3}),
    lists:foldl(
        fun(N, Random) ->
            Files = [{io_lib:format("big~b-~b", [N, F]), rand:bytes(300000)} || F <- lists:seq(1, 10)],
            Commit = bct_repo:commit(Repo, Files),
            {Delay, Next} = rand:uniform_s(60, Random),
            Peer = bct_peer:start(#{args => paths()}),
            Pid = list_to_integer(bct_peer:call(Peer, os, getpid, [])),
            ok = bct_peer:call(Peer, bc_gitops_native, check, []),
            ok = peer:cast(Peer, bc_gitops_git, request, [request(Config), 60000]),
            receive after Delay -> ok end,
            _ = bct_server:run(bct_server:program("kill", "procps"), ["-9", integer_to_list(Pid)], "/"),
            ?assertMatch({ok, #{commit := Commit}}, follow(Config)),
            _ = bct_repo:git(Clone, ["fsck", "--full"]),
            Next
        end,
        Seed,
        lists:seq(1, 8)
    ).

killed_between_renames(Config) ->
    #{clone := Clone, commit := Commit} = maps:from_list(Config),
    {ok, _} = follow(Config),
    Git = filename:join(Clone, ".git"),
    ok = file:rename(Git, <<Git/binary, ".old">>),
    ok = filelib:ensure_path(<<Git/binary, ".new-7/objects">>),
    ?assertMatch({ok, #{commit := Commit, changed := false}}, follow(Config)),
    ?assertEqual({ok, [".git"]}, file:list_dir(Clone)).

%% A server that accepts and says nothing: the deadline answers, and the path works again at once.
silent_server(Config) ->
    {Listen, Url} = silent(),
    Abandoned = bc_gitops_native:job_abandoned(),
    {Time, Result} = timer:tc(fun() -> bc_gitops_git:request((request(Config))#{url => Url}, 500) end),
    ?assertMatch({error, {timeout, #{url := Url}}}, Result),
    ?assert(Time < 20000000),
    ?assertEqual(Abandoned + 1, bc_gitops_native:job_abandoned()),
    {Next, {ok, _}} = timer:tc(fun() -> follow(Config) end),
    ?assert(Next < 20000000),
    ok = gen_tcp:close(Listen).

jobs_on_one_path_wait(Config) ->
    {Listen, Url} = silent(),
    {ok, Job, Ref, _} = bc_gitops_git:start((request(Config))#{url => Url}, 60000),
    {ok, Socket} = gen_tcp:accept(Listen, 60000),
    ?assertMatch({error, {timeout, #{path := _}}}, bc_gitops_git:request(request(Config), 300)),
    {ok, _, Waiting, _} = bc_gitops_git:start(request(Config), 60000),
    ok = bc_gitops_git:cancel(Job),
    receive {bc_gitops_job, Ref, Cancelled} -> ?assertMatch({error, {cancelled, _}}, Cancelled) end,
    receive {bc_gitops_job, Waiting, Done} -> ?assertMatch({ok, _}, Done) end,
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listen).

dead_caller_cancels(Config) ->
    {Listen, Url} = silent(),
    Request = (request(Config))#{url => Url},
    Caller = spawn(fun() -> bc_gitops_git:request(Request, 60000) end),
    {ok, Socket} = gen_tcp:accept(Listen, 60000),
    exit(Caller, kill),
    {Time, {ok, _}} = timer:tc(fun() -> follow(Config) end),
    ?assert(Time < 20000000),
    {_, Gone} = {ok, spawn(fun() -> ok end)},
    Monitor = erlang:monitor(process, Gone),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    {ok, _} = bc_gitops_native:git_start(Request#{timeout => 60000}, Gone, make_ref()),
    {Again, {ok, _}} = timer:tc(fun() -> follow(Config) end),
    ?assert(Again < 20000000),
    ok = gen_tcp:close(Socket),
    ok = gen_tcp:close(Listen).

cancelled_while_silent(Config) ->
    {Listen, Url} = silent(),
    {ok, Job, Ref, _} = bc_gitops_git:start((request(Config))#{url => Url}, 60000),
    {ok, _Socket} = gen_tcp:accept(Listen, 60000),
    {Time, Answer} = timer:tc(fun() -> ok = bc_gitops_git:cancel(Job), receive {bc_gitops_job, Ref, A} -> A end end),
    ?assertMatch({error, {cancelled, _}}, Answer),
    ?assert(Time < 20000000),
    ok = bc_gitops_git:cancel(Job),
    ok = gen_tcp:close(Listen),
    receive {bc_gitops_job, Ref, Second} -> error({second_answer, Second}) after 200 -> ok end.

many_packs_become_one(Config) ->
    #{repo := Repo, clone := Clone} = maps:from_list(Config),
    {ok, _} = follow(Config),
    Pack = filename:join(Clone, ".git/objects/pack"),
    [First] = filelib:wildcard(binary_to_list(Pack) ++ "/*.pack"),
    [{ok, _} = file:copy(First, filename:join(Pack, io_lib:format("pack-~40.16.0b.pack", [N]))) || N <- lists:seq(1, 200)],
    Next = bct_repo:commit(Repo, [{"x", "1"}]),
    ?assertMatch({ok, #{commit := Next}}, follow(Config)),
    ?assertMatch([_], filelib:wildcard(binary_to_list(Pack) ++ "/*.pack")).

%%% Checkouts

lists_peeled_tags(Config) ->
    #{repo := Repo, commit := Commit} = maps:from_list(Config),
    bct_repo:tag(Repo, "v1"),
    _ = bct_repo:git(Repo, ["tag", "light"]),
    Request = #{op => list, url => bct_repo:url(Repo), auth => #{allow_local => true}},
    ?assertEqual(
        {ok, #{head => <<"main">>, refs => maps:from_keys([<<"refs/heads/main">>, <<"refs/tags/v1">>, <<"refs/tags/light">>], Commit)}},
        bc_gitops_git:request(Request, 5000)
    ),
    ?assertEqual({ok, #{head => <<"main">>, refs => #{<<"refs/tags/v1">> => Commit}}},
                 bc_gitops_git:request(Request#{only => [<<"v1">>]}, 5000)),
    ?assertEqual({ok, #{head => <<"main">>, refs => #{<<"refs/heads/main">> => Commit}}},
                 bc_gitops_git:request(Request#{only => [<<"HEAD">>]}, 5000)).

checkout_of_every_kind_of_ref(Config) ->
    #{repo := Repo, clone := Clone, commit := First} = maps:from_list(Config),
    bct_repo:tag(Repo, "v1"),
    Second = bct_repo:commit(Repo, [{"second", "2"}]),
    ?assertMatch({ok, #{commit := First, kind := tag}}, checkout(Config, <<"v1">>)),
    ?assertNot(filelib:is_regular(filename:join(Clone, "second"))),
    ?assertEqual(<<"v1\n">>, bct_repo:git(Clone, ["describe"])),
    ?assertMatch({ok, #{commit := Second, kind := branch}}, checkout(Config, <<"main">>)),
    ?assert(filelib:is_regular(filename:join(Clone, "second"))),
    ?assertEqual(<<>>, bct_repo:git(Clone, ["status", "--porcelain"])),
    ?assertMatch({ok, #{commit := First, kind := commit, fetched_bytes := 0}}, checkout(Config, First)),
    ?assertMatch({ok, #{commit := Second, kind := commit}}, checkout(Config, binary:part(Second, 0, 8))),
    ?assertMatch({ok, #{commit := Second, kind := branch}}, checkout(Config, <<"HEAD">>)),
    ?assertMatch({ok, #{commit := Second, kind := branch}}, checkout(Config, <<"refs/heads/main">>)),
    ?assertMatch({ok, #{commit := First, kind := tag}}, checkout(Config, <<"refs/tags/v1">>)),
    ?assertMatch({error, {ref_not_found, #{ref := <<"none">>}}}, checkout(Config, <<"none">>)),
    ?assertMatch({error, {ref_not_found, _}}, checkout(Config, binary:copy(<<"a">>, 40))),
    ?assertEqual({ok, First}, bc_gitops_git:get_head_commit(Clone)).

checkout_follows_moved_refs(Config) ->
    Repo = ?config(repo, Config),
    bct_repo:tag(Repo, "moving"),
    {ok, _} = checkout(Config, <<"moving">>),
    Next = bct_repo:commit(Repo, [{"x", "1"}]),
    _ = bct_repo:git(Repo, ["tag", "-f", "-a", "moving", "-m", "moved"]),
    ?assertMatch({ok, #{commit := Next, kind := tag}}, checkout(Config, <<"moving">>)),
    bct_repo:branch(Repo, "gone"),
    {ok, _} = checkout(Config, <<"gone">>),
    bct_repo:branch(Repo, "main"),
    _ = bct_repo:git(Repo, ["branch", "-D", "gone"]),
    ?assertMatch({error, {ref_not_found, _}}, checkout(Config, <<"gone">>)).

clean_checkout(Config) ->
    Clone = ?config(clone, Config),
    {ok, _} = checkout(Config, <<"main">>),
    Extra = filename:join(Clone, "extra"),
    Changed = filename:join(Clone, "apps/a/app.config"),
    ok = file:write_file(Extra, "x"),
    ok = file:write_file(Changed, "changed"),
    {ok, _} = checkout(Config, <<"main">>),
    ?assertEqual({ok, <<"x">>}, file:read_file(Changed)),
    ?assert(filelib:is_regular(Extra)),
    {ok, _} = checkout(Config, <<"main">>, #{clean => true}),
    ?assertNot(filelib:is_regular(Extra)).

submodules(Config) ->
    #{dir := Dir, repo := Repo, clone := Clone} = maps:from_list(Config),
    [Sub, Deep] = [bct_repo:init(filename:join(Dir, Name)) || Name <- ["sub", "deep"]],
    _ = bct_repo:commit(Deep, [{"in_deep", "x"}]),
    _ = bct_repo:commit(Sub, [{"in_sub", "1"}]),
    _ = bct_repo:git(Sub, ["submodule", "add", "-q", "../deep", "deep"]),
    _ = bct_repo:commit(Sub, []),
    _ = bct_repo:git(Repo, ["submodule", "add", "-q", bct_repo:url(Sub), "deps/sub"]),
    _ = bct_repo:git(Repo, ["submodule", "update", "--init", "--recursive", "-q"]),
    First = bct_repo:commit(Repo, [], "with sub"),
    ?assertMatch({ok, #{commit := First}}, checkout(Config, <<"main">>)),
    Read = fun(File) -> file:read_file(filename:join(Clone, File)) end,
    ?assertEqual({ok, <<"x">>}, Read("deps/sub/deep/in_deep")),
    _ = bct_repo:commit(Sub, [{"in_sub", "2"}]),
    _ = bct_repo:git(filename:join(Repo, "deps/sub"), ["pull", "-q", "origin", "main"]),
    _ = bct_repo:commit(Repo, []),
    {ok, _} = checkout(Config, <<"main">>),
    ?assertEqual({ok, <<"2">>}, Read("deps/sub/in_sub")),
    {ok, _} = checkout(Config, First),
    ?assertEqual({ok, <<"1">>}, Read("deps/sub/in_sub")).

refused_submodules(Config) ->
    #{dir := Dir, repo := Repo} = maps:from_list(Config),
    Canary = filename:join(Dir, "ran"),
    Module = fun(Url) ->
        ok = file:write_file(filename:join(Repo, ".gitmodules"), ["[submodule \"s\"]\n path = s\n url = \"", Url, "\"\n"]),
        _ = bct_repo:git(Repo, ["add", ".gitmodules"]),
        _ = bct_repo:git(Repo, ["update-index", "--add", "--cacheinfo", <<"160000,", (?config(commit, Config))/binary, ",s">>]),
        _ = bct_repo:git(Repo, ["commit", "-q", "-m", "submodule"])
    end,
    Refuse = fun(Url) ->
        _ = Module(Url),
        ?assertMatch({Url, {error, {submodule, #{submodule := <<"s">>, message := _}}}}, {Url, checkout(Config, <<"main">>)})
    end,
    [Refuse(Url) || Url <- [["ext::touch ", Canary], "../../../../../../nonexistent", "--upload-pack=touch", "http://example.org/x",
                            "relative", "file:///nonexistent"]],
    ?assertNot(filelib:is_file(Canary)),
    ok = file:delete(filename:join(Repo, ".gitmodules")),
    _ = bct_repo:git(Repo, ["rm", "-q", "--cached", ".gitmodules"]),
    _ = bct_repo:git(Repo, ["commit", "-q", "-m", "without url"]),
    ?assertMatch({error, {submodule, _}}, checkout(Config, <<"main">>)).

%% Each level's submodule has another one below it.
endless_submodules(Config) ->
    Dir = ?config(dir, Config),
    Last = bct_repo:init(filename:join(Dir, "m0")),
    _ = bct_repo:commit(Last, [{"x", "x"}]),
    Top = lists:foldl(
        fun(N, Below) ->
            Repo = bct_repo:init(filename:join(Dir, "m" ++ integer_to_list(N))),
            _ = bct_repo:git(Repo, ["submodule", "add", "-q", Below, "s"]),
            _ = bct_repo:commit(Repo, []),
            Repo
        end,
        Last,
        lists:seq(1, 9)
    ),
    ?assertMatch({error, {submodule, #{message := _}}}, checkout(Config, <<"main">>, #{url => bct_repo:url(Top)})).

links_out_of_the_tree(Config) ->
    #{repo := Repo, clone := Clone} = maps:from_list(Config),
    Link = fun(Name, Target) ->
        File = filename:join(Repo, Name),
        ok = filelib:ensure_dir(File),
        ok = file:make_symlink(Target, File),
        _ = bct_repo:commit(Repo, []),
        Result = checkout(Config, <<"main">>),
        ok = file:delete(File),
        Result
    end,
    ?assertMatch({ok, _}, Link("inside", "apps/a/app.config")),
    ?assertEqual({ok, <<"x">>}, file:read_file(filename:join(Clone, "inside"))),
    [?assertMatch({error, {bad_tree, #{path := _}}}, Link(Name, Target))
     || {Name, Target} <- [{"l", "/etc/passwd"}, {"l", ".."}, {"d/l", "../../x"}, {"l", "apps/../../x"}]],
    ?assertEqual({error, enoent}, file:read_link(filename:join(Clone, "l"))).

%% Trees that git itself would not write.
hostile_trees(Config) ->
    #{dir := Dir, repo := Repo, clone := Clone} = maps:from_list(Config),
    Blob = binary:decode_hex(string:trim(bct_repo:git(Repo, ["rev-parse", "HEAD:apps/a/app.config"]))),
    Write = fun(Name) ->
        File = filename:join(Dir, "tree"),
        ok = file:write_file(File, ["100644 ", Name, 0, Blob]),
        Tree = string:trim(bct_repo:git(Repo, ["hash-object", "-t", "tree", "-w", "--literally", File])),
        Commit = string:trim(bct_repo:git(Repo, ["commit-tree", Tree, "-m", "hostile"])),
        _ = bct_repo:git(Repo, ["update-ref", "refs/heads/hostile", Commit]),
        checkout(Config, <<"hostile">>)
    end,
    [?assertMatch({Name, {error, {bad_tree, _}}}, {Name, Write(Name)})
     || Name <- ["..", ".", ".git", ".GIT", "../escaped", ".git/hooks/post-checkout", "/etc/escaped", "a\\..\\b", "git~1"]],
    ?assertNot(filelib:is_file(filename:join(Dir, "escaped"))),
    ?assertEqual({ok, [".git"]}, file:list_dir(Clone)),
    %% A name in another encoding is not hostile.
    ?assertMatch({ok, _}, Write(<<"caf", 16#e9>>)).

hostile_names_run_nothing(Config) ->
    Dir = ?config(dir, Config),
    Ran = filename:join(Dir, "ran"),
    Touch = ["touch ", Ran],
    Refs = [["--upload-pack=", Touch], ["$(", Touch, ")"], ["`", Touch, "`"], ["; ", Touch], "-x", "a..b", "a\nb", ""],
    Urls = [["ext::sh -c ", Touch], ["--upload-pack=", Touch], ["file://", Dir, "/repo;", Touch], ["ssh://-oProxyCommand=", Touch, "/x"],
            ["ssh://$(", Touch, ")/x"], "git://example.org/x", "ftp://example.org/x", "relative/path", ""],
    Ref = fun(Op, Key, Text) -> ask(Config, #{op => Op, Key => iolist_to_binary(Text)}) end,
    [?assertMatch({Text, {error, {bad_ref, _}}}, {Text, Ref(Op, Key, Text)})
     || {Op, Key} <- [{follow, branch}, {checkout, ref}, {clone, branch}], Text <- Refs],
    [?assertMatch({Text, {error, {bad_url, _}}}, {Text, Ref(Op, url, Text)}) || Op <- [follow, checkout, list, clone], Text <- Urls],
    ?assertNot(filelib:is_file(Ran)).

limits(Config) ->
    #{repo := Repo, clone := Clone} = maps:from_list(Config),
    _ = bct_repo:commit(Repo, [{"big", rand:bytes(3000000)}, {"zeros", binary:copy(<<0>>, 5000000)}]),
    ?assertMatch({error, {too_large, _}}, follow(Config, #{max_bytes => 1000000})),
    ?assertNot(filelib:is_dir(filename:join(Clone, ".git"))),
    ?assertMatch({error, {too_large, _}}, checkout(Config, <<"main">>, #{max_bytes => 4000000})),
    ?assertMatch({ok, _}, checkout(Config, <<"main">>)).

local_needs_permission(Config) ->
    ?assertMatch({error, {bad_url, _}}, follow(Config, #{auth => #{}})),
    ?assertMatch({error, {bad_url, _}}, follow(Config, #{auth => #{}, url => ?config(repo, Config)})).

%%% Helpers

follow(Config) ->
    follow(Config, #{}).

follow(Config, More) ->
    ask(Config, More).

checkout(Config, Ref) ->
    checkout(Config, Ref, #{}).

checkout(Config, Ref, More) ->
    ask(Config, maps:merge(#{op => checkout, ref => Ref}, More)).

ask(Config, More) ->
    bc_gitops_git:request(maps:merge((request(Config))#{ref => <<"main">>}, More), 60000).

request(Config) ->
    #{op => follow, url => bct_repo:url(?config(repo, Config)), path => ?config(clone, Config), branch => <<"main">>,
      auth => #{allow_local => true}}.

%% A server that accepts connections (by its backlog) and never says anything.
silent() ->
    {ok, Listen} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listen),
    {Listen, iolist_to_binary(io_lib:format("http://127.0.0.1:~b/x", [Port]))}.

paths() ->
    ["-pa", filename:dirname(code:which(bc_gitops_git))].

with_peer(Env, Fun) ->
    Peer = bct_peer:start(#{env => Env, args => paths()}),
    try Fun(Peer) after peer:stop(Peer) end.
