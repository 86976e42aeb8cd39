%%% The workspace with several callers, with callers and VMs that die, and over time.
-module(workspace_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_workspace, [source/2, prepare/2, prepare/3]).

all() ->
    [{group, store}, {group, together}, {group, endings}, {group, api}].

groups() ->
    [
        {store, [], [
            going_back_is_a_lookup, known_commits_need_no_network, damaged_builds_are_made_again,
            builds_in_use_stay, builds_on_the_code_path_stay, old_builds_go
        ]},
        {together, [], [same_source_is_built_once, the_pool_is_bounded, a_waiting_caller_can_die,
            two_builds_run_at_once, progress_of_every_stage, a_fetch_tells_what_it_received]},
        {endings, [], [
            deadline_leaves_nothing, killed_caller_leaves_nothing, normal_end_leaves_no_daemon,
            killed_runner_leaves_nothing,
            killed_vm_leaves_nothing, another_living_vm_is_left_alone
        ]},
        {api, [], [packages_as_callers_of_0_7_know_them, works_without_the_application,
            project_types]}
    ].

init_per_testcase(_Case, Config) -> bct_workspace:start(Config).

end_per_testcase(_Case, Config) ->
    application:unset_env(bc_gitops, build_jobs),
    application:unset_env(bc_gitops, build_sandbox),
    application:unset_env(bc_gitops, max_builds_kept),
    bct_workspace:stop(Config).

commit(Config, Files) -> bct_repo:commit(?config(repo, Config), Files).

