%%% @doc Code that changes while processes run it: each kind of process keeps its identity and takes
%%% its state along.
-module(hot_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, end_per_testcase/2]).
-export([a_server_keeps_pid_and_state/1, up_and_down/1, modules_come_and_go/1, only_what_must_is_suspended/1,
         a_statem/1, handlers_of_an_event_manager/1, a_special_process/1, processes_outside_of_the_tree/1,
         a_thousand/1, calls_between_parts/1, old_code_in_use_is_later/1, by_force/1, what_cannot_be_replaced/1,
         the_controller_is_told/1, a_suspended_supervisor_elsewhere/1, a_suspended_supervisor_of_ours/1,
         several_applications/1, a_cover_compiled_module/1]).

-define(UP, "code_change(_, {_, N, E}, _) -> {ok, {two, N, E}}.").
-define(SAME, "code_change(_, S, _) -> {ok, S}.").

all() ->
    [a_server_keeps_pid_and_state, up_and_down, modules_come_and_go, only_what_must_is_suspended, a_statem,
     handlers_of_an_event_manager, a_special_process, processes_outside_of_the_tree, a_thousand, calls_between_parts,
     old_code_in_use_is_later, by_force, what_cannot_be_replaced, the_controller_is_told,
     a_suspended_supervisor_elsewhere, a_suspended_supervisor_of_ours, several_applications,
     a_cover_compiled_module].

end_per_testcase(_Case, _Config) ->
    lists:foreach(fun bct_hot:stop/1, [App || {App, _, _} <- application:loaded_applications(),
                                              lists:prefix("hot_t", atom_to_list(App))]).

old() -> old(bct_hot:server("one", ?SAME)).

old(Server) ->
    bct_hot:objects([{hot_t_sup, bct_hot:supervisor("#{}", bct_hot:workers([{hot_a, hot_t_server}]))},
                     {hot_t_server, Server}]).

new(Old, Texts) -> maps:merge(Old, bct_hot:objects(Texts)).

start(Objects) -> bct_hot:start(hot_t, Objects).

