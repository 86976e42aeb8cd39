%%% @doc From a commit to a hot upgrade: real repositories, real builds, the default runtime.
-module(hot_deploy_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [same_version_new_code_is_hot, a_changed_callback_module_restarts].

init_per_testcase(Case, Config) ->
    Context = bct_gitops:setup("hot_deploy_" ++ atom_to_list(Case)),
    Source = bct_repo:init(filename:join(maps:get(dir, Context), "source")),
    [{context, Context#{source => Source}} | Config].

end_per_testcase(_Case, Config) ->
    _ = bct_runtime:cleanup(),
    bct_gitops:teardown(context(Config)).

context(Config) -> proplists:get_value(context, Config).

same_version_new_code_is_hot(Config) ->
    Context = context(Config),
    deploy(Context, #{lib => "one"}),
    Server = whereis(bct_hot_srv),
    3 = bump(3),
    Client = bct_hot_client:start(fun() -> gen_server:call(bct_hot_srv, lib) end),
    commit(Context, #{lib => "two"}),
    Report = bct_hot_client:stop(Client),
    ?assertMatch(#{failed := []}, Report),
    ?assertEqual([one, two], maps:get(answers, Report)),
    ?assertEqual(Server, whereis(bct_hot_srv)),
    ?assertEqual(3, gen_server:call(bct_hot_srv, count)),
    ?assertMatch(#{upgraded := hot, modules := [bct_hot_lib], gap_ms := 0, state := running},
                 bct_gitops:details(bct_hot_app)),
    ?assertMatch([#{action := upgrade, upgraded := hot, result := ok} | _], history()),
    %% the code path is that of the new build alone
    #{build := Key} = bct_gitops:details(bct_hot_app),
    ?assertMatch([_], [Dir || Dir <- code:get_path(), string:find(Dir, "bct_hot_app") =/= nomatch]),
    ?assertNotEqual(nomatch, string:find(code:lib_dir(bct_hot_app), binary_to_list(Key))),
    %% and again, with modules that were loaded from the first build
    commit(Context, #{lib => "three"}),
    ?assertEqual({three, Server}, {gen_server:call(bct_hot_srv, lib), whereis(bct_hot_srv)}),
    commit(Context, #{lib => "three", server => "two"}),
    ?assertMatch(#{upgraded := restart}, bct_gitops:details(bct_hot_app)).

a_changed_callback_module_restarts(Config) ->
    Context = context(Config),
    deploy(Context, #{server => "one"}),
    Server = whereis(bct_hot_srv),
    Test = self(),
    ok = bc_gitops_telemetry:attach(?FUNCTION_NAME, ?TELEMETRY_UPGRADE_STOP,
                                    fun(_, _, Metadata, _) -> Test ! {upgraded, Metadata} end, []),
    Log = bct_log:capture(fun() -> commit(Context, #{server => "two"}) end),
    ok = bc_gitops_telemetry:detach(?FUNCTION_NAME),
    ?assertEqual(two, gen_server:call(bct_hot_srv, version)),
    ?assertNotEqual(Server, whereis(bct_hot_srv)),
    Because = [<<"the gen_server bct_hot_srv changed">>],
    ?assertMatch(#{upgraded := restart, because := Because}, bct_gitops:details(bct_hot_app)),
    ?assertMatch([#{upgraded := restart, because := Because} | _], history()),
    ?assertMatch(#{upgraded := restart, because := Because, result := ok}, receive {upgraded, M} -> M end),
    ?assertNotEqual([], [L || L <- Log, string:find(L, "restart: the gen_server bct_hot_srv changed") =/= nomatch]).

%%% The application and its repository

%% Deploys its first build.
deploy(Context, Variant) ->
    _ = bct_repo:commit(maps:get(source, Context), bct_hot_app:files(Variant)),
    _ = bct_gitops:push(Context, [bct_hot_app:spec(Context, Variant)]),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default}),
    ok = bc_gitops:reconcile().

%% What is at the branch becomes what runs.
commit(Context, Variant) ->
    ok = commit_(Context, Variant).

commit_(#{source := Source} = Context, Variant) ->
    _ = bct_repo:commit(Source, bct_hot_app:files(Variant)),
    _ = bct_gitops:push(Context, [bct_hot_app:spec(Context, Variant)]),
    bc_gitops:reconcile().

history() ->
    maps:get(history, bct_gitops:details(bct_hot_app)).

bump(Times) ->
    lists:last([gen_server:call(bct_hot_srv, bump) || _ <- lists:seq(1, Times)]).
