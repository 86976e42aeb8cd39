%%% The store over time: what stays and what goes, what is found without its source, and what a crash,
%%% a kill or a full disk leaves of it.
-module(store_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_workspace, [source/2, prepare/2, prepare/3]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [{group, workspace}, {group, application}, {group, vms}].

groups() ->
    [
        {workspace, [], [
            a_tag_is_found_without_its_source, two_names_of_one_revision, what_a_ref_meant_last_counts, another_toolchain_builds_anew,
            what_a_node_keeps_no_other_removes, kept_for_a_node_that_is_down, silent_nodes_lose_their_builds,
            the_limit_takes_the_oldest_unused, what_is_no_build_is_removed, files_are_read_only_and_removed
        ]},
        {application, [], [
            going_back_needs_neither_source_nor_tool, state_keeps_what_it_names, a_removed_app_keeps_nothing,
            a_damaged_build_is_made_anew_before_anything_stops, damage_does_not_stop_what_runs,
            progress_is_part_of_the_status, a_crash_of_the_server_loses_nothing, builds_go_on_when_the_server_crashes
        ]},
        {vms, [], [
            killed_while_it_publishes_and_removes, damaged_builds_are_not_started_at_boot,
            a_full_disk_fails_the_build_alone, a_disk_that_fills_anywhere_in_a_build
        ]}
    ].

init_per_group(Group, Config) -> [{group, Group} | Config].

end_per_group(_Group, _Config) -> ok.

init_per_testcase(Case, Config) ->
    case ?config(group, Config) of
        workspace -> bct_workspace:start(Config);
        _ -> [{context, bct_gitops:setup(atom_to_list(Case))} | Config]
    end.

end_per_testcase(_Case, Config) ->
    [application:unset_env(bc_gitops, Key)
     || Key <- [build_jobs, max_builds_kept, max_store_size, state_path, build_env]],
    case ?config(group, Config) of
        workspace -> bct_workspace:stop(Config);
        _ -> bct_gitops:teardown(?config(context, Config))
    end.

%%% A workspace alone

commit(Config, Files) -> bct_repo:commit(?config(repo, Config), Files).

away(Config) ->
    ok = file:rename(?config(repo, Config), filename:join(?config(dir, Config), "away")).

keys(Config) -> bc_gitops_store:keys(?config(workspace, Config)).

a_tag_is_found_without_its_source(Config) ->
    commit(Config, bct_app:erlang_mk("st_tag", "1.0.0")),
    ok = bct_repo:tag(?config(repo, Config), "v1"),
    {ok, One} = prepare(st_tag, source(Config, <<"v1">>)),
    commit(Config, bct_app:erlang_mk("st_tag", "2.0.0")),
    {ok, Two} = prepare(st_tag, source(Config, <<"main">>)),
    away(Config),
    ?assertEqual({ok, One}, prepare(st_tag, source(Config, <<"v1">>), #{version => <<"1.0.0">>})),
    ?assertEqual({ok, Two}, prepare(st_tag, source(Config, <<"main">>))),
    %% never a build of another version, or of a ref that was not built
    ?assertMatch({error, {_, #{message := _}}},
                 prepare(st_tag, source(Config, <<"main">>), #{version => <<"3.0.0">>})),
    ?assertMatch({error, {_, #{message := _}}}, prepare(st_tag, source(Config, <<"v2">>))),
    ?assertEqual(2, bct_workspace:builds(st_tag, "make app")).

%% Built once, and found by either when nobody answers.
two_names_of_one_revision(Config) ->
    Commit = commit(Config, bct_app:erlang_mk("st_two", "1.0.0")),
    ok = bct_repo:tag(?config(repo, Config), "v1"),
    [{ok, #{revision := Commit}} = prepare(st_two, source(Config, Ref)) || Ref <- [<<"main">>, <<"v1">>]],
    ok = bct_repo:tag(?config(repo, Config), "v2"),
    away(Config),
    restart(Config),
    [?assertMatch({ok, #{revision := Commit}}, prepare(st_two, source(Config, Ref))) || Ref <- [<<"main">>, <<"v1">>]],
    ?assertMatch({error, _}, prepare(st_two, source(Config, <<"v2">>))),
    ?assertEqual(1, length(keys(Config))).

%% A ref that is known to have moved to what was never built is not what it was.
what_a_ref_meant_last_counts(Config) ->
    commit(Config, bct_app:erlang_mk("st_moved", "1.0.0")),
    #source_spec{url = Url} = Main = source(Config, <<"main">>),
    {ok, One} = prepare(st_moved, Main),
    Options = #{auth => fun() -> #{allow_local => true} end},
    {ok, Watch} = gen_server:start({local, bc_gitops_source_watch}, bc_gitops_source_watch, Options, []),
    ok = bc_gitops_source_watch:refresh_wait([{Url, <<"main">>}], 60000),
    Prepare = fun() -> prepare(st_moved, Main) end,
    away(Config),
    ?assertEqual({ok, One}, Prepare()),
    ok = file:rename(filename:join(?config(dir, Config), "away"), ?config(repo, Config)),
    commit(Config, bct_app:erlang_mk("st_moved", "1.0.0")),
    ok = bc_gitops_source_watch:refresh_wait([{Url, <<"main">>}], 60000),
    away(Config),
    ?assertMatch({error, {_, #{message := _}}}, Prepare()),
    ok = gen_server:stop(Watch).

%% Builds for other machines and with other options stand beside each other.
another_toolchain_builds_anew(Config) ->
    Commit = commit(Config, bct_app:erlang_mk("st_tools", "1.0.0")),
    {ok, #{key := First} = Build} = prepare(st_tools, source(Config, Commit)),
    ok = application:set_env(bc_gitops, build_env, ["ST_FLAGS"]),
    {ok, #{key := Second}} = prepare(st_tools, source(Config, Commit)),
    ?assertNotEqual(First, Second),
    ok = application:unset_env(bc_gitops, build_env),
    ?assertMatch({ok, #{key := First}}, prepare(st_tools, source(Config, Commit))),
    ?assertEqual(2, bct_workspace:builds(st_tools, "make app")),
    %% one that another machine built
    {ok, _} = bc_gitops_store:seal(?config(workspace, Config), Build#{arch := <<"pdp11/16">>}),
    {ok, _} = prepare(st_tools, source(Config, Commit)),
    ?assertEqual(3, bct_workspace:builds(st_tools, "make app")).

built(Config, Name) ->
    Repo = bct_repo:init(filename:join(?config(dir, Config), Name)),
    Commit = bct_repo:commit(Repo, bct_app:erlang_mk(atom_to_list(Name), "1.0.0")),
    {ok, #{key := Key}} = prepare(Name, #source_spec{type = git, url = bct_repo:url(Repo), ref = Commit}),
    Key.

as_node(StatePath, Fun) ->
    ok = application:set_env(bc_gitops, state_path, StatePath),
    Fun().

what_a_node_keeps_no_other_removes(Config) ->
    [A, B] = [built(Config, Name) || Name <- [st_a, st_b]],
    as_node("/one", fun() -> bc_gitops_workspace:keep(st_a, [A]) end),
    restart(Config),
    as_node("/two", fun() -> bc_gitops_workspace:keep(st_b, [B]) end),
    restart(Config),
    as_node("/three", fun() -> bc_gitops_workspace:cleanup() end),
    ?assertEqual(lists:sort([A, B]), keys(Config)),
    as_node("/two", fun() -> bc_gitops_workspace:keep(st_b, []) end),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([A], keys(Config)),
    ok = bc_gitops_workspace:delete_package(st_a),
    ?assertEqual([A], keys(Config)).

%% Another VM, as far as memory goes.
restart(Config) ->
    ok = gen_server:stop(bc_gitops_workspace_server),
    ok = bc_gitops_workspace:init(?config(workspace, Config)).

kept_for_a_node_that_is_down(Config) ->
    [A, B] = [built(Config, Name) || Name <- [st_a, st_b]],
    ok = bc_gitops_workspace:keep(st_a, [A]),
    ok = bc_gitops_workspace:keep(st_b, [B]),
    restart(Config),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual(lists:sort([A, B]), keys(Config)),
    %% what is known of nobody is kept for nobody
    ok = bc_gitops_workspace:keep_only([st_b]),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([B], keys(Config)).

silent_nodes_lose_their_builds(Config) ->
    A = built(Config, st_a),
    as_node("/one", fun() -> bc_gitops_workspace:keep(st_a, [A]) end),
    restart(Config),
    [Holder] = filelib:wildcard("pins/*/holder", unicode:characters_to_list(?config(workspace, Config))),
    ok = file:change_time(filename:join(?config(workspace, Config), Holder), {{2020, 1, 1}, {0, 0, 0}}),
    as_node("/one", fun() -> bc_gitops_workspace:cleanup() end),
    ?assertEqual([A], keys(Config)),
    as_node("/two", fun() -> bc_gitops_workspace:cleanup() end),
    ?assertEqual([], keys(Config)).

the_limit_takes_the_oldest_unused(Config) ->
    [A, B, C] = Keys = [built(Config, Name) || Name <- [st_a, st_b, st_c]],
    Workspace = ?config(workspace, Config),
    [begin
        File = filename:join(bc_gitops_store:path(Workspace, Key), "manifest"),
        ok = file:change_time(File, {{2020, 1, 1}, {0, 0, N}})
     end || {N, Key} <- lists:zip([1, 2, 3], Keys)],
    {Size, []} = bc_gitops_store:known(Workspace, A),
    ok = bc_gitops_workspace:keep(st_a, [A]),
    restart(Config),
    %% room for three and a half
    ok = application:set_env(bc_gitops, max_store_size, Size * 7 div 2),
    D = built(Config, st_d),
    ?assertEqual(lists:sort([A, C, D]), keys(Config)),
    ?assertNot(lists:member(B, keys(Config))),
    %% what is in use, and what was just built, stays although it is too much
    ok = application:set_env(bc_gitops, max_store_size, 1),
    E = built(Config, st_e),
    ?assertEqual(lists:sort([A, D, E]), keys(Config)),
    ok = application:set_env(bc_gitops, max_store_size, infinity),
    F = built(Config, st_f),
    ?assertEqual(lists:sort([A, D, E, F]), keys(Config)).

what_is_no_build_is_removed(Config) ->
    Key = built(Config, st_a),
    Store = bc_gitops_store:path(?config(workspace, Config), <<>>),
    ok = filelib:ensure_path(filename:join(Store, "half-a-build/lib/x")),
    ok = bct_build:damage(filename:join([Store, Key, "manifest"]), "#{"),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([], keys(Config)).

files_are_read_only_and_removed(Config) ->
    Key = built(Config, st_a),
    Dir = bc_gitops_store:path(?config(workspace, Config), Key),
    Writable = "find lib files -perm /222",
    {ok, #{output := Output}} = bc_gitops_command:run(#{program => "sh", args => ["-c", Writable], cd => Dir}),
    ?assertEqual(<<>>, Output),
    ok = bc_gitops_workspace:cleanup(),
    ?assertNot(filelib:is_file(Dir)),
    ?assertEqual([], bct_workspace:scratches()).

%%% With the application

context(Config) -> ?config(context, Config).

start(Config) -> start(Config, #{}).

start(Config, More) ->
    bct_gitops:start(context(Config), More#{runtime_module => bc_gitops_runtime_default}).

%% Commits a version of an application's own repository, with its tag.
version(Config, Name, Version) -> version(Config, Name, Version, "true").

version(Config, Name, Version, Script) ->
    Repo = repo(Config, Name),
    _ = filelib:is_dir(Repo) orelse bct_repo:init(Repo),
    Commit = bct_repo:commit(Repo, bct_app:erlang_mk(atom_to_list(Name), Version, Script)),
    ok = bct_repo:tag(Repo, "v" ++ Version),
    Commit.

repo(Config, Name) -> filename:join(maps:get(dir, context(Config)), Name).

want(Config, Name, Version) ->
    Source = #{type => git, url => bct_repo:url(repo(Config, Name)), ref => list_to_binary("v" ++ Version)},
    _ = bct_gitops:push(context(Config), [bct_gitops:spec(Name, Version, #{source => Source})]),
    ok.

running(Name) -> bct_gitops:version(Name).

build(Name) -> maps:get(build, bct_gitops:details(Name)).

stored() -> bc_gitops_store:keys(bc_gitops_workspace_server:root()).

going_back_needs_neither_source_nor_tool(Config) ->
    [version(Config, st_back, Version) || Version <- ["1.0.0", "2.0.0"]],
    _ = start(Config),
    [begin
        want(Config, st_back, Version),
        ok = bc_gitops:reconcile()
     end || Version <- ["1.0.0", "2.0.0"]],
    ok = file:rename(repo(Config, st_back), <<(repo(Config, st_back))/binary, ".away">>),
    want(Config, st_back, "1.0.0"),
    bct_workspace:path_without_tools(maps:get(dir, context(Config)), fun() ->
        ?assertEqual(ok, bc_gitops:reconcile())
    end),
    ?assertEqual(<<"1.0.0">>, running(st_back)),
    ?assertEqual("1.0.0", apply(st_back, version, [])),
    {ok, Log} = bc_gitops:build_log(st_back),
    ?assertEqual(2, length(binary:matches(Log, <<"== fetching">>))).

%% Of each app: what runs, what ran before; nothing else.
state_keeps_what_it_names(Config) ->
    Versions = ["1.0.0", "2.0.0", "3.0.0"],
    [version(Config, st_kept, Version) || Version <- Versions],
    _ = start(Config),
    Keys = [begin
        want(Config, st_kept, Version),
        ok = bc_gitops:reconcile(),
        build(st_kept)
     end || Version <- Versions],
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual(lists:sort(tl(Keys)), stored()),
    %% also when it is down, and before anybody has read the state
    ok = bc_gitops:stop_reconciler(),
    ok = application:stop(st_kept),
    Root = bc_gitops_workspace_server:root(),
    ok = application:stop(bc_gitops),
    %% 0.7's functions work without the application
    with_state(Config, fun() ->
        ok = bc_gitops_workspace:init(Root),
        ok = bc_gitops_workspace:cleanup()
    end),
    ?assertEqual(lists:sort(tl(Keys)), bc_gitops_store:keys(Root)),
    _ = start(Config),
    ok = bc_gitops_workspace:cleanup(),
    ok = bc_gitops:reconcile(),
    ?assertEqual("3.0.0", apply(st_kept, version, [])),
    ?assertEqual(lists:sort(tl(Keys)), stored()).

with_state(Config, Fun) ->
    #{state_path := StatePath} = bct_gitops:config(context(Config), #{}),
    ok = application:set_env(bc_gitops, state_path, StatePath),
    Fun().

a_removed_app_keeps_nothing(Config) ->
    [version(Config, Name, "1.0.0") || Name <- [st_gone, st_stays]],
    _ = start(Config),
    [want(Config, Name, "1.0.0") || Name <- [st_gone, st_stays]],
    ok = bc_gitops:reconcile(),
    [Gone, Stays] = [build(Name) || Name <- [st_gone, st_stays]],
    bct_gitops:delete(context(Config), [st_gone]),
    ok = bc_gitops:reconcile(),
    ?assert(lists:member(Gone, stored())),
    ok = bc_gitops_workspace:cleanup(),
    ?assertEqual([Stays], stored()).

a_damaged_build_is_made_anew_before_anything_stops(Config) ->
    Script = "mkdir -p priv; echo data > priv/data",
    [version(Config, st_dam, Version, Script) || Version <- ["1.0.0", "2.0.0"]],
    _ = start(Config),
    [begin
        want(Config, st_dam, Version),
        ok = bc_gitops:reconcile()
     end || Version <- ["1.0.0", "2.0.0"]],
    {ok, #app_state{path = Path, details = #{previous_version := <<"1.0.0">>}}} = bc_gitops:get_app_status(st_dam),
    [Other] = stored() -- [build(st_dam)],
    Data = filename:join([bc_gitops_store:path(bc_gitops_workspace_server:root(), Other), "lib/st_dam/priv/data"]),
    ok = bct_build:damage(Data, "harmed"),
    %% while its source is away it is an error, and what runs goes on
    Pid = whereis(st_dam),
    Repo = repo(Config, st_dam),
    ok = file:rename(Repo, <<Repo/binary, ".away">>),
    want(Config, st_dam, "1.0.0"),
    {error, {actions_failed, [#{app := st_dam, reason := Reason}]}} = bc_gitops:reconcile(),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Reason), "priv/data has changed")),
    ?assertEqual({Pid, <<"2.0.0">>}, {whereis(st_dam), running(st_dam)}),
    ok = file:rename(<<Repo/binary, ".away">>, Repo),
    ok = bc_gitops:reconcile(),
    ?assertEqual(<<"1.0.0">>, running(st_dam)),
    ?assertEqual({ok, <<"data\n">>}, file:read_file(Data)),
    ?assert(filelib:is_dir(Path)).

%% Only what is to be loaded needs files: a restart of bc_gitops adopts what runs.
damage_does_not_stop_what_runs(Config) ->
    version(Config, st_runs, "1.0.0"),
    _ = start(Config),
    want(Config, st_runs, "1.0.0"),
    ok = bc_gitops:reconcile(),
    {ok, #app_state{path = Path}} = bc_gitops:get_app_status(st_runs),
    ok = bct_build:damage(filename:join(Path, "ebin/st_runs.beam"), "harmed"),
    Pid = whereis(st_runs),
    ok = application:stop(bc_gitops),
    _ = start(Config),
    ok = bc_gitops:reconcile(),
    ?assertEqual({Pid, <<"1.0.0">>}, {whereis(st_runs), running(st_runs)}).

crash_of_the_server() ->
    Server = whereis(bc_gitops_workspace_server),
    exit(Server, kill),
    bct_wait:until(fun() ->
        New = whereis(bc_gitops_workspace_server),
        is_pid(New) andalso New =/= Server andalso is_supervised(New)
    end).

is_supervised(Pid) ->
    lists:keymember(Pid, 2, supervisor:which_children(bc_gitops_sup)).

a_crash_of_the_server_loses_nothing(Config) ->
    version(Config, st_crash, "1.0.0"),
    _ = start(Config),
    want(Config, st_crash, "1.0.0"),
    ok = bc_gitops:reconcile(),
    {Root, Log} = {bc_gitops_workspace_server:root(), bc_gitops:build_log(st_crash)},
    {ok, Path} = bc_gitops_workspace:get_package_path(st_crash),
    crash_of_the_server(),
    ?assertEqual(Root, bc_gitops_workspace_server:root()),
    ?assertEqual(Log, bc_gitops:build_log(st_crash)),
    ?assertEqual({ok, Path}, bc_gitops_workspace:get_package_path(st_crash)),
    %% kept in memory too: the disk may have refused
    [ok = file:delete(File) || File <- filelib:wildcard(unicode:characters_to_list(Root) ++ "/pins/*/st_crash")],
    ok = bc_gitops:stop_reconciler(),
    true = code:del_path(st_crash),
    ok = bc_gitops_workspace:cleanup(),
    ?assert(filelib:is_dir(Path)).

%% A build that says that it runs and waits for a file.
gate(Config, Name) -> gate(Config, Name, "1.0.0").

gate(Config, Name, Version) ->
    Gate = filename:join(maps:get(dir, context(Config)), [atom_to_list(Name), ".gate"]),
    Script = io_lib:format("touch ~s.runs; while [ ! -e ~s.go ]; do sleep 0.02; done", [Gate, Gate]),
    version(Config, Name, Version, lists:flatten(Script)),
    Gate.

%% The old version runs, its successor is built: both are in one answer.
progress_is_part_of_the_status(Config) ->
    version(Config, st_seen, "1.0.0"),
    _ = start(Config, #{build_sandbox => off}),
    want(Config, st_seen, "1.0.0"),
    ok = bc_gitops:reconcile(),
    ?assertNot(is_map_key(progress, bct_gitops:details(st_seen))),
    Gate = gate(Config, st_seen, "2.0.0"),
    want(Config, st_seen, "2.0.0"),
    Pid = background(fun bc_gitops:reconcile/0),
    bct_wait:until(fun() -> filelib:is_file(<<Gate/binary, ".runs">>) end),
    ?assertMatch(#{state := preparing, running_version := <<"1.0.0">>,
                   progress := #{stage := build, since := _, line := _, lines := [_ | _]}},
                 bct_gitops:details(st_seen)),
    ok = file:write_file(<<Gate/binary, ".go">>, ""),
    ok = result(Pid),
    Details = bct_gitops:details(st_seen),
    ?assertMatch(#{running_version := <<"2.0.0">>}, Details),
    ?assertNot(is_map_key(progress, Details)).

builds_go_on_when_the_server_crashes(Config) ->
    [GateA, GateB] = [gate(Config, Name) || Name <- [st_ga, st_gb]],
    _ = start(Config, #{build_jobs => 1, build_sandbox => off}),
    [A, B, C] = [begin
        Source = #source_spec{type = git, url = bct_repo:url(repo(Config, Name)), ref = <<"v1.0.0">>},
        fun() -> bc_gitops_workspace:prepare(Name, Source, #{}) end
     end || Name <- [st_ga, st_gb, st_gb]],
    PidA = background(A),
    bct_wait:until(fun() -> filelib:is_file(<<GateA/binary, ".runs">>) end),
    crash_of_the_server(),
    %% its place is still taken, and its directory still known
    PidB = background(B),
    bct_wait:until(fun() -> length(element(5, sys:get_state(bc_gitops_workspace_server))) =:= 1 end),
    ?assertMatch([_], bct_workspace:scratches()),
    ?assertNot(filelib:is_file(<<GateB/binary, ".runs">>)),
    ok = file:write_file(<<GateA/binary, ".go">>, ""),
    ?assertMatch({ok, #{app := st_ga}}, result(PidA)),
    bct_wait:until(fun() -> filelib:is_file(<<GateB/binary, ".runs">>) end),
    %% who builds across a crash and dies leaves nothing either
    crash_of_the_server(),
    exit(PidB, kill),
    bct_wait:until(fun() -> bct_workspace:scratches() =:= [] end),
    ok = file:write_file(<<GateB/binary, ".go">>, ""),
    ?assertMatch({ok, #{app := st_gb}}, result(background(C))),
    ?assertEqual([], bct_workspace:scratches()).

background(Fun) ->
    Self = self(),
    spawn(fun() -> Self ! {self(), Fun()} end).

result(Pid) ->
    receive {Pid, Result} -> Result after 300000 -> error(no_result) end.

%%% VMs of their own

%% Whatever stands in the store is whole, and nothing else is left once the next VM has swept.
killed_while_it_publishes_and_removes(Config) ->
    Seed = {7, 11, 2026},
    _ = rand:seed(exsss, Seed),
    ct:log("seed ~p", [Seed]),
    Workspace = filename:join(maps:get(dir, context(Config)), "workspace"),
    Left = [begin
        Vm = bct_vm:start(bare, []),
        Churner = {rand:uniform(1 bsl 30), Round, 3},
        ok = bct_vm:call(Vm, bct_churn, begin_at, [Workspace, Churner]),
        receive after rand:uniform(120) -> ok end,
        ok = bct_vm:kill(Vm),
        survey(Workspace)
     end || Round <- lists:seq(1, 8)],
    ct:log("whole builds and leftovers at each kill: ~p", [Left]),
    ?assert(lists:any(fun({_Whole, Leftovers}) -> Leftovers > 0 end, Left)).

survey(Workspace) ->
    Leftovers = length(leftovers(Workspace)),
    ok = bc_gitops_workspace:init(Workspace),
    Keys = bc_gitops_store:keys(Workspace),
    [begin
        {ok, Build} = bc_gitops_workspace:lookup(Key),
        ?assertEqual({Key, ok}, {Key, bc_gitops_workspace:check(Build)})
     end || Key <- Keys],
    ?assertEqual([], Keys -- [bct_churn:key(N) || N <- lists:seq(1, 4)]),
    bct_wait:until(fun() -> leftovers(Workspace) =:= [] end),
    ok = gen_server:stop(bc_gitops_workspace_server),
    {length(Keys), Leftovers}.

leftovers(Workspace) ->
    filelib:wildcard("scratch/*/{[0-9],removed-}*", unicode:characters_to_list(Workspace)).

env(Config, More) ->
    maps:merge((bct_gitops:config(context(Config), #{}))#{
        runtime_module => bc_gitops_runtime_default, retry_min => 100000}, More).

damaged_builds_are_not_started_at_boot(Config) ->
    version(Config, st_boot, "1.0.0"),
    want(Config, st_boot, "1.0.0"),
    Vm = bct_vm:start(env(Config, #{})),
    ok = bct_vm:call(Vm, bc_gitops, reconcile, []),
    {ok, #app_state{path = Path}} = bct_vm:call(Vm, bc_gitops, get_app_status, [st_boot]),
    ok = bct_vm:kill(Vm),
    App = filename:join(Path, "ebin/st_boot.app"),
    {ok, Content} = file:read_file(App),
    ok = bct_build:damage(App, [Content, "% one more line\n"]),
    Repo = repo(Config, st_boot),
    ok = file:rename(Repo, <<Repo/binary, ".away">>),
    %% the store's build is not loaded, and there is no other
    Second = bct_vm:start(env(Config, #{})),
    {error, {actions_failed, _}} = bct_vm:call(Second, bc_gitops, reconcile, []),
    ?assertEqual(false, bct_vm:call(Second, code, is_loaded, [st_boot])),
    {ok, #app_state{status = Status, details = Details}} = bct_vm:call(Second, bc_gitops, get_app_status, [st_boot]),
    ?assertNotEqual(running, Status),
    ?assertMatch(#{history := [_ | _]}, Details),
    ?assert(lists:any(fun(#{result := Result}) ->
        is_binary(Result) andalso string:find(Result, "st_boot.app has changed") =/= nomatch
    end, maps:get(history, Details))),
    %% with its source it is made anew
    ok = file:rename(<<Repo/binary, ".away">>, Repo),
    ok = bct_vm:call(Second, bc_gitops, reconcile, []),
    ?assertEqual("1.0.0", bct_vm:call(Second, st_boot, version, [])),
    ?assertEqual({ok, Content}, file:read_file(App)),
    ok = bct_vm:kill(Second).

%% A VM that sees a small disk at Dir, in a mount namespace of its own: the disk goes with it.
vm_with_disk(Dir, Megabytes, Env) ->
    ok = filelib:ensure_path(Dir),
    Mount = io_lib:format("mount -t tmpfs -o size=~bm,mode=700 none \"$0\" && exec erl \"$@\"", [Megabytes]),
    Unshare = case bc_gitops_command:run(#{program => "id", args => ["-u"]}) of
        {ok, #{output := <<"0\n">>}} -> ["-m"];
        _ -> ["-U", "-r", "-m"]
    end,
    Probe = #{program => "unshare", args => Unshare ++ ["mount", "-t", "tmpfs", "none", Dir]},
    case bc_gitops_command:run(Probe) of
        {ok, _} -> ok;
        {error, Reason} ->
            ct:fail("this test needs a file system of its own: run it as root, or allow user namespaces "
                    "(sysctl kernel.unprivileged_userns_clone=1); ~p", [Reason])
    end,
    bct_vm:start_by({os:find_executable("unshare"), Unshare ++ ["sh", "-c", lists:flatten(Mount), unicode:characters_to_list(Dir)]}, Env).

fill(Vm, Dir, Leave) ->
    Filler = filename:join(Dir, "filler"),
    _ = bct_vm:call(Vm, file, delete, [Filler]),
    {ok, #{free := Free}} = bct_vm:call(Vm, bc_gitops_native, disk_space, [Dir]),
    ok = bct_vm:call(Vm, bct_disk, fill, [Filler, Free - Leave]).

empty(Vm, Dir) ->
    ok = bct_vm:call(Vm, file, delete, [filename:join(Dir, "filler")]).

a_full_disk_fails_the_build_alone(Config) ->
    Large = "mkdir -p priv; dd if=/dev/urandom of=priv/large bs=1k count=3000 2>&1",
    [version(Config, Name, "1.0.0") || Name <- [st_grow, st_calm]],
    version(Config, st_grow, "2.0.0", Large),
    [want(Config, Name, "1.0.0") || Name <- [st_grow, st_calm]],
    Disk = filename:join(maps:get(dir, context(Config)), "disk"),
    Places = #{workspace_path => filename:join(Disk, "workspace"), state_path => filename:join(Disk, "state")},
    Vm = vm_with_disk(Disk, 16, env(Config, Places)),
    ok = bct_vm:call(Vm, bc_gitops, reconcile, []),
    Pids = [bct_vm:call(Vm, erlang, whereis, [Name]) || Name <- [st_grow, st_calm]],
    want(Config, st_grow, "2.0.0"),
    [begin
        fill(Vm, Disk, Leave),
        {error, {actions_failed, [#{app := st_grow, reason := {disk_full, Details}}]}} =
            bct_vm:call(Vm, bc_gitops, reconcile, []),
        #{path := Path, free := Free, message := Message} = Details,
        ct:log("~ts", [Message]),
        ?assert(bc_gitops_tree:is_below(Path, Disk)),
        ?assert(Free =< Leave + 4096),
        [?assertNotEqual(nomatch, string:find(Message, Part)) || Part <- [Path, "free", "make room"]],
        ?assertEqual(Pids, [bct_vm:call(Vm, erlang, whereis, [Name]) || Name <- [st_grow, st_calm]]),
        {ok, #{status := degraded, app_count := 2, healthy_count := 2}} = bct_vm:call(Vm, bc_gitops, status, []),
        {ok, #app_state{details = #{state := backing_off, running_version := <<"1.0.0">>}}} =
            bct_vm:call(Vm, bc_gitops, get_app_status, [st_grow]),
        ?assertEqual([], bct_vm:call(Vm, bct_workspace, scratches, []))
     end || Leave <- [0, 1000000, 4500000]],
    empty(Vm, Disk),
    ok = bct_vm:call(Vm, bc_gitops, reconcile, []),
    ?assertEqual("2.0.0", bct_vm:call(Vm, st_grow, version, [])),
    {ok, #{status := synced}} = bct_vm:call(Vm, bc_gitops, status, []),
    %% what a full disk kept from being written is written now
    ok = bct_vm:kill(Vm).

%% From no space to enough of it, in steps: fetching, compiling, copying, listing fail for want of
%% space, each with the same error and nothing left behind.
a_disk_that_fills_anywhere_in_a_build(Config) ->
    Large = "mkdir -p priv; dd if=/dev/urandom of=priv/large bs=1k count=600 2>&1",
    Repo = repo(Config, st_fill),
    version(Config, st_fill, "1.0.0", Large),
    Commit = bct_repo:commit(Repo, [{"assets/large", crypto:strong_rand_bytes(400000)}]),
    Disk = filename:join(maps:get(dir, context(Config)), "disk"),
    Vm = vm_with_disk(Disk, 16, #{workspace_path => filename:join(Disk, "workspace"), allow_local_sources => true}),
    ok = bct_vm:call(Vm, bc_gitops_workspace, init, []),
    Source = #source_spec{type = git, url = bct_repo:url(Repo), ref = Commit},
    Prepare = fun() -> bct_vm:call(Vm, bc_gitops_workspace, prepare, [st_fill, Source, #{}]) end,
    {Failed, Leave} = fill_less(Vm, Disk, Prepare, 0, []),
    ct:log("built with ~b bytes; failed before: ~p", [Leave, Failed]),
    ?assert(length(lists:usort(Failed)) >= 3),
    {ok, Build} = Prepare(),
    ?assertEqual(ok, bct_vm:call(Vm, bc_gitops_workspace, check, [Build])),
    ok = bct_vm:kill(Vm).

fill_less(Vm, Disk, Prepare, Leave, Failed) ->
    fill(Vm, Disk, Leave),
    case Prepare() of
        {ok, _} ->
            {Failed, Leave};
        {error, {disk_full, #{failed := Kind, path := _, free := _, message := _}}} ->
            ?assertEqual([], bct_vm:call(Vm, bct_workspace, scratches, [])),
            Root = bct_vm:call(Vm, bc_gitops_workspace_server, root, []),
            ?assertEqual([], bct_vm:call(Vm, bc_gitops_store, keys, [Root])),
            fill_less(Vm, Disk, Prepare, Leave + 150000, [Kind | Failed])
    end.
