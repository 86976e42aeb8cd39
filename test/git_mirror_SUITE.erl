%%% Git dependencies of builds, over https and http of a real server: what many builds need comes over
%%% the network once, and nobody gets more by it than was there before.
-module(git_mirror_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-define(USER, <<"deploy">>).
-define(PASSWORD, <<"s3cret">>).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, shared}, {group, remotes}, {group, sources}, {group, strangers}].

groups() ->
    [
        {shared, [], [
            many_builds_at_once_fetch_once, transitive_dependencies, over_plain_http, by_erlang_mk,
            news_of_a_branch, a_commit_of_no_branch
        ]},
        {remotes, [], [
            a_remote_that_is_down, a_remote_that_was_never_there, a_login_of_the_build, a_damaged_mirror,
            what_is_kept
        ]},
        {sources, [], [
            a_source_is_fetched_once, its_clone_shares_nothing, a_source_with_a_login, a_damaged_mirror_of_a_source
        ]},
        {strangers, [], [mirrors_are_out_of_reach, without_the_sandbox_too]}
    ].

init_per_suite(Config) ->
    Dir = bct_dir:make("git-mirror"),
    Root = filename:join(Dir, "repos"),
    ok = filelib:ensure_path(Root),
    Server = bct_https:start(filename:join(Dir, "web"), #{root => Root, user => ?USER, password => ?PASSWORD}),
    [{suite_dir, Dir}, {root, Root}, {server, Server} | Config].

end_per_suite(Config) ->
    bct_https:stop(?config(server, Config)),
    bct_dir:remove(?config(suite_dir, Config)).

init_per_testcase(Case, Config) ->
    #{ca := Ca} = ?config(server, Config),
    ok = application:set_env(bc_gitops, git_ca_file, Ca),
    [{name, atom_to_list(Case)} | bct_workspace:start(Config)].

end_per_testcase(_Case, Config) ->
    [application:unset_env(bc_gitops, Key) || Key <- [git_ca_file, git_token_file, git_username, git_auth_hosts, build_sandbox, build_env]],
    bct_workspace:stop(Config).

%% A repository that the server has.
dependency(Config, Name, Files) ->
    Repo = bct_repo:init(filename:join(?config(root, Config), served(Config, Name))),
    bct_repo:commit(Repo, Files),
    Repo.

served(Config, Name) -> ?config(name, Config) ++ "-" ++ Name.

url(Config, Name) -> bct_https:url(?config(server, Config), ["public/", served(Config, Name)]).

%% An application with its own repository, and its source.
app(Config, App, Files) ->
    Repo = bct_repo:init(filename:join(?config(dir, Config), App)),
    bct_repo:commit(Repo, Files),
    #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>}.

rebar3(App, Deps) ->
    Text = io_lib:format("{deps, ~0p}.~n", [Deps]),
    lists:keydelete("rebar.lock", 1, bct_app:rebar3(App, "1.0.0", [{"rebar.config", Text}])).

prepare(Name, Source) ->
    Result = bct_workspace:prepare(Name, Source),
    ct:log("~ts", [log(Name)]),
    Result.

log(Name) ->
    case bc_gitops_workspace:build_log(Name) of
        {ok, Log} -> Log;
        {error, not_found} -> <<>>
    end.

names({ok, #{libs := Libs}}) -> [Name || #{name := Name} <- Libs].

%% How often the server gave what a repository has.
packs(Config, Name) ->
    Line = ["POST /public/", served(Config, Name), "/git-upload-pack"],
    length(binary:matches(bct_https:access_log(?config(server, Config)), iolist_to_binary(Line))).

said(Name, Text) -> binary:match(log(Name), iolist_to_binary(Text)) =/= nomatch.

mirrors() ->
    Root = unicode:characters_to_list(bc_gitops_workspace_server:root()),
    filelib:wildcard(filename:join(Root, "git/*")).

branch(Config, App, Name) -> {App, {git, binary_to_list(url(Config, Name)), {branch, "main"}}}.

%%% shared

mix(Config, App, Dep, Name, Commit) ->
    Url = url(Config, Name),
    Project = ["defmodule ", string:titlecase(App), ".MixProject do\n  use Mix.Project\n"
               "  def project, do: [app: :", App, ", version: \"1.0.0\", deps: [{:", Dep, ", git: \"", Url,
               "\", branch: \"main\"}]]\n  def application, do: []\nend\n"],
    Lock = ["%{\n  \"", Dep, "\": {:git, \"", Url, "\", \"", Commit, "\", [branch: \"main\"]},\n}\n"],
    bct_app:mix(App, "1.0.0", [{"mix.exs", Project}, {"mix.lock", Lock}]).

%% One names a branch, one a tag, one has a lock of mix with a commit that is not the newest.
many_builds_at_once_fetch_once(Config) ->
    Dep = dependency(Config, "dep", bct_app:rebar3("gm_dep", "4.0.0")),
    Locked = bct_repo:head(Dep),
    ok = bct_repo:tag(Dep, "v4"),
    _ = bct_repo:commit(Dep, bct_app:rebar3("gm_dep", "5.0.0")),
    Tag = {gm_dep, {git, binary_to_list(url(Config, "dep")), {tag, "v4"}}},
    Sources = [{gm_branch, app(Config, "gm_branch", rebar3("gm_branch", [branch(Config, gm_dep, "dep")]))},
               {gm_tag, app(Config, "gm_tag", rebar3("gm_tag", [Tag]))},
               {gm_mix, app(Config, "gm_mix", mix(Config, "gm_mix", "gm_dep", "dep", Locked))}],
    Workers = [spawn_monitor(fun() -> exit({result, prepare(Name, Source)}) end) || {Name, Source} <- Sources],
    Built = [receive {'DOWN', Monitor, process, Pid, {result, {ok, #{libs := Libs}}}} ->
                 [Version || #{name := gm_dep, version := Version} <- Libs]
             end || {Pid, Monitor} <- Workers],
    ?assertEqual([[<<"5.0.0">>], [<<"4.0.0">>], [<<"4.0.0">>]], Built),
    ?assertEqual(1, packs(Config, "dep")),
    ?assertEqual(1, length(mirrors())),
    ?assertEqual([], bct_workspace:scratches()).

transitive_dependencies(Config) ->
    _ = dependency(Config, "inner", bct_app:rebar3("gm_inner", "1.0.0")),
    _ = dependency(Config, "outer", rebar3("gm_outer", [branch(Config, gm_inner, "inner")])),
    Deps = [branch(Config, gm_outer, "outer")],
    [?assertMatch({ok, #{libs := [_, _, _]}}, prepare(Name, app(Config, atom_to_list(Name), rebar3(atom_to_list(Name), Deps))))
     || Name <- [gm_first, gm_second]],
    ?assertEqual({1, 1}, {packs(Config, "outer"), packs(Config, "inner")}).

over_plain_http(Config) ->
    _ = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    Url = bct_https:plain_url(?config(server, Config), ["public/", served(Config, "dep")]),
    Deps = [{gm_dep, {git, binary_to_list(Url), {branch, "main"}}}],
    [?assertMatch({ok, _}, prepare(Name, app(Config, atom_to_list(Name), rebar3(atom_to_list(Name), Deps))))
     || Name <- [gm_one, gm_two]],
    ?assertEqual(1, packs(Config, "dep")).

%% erlang.mk clones, then checks out; the dependency has a submodule.
by_erlang_mk(Config) ->
    Sub = dependency(Config, "sub", [{"sub.txt", "sub"}]),
    Dep = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    Clone = ["git -c http.sslVerify=false submodule add -q ", url(Config, "sub"), " vendor"],
    _ = bct_server:run(os:find_executable("sh"), ["-c", lists:flatten(io_lib:format("~ts", [Clone]))], Dep),
    _ = bct_repo:commit(Dep, []),
    Before = packs(Config, "sub"),
    Files = bct_app:erlang_mk("gm_mk", "1.0.0", "cp deps/gm_dep/src/gm_dep.erl src/ && test -f deps/gm_dep/vendor/sub.txt"),
    {_, Mk} = lists:keyfind("erlang.mk", 1, Files),
    Deps = ["deps::\n\tgit clone -q -n -- ", url(Config, "dep"), " deps/gm_dep\n"
            "\tcd deps/gm_dep && git checkout -q main && git submodule update -q --init\n"],
    Makefile = "PROJECT = gm_mk\nDEPS = gm_dep\ninclude erlang.mk\n",
    Project = lists:keystore("erlang.mk", 1, lists:keystore("Makefile", 1, Files, {"Makefile", Makefile}),
                             {"erlang.mk", [Mk, Deps]}),
    ?assertMatch({ok, #{tool := erlang_mk}}, prepare(gm_mk, app(Config, "gm_mk", Project))),
    ?assertEqual(1, packs(Config, "dep")),
    ?assertEqual(Before + 1, packs(Config, "sub")),
    _ = Sub,
    ?assertEqual(2, length(mirrors())).

fetched(Name) ->
    {match, [Bytes]} = re:run(log(Name), "([0-9]+) bytes fetched", [{capture, all_but_first, binary}]),
    binary_to_integer(Bytes).

news_of_a_branch(Config) ->
    Noise = [io_lib:format("~b", [erlang:phash2(N)]) || N <- lists:seq(1, 20000)],
    Dep = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0", [{"priv/noise", Noise}])),
    Deps = [branch(Config, gm_dep, "dep")],
    {ok, _} = prepare(gm_old, app(Config, "gm_old", rebar3("gm_old", Deps))),
    _ = bct_repo:commit(Dep, [{"src/gm_dep.app.src", bct_app:app_file("gm_dep", "2.0.0")}]),
    {ok, #{libs := Libs}} = prepare(gm_new, app(Config, "gm_new", rebar3("gm_new", Deps))),
    ?assertMatch([<<"2.0.0">>], [Version || #{name := gm_dep, version := Version} <- Libs]),
    ?assert(fetched(gm_old) > 20 * fetched(gm_new)),
    ?assertEqual(2, packs(Config, "dep")).

%% No mirror has it, and the build's own git gets it.
a_commit_of_no_branch(Config) ->
    Dep = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    _ = bct_repo:git(Dep, ["config", "uploadpack.allowAnySHA1InWant", "true"]),
    _ = bct_repo:git(Dep, ["checkout", "-q", "--detach"]),
    Commit = bct_repo:commit(Dep, bct_app:rebar3("gm_dep", "7.0.0")),
    _ = bct_repo:git(Dep, ["checkout", "-q", "main"]),
    Files = bct_app:erlang_mk("gm_mk", "1.0.0", "cp deps/gm_dep/src/gm_dep.erl src/"),
    {_, Mk} = lists:keyfind("erlang.mk", 1, Files),
    Deps = ["deps::\n\trm -rf deps && git init -q deps/gm_dep && cd deps/gm_dep && git -c http.sslVerify=false fetch -q ",
            url(Config, "dep"), " ", Commit, " && git checkout -q FETCH_HEAD\n"],
    Makefile = "PROJECT = gm_mk\nDEPS = gm_dep\ninclude erlang.mk\n",
    Project = lists:keystore("erlang.mk", 1, lists:keystore("Makefile", 1, Files, {"Makefile", Makefile}),
                             {"erlang.mk", [Mk, Deps]}),
    ?assertMatch({ok, _}, prepare(gm_mk, app(Config, "gm_mk", Project))),
    ?assert(said(gm_mk, "== once more, ")),
    ?assertEqual([], mirrors()).

%%% remotes

a_remote_that_is_down(Config) ->
    Dir = filename:join(?config(dir, Config), "down"),
    Options = #{root => ?config(root, Config), user => ?USER, password => ?PASSWORD},
    Server = #{ca := Ca} = bct_https:start(Dir, Options),
    ok = application:set_env(bc_gitops, git_ca_file, Ca),
    Mine = [{server, Server} | lists:keydelete(server, 1, Config)],
    _ = dependency(Mine, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    Deps = [branch(Mine, gm_dep, "dep")],
    {ok, _} = prepare(gm_up, app(Mine, "gm_up", rebar3("gm_up", Deps))),
    ok = bct_https:stop(Server),
    ?assertMatch({ok, _}, prepare(gm_down, app(Mine, "gm_down", rebar3("gm_down", Deps)))),
    ?assertMatch({match, _}, re:run(log(gm_down), "does not answer \\(.+\\); it is taken as it was at 20[0-9]{2}-.+ UTC\n")).

a_remote_that_was_never_there(Config) ->
    Url = "https://127.0.0.1:" ++ integer_to_list(bct_server:free_port()) ++ "/x/y.git",
    Source = app(Config, "gm_none", rebar3("gm_none", [{gm_dep, {git, Url, {branch, "main"}}}])),
    {error, {deps_failed, #{output := Output}}} = prepare(gm_none, Source),
    ?assert(said(gm_none, ["== git: fetched by the build itself, ", Url])),
    %% rebar3 says nothing of why
    ?assertNotEqual(nomatch, binary:match(Output, <<"Connection refused">>)),
    ?assertNot(said(gm_none, "== once more")).

%% The build's own login serves it as before, and ours never does.
a_login_of_the_build(Config) ->
    #{ca := Ca} = Server = ?config(server, Config),
    Token = filename:join(?config(dir, Config), "token"),
    ok = file:write_file(Token, ?PASSWORD),
    [ok = application:set_env(bc_gitops, Key, Value)
     || {Key, Value} <- [{git_token_file, Token}, {git_username, ?USER}, {git_auth_hosts, [<<"127.0.0.1">>, <<"127.0.0.1:", (integer_to_binary(maps:get(port, Server)))/binary>>]}]],
    _ = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    Url = bct_https:url(Server, ["private/", served(Config, "dep")]),
    Source = app(Config, "gm_private", rebar3("gm_private", [{gm_dep, {git, binary_to_list(Url), {branch, "main"}}}])),
    ?assertMatch({error, {deps_failed, _}}, prepare(gm_private, Source)),
    ?assert(said(gm_private, ["== git: fetched by the build itself, ", Url])),
    Base = bct_https:url(Server, ""),
    Login = ["https://", ?USER, ":", ?PASSWORD, "@", string:prefix(Base, "https://")],
    Helper = "!f() { echo username=" ++ binary_to_list(?USER) ++ "; echo password=" ++ binary_to_list(?PASSWORD) ++ "; }; f",
    [begin
        Variables = [{"GIT_CONFIG_COUNT", "2"}, {"GIT_CONFIG_KEY_0", "http.sslCAInfo"}, {"GIT_CONFIG_VALUE_0", Ca},
                     {"GIT_CONFIG_KEY_1", Key}, {"GIT_CONFIG_VALUE_1", Value}],
        [true = os:putenv(Name, unicode:characters_to_list(Text)) || {Name, Text} <- Variables],
        ok = application:set_env(bc_gitops, build_env, [list_to_binary(Name) || {Name, _} <- Variables]),
        ?assertMatch({ok, _}, prepare(gm_private, Source)),
        [true = os:unsetenv(Name) || {Name, _} <- Variables],
        ok = bc_gitops_workspace:delete_package(gm_private)
     end || {Key, Value} <- [{["url.", Login, ".insteadOf"], Base}, {"credential.helper", Helper}]],
    ?assertEqual([], mirrors()).

%% In the middle of a pack nobody looks; git does, and the build goes on without the mirror.
a_damaged_mirror(Config) ->
    #{ca := Ca} = ?config(server, Config),
    _ = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    Deps = [branch(Config, gm_dep, "dep")],
    {ok, _} = prepare(gm_one, app(Config, "gm_one", rebar3("gm_one", Deps))),
    ok = damage(hd(mirrors())),
    [true = os:putenv(Name, Value) || {Name, Value} <- trusting(Ca)],
    ok = application:set_env(bc_gitops, build_env, [list_to_binary(Name) || {Name, _} <- trusting(Ca)]),
    ?assertMatch({ok, _}, prepare(gm_two, app(Config, "gm_two", rebar3("gm_two", Deps)))),
    [true = os:unsetenv(Name) || {Name, _} <- trusting(Ca)],
    ?assert(said(gm_two, "== once more, ")),
    ?assertEqual([], mirrors()),
    ok = application:unset_env(bc_gitops, build_env),
    ?assertMatch({ok, _}, prepare(gm_three, app(Config, "gm_three", rebar3("gm_three", Deps)))),
    ?assertNot(said(gm_three, "== once more, ")).

trusting(Ca) -> [{"GIT_SSL_CAINFO", binary_to_list(Ca)}].

what_is_kept(Config) ->
    _ = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    {ok, _} = prepare(gm_one, app(Config, "gm_one", rebar3("gm_one", [branch(Config, gm_dep, "dep")]))),
    Root = bc_gitops_workspace_server:root(),
    ok = bc_gitops_git_mirror:trim(Root),
    ?assertEqual(1, length(mirrors())),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([], mirrors()).

%%% sources

sources() ->
    Root = unicode:characters_to_list(bc_gitops_workspace_server:root()),
    filelib:wildcard(filename:join(Root, "sources/*")).

umbrella(App) -> [{"apps/" ++ App ++ "/" ++ Path, Text} || {Path, Text} <- bct_app:rebar3(App, "1.0.0")].

source(Config, Name, Ref) ->
    #source_spec{type = git, url = url(Config, Name), ref = Ref}.

%% Two applications of one repository, then a new version of both.
a_source_is_fetched_once(Config) ->
    Sub = dependency(Config, "sub", [{"sub.txt", "sub"}]),
    Noise = [io_lib:format("~b", [erlang:phash2(N)]) || N <- lists:seq(1, 20000)],
    Repo = dependency(Config, "app", [{"noise", Noise}, {"rebar.config", "{deps, []}."}]
                                     ++ umbrella("gm_one") ++ umbrella("gm_two")),
    Add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q", binary_to_list(bct_repo:url(Sub)), "vendor"],
    _ = bct_repo:git(Repo, Add),
    _ = bct_repo:commit(Repo, [{".gitmodules", ["[submodule \"vendor\"]\n\tpath = vendor\n\turl = ", url(Config, "sub"), "\n"]}]),
    [?assertMatch({ok, _}, prepare(Name, source(Config, "app", <<"main">>))) || Name <- [gm_one, gm_two]],
    ?assertEqual({1, 1}, {packs(Config, "app"), packs(Config, "sub")}),
    Before = sizes(),
    Commit = bct_repo:commit(Repo, [{"news.txt", "news"}]),
    ?assertMatch({ok, #{revision := Commit}}, prepare(gm_one, source(Config, "app", <<"main">>))),
    ?assert(sizes() - Before < Before div 10),
    ?assertMatch({ok, #{revision := Commit}}, prepare(gm_two, source(Config, "app", Commit))),
    ?assertEqual({2, 1}, {packs(Config, "app"), packs(Config, "sub")}),
    ?assertEqual(2, length(sources())),
    ?assertEqual([], mirrors()),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([], sources()).

sizes() ->
    lists:sum([filelib:file_size(Pack) || Mirror <- sources(),
                                          Pack <- filelib:wildcard(Mirror ++ "/.git/objects/pack/*.pack")]).

%% A build may write its clone, with tags and all.
its_clone_shares_nothing(Config) ->
    Script = "for f in .git/objects/pack/*; do echo links $(stat -c %h $f); done; "
             "test ! -e .git/objects/info/alternates; echo version $(git describe --tags); "
             "echo seen $(ls -d ../../../../../sources 2>/dev/null)",
    Repo = dependency(Config, "app", bct_app:erlang_mk("gm_app", "1.0.0", Script)),
    ok = bct_repo:tag(Repo, "v7"),
    [begin
        ok = bc_gitops_workspace:delete_package(gm_app),
        {ok, _} = prepare(gm_app, source(Config, "app", Ref)),
        ?assert(said(gm_app, "links 1\n")),
        ?assertNot(said(gm_app, "links 2")),
        ?assert(said(gm_app, "version v7\n")),
        %% without a sandbox a build reads what the node can
        ?assert(said(gm_app, "seen\n") orelse said(gm_app, "== no sandbox: "))
     end || Ref <- [<<"v7">>, <<"main">>]],
    ?assertEqual(1, packs(Config, "app")).

%% Who may not read it any more is given nothing of what is kept of it, whether it answers or not.
a_source_with_a_login(Config) ->
    Dir = filename:join(?config(dir, Config), "down"),
    Options = #{root => ?config(root, Config), user => ?USER, password => ?PASSWORD},
    Server = #{ca := Ca, port := Port} = bct_https:start(Dir, Options),
    ok = application:set_env(bc_gitops, git_ca_file, Ca),
    Repo = dependency(Config, "app", bct_app:erlang_mk("gm_app", "1.0.0")),
    Commit = bct_repo:head(Repo),
    Url = bct_https:url(Server, ["private/", served(Config, "app")]),
    Source = #source_spec{type = git, url = Url, ref = Commit},
    Token = filename:join(?config(dir, Config), "token"),
    ok = file:write_file(Token, ?PASSWORD),
    Host = <<"127.0.0.1:", (integer_to_binary(Port))/binary>>,
    Login = [{git_token_file, Token}, {git_username, ?USER}, {git_auth_hosts, [Host]}],
    [ok = application:set_env(bc_gitops, Key, Value) || {Key, Value} <- Login],
    ?assertMatch({ok, _}, prepare(gm_app, Source)),
    ?assertEqual(1, length(sources())),
    ok = bc_gitops_workspace:delete_package(gm_app),
    [ok = application:unset_env(bc_gitops, Key) || {Key, _} <- Login],
    ?assertMatch({error, {auth_failed, _}}, prepare(gm_app, Source)),
    ok = bct_https:stop(Server),
    ?assertMatch({error, {unreachable, _}}, prepare(gm_app, Source)).

a_damaged_mirror_of_a_source(Config) ->
    Repo = dependency(Config, "app", bct_app:erlang_mk("gm_app", "1.0.0")),
    {ok, _} = prepare(gm_app, source(Config, "app", <<"main">>)),
    ok = damage(hd(sources())),
    ok = bc_gitops_workspace:delete_package(gm_app),
    ?assertMatch({ok, _}, prepare(gm_app, source(Config, "app", bct_repo:head(Repo)))).

%% In the middle of its pack.
damage(Mirror) ->
    [Pack] = filelib:wildcard(filename:join(Mirror, ".git/objects/pack/*.pack")),
    {ok, Bytes} = file:read_file(Pack),
    Middle = byte_size(Bytes) div 2,
    <<Before:Middle/binary, _:64, After/binary>> = Bytes,
    ok = file:change_mode(Pack, 8#644),
    file:write_file(Pack, [Before, "damaged!", After]).

%%% strangers

mirrors_are_out_of_reach(Config) ->
    Said = attacked(Config, required),
    ?assertEqual(["asked"], Said).

%% What can be had of the broker is the same; that files can be written is what it is to have no sandbox.
without_the_sandbox_too(Config) ->
    ?assertEqual(["asked", "write"], attacked(Config, off)).

%% Code that runs while dependencies are fetched, in a build that has a mirror.
attacked(Config, Mode) ->
    ok = application:set_env(bc_gitops, build_sandbox, Mode),
    Server = ?config(server, Config),
    _ = dependency(Config, "dep", bct_app:rebar3("gm_dep", "1.0.0")),
    Private = bct_https:url(Server, ["private/", served(Config, "dep")]),
    Urls = [["file://", ?config(root, Config)], "/etc", "ssh://git@127.0.0.1/x", "git@127.0.0.1:x", "ext::touch /tmp/x",
            Private, ["https://", ?USER, ":", ?PASSWORD, "@", string:prefix(Private, "https://")], "--upload-pack=x", ""],
    Script = io_lib:format(attack(), [url(Config, "dep"), [lists:flatten(io_lib:format("~ts", [Url])) || Url <- Urls]]),
    Files = rebar3("gm_hostile", [branch(Config, gm_dep, "dep")]) ++ [{"rebar.config.script", Script}],
    {ok, _} = prepare(gm_hostile, app(Config, "gm_hostile", Files)),
    Log = log(gm_hostile),
    ?assertNotEqual(nomatch, binary:match(Log, <<"tried all">>)),
    {match, Found} = re:run(Log, "BREACH ([a-z_]+)", [global, {capture, all_but_first, list}]),
    lists:usort(lists:append(Found)).

%% `asked' is what everybody may: that it is there shows that the others were heard.
attack() ->
    "case os:getenv(\"BC_GITOPS_MIRRORS\") of\n"
    "  false -> CONFIG;\n"
    "  Address ->\n"
    "    [Host, Port] = string:split(Address, \":\"),\n"
    "    Right = os:getenv(\"BC_GITOPS_MIRRORS_TOKEN\"),\n"
    "    Ask = fun(Token, Url) ->\n"
    "      {ok, Socket} = gen_tcp:connect(Host, list_to_integer(Port), [binary, {active, false}, {packet, line}]),\n"
    "      ok = gen_tcp:send(Socket, [Token, \" \", Url, \"\\n\"]),\n"
    "      gen_tcp:recv(Socket, 0, 60000)\n"
    "    end,\n"
    "    Breach = fun(Name) -> io:format(\"BREACH ~~s~~n\", [Name]) end,\n"
    "    Url = ~p,\n"
    "    Path = case Ask(Right, Url) of\n"
    "      {ok, <<\"mirror \", P/binary>>} -> Breach(\"asked\"), string:trim(P)\n"
    "    end,\n"
    "    {error, closed} = Ask(lists:reverse(Right), Url),\n"
    "    {error, closed} = Ask(\"\", Url),\n"
    "    [case Ask(Right, Other) of {ok, <<\"direct\\n\">>} -> ok; _ -> Breach(\"url\") end || Other <- ~p],\n"
    "    Mirrors = filename:join(filename:dirname(filename:dirname(filename:dirname(filename:dirname(\n"
    "      filename:dirname(filename:dirname(Path)))))), \"git\"),\n"
    "    Files = [filename:join(Path, \"config\"), filename:join(Mirrors, \"planted\"),\n"
    "             filename:join([filename:dirname(filename:dirname(Path)), \"bin\", \"planted\"])],\n"
    "    [case file:write_file(File, \"\", [append]) of ok -> Breach(\"write\"); _ -> ok end || File <- Files],\n"
    "    io:format(\"tried all~~n\"),\n"
    "    CONFIG\n"
    "end.\n".
