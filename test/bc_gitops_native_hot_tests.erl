%%% What differs between two builds, and whether code can change while it runs.
-module(bc_gitops_native_hot_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SERVER, "-behaviour(gen_server).\ninit(A) -> {ok, A}.\nhandle_call(_, _, S) -> {reply, ~s, S}.\n"
                "handle_cast(_, S) -> {noreply, S}.\ncode_change(_, S, _) -> {ok, S}.\n").

%%% What differs

nothing_changed_test() ->
    with([#{modules => plain("1")}, #{modules => plain("1")}], fun(Old, New) ->
        Same = compare(Old, New),
        ?assertMatch(#{added := [], removed := [], changed := [], attributes_only := [], nif := [],
                       consolidated := same, appup := none}, Same),
        ?assertEqual(#{added => [], removed => [], changed => []}, maps:get(priv, Same)),
        ?assertMatch(#{name := <<"hot_app">>, changed := [], old_version := <<"1.0.0">>}, maps:get(app, Same)),
        ?assertEqual(#{}, maps:get(modules, Same)),
        ?assertMatch({hot, [], #{from := computed, builds := [Same]}}, plan(Old, New, auto))
    end).

code_is_told_from_all_else_in_a_file_test() ->
    Old = [{hot_a, "f() -> 1."}, {hot_b, "f() -> 1."}, {hot_c, "f() -> 1."}, {hot_e, "f() -> 1."}],
    New = [{hot_a, "f() -> 2."}, {hot_b, "-author(me).\nf() -> 1."}, {hot_d, "f() -> 1."}, {hot_e, "\n\nf() -> 1."}],
    with([#{modules => Old}, #{modules => New}], fun(OldDir, NewDir) ->
        Found = compare(OldDir, NewDir),
        ?assertMatch(#{added := [<<"hot_d">>], removed := [<<"hot_c">>], changed := [<<"hot_a">>],
                       attributes_only := [<<"hot_b">>, <<"hot_e">>]}, Found),
        ?assertEqual([<<"modules">>], maps:get(changed, maps:get(app, Found))),
        #{modules := #{<<"hot_a">> := A, <<"hot_c">> := C, <<"hot_d">> := D}} = Found,
        ?assertEqual(#{old => info(OldDir, hot_a), new => info(NewDir, hot_a)}, A),
        ?assertEqual(#{old => info(OldDir, hot_c)}, C),
        ?assertEqual(#{new => info(NewDir, hot_d)}, D)
    end).

%% The same code in other wrapping is no change, and without attributes no change of code.
compressed_and_stripped_files_are_compared_test() ->
    with([#{modules => plain("1")}, #{modules => plain("1")}], fun(Old, New) ->
        rewrite(New, hot_a, fun zlib:gzip/1),
        ?assertMatch(#{changed := [], attributes_only := []}, compare(Old, New)),
        rewrite(New, hot_a, fun(Bytes) -> {ok, {_, Stripped}} = beam_lib:strip(Bytes), Stripped end),
        ?assertMatch(#{changed := [], attributes_only := [<<"hot_a">>]}, compare(Old, New))
    end).

keys_of_the_app_file_test() ->
    Old = #{vsn => "1.0.0", modules => [], app => [{mod, {hot_app, []}}, {env, [{a, 1}, {b, 2}]}]},
    New = #{vsn => "1.1.0", modules => [], app => [{mod, {hot_app, [x]}}, {env, [{b, 2}, {a, 1}]}, {start_phases, [{go, []}]}]},
    with([Old, New], fun(OldDir, NewDir) ->
        #{app := App} = compare(OldDir, NewDir),
        ?assertEqual(#{name => <<"hot_app">>, old_version => <<"1.0.0">>, new_version => <<"1.1.0">>,
                       changed => [<<"mod">>, <<"start_phases">>, <<"vsn">>]}, App)
    end).

files_of_priv_test() ->
    Old = #{modules => [], files => [{"priv/a.so", <<"1">>}, {"priv/b/c.txt", <<"1">>}, {"priv/gone", <<>>}, {"priv/same", <<"x">>}]},
    New = #{modules => [], files => [{"priv/a.so", <<"2">>}, {"priv/b/c.txt", <<"12">>}, {"priv/new", <<>>}, {"priv/same", <<"x">>}]},
    with([Old, New], fun(OldDir, NewDir) ->
        ?assertMatch(#{priv := #{added := [<<"priv/new">>], removed := [<<"priv/gone">>],
                                 changed := [<<"priv/a.so">>, <<"priv/b/c.txt">>]}}, compare(OldDir, NewDir))
    end).

%% Build tools make `priv' a link to that of the sources.
a_linked_priv_is_followed_test() ->
    Options = #{modules => [], files => [{"sources/a.so", <<"1">>}]},
    with([Options, Options#{files := [{"sources/a.so", <<"2">>}]}], fun(Old, New) ->
        [ok = file:make_symlink("sources", filename:join(Dir, "priv")) || Dir <- [Old, New]],
        ?assertMatch(#{priv := #{changed := [<<"priv/a.so">>]}}, compare(Old, New))
    end).

%%% What is done about it

modules_that_no_process_calls_are_loaded_while_it_runs_test() ->
    with([#{modules => plain("1")}, #{modules => plain("2")}], fun(Old, New) ->
        ?assertMatch({hot, [{load_module, <<"hot_a">>}], _}, plan(Old, New, auto))
    end).

a_callback_module_is_a_reason_to_restart_unless_the_spec_says_hot_test() ->
    with([#{modules => server("1")}, #{modules => server("2")}], fun(Old, New) ->
        {restart, [Reason], _} = plan(Old, New, auto),
        ?assertEqual(#{kind => callback_module, app => <<"hot_app">>, module => <<"hot_srv">>,
                       message => <<"the gen_server hot_srv changed">>}, Reason),
        ?assertMatch({hot, [{update, <<"hot_srv">>, {advanced, []}}], _}, plan(Old, New, hot)),
        ?assertMatch({restart, [#{kind := asked}], _}, plan(Old, New, restart)),
        Toolchain = bc_gitops_native:hot_plan([{Old, New}], (options(hot))#{toolchain_same := false}),
        ?assertMatch({ok, {restart, [#{kind := toolchain_changed}], _}}, Toolchain)
    end).

%% Without its attributes, or without ever having named its behaviour.
callback_modules_show_by_their_exports_test_() ->
    Modules = [{hot_1, "init(A) -> {ok, A}.\nhandle_info(_, S) -> {noreply, S}."},
               {hot_2, "callback_mode() -> state_functions."},
               {hot_3, "system_code_change(M, _, _, _) -> {ok, M}."},
               {hot_4, "-behavior(supervisor).\ninit(A) -> {ok, A}."},
               {hot_5, "-behaviour(application).\nstart(_, _) -> ok.\nstop(_) -> ok."}],
    [fun() -> is_callback(Module) end || Module <- Modules].

is_callback({Name, Text}) ->
    Other = [{Name, Text ++ "\nother() -> 1."}],
    Binary = atom_to_binary(Name),
    with([#{modules => [{Name, Text}]}, #{modules => Other}], fun(Old, New) ->
        ?assertMatch({restart, [#{kind := callback_module, module := Binary}], _}, plan(Old, New, auto))
    end),
    with([#{modules => [{Name, Text}]}, #{modules => []}], fun(Old, New) ->
        {restart, [#{message := Message}], _} = plan(Old, New, auto),
        ?assertNotEqual(nomatch, string:find(Message, "was removed")),
        ?assertMatch({hot, [{delete_module, Binary}], _}, plan(Old, New, hot)),
        ?assertMatch({hot, [{add_module, Binary}], _}, plan(New, Old, auto))
    end).

another_version_restarts_unless_the_spec_says_hot_test() ->
    with([#{modules => plain("1")}, #{modules => plain("2"), vsn => "1.1.0"}], fun(Old, New) ->
        ?assertMatch({restart, [#{kind := version_changed,
                                  message := <<"the version of hot_app changed from 1.0.0 to 1.1.0">>}], _},
                     plan(Old, New, auto)),
        ?assertMatch({hot, [{load_module, <<"hot_a">>}], _}, plan(Old, New, hot))
    end).

what_cannot_be_hot_restarts_whatever_the_spec_says_test_() ->
    Nif = fun(N) -> #{modules => [{hot_nif, ["go() -> erlang:load_nif(\"x\", ", N, ")."]}]} end,
    File = fun(Name, Content) -> #{modules => [], files => [{Name, Content}]} end,
    App = fun(Keys) -> #{modules => [], app => Keys} end,
    Cases = [
        {nif_changed, Nif("1"), Nif("2")},
        {priv_changed, File("priv/a.so", "1"), File("priv/a.so", "2")},
        {priv_changed, File("priv/a.so.1", "1"), App([])},
        {mod_changed, App([{mod, {hot_app, []}}]), App([{mod, {hot_app, [1]}}])},
        {start_phases_changed, App([{start_phases, [{a, []}]}]), App([])},
        {included_changed, App([]), App([{included_applications, [x]}])},
        {applications_changed, App([{applications, [kernel]}]), App([{applications, [kernel, ranch]}])}
    ],
    [{atom_to_list(Kind), fun() ->
        with([Before, After], fun(Old, New) ->
            [?assertMatch({restart, [#{kind := Kind, app := <<"hot_app">>}], _}, plan(Old, New, Strategy))
             || Strategy <- [auto, hot]]
        end)
     end} || {Kind, Before, After} <- Cases].

what_is_only_new_or_no_code_is_no_reason_test_() ->
    File = fun(Name, Content) -> #{modules => [], files => [{Name, Content}]} end,
    Cases = [
        {#{modules => []}, #{modules => [{hot_nif, "go() -> erlang:load_nif(\"x\", 1)."}], files => [{"priv/x.so", "1"}]}},
        {File("priv/a.txt", "1"), File("priv/a.txt", "2")},
        {#{modules => [], app => [{applications, [kernel, ranch]}]}, #{modules => [], app => [{applications, [kernel]}]}},
        {#{modules => [], app => [{env, [{a, 1}]}]}, #{modules => [], app => [{env, [{a, 2}]}]}}
    ],
    [fun() -> with([B, A], fun(Old, New) -> ?assertMatch({hot, _, _}, plan(Old, New, auto)) end) end || {B, A} <- Cases].

consolidated_protocols_test() ->
    with([#{modules => plain("1")}, #{modules => plain("1")}], fun(Old, New) ->
        [ok = copy_code(Dir, hot_a, "consolidated/Elixir.P.beam") || Dir <- [Old, New]],
        ?assertMatch(#{consolidated := same}, compare(Old, New)),
        ok = file:delete(filename:join(New, "consolidated/Elixir.P.beam")),
        ?assertMatch(#{consolidated := changed}, compare(Old, New)),
        ?assertMatch({restart, [#{kind := consolidated_changed}], _}, plan(Old, New, hot))
    end).

%% What is imported comes first, over cycles and several applications.
the_order_of_steps_test() ->
    Text = fun(N, Calls) -> ["v() -> ", N, ".\nf() -> [", lists:join(", ", [[C, ":v()"] || C <- Calls]), "]."] end,
    Modules = fun(N) ->
        [{hot_a, Text(N, ["hot_d", "lists"])}, {hot_b, Text(N, ["hot_c"])}, {hot_c, Text(N, ["hot_b", "hot_z"])},
         {hot_d, Text(N, ["hot_b"])}]
    end,
    with([#{modules => Modules("1") ++ [{hot_x, "f() -> 1."}]}, #{modules => Modules("2") ++ [{hot_y, Text("1", ["hot_a"])}]}], fun(Old, New) ->
        Dependency = #{name => hot_dep, modules => [{hot_z, "v() -> 1."}]},
        with([Dependency, Dependency#{modules := [{hot_z, "v() -> 2."}]}], fun(OldDep, NewDep) ->
            {ok, {hot, Steps, #{builds := Builds}}} =
                bc_gitops_native:hot_plan([{Old, New}, {OldDep, NewDep}], options(auto)),
            ?assertEqual([{load_module, <<"hot_z">>}, {load_module, <<"hot_b">>}, {load_module, <<"hot_c">>},
                          {load_module, <<"hot_d">>}, {load_module, <<"hot_a">>}, {add_module, <<"hot_y">>},
                          {delete_module, <<"hot_x">>}], Steps),
            ?assertEqual([<<"hot_app">>, <<"hot_dep">>], [Name || #{app := #{name := Name}} <- Builds])
        end)
    end).

a_supervisor_is_updated_as_one_test() ->
    Text = fun(N) -> [{hot_sup, ["-behaviour(supervisor).\ninit(_) -> ", N, "."]}] end,
    with([#{modules => Text("1")}, #{modules => Text("2")}], fun(Old, New) ->
        ?assertMatch({hot, [{update, <<"hot_sup">>, supervisor}], _}, plan(Old, New, hot))
    end).

%% As from two builds, though of the old code no more is known than that it runs.
steps_to_files_of_which_the_former_are_gone_test() ->
    More = [{hot_new, "f() -> 1."}, {hot_sup, "-behaviour(supervisor).\ninit(_) -> 1."} | plain("2")],
    with([#{modules => server("1")}, #{modules => server("2") ++ More}], fun(_Old, New) ->
        Coming = [begin
            {ok, Code} = file:read_file(beam(New, M)),
            {beam(New, M), Code, M =/= hot_new}
        end || M <- [hot_srv, hot_sup, hot_new, hot_a]],
        {ok, Steps} = bc_gitops_native:hot_steps(Coming, [<<"hot_x">>]),
        ?assertEqual([{add_module, <<"hot_new">>}, {delete_module, <<"hot_x">>},
                      {load_module, <<"hot_a">>}, {update, <<"hot_srv">>, {advanced, []}},
                      {update, <<"hot_sup">>, supervisor}], lists:sort(Steps)),
        ?assertEqual({delete_module, <<"hot_x">>}, lists:last(Steps)),
        ?assertEqual({ok, []}, bc_gitops_native:hot_steps([], [])),
        is_error(not_beam, beam(New, hot_a),
                 bc_gitops_native:hot_steps([{beam(New, hot_a), <<"text">>, true}], []))
    end).

%%% Appups

an_appup_for_these_versions_wins_test() ->
    Old = #{modules => server("1") ++ [{hot_c, "f() -> 1."}]},
    New = #{modules => server("2") ++ plain("1"), vsn => "1.1.0", app => [{mod, {hot_app, []}}],
            files => [{"ebin/hot_app.appup", "{\"1.1.0\", [], []}."}]},
    Appup = [{add_module, hot_a}, {add_module, hot_b}, {delete_module, hot_c}, {update, hot_srv, {advanced, []}}],
    with([Old, New], fun(OldDir, NewDir) ->
        ?assertMatch(#{appup := found}, compare(OldDir, NewDir)),
        ?assertMatch({restart, [_ | _], #{from := computed}}, plan(OldDir, NewDir, auto)),
        ?assertMatch({hot, [_, _, _, _], #{from := appup}}, plan(OldDir, NewDir, auto, Appup)),
        Low = [{load_object_code, {hot_app, "1.1.0", [hot_a]}}, point_of_no_return, {load, {hot_a, soft_purge, soft_purge}},
               {load, {hot_b, soft_purge, soft_purge}}, {load, {hot_srv, soft_purge, soft_purge}}, {remove, {hot_c, soft_purge, soft_purge}}],
        ?assertMatch({hot, _, _}, plan(OldDir, NewDir, auto, Low)),
        ?assertMatch({hot, _, _}, plan(OldDir, NewDir, auto, [{restart_application, hot_app}])),
        ?assertMatch({restart, [#{kind := asked}], _}, plan(OldDir, NewDir, restart, Appup)),
        ?assertMatch({restart, [#{kind := appup_restart}], _}, plan(OldDir, NewDir, hot, [restart_new_emulator | Appup])),
        {restart, Left, _} = plan(OldDir, NewDir, auto, tl(Appup) -- [{delete_module, hot_c}]),
        ?assertEqual([{appup_incomplete, <<"hot_app.appup leaves out hot_a, which is new">>},
                      {appup_incomplete, <<"hot_app.appup leaves out hot_c, which was removed">>}],
                     [{Kind, Message} || #{kind := Kind, message := Message} <- Left]),
        ?assertError(badarg, plan(OldDir, NewDir, auto, [{no_instruction, x}]))
    end).

an_appup_cannot_do_what_nothing_can_test() ->
    File = fun(Content) -> #{modules => plain(Content), files => [{"priv/a.so", Content}]} end,
    with([File("1"), File("2")], fun(Old, New) ->
        ?assertMatch({restart, [#{kind := priv_changed}], _}, plan(Old, New, hot, [{load_module, hot_a}]))
    end).

%% What `file:consult/1' reads, with strings as binaries and expressions named.
appups_are_read_test() ->
    Instructions = [{update, m, {advanced, [{'hot atom', "x"}]}}, {update, m, [n]}, {update, m, soft, soft_purge, brutal_purge, []},
                    {update, m, dynamic, 5000, soft, soft_purge, soft_purge, [n]}, {load_module, n, [m]},
                    {add_application, a, load}, {remove_application, a}, point_of_no_return, {suspend, [m, {n, infinity}]},
                    {code_change, up, [{m, []}]}, {sync_nodes, id, [n@h]}, {apply, {m, f, []}}, restart_emulator],
    bct_dir:with("appup", fun(Dir) ->
        File = filename:join(Dir, <<"a.appup">>),
        Appup = {"2.0", [{"1.0", Instructions}, {<<"1\\.[0-9]">>, []}], [{"", [restart_new_emulator]}]},
        ok = file:write_file(File, io_lib:format("~tp.~n", [Appup])),
        ?assertEqual({ok, #{version => <<"2.0">>, up => [{<<"1.0">>, Instructions}, {{regex, <<"1\\.[0-9]">>}, []}],
                            down => [{<<>>, [restart_new_emulator]}]}}, bc_gitops_native:appup_read(File, 10)),
        ok = file:write_file(File, "{\"1\", [{\"0\", [{load_module, never_an_atom_" ++ os:getpid() ++ "}]}], []}."),
        is_error(atom_quota, File, bc_gitops_native:appup_read(File, 0)),
        ?assertMatch({ok, _}, bc_gitops_native:appup_read(File, 1))
    end).

every_appup_of_otp_is_read_test() ->
    Files = filelib:wildcard(filename:join(code:lib_dir(), "*/ebin/*.appup")),
    ?assert(length(Files) > 10),
    [?assertEqual({File, consulted(File)}, {File, bc_gitops_native:appup_read(list_to_binary(File), 1000)})
     || File <- Files].

consulted(File) ->
    {ok, [{Version, Up, Down}]} = file:consult(File),
    From = fun(Text) when is_list(Text) -> list_to_binary(Text);
              (Expression) -> {regex, Expression}
           end,
    [Ups, Downs] = [[{From(V), Instructions} || {V, Instructions} <- Entries] || Entries <- [Up, Down]],
    {ok, #{version => list_to_binary(Version), up => Ups, down => Downs}}.

broken_appups_are_named_with_their_places_test_() ->
    Cases = [
        {"{\"1\",\n [{\"0\", [{load_modul, m}]}], []}.",
         ":2:10: found load_modul, expected an instruction of an appup; did you mean load_module?"},
        {"{\"1\", [{\"0\", [{load_module, \"m\"}]}], []}.",
         ":1:15: found load_module, expected {load_module, Name} or {load_module, Name, [Name]} or "
         "{load_module, Name, soft_purge | brutal_purge, soft_purge | brutal_purge, [Name]}"},
        {"{\"1\", [{\"0\", [7]}], []}.", ":1:15: found integer, expected an instruction of an appup"},
        {"{\"1\", [{0, []}], []}.", ":1:9: found integer, expected a version in a string"},
        {"{\"1\", []}.", ":1:1: found another tuple, expected {Version, [{UpFrom, [Instruction]}], [{DownTo, [Instruction]}]}"},
        {"{\"1\", [], []}.\n{}.", ":2:1: found a second term, expected one term in the file"},
        {"{\"1\", [", ":1:8: found the end of the file, expected a term"},
        {"", ":1:1: found no term, expected one term in the file"}
    ],
    [{Text, fun() ->
        bct_dir:with("appup", fun(Dir) ->
            File = filename:join(Dir, <<"a.appup">>),
            ok = file:write_file(File, Text),
            {invalid_terms, Message} = is_error(invalid_terms, File, bc_gitops_native:appup_read(File, 10)),
            ?assertEqual(<<File/binary, (list_to_binary(Expected))/binary>>, Message)
        end)
     end} || {Text, Expected} <- Cases].

%%% What is broken

broken_files_are_named_test() ->
    with([#{modules => plain("1")}, #{modules => plain("1")}], fun(Old, New) ->
        Beam = filename:join(New, "ebin/hot_a.beam"),
        rewrite(New, hot_a, fun(Bytes) -> binary:part(Bytes, 0, byte_size(Bytes) - 30) end),
        is_error(malformed, Beam, bc_gitops_native:build_compare(Old, New)),
        is_error(malformed, Beam, bc_gitops_native:beam_info(Beam)),
        rewrite(New, hot_a, fun(_) -> <<"text">> end),
        is_error(not_beam, Beam, bc_gitops_native:hot_plan([{Old, New}], options(hot))),
        App = filename:join(New, "ebin/hot_app.app"),
        rewrite(New, hot_a, fun(_) -> element(2, file:read_file(filename:join(Old, "ebin/hot_a.beam"))) end),
        ok = file:write_file(App, "{application, hot_app,\n  [{vsn}]}."),
        {invalid_terms, Message} = is_error(invalid_terms, App, bc_gitops_native:build_compare(Old, New)),
        ?assertEqual(<<App/binary, ":2:4: found tuple, expected {application, Name, [{Key, Value}]}">>, Message),
        ok = file:write_file(App, binary:copy(<<"%">>, 1024 * 1024 + 1)),
        is_error(too_large, App, bc_gitops_native:build_compare(Old, New)),
        is_error(not_found, <<"/no/such/ebin">>, bc_gitops_native:build_compare(Old, <<"/no/such">>))
    end).

is_error(Kind, Path, Result) ->
    ?assertMatch({error, {Kind, #{path := Path, message := _}}}, Result),
    {error, {_, #{message := Message}}} = Result,
    ?assertNotEqual(nomatch, string:find(Message, Path)),
    {Kind, Message}.

%%% Builds

with([Old, New], Fun) ->
    bct_dir:with("hot", fun(Dir) -> Fun(build(Dir, <<"old">>, Old), build(Dir, <<"new">>, New)) end).

build(Dir, Key, Options) ->
    Lib = bct_build:lib(Dir, Key, maps:merge(#{name => hot_app}, Options)),
    unicode:characters_to_binary(maps:get(path, Lib)).

plain(N) -> [{hot_a, ["f() -> ", N, "."]}, {hot_b, "f() -> 1."}].

server(N) -> [{hot_srv, io_lib:format(?SERVER, [N])}].

compare(Old, New) ->
    {ok, Comparison} = bc_gitops_native:build_compare(Old, New),
    Comparison.

plan(Old, New, Strategy) ->
    plan(Old, New, Strategy, none).

plan(Old, New, Strategy, Appup) ->
    {ok, Plan} = bc_gitops_native:hot_plan([{Old, New}], (options(Strategy))#{appup := Appup}),
    Plan.

options(Strategy) -> #{strategy => Strategy, toolchain_same => true, appup => none}.

info(Dir, Module) ->
    {ok, Info} = bc_gitops_native:beam_info(beam(Dir, Module)),
    Info.

beam(Dir, Module) -> filename:join([Dir, <<"ebin">>, <<(atom_to_binary(Module))/binary, ".beam">>]).

rewrite(Dir, Module, Fun) ->
    {ok, Bytes} = file:read_file(beam(Dir, Module)),
    ok = file:write_file(beam(Dir, Module), Fun(Bytes)).

copy_code(Dir, Module, To) ->
    Target = filename:join(Dir, To),
    ok = filelib:ensure_dir(Target),
    {ok, _} = file:copy(beam(Dir, Module), Target),
    ok.
