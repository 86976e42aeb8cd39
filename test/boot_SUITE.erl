%%% Virtual machines that stop, are killed, or are taken down by what they start; with the default
%%% runtime and real builds.
-module(boot_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        what_ran_runs_again_without_the_remote, an_app_that_takes_the_vm_down_is_set_aside,
        killed_at_any_moment_nothing_is_lost, killed_in_a_build_nothing_is_left, a_restart_of_bc_gitops_alone_adopts,
        nothing_is_started_before_the_boot_is_done
    ].

init_per_testcase(Case, Config) ->
    Context = bct_gitops:setup(atom_to_list(Case)),
    [{context, Context} | Config].

end_per_testcase(_Case, Config) ->
    bct_dir:remove(maps:get(dir, context(Config))).

context(Config) -> proplists:get_value(context, Config).

what_ran_runs_again_without_the_remote(Config) ->
    #{dir := Dir, repo := Repo} = Context = context(Config),
    Sources = [source(Context, Name, ["1.0.0"]) || Name <- [bct_db, bct_page]],
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, "1.0.0", []), git_spec(Context, bct_page, "1.0.0", [bct_db])]),
    First = bct_vm:start(env(Context)),
    ok = bct_vm:call(First, bc_gitops, reconcile, []),
    ?assertEqual("1.0.0", bct_vm:call(First, bct_page, version, [])),
    ok = bct_vm:kill(First),
    ok = file:rename(Repo, filename:join(Dir, "repo.away")),
    [ok = file:rename(Source, <<Source/binary, ".away">>) || Source <- Sources],
    Second = bct_vm:start(env(Context)),
    ok = bct_vm:eventually(Second, fun(Vm) -> running(Vm) =:= #{bct_db => <<"1.0.0">>, bct_page => <<"1.0.0">>} end),
    ?assertEqual("1.0.0", bct_vm:call(Second, bct_page, version, [])),
    {error, {desired_state, _}} = bct_vm:call(Second, bc_gitops, reconcile, []),
    {ok, Status} = bct_vm:call(Second, bc_gitops, status, []),
    ?assertMatch(#{status := error, app_count := 2, healthy_count := 2, last_error := {desired_state, _}}, Status),
    ok = bct_vm:kill(Second).

an_app_that_takes_the_vm_down_is_set_aside(Config) ->
    Context = context(Config),
    Source = source(Context, bct_db, ["1.0.0"]),
    _ = bct_repo:commit(Source, halting(bct_db, "2.0.0")),
    ok = bct_repo:tag(Source, "v2.0.0"),
    _ = source(Context, bct_page, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, "1.0.0", []), git_spec(Context, bct_page, "1.0.0", [])]),
    First = bct_vm:start(env(Context)),
    ok = bct_vm:call(First, bc_gitops, reconcile, []),
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, "2.0.0", [])]),
    %% twice it takes the VM down
    _ = (catch bct_vm:call(First, bc_gitops, reconcile, [])),
    ok = bct_vm:await_down(First),
    Second = bct_vm:start(env(Context)),
    ok = bct_vm:await_down(Second),
    %% and then it is left alone, and the version before it runs
    Third = bct_vm:start(env(Context)),
    ok = bct_vm:eventually(Third, fun(Vm) ->
        running(Vm) =:= #{bct_db => <<"1.0.0">>, bct_page => <<"1.0.0">>} andalso
            state(Vm, bct_db) =:= quarantined
    end),
    {ok, #app_state{details = Details}} = bct_vm:call(Third, bc_gitops, get_app_status, [bct_db]),
    ?assertMatch(
        #{last_error := #{reason := {vm_died_in_start, 2}}, desired_version := <<"2.0.0">>,
          running_version := <<"1.0.0">>},
        Details),
    ok = bct_vm:kill(Third).

%% Each round begins something, kills the VM at a random moment of it, and may kill the next one in
%% its recovery; at the end what git says runs.
killed_at_any_moment_nothing_is_lost(Config) ->
    Seed = {20, 26, 7},
    _ = rand:seed(exsss, Seed),
    ct:log("seed ~p", [Seed]),
    Context = context(Config),
    Versions = ["1.0.0", "1.1.0", "1.2.0"],
    Names = [bct_db, bct_page],
    _ = [source(Context, Name, Versions) || Name <- Names],
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, "1.0.0", []), {"apps/.keep", ""}]),
    Longest = prepare_store(Context, Versions),
    lists:foreach(fun(Round) -> round(Round, Context, Versions, Longest) end, lists:seq(1, 12)).

%% All versions are built once, so that the rounds are about switching; answers how long a switch takes.
prepare_store(Context, Versions) ->
    Vm = bct_vm:start(env(Context)),
    Times = [
        begin
            _ = bct_gitops:push(Context, [git_spec(Context, bct_db, V, []), git_spec(Context, bct_page, V, [bct_db])]),
            {Micros, ok} = timer:tc(fun() -> bct_vm:call(Vm, bc_gitops, reconcile, []) end),
            Micros div 1000
        end
     || V <- Versions ++ [hd(Versions)]
    ],
    ok = bct_vm:kill(Vm),
    lists:last(Times).

