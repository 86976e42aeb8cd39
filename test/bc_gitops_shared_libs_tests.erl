-module(bc_gitops_shared_libs_tests).
-include_lib("eunit/include/eunit.hrl").

lib(Name, Version) ->
    #{name => Name, version => Version, path => <<"/store/", Version/binary>>,
      modules => #{Name => erlang:md5(Version)}}.

held(Lib, Owners) ->
    #{lib => Lib, owners => Owners, switching => none, next => none}.

plan(App, Libs, Table) ->
    bc_gitops_shared_libs:plan(App, Libs, Table).

first_deployment_test() ->
    {Dep, App} = {lib(rt_dep, <<"1">>), lib(rt_app, <<"1">>)},
    ?assertMatch({ok, #{add := [Dep], new := [App], old := [], keep := [], drop := []}},
                 plan(rt_app, [Dep, App], #{})).

upgrade_test() ->
    [D1, D2, A1, A2] = [lib(N, V) || N <- [rt_dep, rt_app], V <- [<<"1">>, <<"2">>]],
    Table = #{rt_dep => held(D1, [rt_app]), rt_app => held(A1, [rt_app])},
    ?assertMatch({ok, #{old := [D1, A1], new := [D2, A2], add := []}}, plan(rt_app, [D2, A2], Table)),
    ?assertMatch({ok, #{keep := [D1], old := [A1], new := [A2]}}, plan(rt_app, [D1, A2], Table)),
    ?assertMatch({ok, #{old := [D1, A1], new := [A2], drop := [D1]}}, plan(rt_app, [A2], Table)).

shared_test() ->
    [D1, D2, A1] = [lib(rt_dep, <<"1">>), lib(rt_dep, <<"2">>), lib(rt_app, <<"1">>)],
    Table = #{rt_dep => held(D1, [rt_other])},
    ?assertMatch({ok, #{keep := [D1], new := [A1]}}, plan(rt_app, [D1, A1], Table)),
    ?assertMatch({error, {dependency_conflict, #{dependency := rt_dep, used_by := [rt_other]}}},
                 plan(rt_app, [D2, A1], Table)).

%% What is managed itself is as its own spec says, for itself and for those that bring it too.
managed_itself_test() ->
    [D1, D2, A1, A2] = [lib(N, V) || N <- [rt_dep, rt_app], V <- [<<"1">>, <<"2">>]],
    Table = #{rt_dep => held(D1, [rt_app, rt_dep]), rt_app => held(A1, [rt_app])},
    ?assertMatch({ok, #{old := [D1], new := [D2]}}, plan(rt_dep, [D2], Table)),
    ?assertMatch({ok, #{keep := [D1], old := [A1], new := [A2]}}, plan(rt_app, [D2, A2], Table)),
    %% also when another one brought it first
    Brought = #{rt_dep => held(D1, [rt_app]), rt_app => held(A1, [rt_app])},
    ?assertMatch({ok, #{old := [D1], new := [D2]}}, plan(rt_dep, [D2], Brought)).

%% Code of one version that differs is another library.
same_version_different_code_test() ->
    D1 = lib(rt_dep, <<"1">>),
    Other = D1#{modules := #{rt_dep => erlang:md5("other")}},
    Table = #{rt_dep => held(D1, [rt_other])},
    ?assertMatch({error, {dependency_conflict, _}}, plan(rt_app, [Other, lib(rt_app, <<"1">>)], Table)).

switching_library_is_busy_test() ->
    {Dep, App} = {lib(rt_dep, <<"1">>), lib(rt_app, <<"1">>)},
    {Pid, Ref} = spawn_monitor(fun() -> receive stop -> ok end end),
    Table = #{rt_dep => (held(Dep, [rt_other]))#{switching := Pid}},
    ?assertMatch({error, {dependency_busy, #{process := Pid}}}, plan(rt_app, [Dep, App], Table)),
    Pid ! stop,
    receive {'DOWN', Ref, process, Pid, _} -> ok end,
    ?assertMatch({ok, #{keep := [Dep]}}, plan(rt_app, [Dep, App], Table)).

%% What a killed switch had begun to bring is named.
stale_test() ->
    [A1, A2, A3] = [lib(rt_app, V) || V <- [<<"1">>, <<"2">>, <<"3">>]],
    Table = #{rt_app => (held(A1, [rt_app]))#{next := A2}},
    ?assertMatch({ok, #{stale := [A2], old := [A1], new := [A3]}}, plan(rt_app, [A3], Table)).

release_counts_test() ->
    Dep = lib(rt_dep, <<"1">>),
    Two = #{rt_dep => held(Dep, [rt_a, rt_b])},
    {One, []} = bc_gitops_shared_libs:release(rt_a, [Dep], Two),
    ?assertMatch(#{rt_dep := #{owners := [rt_b]}}, One),
    {_, [Dep]} = bc_gitops_shared_libs:release(rt_b, [Dep], One),
    ?assertEqual({#{}, []}, bc_gitops_shared_libs:release(rt_c, [Dep], #{})).

host_has_the_same_content_test() ->
    Path = unicode:characters_to_binary(code:lib_dir(stdlib)),
    {ok, Content} = bc_gitops_host:content(Path),
    {ok, Vsn} = application:get_key(stdlib, vsn),
    Lib = #{name => stdlib, version => list_to_binary(Vsn), path => <<"/store/stdlib">>,
            modules => maps:from_list([{binary_to_atom(M), MD5} || {M, MD5} <- maps:to_list(Content)])},
    {ok, #{host := [#{path := Path}]}} = plan(rt_app, [Lib, lib(rt_app, <<"1">>)], #{}),
    Changed = Lib#{modules := (maps:get(modules, Lib))#{lists => erlang:md5("other")}},
    ?assertMatch({error, {dependency_conflict, #{used_by := host}}},
                 plan(rt_app, [Changed, lib(rt_app, <<"1">>)], #{})).
