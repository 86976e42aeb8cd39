-module(bc_gitops_build_app_tests).
-include_lib("eunit/include/eunit.hrl").

names_test() ->
    Good = ["a", "my_app", "app2", "aB", "a@b", <<"kernel">>],
    Bad = ["", "A", "_a", "1a", "a.b", "a-b", "a/b", "..", ".", "a b", "a\n", "é",
        lists:duplicate(101, $a)],
    ?assertEqual([], [Name || Name <- Good, not bc_gitops_build_app:is_name(Name)]),
    ?assertEqual([], [Name || Name <- Bad, bc_gitops_build_app:is_name(Name)]).

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