a_server_keeps_pid_and_state(_Config) ->
    Old = old(),
    ok = start(Old),
    Pid = whereis(hot_a),
    1 = gen_server:call(hot_a, bump),
    New = new(Old, [{hot_t_server, bct_hot:server("two", ?UP)}]),
    {ok, Report} = bct_hot:upgrade(hot_t, Old, New),
    ?assertMatch(#{processes := 1, modules := [hot_t_server], lingering := []}, Report),
    ?assert(is_integer(maps:get(pause_us, Report))),
    ?assertEqual(Pid, whereis(hot_a)),
    ?assertEqual({two, 1, hot_a}, gen_server:call(hot_a, state)),
    ?assertEqual(two, gen_server:call(hot_a, version)),
    ?assertNot(bct_hot:suspended(hot_a)),
    ?assertNot(erlang:check_old_code(hot_t_server)).

%% The vsn that `code_change' is given, and on the way down the code that knows both states.
up_and_down(_Config) ->
    Old = old(),
    ok = start(Old),
    Pid = whereis(hot_a),
    Change = "code_change(\"one\", {one, N, E}, [x]) -> {ok, {two, N + 10, E}};\n"
             "code_change({down, \"one\"}, {two, N, E}, [x]) -> {ok, {one, N - 10, E}}.",
    New = new(Old, [{hot_t_server, bct_hot:server("two", Change)}]),
    Steps = [{update, hot_t_server, {advanced, [x]}}],
    {ok, _} = bct_hot:upgrade(hot_t, Old, New, #{steps => Steps}),
    ?assertEqual({two, 10, hot_a}, gen_server:call(hot_a, state)),
    {ok, _} = bct_hot:upgrade(hot_t, New, Old, #{steps => Steps, direction => down}),
    ?assertEqual({one, 0, hot_a}, gen_server:call(hot_a, state)),
    ?assertEqual(one, gen_server:call(hot_a, version)),
    ?assertEqual(Pid, whereis(hot_a)).

modules_come_and_go(_Config) ->
    Old = new(old(), [{hot_t_gone, "f() -> 1."}]),
    ok = start(Old),
    New = new(maps:remove(hot_t_gone, Old), [{hot_t_new, "f() -> 2."}, {hot_t_server, bct_hot:server("two", ?UP)}]),
    {ok, _} = bct_hot:upgrade(hot_t, Old, New),
    ?assertNot(erlang:module_loaded(hot_t_gone)),
    ?assertNot(erlang:check_old_code(hot_t_gone)),
    ?assertEqual(2, hot_t_new:f()),
    {ok, _} = bct_hot:upgrade(hot_t, New, Old),
    ?assertEqual(1, hot_t_gone:f()),
    ?assertNot(erlang:module_loaded(hot_t_new)).

%% A process that would not answer is no matter when its module has no state to change.
only_what_must_is_suspended(_Config) ->
    Old = new(old(), [{hot_t_lib, "f() -> 1."}]),
    ok = start(Old),
    Test = self(),
    ok = gen_server:cast(hot_a, {run, fun() -> Test ! busy, receive go_on -> ok end end}),
    receive busy -> ok end,
    New = new(Old, [{hot_t_lib, "f() -> 2."}]),
    {ok, #{processes := 0}} = bct_hot:upgrade(hot_t, Old, New),
    ?assertEqual(2, hot_t_lib:f()),
    hot_a ! go_on,
    ?assertEqual(one, gen_server:call(hot_a, version)).

a_statem(_Config) ->
    Text = fun(Version, Change) -> io_lib:format(
        "-behaviour(gen_statem).~n"
        "start_link(Name) -> gen_statem:start_link({local, Name}, ?MODULE, Name, []).~n"
        "init(Name) -> {ok, shut, {~s, Name}}.~ncallback_mode() -> ~s.~n~s~n", [Version, Change, case Version of
            "one" -> "shut({call, From}, get, D) -> {keep_state_and_data, {reply, From, {shut, D}}}.";
            "two" -> "handle_event({call, From}, get, S, D) -> {keep_state_and_data, {reply, From, {S, D}}}.\n"
                     "code_change(_, shut, {one, N}, _) -> {ok, {closed, 1}, {two, N}}."
        end]) end,
    Old = old(Text("one", "state_functions")),
    ok = start(Old),
    Pid = whereis(hot_a),
    ?assertEqual({shut, {one, hot_a}}, gen_statem:call(hot_a, get)),
    {ok, _} = bct_hot:upgrade(hot_t, Old, new(Old, [{hot_t_server, Text("two", "handle_event_function")}])),
    ?assertEqual({{closed, 1}, {two, hot_a}}, gen_statem:call(hot_a, get)),
    ?assertEqual(Pid, whereis(hot_a)).

handlers_of_an_event_manager(_Config) ->
    Handler = fun(Version, More) -> ["-behaviour(gen_event).\n", More,
        "init(N) -> {ok, {", Version, ", N}}.\nhandle_event(_, S) -> {ok, S}.\n"
        "handle_call(get, S) -> {ok, {", Version, ", S}, S}.\n"] end,
    Manager = "start_link(Name) -> {ok, P} = gen_event:start_link({local, Name}),\n"
              "ok = gen_event:add_handler(P, hot_t_one, 1), ok = gen_event:add_handler(P, {hot_t_one, b}, 2),\n"
              "ok = gen_event:add_handler(P, hot_t_two, 3), {ok, P}.",
    Old = new(old(Manager), [{hot_t_one, Handler("one", "")}, {hot_t_two, Handler("one", "")}]),
    ok = start(Old),
    Pid = whereis(hot_a),
    Change = "code_change(_, {one, N}, _) -> {ok, {two, N}}.\n",
    New = new(Old, [{hot_t_one, Handler("two", Change)}]),
    {ok, #{processes := 1}} = bct_hot:upgrade(hot_t, Old, New),
    Get = fun(Id) -> gen_event:call(hot_a, Id, get) end,
    ?assertEqual([{two, {two, 1}}, {two, {two, 2}}, {one, {one, 3}}],
                 [Get(hot_t_one), Get({hot_t_one, b}), Get(hot_t_two)]),
    Bad = new(New, [{hot_t_two, Handler("two", "code_change(_, _, _) -> error(no).\n")},
                    {hot_t_one, Handler("three", "code_change(_, {_, N}, _) -> {ok, {three, N}}.\n")}]),
    {undone, {code_change_failed, _}} = bct_hot:upgrade(hot_t, New, Bad),
    ?assertEqual([{two, {two, 1}}, {two, {two, 2}}, {one, {one, 3}}],
                 [Get(hot_t_one), Get({hot_t_one, b}), Get(hot_t_two)]),
    ?assertEqual(Pid, whereis(hot_a)).

special(Version, Change) ->
    ["start_link(Name) -> proc_lib:start_link(?MODULE, begin_it, [self(), Name]).\n"
     "begin_it(Parent, Name) -> register(Name, self()), proc_lib:init_ack({ok, self()}), loop(Parent, {", Version, ", 0}).\n"
     "loop(Parent, S) -> receive {system, From, Request} ->\n"
     "  sys:handle_system_msg(Request, From, Parent, ?MODULE, [], S);\n"
     "  {get, From} -> From ! {", Version, ", S}, ?MODULE:loop(Parent, S) end.\n"
     "system_continue(Parent, _, S) -> loop(Parent, S).\nsystem_terminate(R, _, _, _) -> exit(R).\n", Change].

a_special_process(_Config) ->
    Old = old(special("one", "")),
    ok = start(Old),
    Pid = whereis(hot_a),
    New = new(Old, [{hot_t_server, special("two", "system_code_change({one, N}, _, _, _) -> {ok, {two, N}}.\n")}]),
    {ok, #{lingering := []}} = bct_hot:upgrade(hot_t, Old, New),
    hot_a ! {get, self()},
    ?assertEqual({two, {two, 0}}, receive Answer -> Answer end),
    ?assertEqual(Pid, whereis(hot_a)),
    Bad = new(New, [{hot_t_server, special("bad", "system_code_change(_, _, _, _) -> {error, no}.\n")}]),
    {undone, {code_change_failed, #{module := hot_t_server, process := Pid}}} = bct_hot:upgrade(hot_t, New, Bad),
    hot_a ! {get, self()},
    ?assertEqual({two, {two, 0}}, receive Again -> Again end),
    ?assertEqual(Pid, whereis(hot_a)).

%% Neither in a tree nor in a child specification; and one whose specification names another module.
processes_outside_of_the_tree(_Config) ->
    Children = "[#{id => a, start => {hot_t_wrap, start_link, []}}]",
    Old = bct_hot:objects([{hot_t_sup, bct_hot:supervisor("#{}", Children)}, {hot_t_server, bct_hot:server("one", ?SAME)},
                           {hot_t_wrap, "start_link() -> hot_t_server:start_link(hot_a)."}]),
    ok = start(Old),
    {ok, _} = gen_server:start({local, hot_b}, hot_t_server, hot_b, []),
    New = new(Old, [{hot_t_server, bct_hot:server("two", ?UP)}]),
    {ok, #{processes := 2}} = bct_hot:upgrade(hot_t, Old, New),
    ?assertEqual([two, two], [gen_server:call(Name, version) || Name <- [hot_a, hot_b]]),
    ok = gen_server:stop(hot_b).

a_thousand(_Config) ->
    Many = "-behaviour(supervisor).\nstart_link() -> supervisor:start_link({local, hot_many}, ?MODULE, []).\n"
           "init([]) -> {ok, {#{strategy => simple_one_for_one}, [#{id => s, start => {hot_t_server, start_many, []}}]}}.",
    Server = fun(V, C) -> [bct_hot:server(V, C), "start_many(N) -> gen_server:start_link(?MODULE, N, []).\n"] end,
    Old = bct_hot:objects([{hot_t_sup, bct_hot:supervisor("#{}",
        "[#{id => many, start => {hot_t_many, start_link, []}, type => supervisor}]")},
        {hot_t_many, Many}, {hot_t_server, Server("one", ?SAME)}]),
    ok = start(Old),
    Pids = [element(2, {ok, _} = supervisor:start_child(hot_many, [N])) || N <- lists:seq(1, 1000)],
    New = new(Old, [{hot_t_server, Server("two", ?UP)}]),
    {ok, #{processes := 1000, pause_us := Pause}} = bct_hot:upgrade(hot_t, Old, New),
    ct:pal("1,000 processes stood still for ~b us", [Pause]),
    ?assertEqual([{two, 0, N} || N <- lists:seq(1, 1000)], [gen_server:call(Pid, state) || Pid <- Pids]),
    Bad = new(New, [{hot_t_server, Server("bad", "code_change(_, {_, _, 500}, _) -> {error, no}; code_change(_, S, _) -> {ok, {x, S}}.")}]),
    ?assertMatch({undone, {code_change_failed, #{reason := no}}}, bct_hot:upgrade(hot_t, New, Bad)),
    ?assertEqual([{two, 0, N} || N <- lists:seq(1, 1000)], [gen_server:call(Pid, state) || Pid <- Pids]).

calls_between_parts(_Config) ->
    Old = new(old(), [{hot_t_lib, "f() -> 1."}]),
    ok = start(Old),
    New = new(Old, [{hot_t_lib, "f() -> persistent_term:put(hot_t, gen_server:call(hot_a, version))."},
                    {hot_t_server, bct_hot:server("two", ?UP)}]),
    Steps = [{load_module, hot_t_lib}, {apply, {hot_t_lib, f, []}}, {update, hot_t_server, {advanced, []}}],
    {ok, _} = bct_hot:upgrade(hot_t, Old, New, #{steps => Steps}),
    ?assertEqual(one, persistent_term:get(hot_t)),
    ?assertEqual(two, gen_server:call(hot_a, version)),
    Bad = [{load_module, hot_t_lib}, {apply, {hot_t_lib, nothing, []}}],
    ?assertMatch({restart, {not_undone, #{reason := {function_failed, _}}}}, bct_hot:upgrade(hot_t, New, Old, #{steps => Bad})).

old_code_in_use_is_later(_Config) ->
    {Old, New, Newer, Pid} = in_use(),
    Answer = bct_hot:upgrade(hot_t, New, Newer),
    ?assertMatch({later, {old_code_in_use, #{modules := [hot_t_lib], processes := [{Pid, #{modules := [hot_t_lib]}}]}}}, Answer),
    ?assert(is_process_alive(Pid)),
    ?assertEqual(New, maps:merge(Old, maps:with([hot_t_lib], New))),
    ?assertEqual(2, hot_t_lib:f()),
    Ref = monitor(process, Pid),
    Pid ! stop,
    receive {'DOWN', Ref, process, Pid, normal} -> ok end,
    {ok, #{lingering := []}} = bct_hot:upgrade(hot_t, New, Newer),
    ?assertEqual(3, hot_t_lib:f()).

by_force(_Config) ->
    {_, New, Newer, Pid} = in_use(),
    Ref = monitor(process, Pid),
    {ok, _} = bct_hot:upgrade(hot_t, New, Newer, #{force => true}),
    receive {'DOWN', Ref, process, Pid, killed} -> ok end,
    ?assertEqual(3, hot_t_lib:f()).

in_use() ->
    Lib = fun(N) -> {hot_t_lib, [bct_hot:linger(), io_lib:format("f() -> ~b.", [N])]} end,
    Old = new(old(), [Lib(1)]),
    ok = start(Old),
    Pid = bct_hot:hold(hot_t_lib, self()),
    New = new(Old, [Lib(2)]),
    {ok, #{lingering := [hot_t_lib]}} = bct_hot:upgrade(hot_t, Old, New),
    {Old, New, new(Old, [Lib(3)]), Pid}.

what_cannot_be_replaced(_Config) ->
    Old = old(),
    ok = start(Old),
    {module, crypto} = code:ensure_loaded(crypto),
    Refused = fun(M) ->
        Step = #{steps => [{load_module, M}], new => #{M => map_get(hot_t_server, Old)}},
        bct_hot:upgrade(hot_t, Old, Old, Step)
    end,
    [?assertMatch({cold, {not_hot, #{modules := [{M, Why}]}}}, Refused(M))
     || {M, Why} <- [{lists, sticky}, {erlang, preloaded}, {crypto, nif}]],
    OnLoad = bct_hot:objects([{hot_t_ol, "-on_load(f/0).\nf() -> ok."}]),
    ?assertMatch({cold, {not_hot, #{modules := [{hot_t_ol, on_load}]}}}, bct_hot:upgrade(hot_t, Old, maps:merge(Old, OnLoad))),
    Native = bct_hot:objects([{hot_t_nif, "f() -> erlang:load_nif(\"x\", 0)."}]),
    ?assertMatch({cold, {not_hot, #{modules := [{hot_t_nif, nif}]}}}, bct_hot:upgrade(hot_t, Old, maps:merge(Old, Native))),
    Broken = #{hot_t_new => {"x.beam", <<"no beam">>}},
    ?assertMatch({undone, {code_refused, _}}, bct_hot:upgrade(hot_t, Old, maps:merge(Old, Broken))).

the_controller_is_told(_Config) ->
    Callback = [bct_hot:supervisor("#{}", "[]"),
                "config_change(C, N, R) -> persistent_term:put(hot_t, {lists:sort(C), N, R}), persistent_term:get(hot_t_answer, ok)."],
    Old = bct_hot:objects([{hot_t_sup, Callback}, {hot_t_lib, "f() -> 1."}]),
    ok = bct_hot:start(hot_t, Old, [{env, [{a, 1}, {b, 2}]}]),
    {ok, Keys} = application:get_all_key(hot_t),
    From = {application, hot_t, Keys},
    To = {application, hot_t, lists:keyreplace(vsn, 1, lists:keyreplace(env, 1, Keys, {env, [{a, 5}, {c, 3}]}), {vsn, "2"})},
    New = new(Old, [{hot_t_lib, "f() -> 2."}]),
    More = #{apps => [#{app => hot_t, from => From, to => To, env => #{a => 5, c => 3}}]},
    {ok, _} = bct_hot:upgrade(hot_t, Old, New, More),
    ?assertEqual({ok, "2"}, application:get_key(hot_t, vsn)),
    ?assertEqual([{a, 5}, {c, 3}], lists:sort(application:get_all_env(hot_t))),
    ?assertEqual({[{a, 5}], [{c, 3}], [b]}, persistent_term:get(hot_t)),
    Back = #{apps => [#{app => hot_t, from => To, to => From, env => #{a => 1, b => 2}}]},
    persistent_term:put(hot_t_answer, {error, no}),
    ?assertMatch({restart, {not_undone, #{reason := {config_change_failed, _}}}}, bct_hot:upgrade(hot_t, New, Old, Back)),
    ?assertEqual({ok, "2"}, application:get_key(hot_t, vsn)),
    ?assertEqual([{a, 5}, {c, 3}], lists:sort(application:get_all_env(hot_t))),
    persistent_term:erase(hot_t_answer).

%% Another application's supervisor that does not answer keeps nobody from an upgrade.
a_suspended_supervisor_elsewhere(_Config) ->
    Old = old(),
    ok = start(Old),
    Others = bct_hot:objects([{hot_tx_sup, bct_hot:supervisor("#{}", "[]")}]),
    ok = bct_hot:start(hot_tx, Others),
    ok = sys:suspend(hot_tx_sup),
    {ok, #{processes := 1}} = bct_hot:upgrade(hot_t, Old, new(Old, [{hot_t_server, bct_hot:server("two", ?UP)}])),
    ?assert(bct_hot:suspended(hot_tx_sup)),
    ok = sys:resume(hot_tx_sup),
    ?assertEqual(two, gen_server:call(hot_a, version)).

a_suspended_supervisor_of_ours(_Config) ->
    Old = old(),
    ok = start(Old),
    ok = sys:suspend(hot_t_sup),
    Sup = whereis(hot_t_sup),
    ?assertMatch({undone, {supervisors_silent, #{processes := [Sup]}}},
                 bct_hot:upgrade(hot_t, Old, new(Old, [{hot_t_server, bct_hot:server("two", ?UP)}]))),
    ok = sys:resume(hot_t_sup),
    ?assertEqual(one, gen_server:call(hot_a, version)).

%% A dependency whose functions change together with the application that calls them.
several_applications(_Config) ->
    Dependency = bct_hot:objects([{hot_td_sup, bct_hot:supervisor("#{}", bct_hot:workers([{hot_d, hot_td_server}]))},
                                  {hot_td_server, bct_hot:server("one", ?SAME)}]),
    ok = bct_hot:start(hot_td, Dependency),
    Old = old(),
    ok = start(Old),
    All = maps:merge(Old, Dependency),
    New = new(All, [{M, bct_hot:server("two", ?UP)} || M <- [hot_t_server, hot_td_server]]),
    {ok, #{processes := 2}} = bct_hot:upgrade(hot_t, All, New),
    ?assertEqual([two, two], [gen_server:call(Name, version) || Name <- [hot_a, hot_d]]).

%% As the tool cover loads it; in a VM of its own, for cover belongs to whoever measures us.
a_cover_compiled_module(_Config) ->
    Old = old(),
    Vm = bct_vm:start(bare, []),
    ok = bct_vm:call(Vm, bct_hot, start, [hot_t, Old]),
    {File, Code} = map_get(hot_t_server, Old),
    {module, _} = bct_vm:call(Vm, code, load_binary, [hot_t_server, cover_compiled, Code]),
    New = new(Old, [{hot_t_server, bct_hot:server("two", ?UP)}]),
    ?assertEqual({cold, {not_hot, #{modules => [{hot_t_server, cover_compiled}]}}},
                 bct_vm:call(Vm, bct_hot, upgrade, [hot_t, Old, New])),
    ?assertEqual(one, bct_vm:call(Vm, gen_server, call, [hot_a, version])),
    true = bct_vm:call(Vm, code, soft_purge, [hot_t_server]),
    {module, _} = bct_vm:call(Vm, code, load_binary, [hot_t_server, File, Code]),
    ?assertMatch({ok, #{processes := 1}}, bct_vm:call(Vm, bct_hot, upgrade, [hot_t, Old, New])),
    bct_vm:stop(Vm).
