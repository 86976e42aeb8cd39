%%% @doc Git over HTTPS, against nginx and git-http-backend on loopback, with a CA of our own.
-module(git_https_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2]).
-export([untrusted_certificate/1, public_repository/1, token_file/1, token_in_environment/1, basic_auth/1,
         user_info_in_url/1, wrong_token/1, no_credentials/1, other_hosts_get_no_token/1, redirect_to_other_host/1,
         redirect_on_same_host/1, http_statuses/1, missing_repository/1, no_change_poll/1,
         shallow_then_incremental/1, commit_without_branch/1, too_large/1, cancel_during_transfer/1,
         wrong_ca_file/1, plain_http_sends_no_token/1, canary/1]).

-define(USER, <<"deploy">>).
-define(CANARY, <<"canary+SECRET/of=https42">>).

suite() ->
    [{timetrap, {minutes, 10}}].

%% The first case needs a library that doesn't trust the CA yet: trust is added per process, for good.
all() ->
    [untrusted_certificate, public_repository, token_file, token_in_environment, basic_auth, user_info_in_url,
     wrong_token, no_credentials, other_hosts_get_no_token, redirect_to_other_host, redirect_on_same_host,
     http_statuses, missing_repository, no_change_poll, shallow_then_incremental, commit_without_branch,
     too_large, cancel_during_transfer, wrong_ca_file, plain_http_sends_no_token, canary].