round(Round, Context, Versions, Longest) ->
    Wanted = wanted(Context, Versions),
    Vm = bct_vm:start((env(Context))#{reconcile_interval => 50}),
    ok = kill_after(Vm, rand:uniform(2 * Longest + 200)),
    case rand:uniform(2) of
        1 -> kill_after(bct_vm:start(env(Context)), rand:uniform(300));
        2 -> ok
    end,
    Last = bct_vm:start(env(Context)),
    Result = bct_vm:call(Last, bc_gitops, reconcile, []),
    ct:log("round ~b: ~p: ~p", [Round, Wanted, Result]),
    ?assertEqual(ok, Result),
    ?assertEqual(Wanted, running(Last)),
    [?assertEqual(binary_to_list(V), bct_vm:call(Last, Name, version, [])) || {Name, V} <- maps:to_list(Wanted)],
    {ok, Stored, []} = bc_gitops_state:read_apps(filename:join(maps:get(dir, Context), <<"state">>)),
    ?assertEqual(lists:sort(maps:keys(Wanted)), lists:sort([Name || #{name := Name} <- Stored])),
    ?assertEqual([], [App || #{switch := Switch} = App <- Stored, Switch =/= undefined]),
    ok = bct_vm:kill(Last).

%% The next thing that git says: another version, or one app less.
wanted(Context, Versions) ->
    Version = lists:nth(rand:uniform(length(Versions)), Versions),
    Db = {bct_db, list_to_binary(Version)},
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, Version, [])]),
    case rand:uniform(3) of
        1 ->
            Web = filename:join([maps:get(repo, Context), "apps", "bct_page"]),
            _ = [bct_gitops:delete(Context, [bct_page]) || filelib:is_dir(Web)],
            maps:from_list([Db]);
        _ ->
            _ = bct_gitops:push(Context, [git_spec(Context, bct_page, Version, [bct_db])]),
            maps:from_list([Db, {bct_page, list_to_binary(Version)}])
    end.

kill_after(Vm, Ms) ->
    %% a moment in time is what this is about
    receive after Ms -> ok end,
    bct_vm:kill(Vm).

%% The VM goes while it fetches and builds: the next one builds, and no process or scratch is left.
killed_in_a_build_nothing_is_left(Config) ->
    _ = rand:seed(exsss, {5, 26, 11}),
    #{dir := Dir} = Context = context(Config),
    Versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"],
    _ = source(Context, bct_db, Versions),
    lists:foreach(
        fun(Version) ->
            _ = bct_gitops:push(Context, [git_spec(Context, bct_db, Version, [])]),
            ok = kill_after(bct_vm:start(env(Context)), rand:uniform(1200)),
            Vm = bct_vm:start(env(Context)),
            ok = bct_vm:call(Vm, bc_gitops, reconcile, []),
            ?assertEqual(Version, bct_vm:call(Vm, bct_db, version, [])),
            ok = bct_vm:kill(Vm)
        end,
        Versions
    ),
    Last = bct_vm:start(env(Context)),
    ok = bct_vm:call(Last, bc_gitops, reconcile, []),
    Workspace = binary_to_list(filename:join(Dir, <<"workspace">>)),
    ok = bct_vm:eventually(Last, fun(_) -> builders(Workspace) =:= [] end),
    ok = bct_vm:eventually(Last, fun(_) -> filelib:wildcard(Workspace ++ "/scratch/*/*/**") =:= [] end),
    ok = bct_vm:kill(Last).

%% Processes whose working directory is in the workspace.
builders(Workspace) ->
    [
        Process
     || Process <- filelib:wildcard("/proc/[0-9]*"),
        {ok, Cwd} <- [file:read_link(filename:join(Process, "cwd"))],
        lists:prefix(Workspace, Cwd)
    ].

a_restart_of_bc_gitops_alone_adopts(Config) ->
    Context = context(Config),
    _ = source(Context, bct_db, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, "1.0.0", [])]),
    Vm = bct_vm:start(env(Context)),
    ok = bct_vm:call(Vm, bc_gitops, reconcile, []),
    Server = bct_vm:call(Vm, erlang, whereis, [bct_db]),
    ?assert(is_pid(Server)),
    ok = bct_vm:call(Vm, application, stop, [bc_gitops]),
    ?assertEqual(Server, bct_vm:call(Vm, erlang, whereis, [bct_db])),
    ok = bct_vm:call(Vm, application, start, [bc_gitops]),
    ok = bct_vm:call(Vm, bc_gitops, reconcile, []),
    ?assertMatch({ok, #{status := synced, healthy_count := 1}}, bct_vm:call(Vm, bc_gitops, status, [])),
    ?assertEqual(Server, bct_vm:call(Vm, erlang, whereis, [bct_db])),
    ok = bct_vm:kill(Vm).

%% bc_gitops is started by the boot script before a host application whose start takes its time.
nothing_is_started_before_the_boot_is_done(Config) ->
    #{dir := Dir} = Context = context(Config),
    _ = source(Context, bct_db, ["1.0.0"]),
    _ = bct_gitops:push(Context, [git_spec(Context, bct_db, "1.0.0", [])]),
    First = bct_vm:start(env(Context)),
    ok = bct_vm:call(First, bc_gitops, reconcile, []),
    ok = bct_vm:kill(First),
    Boot = boot_script(binary_to_list(Dir), env(Context)),
    Second = bct_vm:start(bare, ["-boot", Boot, "-config", filename:join(binary_to_list(Dir), "sys"),
                                "-pa", filename:join(binary_to_list(Dir), "host")]),
    ok = bct_vm:eventually(Second, fun(Vm) -> running(Vm) =:= #{bct_db => <<"1.0.0">>} end),
    %% what the host saw in its own start
    ?assertEqual({ok, false}, bct_vm:call(Second, application, get_env, [bct_host, saw_managed_app])),
    ok = bct_vm:kill(Second).

boot_script(Dir, Env) ->
    Host = filename:join(Dir, "host"),
    ok = filelib:ensure_path(Host),
    Source = filename:join(Host, "bct_host.erl"),
    ok = file:write_file(Source,
        "-module(bct_host).\n-behaviour(application).\n-behaviour(supervisor).\n-export([start/2, stop/1, init/1]).\n"
        "start(_, _) ->\n"
        "  receive after 1500 -> ok end,\n"
        "  application:set_env(bct_host, saw_managed_app, whereis(bct_db) =/= undefined),\n"
        "  supervisor:start_link(?MODULE, []).\n"
        "stop(_) -> ok.\ninit([]) -> {ok, {#{}, []}}.\n"),
    {ok, bct_host} = compile:file(Source, [{outdir, Host}]),
    App = {application, bct_host, [
        {description, "host"}, {vsn, "1"}, {modules, [bct_host]}, {registered, []},
        {applications, [kernel, stdlib, bc_gitops]}, {mod, {bct_host, []}}
    ]},
    ok = file:write_file(filename:join(Host, "bct_host.app"), io_lib:format("~p.~n", [App])),
    ok = file:write_file(filename:join(Dir, "sys.config"), io_lib:format("~p.~n", [[{bc_gitops, maps:to_list(Env)}]])),
    _ = application:load(bc_gitops),
    Versions = [{Name, vsn(Name)} || Name <- [kernel, stdlib, bc_gitops]],
    Release = {release, {"host", "1"}, {erts, erlang:system_info(version)}, Versions ++ [{bct_host, "1"}]},
    ok = file:write_file(filename:join(Dir, "host.rel"), io_lib:format("~p.~n", [Release])),
    Paths = [Host, filename:dirname(code:where_is_file("bc_gitops.app"))],
    {ok, _, _} = systools:make_script(filename:join(Dir, "host"), [{path, Paths}, {outdir, Dir}, local, silent]),
    filename:join(Dir, "host").

vsn(Name) ->
    {ok, Vsn} = application:get_key(Name, vsn),
    Vsn.

%% helpers

env(Context) ->
    bct_gitops:config(Context, #{
        runtime_module => bc_gitops_runtime_default, reconcile_interval => 3600000
    }).

%% A repository with an application at some versions, each with its tag.
source(#{dir := Dir}, Name, Versions) ->
    Repo = bct_repo:init(filename:join(Dir, atom_to_list(Name))),
    lists:foreach(
        fun(Version) ->
            _ = bct_repo:commit(Repo, bct_app:erlang_mk(atom_to_list(Name), Version)),
            ok = bct_repo:tag(Repo, "v" ++ Version)
        end,
        Versions
    ),
    Repo.

halting(Name, Version) ->
    App = atom_to_list(Name),
    Callback = "src/" ++ App ++ "_app.erl",
    Files = bct_app:erlang_mk(App, Version),
    Halting = ["-module(", App, "_app).\n-behaviour(application).\n-export([start/2, stop/1]).\n"
               "start(_, _) -> erlang:halt(7).\nstop(_) -> ok.\n"],
    lists:keyreplace(Callback, 1, Files, {Callback, Halting}).

git_spec(#{dir := Dir}, Name, Version, DependsOn) ->
    Url = bct_repo:url(filename:join(Dir, atom_to_list(Name))),
    bct_gitops:spec(Name, Version, #{
        source => #{type => git, url => Url, ref => list_to_binary("v" ++ Version)}, depends_on => DependsOn
    }).

running(Vm) ->
    case bct_vm:call(Vm, bc_gitops, get_current_state, []) of
        {ok, Apps} ->
            maps:from_list([{Name, App#app_state.version} || {Name, #app_state{status = running} = App} <- maps:to_list(Apps)]);
        {error, Reason} ->
            Reason
    end.

state(Vm, Name) ->
    case bct_vm:call(Vm, bc_gitops, get_app_status, [Name]) of
        {ok, #app_state{details = #{state := State}}} -> State;
        {error, not_found} -> not_found
    end.
