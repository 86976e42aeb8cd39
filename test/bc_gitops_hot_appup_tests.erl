%%% @doc Which entry of an appup is for two builds, and what its instructions become.
-module(bc_gitops_hot_appup_tests).
-include_lib("eunit/include/eunit.hrl").

entries_are_for_exactly_these_versions_test() ->
    bct_dir:with("appup", fun(Dir) ->
        Old = build(Dir, "old", "1.0.0", none),
        Up = fun(From) -> {"1.1.0", [{From, [{load_module, m}]}], []} end,
        Find = fun(Appup) -> bc_gitops_hot_appup:find(a, Old, build(Dir, "new", "1.1.0", Appup)) end,
        Found = {ok, #{direction => up, instructions => [{load_module, m}]}},
        ?assertEqual(none, Find(none)),
        ?assertEqual(Found, Find(Up("1.0.0"))),
        ?assertEqual(none, Find(Up("1.0"))),
        ?assertEqual(Found, Find(Up(<<"1\\.0\\.[0-9]+">>))),
        %% as release_handler: a match of a part is none
        ?assertEqual(none, Find(Up(<<"1\\.0">>))),
        ?assertEqual(none, Find(Up(<<"(">>))),
        %% an appup for another version says nothing
        ?assertEqual(none, Find({"1.2.0", [{"1.0.0", [{load_module, m}]}], []})),
        ?assertMatch({error, <<_/binary>>}, Find({"1.1.0", [{"1.0.0", [{lod_module, m}]}], []}))
    end).

the_way_back_is_in_what_runs_test() ->
    bct_dir:with("appup", fun(Dir) ->
        New = build(Dir, "new", "1.0.0", none),
        Appup = {"1.1.0", [], [{"1.0.0", [{update, m, {advanced, x}}]}]},
        Old = build(Dir, "old", "1.1.0", Appup),
        ?assertEqual({ok, #{direction => down, instructions => [{update, m, {advanced, x}}]}},
                     bc_gitops_hot_appup:find(a, Old, New)),
        ?assertEqual(none, bc_gitops_hot_appup:find(a, Old, build(Dir, "other", "0.9.0", none)))
    end).

%% One version, new code: an entry from the version itself.
the_same_version_test() ->
    bct_dir:with("appup", fun(Dir) ->
        Appup = {"1.0.0", [{"1.0.0", [{load_module, m}]}], []},
        Old = build(Dir, "old", "1.0.0", none),
        ?assertMatch({ok, #{direction := up}}, bc_gitops_hot_appup:find(a, Old, build(Dir, "new", "1.0.0", Appup)))
    end).

each_form_is_a_step_test_() ->
    Call = {m, f, [x]},
    [?_assertEqual({ok, [Step]}, bc_gitops_hot_appup:steps([Instruction])) || {Instruction, Step} <- [
        {{update, m}, {update, m, soft}}, {{update, m, supervisor}, {update, m, supervisor}},
        {{update, m, [n]}, {update, m, soft}}, {{update, m, soft}, {update, m, soft}},
        {{update, m, {advanced, x}, [n]}, {update, m, {advanced, x}}},
        {{update, m, {advanced, x}, soft_purge, brutal_purge, []}, {update, m, {advanced, x}}},
        {{update, m, 5000, soft, soft_purge, soft_purge, []}, {update, m, soft}},
        {{update, m, dynamic, default, {advanced, x}, soft_purge, soft_purge, []}, {update, m, {advanced, x}}},
        {{load_module, m}, {load_module, m}}, {{load_module, m, [n]}, {load_module, m}},
        {{load_module, m, soft_purge, soft_purge, []}, {load_module, m}},
        {{add_module, m, [n]}, {add_module, m}}, {{delete_module, m}, {delete_module, m}},
        {{apply, Call}, {apply, Call}}
    ]].

what_is_not_for_a_hot_upgrade_is_named_test_() ->
    [?_assertMatch({error, _}, bc_gitops_hot_appup:steps([{load_module, m}, Instruction]))
     || Instruction <- [restart_new_emulator, {restart_application, b}, {add_application, b}, {suspend, [m]},
                        point_of_no_return, {load, {m, soft_purge, soft_purge}}]].

build(Dir, Name, Version, Appup) ->
    Path = filename:join(Dir, Name),
    File = filename:join([Path, "ebin", "a.appup"]),
    ok = filelib:ensure_dir(File),
    _ = file:delete(File),
    _ = [ok = file:write_file(File, io_lib:format("~p.~n", [Appup])) || Appup =/= none],
    #{path => unicode:characters_to_binary(Path), version => list_to_binary(Version)}.
