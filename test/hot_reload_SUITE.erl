%%% @doc New code by hand, as users call it: from files, without bc_gitops being started.
-module(hot_reload_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_module/1, several_or_none/1, nobody_is_killed/1, what_cannot_be_replaced/1,
         cover_compiled/1, what_is_not_there/1, not_loaded_yet/1, what_was_built_anew/1,
         a_protocol_is_no_change/1, a_change_that_fails/1, overwritten_in_place/1, from_the_store/1,
         events_and_turns/1]).

-import(bct_hot_disk, [build/3, ebin/2, texts/2, one/0, two/0, start/1, moment/1, states/0,
                       suspended/0]).

-define(SAME, "code_change(_, S, _) -> {ok, S}.").
-define(FAILS, "code_change(_, {_, _, hot_b}, _) -> {error, unwilling};\n"
               "code_change(_, S, _) -> {ok, {new, S}}.").

all() ->
    [a_module, several_or_none, nobody_is_killed, what_cannot_be_replaced, cover_compiled,
     what_is_not_there, not_loaded_yet, what_was_built_anew, a_protocol_is_no_change,
     a_change_that_fails, overwritten_in_place, from_the_store, events_and_turns].

init_per_testcase(Case, Config) ->
    false = lists:keymember(bc_gitops, 1, application:which_applications()),
    [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, Config) ->
    bct_hot_disk:clean(dir(Config)).

dir(Config) -> ?config(dir, Config).

%%% Code in the place of code

a_module(Config) ->
    _ = start(build(dir(Config), "1", one())),
    ?assertNot(bc_gitops_hot_reload:module_changed(hot_t_lib)),
    Ebin = build(dir(Config), "1", two()),
    ?assert(bc_gitops_hot_reload:module_changed(hot_t_lib)),
    {ok, {hot_t_lib, MD5}} = beam_lib:md5(filename:join(Ebin, "hot_t_lib.beam")),
    ?assertEqual({ok, MD5}, bc_gitops_hot_reload:get_module_beam_hash(hot_t_lib)),
    ?assertEqual(1, hot_t_lib:f()),
    ?assertEqual({ok, hot_t_lib}, bc_gitops_hot_reload:reload_module(hot_t_lib)),
    ?assertEqual(2, hot_t_lib:f()),
    ?assertNot(bc_gitops_hot_reload:module_changed(hot_t_lib)),
    ?assertEqual(MD5, hot_t_lib:module_info(md5)),
    ?assertEqual({ok, lists:sort([hot_t_lib, hot_t_server, hot_t_sup])},
                 sorted(bc_gitops_hot_reload:get_app_modules(hot_t))).

sorted({ok, List}) -> {ok, lists:sort(List)}.

