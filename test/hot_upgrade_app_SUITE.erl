%%% @doc `bc_gitops_hot_reload:upgrade_app/3', as users call it: from directories on the code path,
%%% without bc_gitops being started.
-module(hot_upgrade_app_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([another_version/1, a_thousand/1, in_its_place/1, a_failed_upgrade/1,
         versions_that_differ/1, an_appup_decides/1]).

-import(bct_hot_disk, [build/3, build/4, texts/2, one/0, two/0, start/1, moment/1, states/0,
                       suspended/0]).

-define(SAME, "code_change(_, S, _) -> {ok, S}.").
-define(UP, "code_change(_, {_, N, E}, _) -> {ok, {two, N, E}}.").
-define(DOWN, "code_change(_, {_, N, E}, _) -> {ok, {one, N, E}}.").
-define(FAILS, "code_change(_, {_, _, hot_b}, _) -> {error, unwilling};\n"
               "code_change(_, S, _) -> {ok, {new, S}}.").

all() ->
    [another_version, a_thousand, in_its_place, a_failed_upgrade, versions_that_differ,
     an_appup_decides].

init_per_testcase(Case, Config) ->
    false = lists:keymember(bc_gitops, 1, application:which_applications()),
    [{dir, filename:join(?config(priv_dir, Config), atom_to_list(Case))} | Config].

end_per_testcase(_Case, Config) ->
    bct_hot_disk:clean(dir(Config)).

dir(Config) -> ?config(dir, Config).

%% Versions as both kinds of text, up and down, with all that belongs to a version.
another_version(Config) ->
    Env = fun(Pairs) -> [{env, Pairs}] end,
    One = build(dir(Config), "1", [{hot_t_gone, "f() -> 0."} | one()],
                Env([{a, 1}, {b, 1}, {c, 1}])),
    Server = bct_hot:server("two", ?UP),
    Two = build(dir(Config), "2", [{hot_t_new, "f() -> 3."} | texts(Server, "f() -> 2.")],
                [{vsn, "2"} | Env([{a, 2}, {b, 2}, {d, 2}])]),
    Modules = start(One),
    ok = application:set_env(hot_t, b, own),
    true = code:add_pathz(Two),
    1 = gen_server:call(hot_a, bump),
    Pids = [whereis(Name) || Name <- [hot_a, hot_b]],
    ?assertEqual(ok, bc_gitops_hot_reload:upgrade_app(hot_t, <<"1">>, "2")),
    ?assertEqual([{two, 1, hot_a}, {two, 0, hot_b}], states()),
    ?assertEqual({ok, "2"}, application:get_key(hot_t, vsn)),
    ?assertEqual([{a, 2}, {b, own}, {d, 2}], lists:sort(application:get_all_env(hot_t))),
    ?assertEqual([false, true, true], [lists:member(D, code:get_path()) || D <- [One, Two, Two]]),
    ?assertEqual([false, true], [erlang:module_loaded(M) || M <- [hot_t_gone, hot_t_new]]),
    true = code:add_pathz(One),
    _ = build(dir(Config), "1", [{hot_t_gone, "f() -> 0."} |
                            texts(bct_hot:server("one", ?DOWN), "f() -> 1.")],
              Env([{a, 1}, {b, 1}, {c, 1}])),
    ?assertEqual(ok, bc_gitops_hot_reload:upgrade_app(hot_t, "2", <<"1">>)),
    ?assertEqual([{one, 1, hot_a}, {one, 0, hot_b}], states()),
    ?assertEqual([{a, 1}, {b, own}, {c, 1}], lists:sort(application:get_all_env(hot_t))),
    ?assertEqual([], [M || M <- Modules, not erlang:module_loaded(M)]),
    ?assertEqual(Pids, [whereis(Name) || Name <- [hot_a, hot_b]]).

a_thousand(Config) ->
    Many = "-behaviour(supervisor).\n"
           "start_link() -> supervisor:start_link({local, hot_many}, ?MODULE, []).\n"
           "init([]) -> {ok, {#{strategy => simple_one_for_one},\n"
           "                  [#{id => s, start => {hot_t_server, start_many, []}}]}}.",
    Server = fun(V, C) ->
        [bct_hot:server(V, C), "start_many(N) -> gen_server:start_link(?MODULE, N, []).\n"]
    end,
    Children = "[#{id => many, start => {hot_t_many, start_link, []}, type => supervisor}]",
    Sup = bct_hot:supervisor("#{}", Children),
    Build = fun(V, Code) ->
        Texts = [{hot_t_sup, Sup}, {hot_t_many, Many}, {hot_t_server, Code}],
        build(dir(Config), V, Texts, [{vsn, V}])
    end,
    _ = start(Build("1", Server("one", ?SAME))),
    Numbers = lists:seq(1, 1000),
    Pids = [element(2, {ok, _} = supervisor:start_child(hot_many, [N])) || N <- Numbers],
    true = code:add_pathz(Build("2", Server("two", ?UP))),
    ok = bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2"),
    ?assertEqual([{two, 0, N} || N <- Numbers], [gen_server:call(Pid, state) || Pid <- Pids]),
    Bad = "code_change(_, {_, _, 500}, _) -> {error, no}; code_change(_, S, _) -> {ok, {x, S}}.",
    true = code:add_pathz(Build("3", Server("bad", Bad))),
    ?assertMatch({error, {code_change_failed, #{reason := no}}},
                 bc_gitops_hot_reload:upgrade_app(hot_t, "2", "3")),
    ?assertEqual([{two, 0, N} || N <- Numbers], [gen_server:call(Pid, state) || Pid <- Pids]),
    ?assertEqual({ok, "2"}, application:get_key(hot_t, vsn)).

%% The files were overwritten before the call.
in_its_place(Config) ->
    _ = start(build(dir(Config), "1", one())),
    _ = build(dir(Config), "1", two(), [{vsn, "2"}]),
    ?assertEqual(ok, bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2")),
    ?assertEqual([{two, 0, hot_a}, {two, 0, hot_b}], states()),
    ?assertEqual({ok, "2"}, application:get_key(hot_t, vsn)),
    _ = build(dir(Config), "1", texts(bct_hot:server("new", ?FAILS), "f() -> 3."), [{vsn, "3"}]),
    ?assertMatch({error, {not_undone, _}}, bc_gitops_hot_reload:upgrade_app(hot_t, "2", "3")),
    ?assertEqual({ok, "2"}, application:get_key(hot_t, vsn)),
    ?assertEqual([false, false, false], suspended()).

a_failed_upgrade(Config) ->
    One = build(dir(Config), "1", one()),
    Two = build(dir(Config), "2", texts(bct_hot:server("new", ?FAILS), "f() -> 2."),
                [{vsn, "2"}, {env, [{a, 1}]}]),
    Modules = start(One),
    true = code:add_pathz(Two),
    Before = moment(Modules),
    {Path, Keys} = {code:get_path(), application:get_all_key(hot_t)},
    ?assertMatch({error, {code_change_failed, _}},
                 bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2")),
    ?assertEqual(Before, moment(Modules)),
    ?assertEqual(Path, code:get_path()),
    ?assertEqual(Keys, application:get_all_key(hot_t)).

versions_that_differ(Config) ->
    Ebin = build(dir(Config), "1", one()),
    ?assertEqual({error, {app_not_loaded, #{app => hot_t}}},
                 bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2")),
    _ = start(Ebin),
    ?assertEqual({error, {other_version_runs, #{app => hot_t, asked => "0", running => "1"}}},
                 bc_gitops_hot_reload:upgrade_app(hot_t, "0", "2")),
    NotFound = #{app => hot_t, version => "2", found => [{Ebin, "1"}]},
    ?assertEqual({error, {version_not_found, NotFound}},
                 bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2")),
    ok = file:delete(filename:join(Ebin, "hot_t_lib.beam")),
    ?assertMatch({error, {_, #{message := _}}}, bc_gitops_hot_reload:upgrade_app(hot_t, "1", "1")),
    ?assertEqual(1, hot_t_lib:f()).

%% An appup says what the modules do not: what is passed to code_change, and the way back, on which
%% the code that goes knows both states.
an_appup_decides(Config) ->
    Change = "code_change(_, {one, N, E}, [x]) -> {ok, {two, N + 10, E}};\n"
             "code_change({down, _}, {two, N, E}, [x]) -> {ok, {one, N - 10, E}}.",
    Steps = [{update, hot_t_server, {advanced, [x]}}],
    One = build(dir(Config), "1", one()),
    Build = fun(Up) ->
        Texts = texts(bct_hot:server("two", Change), "f() -> 2."),
        Two = build(dir(Config), "2", Texts, [{vsn, "2"}]),
        Appup = {"2", [{"1", Up}], [{"1", Up}]},
        ok = file:write_file(filename:join(Two, "hot_t.appup"), io_lib:format("~p.~n", [Appup])),
        Two
    end,
    Modules = start(One),
    true = code:add_pathz(Build(Steps)),
    Before = moment(Modules),
    {error, {appup_refused, #{message := Message}}} =
        bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2"),
    ?assertNotEqual(nomatch, string:find(Message, "hot_t_lib")),
    _ = Build([restart_new_emulator]),
    ?assertMatch({error, {appup_refused, _}}, bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2")),
    ?assertEqual(Before, moment(Modules)),
    _ = Build([{load_module, hot_t_lib}, {load_module, hot_t_sup} | Steps]),
    ?assertEqual(ok, bc_gitops_hot_reload:upgrade_app(hot_t, "1", "2")),
    ?assertEqual([{two, 10, hot_a}, {two, 10, hot_b}], states()),
    true = code:add_pathz(One),
    ?assertEqual(ok, bc_gitops_hot_reload:upgrade_app(hot_t, "2", "1")),
    ?assertEqual([{one, 0, hot_a}, {one, 0, hot_b}], states()),
    ?assertEqual({ok, "1"}, application:get_key(hot_t, vsn)).
