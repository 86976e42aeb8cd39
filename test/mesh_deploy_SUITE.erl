%%% Mesh sources through the real reconciler and the real runtime, in all three formats of specs; and
%%% content that another node has.
-module(mesh_deploy_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-import(bct_content, [archive/2, tree/2, store/2, raw/1, put/3, source/1]).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [
        archives_and_trees_are_deployed_and_upgraded, releases_are_deployed_and_upgraded,
        an_archive_with_a_directory_at_the_top_keeps_its_links, a_bad_upgrade_leaves_the_old_version,
        another_node_has_the_content, connected_nodes_are_asked, a_node_that_is_gone_gives_way,
        only_content_ids_cross_the_border
    ].

init_per_testcase(Case, Config) ->
    Context = bct_gitops:setup(atom_to_list(Case)),
    [{context, Context}, {dir, maps:get(dir, Context)} | Config].

end_per_testcase(_Case, Config) ->
    bct_gitops:teardown(?config(context, Config)).

start(Config, Stores) ->
    bct_gitops:start(?config(context, Config),
                     #{runtime_module => bc_gitops_runtime_default, content_stores => Stores}).

%% A spec in one of the formats.
spec(config, Name, Version, Mcid) ->
    bct_gitops:spec(Name, Version, #{source => #{type => mesh, mcid => Mcid}});
spec(yaml, Name, Version, Mcid) ->
    {["apps/", atom_to_list(Name), "/app.yaml"],
     io_lib:format("name: ~s~nversion: '~s'~nsource:~n  type: mesh~n  mcid: ~s~n", [Name, Version, Mcid])};
spec(json, Name, Version, Mcid) ->
    {["apps/", atom_to_list(Name), "/app.json"],
     io_lib:format("{\"name\": \"~s\", \"version\": \"~s\",\n"
                   " \"source\": {\"type\": \"mesh\", \"mcid\": \"~s\"}}~n", [Name, Version, Mcid])}.

%% Content of an application in each kind.
content(raw, Config, Store, Name, Version) ->
    Bytes = archive(?config(dir, Config), bct_app:erlang_mk(atom_to_list(Name), Version)),
    ok = put(Store, raw(Bytes), Bytes),
    raw(Bytes);
content(manifest, Config, Store, Name, Version) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Files = bct_app:erlang_mk(atom_to_list(Name), Version),
    From = tree(filename:join(?config(dir, Config), Unique), Files),
    {ok, Mcid} = bc_gitops_content:publish(From, Store),
    Mcid.

version(Name) -> apply(Name, version, []).

archives_and_trees_are_deployed_and_upgraded(Config) ->
    Store = store(?config(dir, Config), "store"),
    Context = ?config(context, Config),
    Apps = [{mesh_raw, raw, yaml}, {mesh_tree, manifest, config}, {mesh_json, raw, json}],
    Push = fun(Version) ->
        bct_gitops:push(Context, [
            spec(Format, Name, Version, content(Kind, Config, Store, Name, Version))
            || {Name, Kind, Format} <- Apps
        ])
    end,
    _ = Push("1.0.0"),
    _ = start(Config, [Store]),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual(["1.0.0", "1.0.0", "1.0.0"], [version(Name) || {Name, _, _} <- Apps]),
    ?assertMatch({ok, #{status := synced, app_count := 3, healthy_count := 3}}, bc_gitops:status()),
    First = bct_repo:head(maps:get(repo, Context)),
    _ = Push("2.0.0"),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual(["2.0.0", "2.0.0", "2.0.0"], [version(Name) || {Name, _, _} <- Apps]),
    %% back again, with all content gone: what was built is in the store of builds
    ok = file:del_dir_r(Store),
    _ = bct_repo:git(maps:get(repo, Context), ["checkout", "-q", First, "--", "."]),
    _ = bct_gitops:push(Context, []),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual(["1.0.0", "1.0.0", "1.0.0"], [version(Name) || {Name, _, _} <- Apps]).

%% What `rebar3 tar' left is content as good as any, whole or as a tree.
releases_are_deployed_and_upgraded(Config) ->
    Store = store(?config(dir, Config), "store"),
    Context = ?config(context, Config),
    Built = store(?config(dir, Config), "built"),
    Push = fun(Version) ->
        Archive = bct_release:rebar3(Built, Version),
        ok = put(Store, raw(Archive), Archive),
        Tree = tree(filename:join(Built, "tree-" ++ Version), bct_release:small(mesh_small, Version, [])),
        {ok, Listed} = bc_gitops_content:publish(Tree, Store),
        bct_gitops:push(Context, [spec(yaml, bct_shop, Version, raw(Archive)),
                                  spec(json, mesh_small, Version, Listed)])
    end,
    _ = Push("1.0.0"),
    _ = start(Config, [Store]),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual({"1.0.0", "1.0.0"}, {version(bct_shop), version(mesh_small)}),
    ?assertMatch({ok, #{tool := release, verified := digest}}, bc_gitops_workspace:lookup(key(bct_shop))),
    _ = Push("1.1.0"),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual({"1.1.0", "1.1.0"}, {version(bct_shop), version(mesh_small)}),
    ?assertMatch({ok, #{status := synced}}, bc_gitops:status()).

%% As forges and `git archive --prefix' make them. Links within the project, and one that leaves its
%% directory and comes back, mean what they meant where they were packed; a committed _build is not used.
an_archive_with_a_directory_at_the_top_keeps_its_links(Config) ->
    Store = store(?config(dir, Config), "store"),
    Top = "mesh_linked-1.0.0/",
    Files = bct_app:rebar3("mesh_linked", "1.0.0", [
        {"assets/a.txt", "asset"}, {"_build/default/lib/mesh_stale/ebin/mesh_stale.app", "stale"}]),
    Links = [{"priv/assets", "../assets"}, {"priv/again.txt", "../../mesh_linked-1.0.0/assets/a.txt"}],
    Archive = bct_release:pack(?config(dir, Config),
        [{Top ++ Path, Content} || {Path, Content} <- Files]
        ++ [{Top ++ Path, {symlink, Target}} || {Path, Target} <- Links]),
    ok = put(Store, raw(Archive), Archive),
    _ = bct_gitops:push(?config(context, Config), [spec(yaml, mesh_linked, "1.0.0", raw(Archive))]),
    _ = start(Config, [Store]),
    ?assertEqual(ok, bc_gitops:reconcile()),
    ?assertEqual("1.0.0", version(mesh_linked)),
    [?assertEqual({ok, <<"asset">>}, file:read_file(filename:join(code:priv_dir(mesh_linked), File)))
     || File <- ["assets/a.txt", "again.txt"]],
    {ok, #{libs := Libs}} = bc_gitops_workspace:lookup(key(mesh_linked)),
    ?assertEqual([mesh_linked], [Name || #{name := Name} <- Libs]).

key(Name) ->
    {ok, #app_state{path = Path}} = bc_gitops:get_app_status(Name),
    filename:basename(filename:dirname(filename:dirname(Path))).

a_bad_upgrade_leaves_the_old_version(Config) ->
    Store = store(?config(dir, Config), "store"),
    Context = ?config(context, Config),
    Good = content(raw, Config, Store, mesh_bad, "1.0.0"),
    _ = bct_gitops:push(Context, [spec(json, mesh_bad, "1.0.0", Good)]),
    _ = start(Config, [Store]),
    ?assertEqual(ok, bc_gitops:reconcile()),
    Other = raw(<<"what nobody has">>),
    _ = bct_gitops:push(Context, [spec(json, mesh_bad, "2.0.0", Other)]),
    {error, {actions_failed, [#{app := mesh_bad, reason := {content_not_found, _}}]} = Reason} =
        bc_gitops:reconcile(),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Reason), Store)),
    ?assertEqual("1.0.0", version(mesh_bad)),
    %% it may be published any time: that is tried again
    ?assertMatch(#{state := backing_off}, bct_gitops:details(mesh_bad)),
    ok = put(Store, Other, <<"wrong">>),
    {error, {actions_failed, [#{reason := {content_mismatch, _}}]}} = bc_gitops:reconcile(),
    ?assertEqual("1.0.0", version(mesh_bad)).

%%% nodes

%% Two VMs: one has content, the other has what is under test.
with_nodes(Config, Fun) ->
    Store = store(?config(dir, Config), "store"),
    {Keeper, KeeperArgs} = bct_epmd:args("keeper"),
    {_, AskerArgs} = bct_epmd:args("asker"),
    Holder = bct_vm:start(bare, KeeperArgs),
    Asker = bct_vm:start(bare, AskerArgs),
    ok = bct_vm:call(Holder, application, set_env, [bc_gitops, content_stores, [Store]]),
    try Fun(Store, Keeper, Holder, Asker)
    after
        bct_vm:stop(Asker),
        _ = is_process_alive(maps:get(peer, Holder)) andalso bct_vm:stop(Holder)
    end.

prepare(Vm, Config, Stores, Name, Mcid) ->
    ok = bct_vm:call(Vm, bc_gitops_workspace, init, [filename:join(?config(dir, Config), "asker")]),
    ok = bct_vm:call(Vm, application, set_env, [bc_gitops, content_stores, Stores]),
    bct_vm:call(Vm, bc_gitops_workspace, prepare, [Name, source(Mcid), #{timeout => 120000}]).

another_node_has_the_content(Config) ->
    with_nodes(Config, fun(Store, Keeper, _Holder, Asker) ->
        %% several messages long
        Big = [{"priv/big", crypto:strong_rand_bytes(3 * 1024 * 1024 + 17)}],
        Bytes = archive(?config(dir, Config), Big ++ bct_app:erlang_mk("mesh_far", "1.0.0")),
        ok = put(Store, raw(Bytes), Bytes),
        ?assertMatch({ok, #{version := <<"1.0.0">>, verified := digest}},
                     prepare(Asker, Config, [{node, Keeper}], mesh_far, raw(Bytes))),
        Tree = content(manifest, Config, Store, mesh_far_tree, "1.0.0"),
        ?assertMatch({ok, _}, prepare(Asker, Config, [{node, Keeper}], mesh_far_tree, Tree)),
        %% a node is not trusted either
        Wrong = raw(<<"meant">>),
        ok = put(Store, Wrong, <<"there">>),
        {error, {content_mismatch, #{message := Message}}} =
            prepare(Asker, Config, [{node, Keeper}], mesh_far_wrong, Wrong),
        ?assertNotEqual(nomatch, string:find(Message, atom_to_list(Keeper)))
    end).

connected_nodes_are_asked(Config) ->
    with_nodes(Config, fun(Store, Keeper, _Holder, Asker) ->
        Mcid = content(raw, Config, Store, mesh_near, "1.0.0"),
        {error, {content_not_found, _}} = prepare(Asker, Config, [nodes], mesh_near, Mcid),
        pong = bct_vm:call(Asker, net_adm, ping, [Keeper]),
        ?assertMatch({ok, #{version := <<"1.0.0">>}}, prepare(Asker, Config, [nodes], mesh_near, Mcid)),
        {error, {content_not_found, _}} = prepare(Asker, Config, [nodes], mesh_none, raw(<<"x">>))
    end).

a_node_that_is_gone_gives_way(Config) ->
    with_nodes(Config, fun(Store, Keeper, Holder, Asker) ->
        Mcid = content(raw, Config, Store, mesh_gone, "1.0.0"),
        ok = bct_vm:kill(Holder),
        {error, {content_unavailable, #{message := Message}}} =
            prepare(Asker, Config, [{node, Keeper}], mesh_gone, Mcid),
        ?assertNotEqual(nomatch, string:find(Message, "is not connected")),
        ?assertMatch({ok, _}, prepare(Asker, Config, [{node, Keeper}, Store], mesh_gone, Mcid))
    end).

%% What another node may ask for is a content id; no other file can be named, and no more than a part of
%% it is handed over at once.
only_content_ids_cross_the_border(Config) ->
    Store = store(?config(dir, Config), "store"),
    ok = application:set_env(bc_gitops, content_stores, [Store]),
    Bytes = crypto:strong_rand_bytes(2 * 1024 * 1024),
    ok = put(Store, raw(Bytes), Bytes),
    ok = put(Store, <<"secret">>, <<"s3cret">>),
    try
        [?assertEqual(not_found, bc_gitops_content_node:read(Name, 0, 10))
         || Name <- [<<"secret">>, <<"../store/secret">>, filename:join(Store, "secret"), <<>>,
                     <<"mcid1-raw-blake3-/../secret">>]],
        ?assertEqual({ok, 2 * 1024 * 1024}, bc_gitops_content_node:size(raw(Bytes))),
        {ok, Part} = bc_gitops_content_node:read(raw(Bytes), 0, 1 bsl 40),
        ?assertEqual(1024 * 1024, byte_size(Part)),
        ?assertEqual({ok, binary:part(Bytes, 100, 5)}, bc_gitops_content_node:read(raw(Bytes), 100, 5)),
        ?assertEqual(not_found, bc_gitops_content_node:read(raw(Bytes), 1 bsl 40, 5))
    after
        application:unset_env(bc_gitops, content_stores)
    end.