several_or_none(Config) ->
    Modules = start(build(dir(Config), "1", one())),
    Ebin = build(dir(Config), "1", two()),
    ok = file:write_file(filename:join(Ebin, "hot_t_sup.beam"), <<"no beam">>),
    Before = moment(Modules),
    ?assertMatch({error, {code_refused, #{modules := [{hot_t_sup, _}]}}},
                 bc_gitops_hot_reload:reload_modules([hot_t_lib, hot_t_sup])),
    ?assertMatch({error, {not_hot, #{modules := [{lists, sticky}]}}},
                 bc_gitops_hot_reload:reload_modules([hot_t_lib, lists])),
    ?assertEqual(Before, moment(Modules)),
    ?assertEqual({ok, [hot_t_server, hot_t_lib]},
                 bc_gitops_hot_reload:reload_modules([hot_t_server, hot_t_lib])),
    ?assertEqual(2, hot_t_lib:f()),
    ?assertEqual({ok, []}, bc_gitops_hot_reload:reload_modules([])).

nobody_is_killed(Config) ->
    Lib = fun(N) -> [bct_hot:linger(), io_lib:format("f() -> ~b.", [N])] end,
    Build = fun(N) -> build(dir(Config), "1", texts(bct_hot:server("one", ?SAME), Lib(N))) end,
    _ = start(Build(1)),
    Pid = bct_hot:hold(hot_t_lib, self()),
    _ = Build(2),
    {ok, hot_t_lib} = bc_gitops_hot_reload:reload_module(hot_t_lib),
    _ = Build(3),
    {error, {old_code_in_use, Details}} = Error = bc_gitops_hot_reload:reload_module(hot_t_lib),
    ?assertMatch(#{modules := [hot_t_lib],
                   processes := [{Pid, #{current_function := {hot_t_lib, run, 1}}}]}, Details),
    ?assertEqual(Error, bc_gitops_hot_reload:reload_modules([hot_t_server, hot_t_lib])),
    ?assertEqual(Error, without_app(bc_gitops_hot_reload:reload_changed_modules(hot_t))),
    ?assert(is_process_alive(Pid)),
    ?assertEqual(2, hot_t_lib:f()),
    Ref = monitor(process, Pid),
    Pid ! stop,
    receive {'DOWN', Ref, process, Pid, normal} -> ok end,
    {ok, hot_t_lib} = bc_gitops_hot_reload:reload_module(hot_t_lib),
    ?assertEqual(3, hot_t_lib:f()).

without_app({error, {Kind, Details}}) -> {error, {Kind, maps:remove(app, Details)}}.

what_cannot_be_replaced(Config) ->
    OnLoad = fun(N) -> {hot_t_ol, io_lib:format("-on_load(g/0).~nf() -> ~b.~ng() -> ok.", [N])} end,
    _ = start(build(dir(Config), "1", [OnLoad(1) | one()])),
    _ = build(dir(Config), "1", [OnLoad(2) | two()]),
    {module, crypto} = code:ensure_loaded(crypto),
    [?assertEqual({error, {not_hot, #{modules => [{M, Why}]}}},
                  bc_gitops_hot_reload:reload_module(M))
     || {M, Why} <- [{lists, sticky}, {erlang, preloaded}, {crypto, nif}, {hot_t_ol, on_load}]],
    ?assertEqual({error, {not_hot, #{modules => [{hot_t_ol, on_load}]}}},
                 bc_gitops_hot_reload:reload_changed_modules(hot_t)),
    ?assertEqual(1, hot_t_lib:f()).

%% In a VM of its own: cover belongs to whoever measures us.
cover_compiled(Config) ->
    Vm = bct_vm:start(bare, []),
    Ebin = build(dir(Config), "1", one()),
    true = bct_vm:call(Vm, code, add_pathz, [Ebin]),
    File = filename:join(dir(Config), "hot_t_covered.erl"),
    ok = file:write_file(File, "-module(hot_t_covered).\n-export([f/0]).\nf() -> 1.\n"),
    {ok, hot_t_covered} = bct_vm:call(Vm, cover, compile, [File]),
    Refused = {error, {not_hot, #{modules => [{hot_t_covered, cover_compiled}]}}},
    ?assertEqual(Refused, bct_vm:call(Vm, bc_gitops_hot_reload, reload_module, [hot_t_covered])),
    ?assertEqual(1, bct_vm:call(Vm, hot_t_covered, f, [])),
    ok = bct_vm:call(Vm, cover, stop, []),
    bct_vm:stop(Vm).

what_is_not_there(Config) ->
    Modules = start(build(dir(Config), "1", one())),
    Nowhere = {error, {object_not_found, #{module => hot_t_nowhere}}},
    ?assertEqual(Nowhere, bc_gitops_hot_reload:reload_module(hot_t_nowhere)),
    ?assertEqual(Nowhere, bc_gitops_hot_reload:get_module_beam_hash(hot_t_nowhere)),
    ?assertNot(bc_gitops_hot_reload:module_changed(hot_t_nowhere)),
    Unknown = {error, {app_not_found, #{app => hot_t_nowhere}}},
    ?assertEqual(Unknown, bc_gitops_hot_reload:get_app_modules(hot_t_nowhere)),
    ?assertEqual(Unknown, bc_gitops_hot_reload:reload_changed_modules(hot_t_nowhere)),
    ok = file:write_file(filename:join(ebin(dir(Config), "1"), "hot_t_lib.beam"), <<"FOR1">>),
    ?assertMatch({error, {not_beam, #{message := _}}},
                 bc_gitops_hot_reload:get_module_beam_hash(hot_t_lib)),
    ?assertMatch({error, {not_beam, #{message := _}}},
                 bc_gitops_hot_reload:reload_changed_modules(hot_t)),
    ?assertNot(bc_gitops_hot_reload:module_changed(hot_t_lib)),
    ?assertEqual(1, hot_t_lib:f()),
    ?assertEqual(3, length(Modules)).

not_loaded_yet(Config) ->
    OnLoad = {hot_t_ol, "-on_load(g/0).\nf() -> 1.\ng() -> ok."},
    true = code:add_pathz(build(dir(Config), "1", [OnLoad | one()])),
    ?assertEqual({ok, hot_t_ol}, bc_gitops_hot_reload:reload_module(hot_t_ol)),
    ?assertEqual(1, hot_t_ol:f()),
    {ok, Modules} = bc_gitops_hot_reload:get_app_modules(hot_t),
    ?assert(lists:member(hot_t_lib, Modules)),
    ?assertNot(erlang:module_loaded(hot_t_lib)).

%%% With states

%% In the place of the old files, and with a module more.
what_was_built_anew(Config) ->
    _ = start(build(dir(Config), "1", one())),
    Pids = [whereis(Name) || Name <- [hot_a, hot_b]],
    1 = gen_server:call(hot_a, bump),
    ?assertEqual({ok, []}, bc_gitops_hot_reload:reload_changed_modules(hot_t)),
    _ = build(dir(Config), "1", [{hot_t_new, "f() -> 3."} | two()]),
    ?assertEqual({ok, [hot_t_lib, hot_t_new, hot_t_server]},
                 sorted(bc_gitops_hot_reload:reload_changed_modules(hot_t))),
    ?assertEqual([{two, 1, hot_a}, {two, 0, hot_b}], states()),
    ?assertEqual(Pids, [whereis(Name) || Name <- [hot_a, hot_b]]),
    ?assertEqual([2, 3], [hot_t_lib:f(), hot_t_new:f()]),
    ?assert(erlang:module_loaded(hot_t_new)),
    ?assertEqual({ok, []}, bc_gitops_hot_reload:reload_changed_modules(hot_t)).

a_protocol_is_no_change(Config) ->
    Protocol = fun(N) ->
        {hot_t_proto, io_lib:format("'__protocol__'('consolidated?') -> true.~nf() -> ~b.", [N])}
    end,
    _ = start(build(dir(Config), "1", [Protocol(1) | one()])),
    _ = build(dir(Config), "1", [Protocol(2) | one()]),
    ?assertNot(bc_gitops_hot_reload:module_changed(hot_t_proto)),
    ?assertEqual({ok, []}, bc_gitops_hot_reload:reload_changed_modules(hot_t)).

%% The former files are in another directory.
a_change_that_fails(Config) ->
    Modules = start(build(dir(Config), "1", one())),
    Texts = texts(bct_hot:server("new", ?FAILS), "f() -> 2."),
    true = code:add_patha(build(dir(Config), "2", Texts)),
    1 = gen_server:call(hot_a, bump),
    Before = moment(Modules),
    ?assertMatch({error, {code_change_failed, #{module := hot_t_server, reason := unwilling}}},
                 bc_gitops_hot_reload:reload_changed_modules(hot_t)),
    ?assertEqual(Before, moment(Modules)),
    ?assertEqual(2, gen_server:call(hot_a, bump)).

%% They are nowhere: the new code stays, the error says what to do, and nobody is left suspended.
overwritten_in_place(Config) ->
    _ = start(build(dir(Config), "1", one())),
    _ = build(dir(Config), "1", texts(bct_hot:server("new", ?FAILS), "f() -> 2.")),
    Pids = [whereis(Name) || Name <- [hot_a, hot_b]],
    {error, {not_undone, Details} = Reason} = bc_gitops_hot_reload:reload_changed_modules(hot_t),
    ?assertMatch(#{reason := {code_change_failed, _},
                   problems := [{former_code_not_kept, _} | _]}, Details),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Reason), "nowhere kept")),
    ?assertEqual(Pids, [whereis(Name) || Name <- [hot_a, hot_b]]),
    ?assertEqual([false, false, false], suspended()).

%% As above, but the store has them.
from_the_store(Config) ->
    Modules = start(build(dir(Config), "1", one())),
    Kept = filename:dirname(build(dir(Config), "kept", one())),
    _ = build(dir(Config), "1", texts(bct_hot:server("new", ?FAILS), "f() -> 2.")),
    {ok, Table} = bc_gitops_runtime_table:start_link(),
    Path = list_to_binary(Kept),
    Lib = #{lib => #{name => hot_t, version => <<"1">>, path => Path, modules => #{}},
            owners => [hot_t], switching => none, next => none},
    ok = bc_gitops_runtime_table:set_libs(#{hot_t => Lib}),
    Before = moment(Modules),
    ?assertMatch({error, {code_change_failed, _}},
                 bc_gitops_hot_reload:reload_changed_modules(hot_t)),
    ?assertEqual(Before, moment(Modules)),
    ok = bc_gitops_runtime_table:set_libs(#{hot_t => gone}),
    gen_server:stop(Table).

%%% Beside what else works on applications

%% Whoever comes while a switch of the application is under way waits for it.
events_and_turns(Config) ->
    _ = start(build(dir(Config), "1", one())),
    Servers = [element(2, {ok, _} = M:start_link())
               || M <- [bc_gitops_telemetry, bc_gitops_switch_sup, bc_gitops_switches]],
    Test = self(),
    Handler = fun(_, Measured, Told, _) -> Test ! {loaded, Measured, Told} end,
    ok = bc_gitops_telemetry:attach(hot, [bc_gitops, code, load], Handler, none),
    Wait = fun(_Proceed) -> Test ! {switching, self()}, receive go_on -> ok end end,
    _ = spawn_link(fun() -> bc_gitops_switches:run(hot_t, Wait) end),
    Switch = receive {switching, Pid} -> Pid end,
    _ = build(dir(Config), "1", two()),
    Caller = spawn_link(fun() ->
        Test ! {answer, bc_gitops_hot_reload:reload_changed_modules(hot_t)}
    end),
    bct_wait:until(fun() -> {monitors, [{process, Switch}]} =:= process_info(Caller, monitors) end),
    ?assertEqual(1, hot_t_lib:f()),
    Switch ! go_on,
    receive {answer, Answer} -> ?assertEqual({ok, [hot_t_lib, hot_t_server]}, Answer) end,
    receive {loaded, Measured, Told} ->
        ?assertEqual({#{modules => 2}, #{app => hot_t, modules => [hot_t_lib, hot_t_server]}},
                     {Measured, Told})
    end,
    _ = [begin unlink(Server), gen_server:stop(Server) end || Server <- lists:reverse(Servers)].