init_per_suite(Config) ->
    Dir = bct_dir:make("git-https"),
    Root = filename:join(Dir, "repos"),
    ok = filelib:ensure_path(Root),
    Server = bct_https:start(filename:join(Dir, "web"), #{root => Root, user => ?USER, password => ?CANARY}),
    Token = filename:join(Dir, "token"),
    ok = file:write_file(Token, [?CANARY, "\n"]),
    [{dir, Dir}, {root, Root}, {server, Server}, {token, Token} | Config].

end_per_suite(Config) ->
    bct_https:stop(?config(server, Config)),
    bct_dir:remove(?config(dir, Config)).

init_per_testcase(Case, Config) ->
    Name = atom_to_list(Case),
    Work = filename:join([?config(dir, Config), "work", Name]),
    ok = filelib:ensure_path(Work),
    Repo = bct_repo:init(filename:join(?config(root, Config), Name)),
    Commit = bct_repo:commit(Repo, [{"apps/a/app.config", "x"}]),
    [{work, Work}, {name, Name}, {repo, Repo}, {commit, Commit} | Config].

untrusted_certificate(Config) ->
    with_peer([], fun(Peer) ->
        Request = (request(Config, "public/"))#{auth => #{}},
        Result = bct_peer:call(Peer, bc_gitops_git, request, [Request, 60000]),
        ?assertMatch({error, {certificate, #{url := _}}}, Result)
    end).

public_repository(Config) ->
    Commit = ?config(commit, Config),
    ?assertMatch({ok, #{commit := Commit, changed := true}}, ask(Config, "public/", #{})),
    ?assertMatch({ok, #{commit := Commit, changed := false}}, ask(Config, "public/", #{})).

token_file(Config) ->
    ?assertMatch({ok, _}, ask(Config, "private/", token(Config))).

%% The library sees the variables that the VM was started with.
token_in_environment(Config) ->
    with_peer([{"BCT_TOKEN", binary_to_list(?CANARY)}], fun(Peer) ->
        Auth = #{username => ?USER, token_env => <<"BCT_TOKEN">>, ca_file => ca(Config)},
        Request = (request(Config, "private/"))#{auth => Auth},
        ?assertMatch({ok, _}, bct_peer:call(Peer, bc_gitops_git, request, [Request, 60000]))
    end),
    Auth = #{username => ?USER, token_env => <<"BCT_NO_SUCH_VARIABLE">>},
    ?assertMatch({error, {auth_failed, _}}, ask(Config, "private/", Auth)).

basic_auth(Config) ->
    Auth = #{username => ?USER, token_file => ?config(token, Config)},
    ?assertMatch({ok, #{refs := _}}, ask(Config, "private/", Auth, #{op => list})).

user_info_in_url(Config) ->
    Url = with_user(bct_https:url(?config(server, Config), ["private/", ?config(name, Config)])),
    {ok, _} = ask(Config, "private/", #{}, #{url => Url}),
    {ok, Git} = file:read_file(filename:join(clone(Config), ".git/config")),
    ?assertEqual(nomatch, binary:match(Git, <<"@">>)),
    ?assertEqual({ok, ?config(commit, Config)}, bc_gitops_git:get_head_commit(clone(Config))).

wrong_token(Config) ->
    File = filename:join(?config(work, Config), "wrong"),
    ok = file:write_file(File, "wrong"),
    ?assertMatch({error, {auth_failed, _}}, ask(Config, "private/", #{username => ?USER, token_file => File})),
    ?assertMatch({error, {auth_failed, #{path := _}}}, ask(Config, "private/", #{token_file => <<"/nonexistent">>})).

no_credentials(Config) ->
    ?assertMatch({error, {auth_failed, #{host := _}}}, ask(Config, "private/", #{})).

%% A source or submodule on another host asks for a password: it gets none.
other_hosts_get_no_token(Config) ->
    Auth = (token(Config))#{hosts => [<<"git.example">>]},
    ?assertMatch({error, {auth_failed, #{host := _}}}, ask(Config, "private/", Auth)),
    ?assertEqual(nomatch, binary:match(log_of(Config), ?USER)).

redirect_to_other_host(Config) ->
    {error, {auth_failed, #{message := Message}}} = ask(Config, "other/", token(Config)),
    ?assertNotEqual(nomatch, binary:match(Message, <<"redirects to localhost">>)),
    ?assertEqual(nomatch, binary:match(log_of(Config), ?USER)).

redirect_on_same_host(Config) ->
    ?assertMatch({ok, _}, ask(Config, "same/", token(Config))).

http_statuses(Config) ->
    Server = ?config(server, Config),
    Kind = fun(Status) ->
        {error, {Kind, #{url := _}}} = ask(Config, "", #{}, #{url => bct_https:url(Server, "status/" ++ Status)}),
        Kind
    end,
    ?assertEqual([auth_failed, not_found, unreachable, unreachable], [Kind(S) || S <- ["403", "404", "500", "503"]]).

missing_repository(Config) ->
    Url = bct_https:url(?config(server, Config), "public/none"),
    ?assertMatch({error, {not_found, #{url := Url}}}, ask(Config, "", #{}, #{url => Url})).

no_change_poll(Config) ->
    {ok, _} = ask(Config, "public/", #{}),
    {Time, {ok, #{changed := false}}} = timer:tc(fun() -> ask(Config, "public/", #{}) end),
    ct:pal("no-change poll over https: ~b us", [Time]).

shallow_then_incremental(Config) ->
    Repo = ?config(repo, Config),
    [bct_repo:commit(Repo, [{"n", integer_to_list(N)}]) || N <- lists:seq(1, 60)],
    {ok, _} = ask(Config, "public/", #{}),
    Count = fun() -> binary_to_integer(string:trim(bct_repo:git(clone(Config), ["rev-list", "--count", "HEAD"]))) end,
    ?assert(Count() =< 50),
    Next = bct_repo:commit(Repo, [{"n", "next"}]),
    ?assertMatch({ok, #{commit := Next, changed := true}}, ask(Config, "public/", #{})),
    bct_repo:git(Repo, ["reset", "-q", "--hard", "HEAD~5"]),
    Forced = bct_repo:commit(Repo, [{"n", "forced"}]),
    ?assertMatch({ok, #{commit := Forced}}, ask(Config, "public/", #{})),
    _ = bct_repo:git(clone(Config), ["fsck", "--connectivity-only"]).

%% A commit that no branch or tag leads to any more is asked for by its id.
commit_without_branch(Config) ->
    Repo = ?config(repo, Config),
    Lost = bct_repo:commit(Repo, [{"lost", "x"}]),
    _ = bct_repo:git(Repo, ["reset", "-q", "--hard", "HEAD~1"]),
    _ = bct_repo:git(Repo, ["config", "uploadpack.allowAnySHA1InWant", "true"]),
    Checkout = #{op => checkout, ref => Lost},
    ?assertMatch({ok, #{commit := Lost, kind := commit}}, ask(Config, "public/", #{}, Checkout)),
    ?assert(filelib:is_regular(filename:join(clone(Config), "lost"))).

too_large(Config) ->
    _ = bct_repo:commit(?config(repo, Config), [{"big", rand:bytes(3000000)}]),
    ?assertMatch({error, {too_large, _}}, ask(Config, "public/", #{}, #{max_bytes => 1000000})),
    ?assertMatch({ok, #{fetched_bytes := Bytes}} when Bytes > 3000000, ask(Config, "public/", #{})).

cancel_during_transfer(Config) ->
    Files = [{"big" ++ integer_to_list(N), rand:bytes(3000000)} || N <- lists:seq(1, 10)],
    _ = bct_repo:commit(?config(repo, Config), Files),
    {ok, Job, Ref, _} = bc_gitops_git:start((request(Config, "public/"))#{auth => #{ca_file => ca(Config)}}, 60000),
    receive {bc_gitops_job_progress, Ref, _} -> ok end,
    {Time, Result} = timer:tc(fun() ->
        ok = bc_gitops_git:cancel(Job),
        receive {bc_gitops_job, Ref, Answer} -> Answer end
    end),
    ?assertMatch({error, {cancelled, _}}, Result),
    ?assert(Time < 20000000),
    ?assertMatch({ok, _}, ask(Config, "public/", #{})).

wrong_ca_file(Config) ->
    ?assertMatch({error, {certificate, #{path := <<"/nonexistent.pem">>}}},
                 ask(Config, "public/", #{ca_file => <<"/nonexistent.pem">>})).

%% A server over plain http that asks for a password.
plain_http_sends_no_token(Config) ->
    {ok, Listen} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false}]),
    {ok, Port} = inet:port(Listen),
    Test = self(),
    spawn_link(fun() ->
        {ok, Socket} = gen_tcp:accept(Listen),
        {ok, Asked} = gen_tcp:recv(Socket, 0),
        ok = gen_tcp:send(Socket, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"),
        Test ! {asked, Asked, gen_tcp:recv(Socket, 0)}
    end),
    Url = iolist_to_binary(io_lib:format("http://127.0.0.1:~b/x", [Port])),
    {error, {auth_failed, #{message := Message}}} = ask(Config, "", token(Config), #{url => Url}),
    ?assertNotEqual(nomatch, binary:match(Message, <<"plain http">>)),
    receive {asked, _, Rest} -> ?assertEqual({error, closed}, Rest) end.

canary(Config) ->
    Server = ?config(server, Config),
    Path = ["private/", ?config(name, Config)],
    Url = with_user(bct_https:url(Server, Path)),
    TokenUrl = re:replace(Url, "deploy:", "", [{return, binary}]),
    Clone = clone(Config),
    Checkout = #{op => checkout, ref => <<"main">>, path => <<Clone/binary, "-work">>},
    Good = [ask(Config, "private/", token(Config)), ask(Config, "", #{}, #{url => Url}),
            ask(Config, "", #{}, Checkout#{url => Url}), ask(Config, "", #{}, #{op => list, url => Url})],
    [?assertMatch({ok, _}, Result) || Result <- Good],
    Bad = [ask(Config, "other/", token(Config)), ask(Config, "other/", #{}, #{url => with_user(bct_https:url(Server, ["other", "/x"]))}),
           ask(Config, "", #{}, #{url => TokenUrl}), ask(Config, "", #{}, #{url => <<Url/binary, "?q">>}),
           ask(Config, "", #{}, #{url => <<Url/binary, "x\n">>}), ask(Config, "", #{}, #{url => <<Url/binary, "-none">>}),
           ask(Config, "", #{}, #{url => Url, branch => <<"none">>}), ask(Config, "", #{}, Checkout#{url => Url, ref => <<"none">>}),
           ask(Config, "", #{}, #{url => re:replace(Url, "127.0.0.1:\\d+", "127.0.0.1:1", [{return, binary}])}),
           ask(Config, "", #{}, #{url => re:replace(Url, "https", "ftp", [{return, binary}])})],
    [?assertMatch({error, _}, Result) || Result <- Bad],
    {ok, Watch} = bc_gitops_source_watch:start_link(#{auth => fun() -> token_auth(Config) end}),
    ok = bc_gitops_source_watch:refresh_wait([{Url, <<"main">>}], 10000),
    {ok, _} = bc_gitops_source_watch:wanted(Url, <<"main">>),
    {error, [_]} = bc_gitops_source_watch:refresh_wait([{TokenUrl, <<"main">>}], 10000),
    Status = sys:get_status(Watch),
    Found = bct_canary:sweep(?CANARY, #{
        modules => "bc_gitops", paths => [Clone, <<Clone/binary, "-work">>], terms => [Status | Good ++ Bad]
    }),
    ok = gen_server:stop(Watch),
    ?assertEqual([], Found).

%%% Helpers

ask(Config, Prefix, Auth) ->
    ask(Config, Prefix, Auth, #{}).

ask(Config, Prefix, Auth, More) ->
    Request = maps:merge(request(Config, Prefix), More),
    bc_gitops_git:request(Request#{auth => maps:merge(#{ca_file => ca(Config)}, Auth)}, 60000).

request(Config, Prefix) ->
    #{op => follow, url => bct_https:url(?config(server, Config), [Prefix, ?config(name, Config)]),
      path => clone(Config), branch => <<"main">>}.

token(Config) ->
    #{username => ?USER, token_file => ?config(token, Config)}.

token_auth(Config) ->
    (token(Config))#{ca_file => ca(Config)}.

with_user(<<"https://", Rest/binary>>) ->
    iolist_to_binary(["https://", ?USER, ":", uri_string:quote(?CANARY), "@", Rest]).

ca(Config) ->
    maps:get(ca, ?config(server, Config)).

clone(Config) ->
    filename:join(?config(work, Config), "clone").

%% The lines of the server's log about this case's repository.
log_of(Config) ->
    Lines = binary:split(bct_https:access_log(?config(server, Config)), <<"\n">>, [global]),
    iolist_to_binary([Line || Line <- Lines, binary:match(Line, list_to_binary(?config(name, Config))) =/= nomatch]).

with_peer(Env, Fun) ->
    Args = ["-pa", filename:dirname(code:which(bc_gitops_git))],
    Peer = bct_peer:start(#{env => Env, args => Args}),
    try Fun(Peer) after peer:stop(Peer) end.
