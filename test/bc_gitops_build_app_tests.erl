-module(bc_gitops_build_app_tests).
-include_lib("eunit/include/eunit.hrl").

names_test() ->
    Good = ["a", "my_app", "app2", "aB", "a@b", <<"kernel">>],
    Bad = ["", "A", "_a", "1a", "a.b", "a-b", "a/b", "..", ".", "a b", "a\n", "é",
        lists:duplicate(101, $a)],
    ?assertEqual([], [Name || Name <- Good, not bc_gitops_build_app:is_name(Name)]),
    ?assertEqual([], [Name || Name <- Bad, bc_gitops_build_app:is_name(Name)]).

%% Read in a VM that has room for few atoms: its end would be the test's.
a_file_full_of_names_leaves_room_for_others_test_() ->
    {timeout, 60, fun() -> bct_dir:with("atoms", fun(Dir) ->
        File = filename:join([Dir, "ebin", "full.app"]),
        ok = filelib:ensure_dir(File),
        Write = fun(Names) ->
            ok = file:write_file(File, ["{application,full,[{vsn,\"1\"},{modules,[",
                lists:join(",", [["m", integer_to_list(N)] || N <- lists:seq(1, Names)]), "]}]}."])
        end,
        Args = ["+t", "60000", "-pa", filename:dirname(code:which(bc_gitops_build_app))],
        {ok, Peer, _} = peer:start(#{connection => standard_io, args => Args}),
        Read = fun() -> peer:call(Peer, bc_gitops_build_app, read, [Dir, "full"]) end,
        Write(60000),
        ?assertMatch({error, {too_many_atoms, _}}, Read()),
        Write(100),
        ?assertMatch({ok, #{name := full}}, Read()),
        peer:stop(Peer)
    end) end}.

app(Name, Needs) -> #{name => Name, needs => Needs}.

dependencies_come_first_test() ->
    Apps = [app(a, [b, c, kernel]), app(b, [d]), app(c, [d]), app(d, []), app(e, [])],
    Names = [Name || #{name := Name} <- bc_gitops_build_app:in_order(lists:reverse(Apps))],
    ?assertEqual([d, b, c, a, e], Names).

a_cycle_has_an_order_too_test() ->
    Apps = [app(a, [b]), app(b, [a]), app(c, [c])],
    ?assertEqual([a, b, c],
        lists:sort([Name || #{name := Name} <- bc_gitops_build_app:in_order(Apps)])).

closure_test() ->
    Apps = [app(a, [b, kernel]), app(b, [a]), app(c, [a])],
    ?assertEqual([a, b], lists:sort(bc_gitops_build_app:closure([a], Apps))),
    ?assertEqual([], bc_gitops_build_app:closure([x], Apps)).

otp_s_own_applications_are_read_as_they_are_test() ->
    [begin
        Dir = code:lib_dir(App),
        {ok, #{version := Version, needs := Needs} = Read} =
            bc_gitops_build_app:read(Dir, atom_to_list(App)),
        _ = application:load(App),
        {ok, Vsn} = application:get_key(App, vsn),
        {ok, Applications} = application:get_key(App, applications),
        ?assertEqual(Vsn, binary_to_list(Version)),
        ?assertEqual([], Applications -- Needs),
        {ok, [#{modules := Modules}]} = bc_gitops_build_app:libs([Read], filename:dirname(Dir),
            "/store"),
        {ok, Listed} = application:get_key(App, modules),
        ?assertEqual([], Listed -- maps:keys(Modules)),
        [Module | _] = Listed,
        {ok, {Module, MD5}} = beam_lib:md5(filename:join([Dir, "ebin", atom_to_list(Module)])),
        ?assertEqual(MD5, maps:get(Module, Modules))
     end || App <- [stdlib, crypto, compiler]].
