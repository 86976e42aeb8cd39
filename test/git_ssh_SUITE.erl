%%% @doc Git over SSH, against a real sshd on loopback.
-module(git_ssh_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([key_file/1, key_with_passphrase/1, wrong_passphrase/1, agent/1, no_key/1, stranger_is_refused/1,
         unknown_host/1, changed_host_key/1, other_key_type_is_asked_for/1, home_known_hosts/1,
         missing_known_hosts/1, missing_repository/1, shallow_then_incremental/1, checkout_with_submodule/1,
         no_change_poll/1, server_goes_away/1, cancel_during_transfer/1, canary/1]).

-define(CANARY, <<"canary+SECRET/of=ssh 42">>).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [key_file, key_with_passphrase, wrong_passphrase, agent, no_key, stranger_is_refused, unknown_host,
     changed_host_key, other_key_type_is_asked_for, home_known_hosts, missing_known_hosts, missing_repository,
     shallow_then_incremental, checkout_with_submodule, no_change_poll, server_goes_away,
     cancel_during_transfer, canary].

init_per_suite(Config) ->
    Dir = bct_dir:make("git-ssh"),
    Sshd = bct_sshd:start(filename:join(Dir, "sshd")),
    [{dir, Dir}, {sshd, Sshd} | Config].

end_per_suite(Config) ->
    bct_sshd:stop(?config(sshd, Config)),
    bct_dir:remove(?config(dir, Config)).

init_per_testcase(Case, Config) ->
    Dir = filename:join(?config(dir, Config), atom_to_binary(Case)),
    ok = filelib:ensure_path(Dir),
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    Commit = bct_repo:commit(Repo, [{"apps/a/app.config", "x"}]),
    [{work, Dir}, {repo, Repo}, {commit, Commit} | Config].

key_file(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Commit = ?config(commit, Config),
    ?assertMatch({ok, #{commit := Commit, changed := true}}, follow(Config, auth(Sshd, #{ssh_key => Key}))),
    ?assertMatch({ok, #{commit := Commit, changed := false}}, follow(Config, auth(Sshd, #{ssh_key => Key}))).

key_with_passphrase(Config) ->
    #{locked_key := Key} = Sshd = ?config(sshd, Config),
    File = filename:join(?config(work, Config), "phrase"),
    ok = file:write_file(File, "pass phrase\n"),
    ?assertMatch({ok, _}, follow(Config, auth(Sshd, #{ssh_key => Key, ssh_passphrase_file => File}))).

wrong_passphrase(Config) ->
    #{locked_key := Key} = Sshd = ?config(sshd, Config),
    File = filename:join(?config(work, Config), "phrase"),
    ok = file:write_file(File, "wrong"),
    Auth = auth(Sshd, #{ssh_key => Key, ssh_passphrase_file => File}),
    ?assertMatch({error, {auth_failed, #{message := _}}}, follow(Config, Auth)),
    ?assertMatch({error, {auth_failed, #{path := _}}}, follow(Config, Auth#{ssh_passphrase_file => <<"/nonexistent">>})).

%% The agent is found through the environment of the VM, so the VM is one of its own.
agent(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    {Socket, Agent} = bct_sshd:agent(?config(work, Config), Key),
    with_peer([{"SSH_AUTH_SOCK", Socket}], fun(Peer) ->
        ?assertMatch({ok, _}, bct_peer:call(Peer, bc_gitops_git, request, [request(Config, auth(Sshd, #{})), 60000]))
    end),
    bct_server:stop(Agent).

no_key(Config) ->
    Sshd = ?config(sshd, Config),
    Home = filename:join(?config(work, Config), "home"),
    ok = filelib:ensure_path(Home),
    with_peer([{"SSH_AUTH_SOCK", false}, {"HOME", binary_to_list(Home)}], fun(Peer) ->
        Result = bct_peer:call(Peer, bc_gitops_git, request, [request(Config, auth(Sshd, #{})), 60000]),
        ?assertMatch({error, {auth_failed, _}}, Result)
    end).

stranger_is_refused(Config) ->
    #{stranger := Key} = Sshd = ?config(sshd, Config),
    {error, {auth_failed, #{message := Message}}} = follow(Config, auth(Sshd, #{ssh_key => Key})),
    ?assertNotEqual(nomatch, binary:match(Message, Key)),
    ?assertMatch({error, {auth_failed, #{path := <<"/nonexistent">>}}},
                 follow(Config, auth(Sshd, #{ssh_key => <<"/nonexistent">>}))).

unknown_host(Config) ->
    #{key := Key, dir := Dir} = Sshd = ?config(sshd, Config),
    Known = known_hosts(Config, "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n"),
    {error, {host_key, #{fingerprint := Fingerprint, message := Message}}} =
        follow(Config, auth(Sshd, #{ssh_key => Key, known_hosts => Known})),
    ?assertEqual(fingerprint(Dir, "ed25519"), Fingerprint),
    ?assertNotEqual(nomatch, binary:match(Message, <<"ssh-keyscan">>)),
    ?assertNot(filelib:is_dir(filename:join(clone(Config), ".git"))).

changed_host_key(Config) ->
    #{key := Key, port := Port, dir := Dir} = Sshd = ?config(sshd, Config),
    Other = filename:join(?config(work, Config), "other"),
    bct_server:run(bct_server:program("ssh-keygen", "openssh-client"), ["-q", "-t", "ed25519", "-N", "", "-f", Other], "/"),
    {ok, Public} = file:read_file(<<Other/binary, ".pub">>),
    Known = known_hosts(Config, io_lib:format("[127.0.0.1]:~b ~ts", [Port, Public])),
    {error, {host_key, #{fingerprint := Fingerprint, message := Message}}} =
        follow(Config, auth(Sshd, #{ssh_key => Key, known_hosts => Known})),
    ?assertEqual(fingerprint(Dir, "ed25519"), Fingerprint),
    ?assertNotEqual(nomatch, binary:match(Message, <<"ssh-keygen -R">>)).

%% The server has keys of three types, known_hosts one of them, and not the one that comes first.
other_key_type_is_asked_for(Config) ->
    Dir = filename:join(?config(work, Config), "sshd"),
    Sshd = #{key := Key, port := Port} = bct_sshd:start(Dir, ["rsa", "ecdsa", "ed25519"]),
    Try = fun(Type) ->
        Known = known_hosts(Config, bct_sshd:known_hosts(Dir, Type, Port)),
        Request = request(Config, auth(Sshd, #{ssh_key => Key, known_hosts => Known})),
        Url = bct_sshd:url(Sshd, ?config(repo, Config)),
        bc_gitops_git:request(Request#{op => list, url => Url}, 60000)
    end,
    [?assertMatch({Type, {ok, _}}, {Type, Try(Type)}) || Type <- ["rsa", "ed25519", "ecdsa"]],
    bct_sshd:stop(Sshd).

home_known_hosts(Config) ->
    #{key := Key, known_hosts := Known} = ?config(sshd, Config),
    Home = filename:join(?config(work, Config), "home"),
    ok = filelib:ensure_dir(filename:join(Home, ".ssh/x")),
    {ok, _} = file:copy(Known, filename:join(Home, ".ssh/known_hosts")),
    ok = file:change_mode(Key, 8#600),
    {ok, _} = file:copy(Key, filename:join(Home, ".ssh/id_ed25519")),
    with_peer([{"SSH_AUTH_SOCK", false}, {"HOME", binary_to_list(Home)}], fun(Peer) ->
        ?assertMatch({ok, _}, bct_peer:call(Peer, bc_gitops_git, request, [request(Config, #{}), 60000]))
    end).

missing_known_hosts(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Auth = auth(Sshd, #{ssh_key => Key, known_hosts => <<"/nonexistent/known_hosts">>}),
    ?assertMatch({error, {host_key, #{path := <<"/nonexistent/known_hosts">>}}}, follow(Config, Auth)).

missing_repository(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Request = request(Config, auth(Sshd, #{ssh_key => Key})),
    Url = bct_sshd:url(Sshd, "/nonexistent/repo"),
    ?assertMatch({error, {not_found, _}}, bc_gitops_git:request(Request#{url => Url}, 60000)).

shallow_then_incremental(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Repo = ?config(repo, Config),
    [bct_repo:commit(Repo, [{"n", integer_to_list(N)}]) || N <- lists:seq(1, 60)],
    Auth = auth(Sshd, #{ssh_key => Key}),
    {ok, _} = follow(Config, Auth),
    Count = fun() -> binary_to_integer(string:trim(bct_repo:git(clone(Config), ["rev-list", "--count", "HEAD"]))) end,
    Shallow = Count(),
    ?assert(Shallow =< 50),
    {ok, Log} = bc_gitops_git:get_commit_log(clone(Config), 100),
    ?assertEqual(Shallow, length(Log)),
    Next = bct_repo:commit(Repo, [{"n", "next"}]),
    ?assertMatch({ok, #{commit := Next, changed := true}}, follow(Config, Auth)),
    ?assert(Count() =< 51),
    bct_repo:git(Repo, ["reset", "-q", "--hard", "HEAD~5"]),
    Forced = bct_repo:commit(Repo, [{"n", "forced"}]),
    ?assertMatch({ok, #{commit := Forced, changed := true}}, follow(Config, Auth)),
    _ = bct_repo:git(clone(Config), ["fsck", "--connectivity-only"]).

checkout_with_submodule(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Repo = ?config(repo, Config),
    Sub = bct_repo:init(filename:join(?config(work, Config), "sub")),
    _ = bct_repo:commit(Sub, [{"in_sub", "x"}]),
    _ = bct_repo:git(Repo, ["submodule", "add", "-q", "../sub", "deps/sub"]),
    Commit = bct_repo:commit(Repo, []),
    Request = (request(Config, auth(Sshd, #{ssh_key => Key})))#{op => checkout, ref => <<"main">>},
    ?assertMatch({ok, #{commit := Commit, kind := branch}}, bc_gitops_git:request(Request, 60000)),
    ?assert(filelib:is_regular(filename:join(clone(Config), "deps/sub/in_sub"))),
    %% what a mirror has is not fetched again, also of a submodule
    Kept = Request#{mirrors => filename:join(?config(work, Config), <<"mirrors">>)},
    [{ok, #{fetched_bytes := First}}, {ok, #{fetched_bytes := Second}}] =
        [bc_gitops_git:request(Kept#{path => <<(clone(Config))/binary, End/binary>>, ref => Commit}, 60000)
         || End <- [<<"-2">>, <<"-3">>]],
    ?assert(First > 0),
    ?assertEqual(0, Second),
    ?assert(filelib:is_regular(<<(clone(Config))/binary, "-3/deps/sub/in_sub">>)).

no_change_poll(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Auth = auth(Sshd, #{ssh_key => Key}),
    {ok, _} = follow(Config, Auth),
    {Time, {ok, #{changed := false}}} = timer:tc(fun() -> follow(Config, Auth) end),
    ct:pal("no-change poll over ssh: ~b us", [Time]).

%% Down, and back: the error is named, what was fetched stays.
server_goes_away(Config) ->
    Dir = filename:join(?config(work, Config), "sshd"),
    #{key := Key} = Sshd = bct_sshd:start(Dir),
    Request = (request(Config, auth(Sshd, #{ssh_key => Key})))#{url => bct_sshd:url(Sshd, ?config(repo, Config))},
    {ok, #{commit := Commit}} = bc_gitops_git:request(Request, 60000),
    bct_sshd:stop(Sshd),
    ?assertMatch({error, {unreachable, _}}, bc_gitops_git:request(Request, 60000)),
    ?assertEqual({ok, Commit}, bc_gitops_git:get_head_commit(clone(Config))).

cancel_during_transfer(Config) ->
    #{key := Key} = Sshd = ?config(sshd, Config),
    Repo = ?config(repo, Config),
    _ = bct_repo:commit(Repo, [{"big" ++ integer_to_list(N), rand:bytes(3000000)} || N <- lists:seq(1, 10)]),
    {ok, Job, Ref, _} = bc_gitops_git:start(request(Config, auth(Sshd, #{ssh_key => Key})), 60000),
    receive {bc_gitops_job_progress, Ref, _} -> ok end,
    {Time, Result} = timer:tc(fun() ->
        ok = bc_gitops_git:cancel(Job),
        receive {bc_gitops_job, Ref, Answer} -> Answer end
    end),
    ?assertMatch({error, {cancelled, _}}, Result),
    ?assert(Time < 20000000),
    ?assertMatch({ok, _}, follow(Config, auth(Sshd, #{ssh_key => Key}))).

%% A passphrase and a password in the url are the secrets here.
canary(Config) ->
    #{dir := Dir, port := Port, user := User} = Sshd = ?config(sshd, Config),
    Key = filename:join(?config(work, Config), "id"),
    Phrase = filename:join(?config(dir, Config), "canary_phrase"),
    bct_server:run(bct_server:program("ssh-keygen", "openssh-client"), ["-q", "-t", "ed25519", "-N", ?CANARY, "-f", Key], "/"),
    {ok, Public} = file:read_file(<<Key/binary, ".pub">>),
    ok = file:write_file(filename:join(Dir, "authorized"), Public, [append]),
    ok = file:write_file(Phrase, ?CANARY),
    Quoted = uri_string:quote(?CANARY),
    Url = iolist_to_binary(io_lib:format("ssh://~ts:~ts@127.0.0.1:~b~ts", [User, Quoted, Port, ?config(repo, Config)])),
    Auth = auth(Sshd, #{ssh_key => Key, ssh_passphrase_file => Phrase}),
    Request = (request(Config, Auth))#{url => Url},
    Ask = fun(Change) -> bc_gitops_git:request(maps:merge(Request, Change), 60000) end,
    Good = Ask(#{}),
    ?assertMatch({ok, _}, Good),
    Errors = [Ask(#{branch => <<"none">>}), Ask(#{auth => Auth#{known_hosts => <<"/nonexistent">>}}),
              Ask(#{url => <<Url/binary, "-none">>}), Ask(#{url => <<Url/binary, "?x">>}),
              Ask(#{path => <<"/dev/null/x">>}), Ask(#{op => checkout, ref => <<"none">>, path => <<(clone(Config))/binary, "2">>})],
    [?assertMatch({error, _}, Error) || Error <- Errors],
    ?assertEqual([], bct_canary:sweep(?CANARY, #{
        modules => "bc_gitops", paths => [clone(Config), ?config(priv_dir, Config)], terms => [Good | Errors]
    })).

%%% Helpers

follow(Config, Auth) ->
    bc_gitops_git:request(request(Config, Auth), 60000).

request(Config, Auth) ->
    #{op => follow, url => bct_sshd:url(?config(sshd, Config), ?config(repo, Config)), path => clone(Config),
      branch => <<"main">>, auth => Auth}.

clone(Config) ->
    filename:join(?config(work, Config), "clone").

auth(#{known_hosts := Known}, More) ->
    maps:merge(#{known_hosts => Known}, More).

known_hosts(Config, Text) ->
    File = filename:join(?config(work, Config), "known_hosts"),
    ok = file:write_file(File, Text),
    File.

fingerprint(Dir, Type) ->
    Keygen = bct_server:program("ssh-keygen", "openssh-client"),
    Line = bct_server:run(Keygen, ["-l", "-f", bct_sshd:host_key(Dir, Type) ++ ".pub"], "/"),
    lists:nth(2, string:lexemes(Line, " ")).

with_peer(Env, Fun) ->
    Unset = [{Name, Value} || {Name, Value} <- Env, Value =/= false],
    Args = lists:append([["-env", Name, ""] || {Name, false} <- Env]) ++ ["-pa", filename:dirname(code:which(bc_gitops_git))],
    Peer = bct_peer:start(#{env => Unset, args => Args}),
    try Fun(Peer) after peer:stop(Peer) end.