%% A build that says that it runs and waits for a file: it must reach us, so nothing confines it.
gated(Config, App) ->
    application:set_env(bc_gitops, build_sandbox, off),
    Gate = filename:join(?config(dir, Config), App),
    Script = io_lib:format("touch ~s.runs; while [ ! -e ~s.go ]; do sleep 0.02; done",
        [Gate, Gate]),
    Repo = bct_repo:init(filename:join(?config(dir, Config), ["repo-", App])),
    bct_repo:commit(Repo, bct_app:erlang_mk(App, "1.0.0", lists:flatten(Script))),
    {Gate, #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>}}.

runs(Gate) -> filelib:is_file(<<Gate/binary, ".runs">>).

go(Gate) -> ok = file:write_file(<<Gate/binary, ".go">>, "").

in_background(Name, Source) ->
    Self = self(),
    spawn(fun() -> Self ! {self(), prepare(Name, Source)} end).

result(Pid) ->
    receive {Pid, Result} -> Result after 300000 -> error(no_result) end.

%%% store

going_back_is_a_lookup(Config) ->
    commit(Config, bct_app:erlang_mk("demo_back", "1.0.0")),
    ok = bct_repo:tag(?config(repo, Config), "v1"),
    {ok, First} = prepare(demo_back, source(Config, <<"v1">>)),
    commit(Config, bct_app:erlang_mk("demo_back", "2.0.0")),
    {ok, #{version := <<"2.0.0">>}} = prepare(demo_back, source(Config, <<"main">>)),
    ?assertEqual({ok, First}, prepare(demo_back, source(Config, <<"v1">>),
        #{version => <<"1.0.0">>})),
    ?assertEqual(2, bct_workspace:builds(demo_back, "make app")).

known_commits_need_no_network(Config) ->
    Commit = commit(Config, bct_app:erlang_mk("demo_net", "1.0.0")),
    Main = source(Config, <<"main">>),
    {ok, Build} = prepare(demo_net, Main),
    ok = file:rename(?config(repo, Config), filename:join(?config(dir, Config), "gone")),
    ?assertEqual({ok, Build}, prepare(demo_net, source(Config, Commit))),
    ?assertEqual({ok, Build}, prepare(demo_net, Main, #{commit => Commit})),
    ?assertEqual({ok, Build}, prepare(demo_net, Main)),
    %% nor does a new VM
    ok = gen_server:stop(bc_gitops_workspace_server),
    ok = bc_gitops_workspace:init(?config(workspace, Config)),
    ?assertEqual({ok, Build}, bc_gitops_workspace:lookup(maps:get(key, Build))),
    ?assertEqual({ok, Build}, prepare(demo_net, source(Config, Commit))).

damaged_builds_are_made_again(Config) ->
    Script = "mkdir -p priv; echo data > priv/data",
    Commit = commit(Config, bct_app:erlang_mk("demo_dam", "1.0.0", Script)),
    {ok, #{path := Path} = Build} = prepare(demo_dam, source(Config, Commit)),
    Files = [{"ebin/demo_dam.beam", <<>>}, {"ebin/demo_dam.beam", none}, {"ebin/demo_dam.app", "[]."},
             {"priv/data", "other\n"}, {"../../files", none}, {"../../manifest", "#{format => 1, bui"}],
    [begin
        ok = bct_build:damage(filename:join(Path, File), Content),
        ?assertEqual({ok, Build}, prepare(demo_dam, source(Config, Commit))),
        ?assertEqual(ok, bc_gitops_workspace:check(Build))
     end || {File, Content} <- Files],
    ?assertEqual({ok, <<"data\n">>}, file:read_file(filename:join(Path, "priv/data"))),
    ?assertEqual([maps:get(key, Build)], bc_gitops_store:keys(?config(workspace, Config))),
    ?assertEqual([], bct_workspace:scratches()).

builds_in_use_stay(Config) ->
    commit(Config, bct_app:mix("demo_use", "1.0.0")),
    {ok, #{key := Key, libs := Libs} = Build} = prepare(demo_use, source(Config, <<"main">>)),
    ok = bc_gitops_workspace:in_use(Key, demo_use),
    ok = bc_gitops_workspace:in_use(Key, other),
    ok = bc_gitops_workspace:cleanup(),
    ok = bc_gitops_workspace:released(Key, other),
    ok = bc_gitops_workspace:delete_package(demo_use),
    ?assertEqual({ok, Build}, bc_gitops_workspace:lookup(Key)),
    [?assert(filelib:is_dir(Path)) || #{path := Path} <- Libs],
    ?assertEqual({error, not_found}, bc_gitops_workspace:get_package_path(demo_use)),
    ok = bc_gitops_workspace:released(Key, demo_use),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual({error, not_found}, bc_gitops_workspace:lookup(Key)),
    ?assertEqual([], bc_gitops_store:keys(?config(workspace, Config))).

builds_on_the_code_path_stay(Config) ->
    commit(Config, bct_app:erlang_mk("demo_path", "1.0.0")),
    {ok, Path} = fetch(demo_path, Config),
    ok = bc_gitops_workspace:add_code_path(Path),
    ok = bc_gitops_workspace:cleanup(),
    ?assert(filelib:is_dir(Path)),
    true = code:del_path(filename:join(Path, "ebin")),
    ok = bc_gitops_workspace:cleanup(),
    ?assertNot(filelib:is_dir(Path)).

old_builds_go(Config) ->
    application:set_env(bc_gitops, max_builds_kept, 2),
    [Pinned | _] = Keys = [begin
        commit(Config, bct_app:erlang_mk("demo_old", integer_to_list(N) ++ ".0.0")),
        {ok, #{key := Key}} = prepare(demo_old, source(Config, <<"main">>)),
        N =:= 1 andalso bc_gitops_workspace:in_use(Key, demo_old),
        %% the order of builds is that of seconds
        Path = bc_gitops_store:path(?config(workspace, Config), Key),
        ok = file:change_time(filename:join(Path, "manifest"), {{2020, 1, 1}, {0, 0, N}}),
        Key
     end || N <- [1, 2, 3, 4]],
    ?assertEqual(lists:sort([Pinned | lists:nthtail(2, Keys)]),
                 bc_gitops_store:keys(?config(workspace, Config))).

fetch(Name, Config) ->
    application:set_env(bc_gitops, allow_local_sources, true),
    try bc_gitops_workspace:fetch_package(Name, source(Config, <<"main">>))
    after application:unset_env(bc_gitops, allow_local_sources)
    end.

%%% together

same_source_is_built_once(Config) ->
    {Gate, Source} = gated(Config, "demo_once"),
    Pids = [in_background(demo_once, Source) || _ <- lists:seq(1, 5)],
    bct_wait:until(fun() -> runs(Gate) end),
    go(Gate),
    [{ok, Build} | Others] = [result(Pid) || Pid <- Pids],
    ?assert(lists:all(fun(Other) -> Other =:= {ok, Build} end, Others)),
    ?assertEqual(1, bct_workspace:builds(demo_once, "make app")).

the_pool_is_bounded(Config) ->
    application:set_env(bc_gitops, build_jobs, 1),
    {GateA, A} = gated(Config, "demo_pa"),
    {GateB, B} = gated(Config, "demo_pb"),
    PidA = in_background(demo_pa, A),
    bct_wait:until(fun() -> runs(GateA) end),
    PidB = in_background(demo_pb, B),
    %% the second one stands in the queue: its log has not begun
    bct_wait:until(fun() -> waiting() =:= 1 end),
    ?assertNot(runs(GateB)),
    go(GateA),
    {ok, _} = result(PidA),
    bct_wait:until(fun() -> runs(GateB) end),
    go(GateB),
    {ok, _} = result(PidB).

waiting() ->
    length(element(5, sys:get_state(bc_gitops_workspace_server))).

a_waiting_caller_can_die(Config) ->
    application:set_env(bc_gitops, build_jobs, 1),
    {GateA, A} = gated(Config, "demo_wa"),
    {GateB, B} = gated(Config, "demo_wb"),
    PidA = in_background(demo_wa, A),
    bct_wait:until(fun() -> runs(GateA) end),
    PidB = in_background(demo_wb, B),
    bct_wait:until(fun() -> waiting() =:= 1 end),
    exit(PidB, kill),
    bct_wait:until(fun() -> waiting() =:= 0 end),
    PidC = in_background(demo_wb, B),
    %% who builds dies: the next one takes the place
    exit(PidA, kill),
    bct_wait:until(fun() -> runs(GateB) end),
    go(GateB),
    {ok, _} = result(PidC).

%% Each waits for the other: one after the other neither would end.
two_builds_run_at_once(Config) ->
    application:set_env(bc_gitops, build_sandbox, off),
    Meet = fun(App, Other) ->
        Dir = ?config(dir, Config),
        Script = io_lib:format("touch ~s/~s.here; while [ ! -e ~s/~s.here ]; do sleep 0.02; done",
                               [Dir, App, Dir, Other]),
        Repo = bct_repo:init(filename:join(Dir, ["repo-", App])),
        bct_repo:commit(Repo, bct_app:erlang_mk(App, "1.0.0", lists:flatten(Script))),
        #source_spec{type = git, url = bct_repo:url(Repo), ref = <<"main">>}
    end,
    Pids = [in_background(demo_ma, Meet("demo_ma", "demo_mb")),
            in_background(demo_mb, Meet("demo_mb", "demo_ma"))],
    [{ok, #{app := demo_ma}}, {ok, #{app := demo_mb}}] = [result(Pid) || Pid <- Pids].

%% From the queue to the compiler's output, without anybody being asked.
progress_of_every_stage(Config) ->
    application:set_env(bc_gitops, build_jobs, 1),
    {GateA, A} = gated(Config, "demo_sa"),
    {GateB, B} = gated(Config, "demo_sb"),
    PidA = in_background(demo_sa, A),
    bct_wait:until(fun() -> runs(GateA) end),
    PidB = in_background(demo_sb, B),
    bct_wait:until(fun() -> waiting() =:= 1 end),
    {ok, #{stage := wait, since := _}} = bc_gitops_workspace:progress(demo_sb),
    %% nobody but the table is asked
    ok = sys:suspend(bc_gitops_workspace_server),
    {ok, #{stage := build, line := Line, lines := Lines}} = bc_gitops_workspace:progress(demo_sa),
    ok = sys:resume(bc_gitops_workspace_server),
    ?assertEqual(Line, lists:last(Lines)),
    ?assert(lists:member(<<"== make app">>, Lines)),
    go(GateA),
    go(GateB),
    [{ok, _}, {ok, _}] = [result(Pid) || Pid <- [PidA, PidB]],
    [none, none] = [bc_gitops_workspace:progress(Name) || Name <- [demo_sa, demo_sb]].

%% To whoever asked, and in the table, by the time that it is told.
a_fetch_tells_what_it_received(Config) ->
    Large = [{"assets/" ++ integer_to_list(N), rand:bytes(300000)} || N <- lists:seq(1, 20)],
    commit(Config, Large ++ bct_app:erlang_mk("demo_tell", "1.0.0")),
    Self = self(),
    Tell = fun(Told) -> Self ! {told, Told, bc_gitops_workspace:progress(demo_tell)} end,
    {ok, _} = prepare(demo_tell, source(Config, <<"main">>), #{on_progress => Tell}),
    All = (fun Next() -> receive {told, Told, Shown} -> [{Told, Shown} | Next()] after 0 -> [] end end)(),
    ?assertNotEqual([], All),
    {#{received_bytes := Bytes, received_objects := Objects, total_objects := Total}, {ok, Shown}} = lists:last(All),
    ?assert(Bytes > 1000000 andalso Objects =< Total),
    ?assertMatch(#{stage := fetch, received_bytes := Bytes, percent := Percent} when Percent =< 100, Shown).

%%% endings

daemon_build(Config, Name, End) ->
    commit(Config, bct_app:erlang_mk("demo_end", "1.0.0", bct_daemon:script(Name) ++ " " ++ End)),
    source(Config, <<"main">>).

deadline_leaves_nothing(Config) ->
    Source = daemon_build(Config, "ws-deadline", "sleep 60"),
    ?assertMatch({error, {timeout, #{app := demo_end, phase := build, command := <<"make app">>}}},
                 prepare(demo_end, Source, #{timeout => 2000})),
    ?assertNot(bct_daemon:lives("ws-deadline")),
    ?assertEqual([], bct_workspace:scratches()).

normal_end_leaves_no_daemon(Config) ->
    Source = daemon_build(Config, "ws-normal", "true"),
    ?assertMatch({ok, _}, prepare(demo_end, Source)),
    ?assertNot(bct_daemon:lives("ws-normal")),
    ?assertEqual([], bct_workspace:scratches()).

killed_caller_leaves_nothing(Config) ->
    Source = daemon_build(Config, "ws-caller", "sleep 60"),
    Pid = in_background(demo_end, Source),
    bct_wait:until(fun() -> bct_daemon:lives("ws-caller") end),
    exit(Pid, kill),
    bct_wait:until(fun() -> not bct_daemon:lives("ws-caller") end),
    bct_wait:until(fun() -> bct_workspace:scratches() =:= [] end).

killed_runner_leaves_nothing(Config) ->
    Source = daemon_build(Config, "ws-runner", "sleep 60"),
    Pid = in_background(demo_end, Source),
    bct_wait:until(fun() -> bct_daemon:lives("ws-runner") end),
    {links, Links} = process_info(Pid, links),
    [Runner] = [Os || Port <- Links, is_port(Port),
        {os_pid, Os} <- [erlang:port_info(Port, os_pid)]],
    {ok, _} = bc_gitops_command:run(#{program => "kill", args => ["-9", integer_to_list(Runner)]}),
    ?assertMatch({error, {runner, #{app := demo_end, message := _}}}, result(Pid)),
    ?assertNot(bct_daemon:lives("ws-runner")),
    ?assertEqual([], bct_workspace:scratches()).

%% Another VM builds in the same workspace.
other_vm(Config, Source) ->
    Paths = [Dir || Dir <- code:get_path(), string:find(Dir, "bc_gitops") =/= nomatch],
    Args = ["-noinput", "-pa" | Paths],
    Eval = io_lib:format(
        "application:set_env(bc_gitops, allow_local_sources, true),"
        "ok = bc_gitops_workspace:init(~p),"
        "bc_gitops_workspace:fetch_package(demo_end, ~p).", [?config(workspace, Config), Source]),
    Port = open_port({spawn_executable, os:find_executable("erl")},
                     [{args, Args ++ ["-eval", lists:flatten(Eval)]}, exit_status]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    {Port, integer_to_list(Pid)}.

kill_9({Port, Pid}) ->
    {ok, _} = bc_gitops_command:run(#{program => "kill", args => ["-9", Pid]}),
    receive {Port, {exit_status, _}} -> ok end.

killed_vm_leaves_nothing(Config) ->
    Vm = other_vm(Config, daemon_build(Config, "ws-vm", "sleep 60")),
    bct_wait:until(fun() -> bct_daemon:lives("ws-vm") end),
    ?assertMatch([_], bct_workspace:scratches()),
    kill_9(Vm),
    bct_wait:until(fun() -> not bct_daemon:lives("ws-vm") end),
    %% the next VM that uses the workspace
    ok = gen_server:stop(bc_gitops_workspace_server),
    ok = bc_gitops_workspace:init(?config(workspace, Config)),
    bct_wait:until(fun() -> length(incarnations(Config)) =:= 1 end).

incarnations(Config) ->
    filelib:wildcard("scratch/*", unicode:characters_to_list(?config(workspace, Config))).

another_living_vm_is_left_alone(Config) ->
    Vm = other_vm(Config, daemon_build(Config, "ws-other", "sleep 60")),
    bct_wait:until(fun() -> bct_daemon:lives("ws-other") end),
    [Scratch] = bct_workspace:scratches(),
    ok = bc_gitops_scratch:reap_dead(?config(workspace, Config)),
    ?assert(bct_daemon:lives("ws-other")),
    ?assertEqual([Scratch], bct_workspace:scratches()),
    kill_9(Vm),
    ok = bc_gitops_scratch:reap_dead(?config(workspace, Config)),
    ?assertNot(bct_daemon:lives("ws-other")),
    ?assertEqual([], bct_workspace:scratches()).

%%% api

packages_as_callers_of_0_7_know_them(Config) ->
    commit(Config, bct_app:erlang_mk("demo_pkg", "1.0.0")),
    ?assertEqual({error, not_found}, bc_gitops_workspace:get_package_path(demo_pkg)),
    ?assertEqual([], bc_gitops_workspace:get_ebin_paths(demo_pkg)),
    {ok, Path} = fetch(demo_pkg, Config),
    Ebin = filename:join(Path, "ebin"),
    ?assertEqual({ok, Path}, bc_gitops_workspace:get_package_path(demo_pkg)),
    ?assertEqual([Ebin], bc_gitops_workspace:get_ebin_paths(demo_pkg)),
    ok = bc_gitops_workspace:add_code_path(Path),
    ok = bc_gitops_workspace:add_code_path(Ebin),
    ?assertEqual(Ebin, lists:last(code:get_path())),
    {module, demo_pkg} = code:load_file(demo_pkg),
    "1.0.0" = apply(demo_pkg, version, []),
    ok = bc_gitops_workspace:purge_package_modules(demo_pkg),
    ?assertEqual(false, code:is_loaded(demo_pkg)),
    {module, demo_pkg} = code:load_file(demo_pkg),
    ok = bc_gitops_workspace:remove_package(demo_pkg),
    ?assertEqual(false, code:is_loaded(demo_pkg)),
    ?assertNot(lists:member(Ebin, code:get_path())),
    ?assertNot(filelib:is_dir(Path)),
    ?assertEqual({error, not_found}, bc_gitops_workspace:get_package_path(demo_pkg)),
    ?assertEqual({error, bad_directory}, bc_gitops_workspace:add_code_path("/nowhere/at/all")).

works_without_the_application(Config) ->
    ?assertEqual(undefined, whereis(bc_gitops_sup)),
    %% a supervisor that comes later takes over
    Standing = whereis(bc_gitops_workspace_server),
    [#{start := {M, F, A}}] = bc_gitops_workspace:child_specs(),
    {ok, Pid} = apply(M, F, A),
    ?assertNotEqual(Standing, Pid),
    true = unlink(Pid),
    ok = bc_gitops_workspace:init(?config(workspace, Config)).

project_types(Config) ->
    Types = [
        {rebar3, [{"rebar.config", ""}]},
        {rebar3, [{"src/x.app.src", ""}]},
        {rebar3, [{"apps/a/src/a.app.src", ""}, {"rebar.config", ""}]},
        {rebar3, [{"mix.exs", ""}, {"rebar.config", ""}, {"src/x.app.src", ""}]},
        {mix, [{"mix.exs", ""}]},
        {mix, [{"mix.exs", ""}, {"rebar.config", ""}, {"lib/x.ex", ""}]},
        {erlang_mk, [{"Makefile", "PROJECT = x\ninclude erlang.mk\n"}]},
        {erlang_mk, [{"Makefile", "-include ../../erlang.mk\n"}, {"erlang.mk", ""},
            {"src/x.app.src", ""}]},
        {unknown, [{"Makefile", "# include erlang.mk\nall:\n"}]},
        {unknown, [{"README", ""}]}
    ],
    [begin
        Dir = filename:join([?config(dir, Config), "types", integer_to_list(N)]),
        [begin
            File = filename:join(Dir, Path),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, Text)
         end || {Path, Text} <- Files],
        ?assertEqual({Files, Type}, {Files, bc_gitops_workspace:detect_project_type(Dir)})
     end || {N, {Type, Files}} <- lists:zip(lists:seq(1, length(Types)), Types)].
