%%% @doc From a commit to a hot upgrade: real repositories, real builds, the default runtime.
-module(hot_deploy_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-compile([export_all, nowarn_export_all]).

-define(HOT, #{strategy => hot}).

suite() ->
    [{timetrap, {minutes, 10}}].

all() ->
    [same_version_new_code_is_hot, a_changed_callback_module_restarts, a_version_is_hot_when_the_spec_says_so,
     a_version_restarts_by_default, a_plan_says_how, the_spec_asks_for_a_restart, an_appup_up_and_down, an_appup_that_keeps_states, an_appup_for_another_way, a_broken_appup_restarts,
     a_failing_code_change_is_undone, a_failing_restart_says_why, a_hanging_code_change_is_undone, old_code_in_use_is_later, by_force,
     the_environment_changes_along, a_dependency_changes_along, an_elixir_application,
     killed_in_a_hot_upgrade].

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

a_version_is_hot_when_the_spec_says_so(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    5 = bump(5),
    Change = "code_change(\"one\", {one, N}, []) -> {ok, {two, N + 100}}.",
    Client = bct_hot_client:start(fun() -> gen_server:call(bct_hot_srv, version) end),
    commit(Context, #{version => "1.1.0", server => "two", change => Change, upgrade => ?HOT}),
    ?assertMatch(#{failed := [], answers := [one, two]}, bct_hot_client:stop(Client)),
    ?assertEqual({Server, {two, 105}}, {whereis(bct_hot_srv), gen_server:call(bct_hot_srv, state)}),
    ?assertEqual({ok, "1.1.0"}, application:get_key(bct_hot_app, vsn)),
    ?assertMatch(#{upgraded := hot, processes := 1, running_version := <<"1.1.0">>, confirmed_version := <<"1.1.0">>},
                 bct_gitops:details(bct_hot_app)),
    %% what runs now is what a restart of bc_gitops finds
    restart_bc_gitops(Context),
    ?assertMatch(#{state := running, running_version := <<"1.1.0">>}, bct_gitops:details(bct_hot_app)),
    ?assertEqual(Server, whereis(bct_hot_srv)).

a_version_restarts_by_default(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    commit(Context, #{version => "1.1.0"}),
    ?assertMatch(#{upgraded := restart, because := [<<"the version of bct_hot_app changed from 1.0.0 to 1.1.0">>]},
                 bct_gitops:details(bct_hot_app)),
    ?assertNotEqual(Server, whereis(bct_hot_srv)).

%% A build that is in the store already can be judged before.
a_plan_says_how(Config) ->
    #{source := Source} = Context = context(Config),
    deploy(Context, #{}),
    commit(Context, #{version => "1.1.0", lib => "two", upgrade => ?HOT}),
    How = fun() -> {ok, #{actions := [#{action := upgrade, how := Said}]}} = bc_gitops:plan(), Said end,
    Push = fun(Spec) -> bct_gitops:push(Context, [bct_hot_app:spec(Context, Spec)]) end,
    First = string:trim(bct_repo:git(Source, ["rev-parse", "HEAD~1"])),
    Back = #{version => "1.0.0", ref => First},
    _ = Push(Back),
    ?assertEqual(<<"decided when it is built">>, How()),
    ok = bc_gitops:reconcile(),
    ok = bct_gitops:wait_state(bct_hot_app, running),
    _ = Push(#{version => "1.1.0", upgrade => ?HOT}),
    ?assertEqual(<<"hot">>, How()),
    _ = Push(#{version => "1.1.0"}),
    ?assertEqual(<<"restart: the version of bct_hot_app changed from 1.0.0 to 1.1.0">>, How()).

the_spec_asks_for_a_restart(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    commit(Context, #{lib => "two", upgrade => #{strategy => restart}}),
    ?assertMatch(#{upgraded := restart, because := [<<"its spec asks for a restart">>]},
                 bct_gitops:details(bct_hot_app)),
    ?assertNotEqual(Server, whereis(bct_hot_srv)).

%% Up by an expression for the version, down by the appup of what runs.
an_appup_up_and_down(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    2 = bump(2),
    Change = "code_change(\"one\", {one, N}, up) -> {ok, {two, N + 10}};\n"
             "code_change({down, \"one\"}, {two, N}, back) -> {ok, {one, N - 10}}.",
    Update = fun(Extra) ->
        [{update, bct_hot_srv, {advanced, Extra}, [bct_hot_lib]},
         {load_module, bct_hot_lib, soft_purge, soft_purge, []}]
    end,
    Appup = io_lib:format("~p.~n", [{"1.1.0", [{<<"1\\.0\\.[0-9]">>, Update(up)}], [{"1.0.0", Update(back)}]}]),
    commit(Context, #{version => "1.1.0", server => "two", lib => "two", change => Change, appup => Appup}),
    ?assertMatch(#{upgraded := hot}, bct_gitops:details(bct_hot_app)),
    ?assertEqual({Server, {two, 12}, two}, {whereis(bct_hot_srv), gen_server:call(bct_hot_srv, state),
                                            gen_server:call(bct_hot_srv, lib)}),
    ok = file:delete(filename:join(maps:get(source, Context), "ebin/bct_hot_app.appup")),
    commit(Context, #{}),
    ?assertMatch(#{upgraded := hot, running_version := <<"1.0.0">>}, bct_gitops:details(bct_hot_app)),
    ?assertEqual({Server, {one, 2}, one}, {whereis(bct_hot_srv), gen_server:call(bct_hot_srv, state),
                                           gen_server:call(bct_hot_srv, lib)}).

%% Its process stands still while the code changes, and code_change is not called.
an_appup_that_keeps_states(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    1 = bump(1),
    Appup = "{\"1.0.0\", [{\"1.0.0\", [{update, bct_hot_srv}]}], []}.\n",
    commit(Context, #{server => "two", appup => Appup}),
    ?assertMatch(#{upgraded := hot, processes := 1}, bct_gitops:details(bct_hot_app)),
    ?assertEqual({Server, {one, 1}, two}, {whereis(bct_hot_srv), gen_server:call(bct_hot_srv, state),
                                           gen_server:call(bct_hot_srv, version)}).

%% Its author wants what only a restart does; and one that forgets a module would leave its old code.
an_appup_for_another_way(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Entry = fun(Instructions) ->
        io_lib:format("~p.~n", [{"1.1.0", [{"1.0.0", Instructions}], []}])
    end,
    commit(Context, #{version => "1.1.0", lib => "two", appup => Entry([{restart_application, bct_hot_app}])}),
    ?assertMatch(#{upgraded := restart, because := [<<"the appup asks for restart_application", _/binary>>]},
                 bct_gitops:details(bct_hot_app)),
    ok = file:delete(filename:join(maps:get(source, Context), "ebin/bct_hot_app.appup")),
    commit(Context, #{}),
    commit(Context, #{version => "1.1.0", lib => "two", server => "two", appup => Entry([{load_module, bct_hot_lib}])}),
    ?assertMatch(#{upgraded := restart, because := [<<"bct_hot_app.appup leaves out bct_hot_srv", _/binary>>]},
                 bct_gitops:details(bct_hot_app)).

a_broken_appup_restarts(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    commit(Context, #{version => "1.1.0", appup => "{\"1.1.0\", [{\"1.0.0\", [{lod_module, m}]}], []}.\n"}),
    #{upgraded := restart, because := [Because]} = bct_gitops:details(bct_hot_app),
    ?assertNotEqual(nomatch, re:run(Because, "bct_hot_app\\.appup:1:[0-9]+:")).

a_failing_code_change_is_undone(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    4 = bump(4),
    Client = bct_hot_client:start(fun() -> gen_server:call(bct_hot_srv, version) end),
    {error, {actions_failed, [#{reason := Reason}]}} = commit_(Context, #{
        version => "1.1.0", server => "two", lib => "two", change => "code_change(_, _, _) -> {error, no}.",
        upgrade => ?HOT}),
    ?assertMatch({hot_upgrade_undone, #{running := <<"1.0.0">>, reason := {code_change_failed, _}}}, Reason),
    ?assertMatch(#{failed := [], answers := [one]}, bct_hot_client:stop(Client)),
    ?assertEqual({Server, {one, 4}, one}, {whereis(bct_hot_srv), gen_server:call(bct_hot_srv, state), bct_hot_lib:text()}),
    ?assertEqual({ok, "1.0.0"}, application:get_key(bct_hot_app, vsn)),
    ok = bct_gitops:wait_state(bct_hot_app, quarantined),
    ?assertMatch(#{running_version := <<"1.0.0">>, confirmed_version := <<"1.0.0">>},
                 bct_gitops:details(bct_hot_app)),
    ?assertMatch([_], [Dir || Dir <- code:get_path(), string:find(Dir, "bct_hot_app") =/= nomatch]),
    %% the next commit is another chance
    commit(Context, #{version => "1.2.0", server => "two", upgrade => ?HOT,
                      change => "code_change(_, {one, N}, _) -> {ok, {two, N}}."}),
    ?assertEqual({Server, {two, 4}}, {whereis(bct_hot_srv), gen_server:call(bct_hot_srv, state)}).

%% A restart that fails says why it was one.
a_failing_restart_says_why(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    {error, {actions_failed, [#{reason := Reason}]}} =
        commit_(Context, #{version => "1.1.0", init => "{stop, no}"}),
    Because = <<"the version of bct_hot_app changed from 1.0.0 to 1.1.0">>,
    ?assertMatch({rolled_back, #{running := <<"1.0.0">>, upgraded := restart, because := [Because | _]}}, Reason),
    ?assertNotEqual(nomatch, string:find(bc_gitops:format_error(Reason), ["(restart: ", Because])),
    ok = bct_gitops:wait_state(bct_hot_app, quarantined),
    ?assertEqual(one, gen_server:call(bct_hot_srv, version)).

%% A process that does not answer any more costs a start of the old version.
a_hanging_code_change_is_undone(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    {error, {actions_failed, [#{reason := Reason}]}} = commit_(Context, #{
        lib => "two", server => "two", change => "code_change(_, _, _) -> receive never -> ok end.", upgrade => ?HOT}),
    ?assertMatch({rolled_back, #{running := <<"1.0.0">>, reason := {not_undone, _}}}, Reason),
    ?assertEqual({one, one}, {gen_server:call(bct_hot_srv, version), gen_server:call(bct_hot_srv, lib)}),
    ok = bct_gitops:wait_state(bct_hot_app, quarantined),
    commit(Context, #{lib => "three"}),
    ?assertEqual({one, three}, {gen_server:call(bct_hot_srv, version), gen_server:call(bct_hot_srv, lib)}).

%% Whoever runs the old code yet is no fault of the application, and is not killed for the next one.
old_code_in_use_is_later(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    Server = whereis(bct_hot_srv),
    {Busy, Monitor} = spawn_monitor(bct_hot_lib, wait, []),
    commit(Context, #{lib => "two"}),
    ?assertMatch(#{upgraded := hot, lingering := [bct_hot_lib]}, bct_gitops:details(bct_hot_app)),
    restart_bc_gitops(Context),
    ?assertMatch(#{state := running}, bct_gitops:details(bct_hot_app)),
    ?assertEqual(Server, whereis(bct_hot_srv)),
    {error, {actions_failed, [#{reason := {old_code_in_use, #{processes := Using}}}]}} =
        commit_(Context, #{lib => "three"}),
    ?assertMatch([{Busy, _}], Using),
    ok = bct_gitops:wait_state(bct_hot_app, backing_off),
    ?assertEqual({two, Server}, {gen_server:call(bct_hot_srv, lib), whereis(bct_hot_srv)}),
    Busy ! go_on,
    receive {'DOWN', Monitor, process, Busy, Why} -> ?assertEqual(normal, Why) end,
    ok = bc_gitops:reconcile(),
    ?assertEqual({three, Server}, {gen_server:call(bct_hot_srv, lib), whereis(bct_hot_srv)}).

%% Unless the spec says force.
by_force(Config) ->
    Context = context(Config),
    deploy(Context, #{}),
    {Busy, Monitor} = spawn_monitor(bct_hot_lib, wait, []),
    commit(Context, #{lib => "two"}),
    commit(Context, #{lib => "three", upgrade => #{strategy => auto, force => true}}),
    receive {'DOWN', Monitor, process, Busy, Why} -> ?assertEqual(killed, Why) end,
    ?assertMatch(#{upgraded := hot}, bct_gitops:details(bct_hot_app)),
    ?assertEqual(three, gen_server:call(bct_hot_srv, lib)).

the_environment_changes_along(Config) ->
    Context = context(Config),
    deploy(Context, #{env => #{colour => blue, size => 1}}),
    Server = whereis(bct_hot_srv),
    _ = persistent_term:erase(bct_hot_told),
    commit(Context, #{lib => "two", colour => "green", env => #{size => 2, shape => round}}),
    ?assertMatch(#{upgraded := hot}, bct_gitops:details(bct_hot_app)),
    ?assertEqual(Server, whereis(bct_hot_srv)),
    %% a key that left the spec is as the new build says
    ?assertEqual([{colour, green}, {shape, round}, {size, 2}], lists:sort(application:get_all_env(bct_hot_app))),
    {Changed, New, Removed} = persistent_term:get(bct_hot_told),
    ?assertEqual({[{colour, green}, {size, 2}], [{shape, round}], []}, {lists:sort(Changed), New, Removed}).

a_dependency_changes_along(Config) ->
    Context = context(Config),
    deploy(Context, #{dep => "one"}),
    Server = whereis(bct_hot_srv),
    ?assertEqual(one, bct_hot_dep:text()),
    commit(Context, #{dep => "two", lib => "two"}),
    ?assertMatch(#{upgraded := hot, modules := [bct_hot_dep, bct_hot_lib]}, bct_gitops:details(bct_hot_app)),
    ?assertEqual({two, two, Server}, {bct_hot_dep:text(), bct_hot_lib:text(), whereis(bct_hot_srv)}).

an_elixir_application(Config) ->
    #{source := Source} = Context = context(Config),
    Files = fun(Text) -> bct_app:mix("bct_mix", "1.0.0", [
        {"lib/text.ex", ["defmodule BctMix.Text do\n  def text, do: :", Text, "\nend\n"]}]) end,
    Spec = bct_gitops:spec(bct_mix, "1.0.0", #{
        source => #{type => git, url => bct_repo:url(Source), ref => <<"main">>}}),
    _ = bct_repo:commit(Source, Files("one")),
    _ = bct_gitops:push(Context, [Spec]),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default}),
    ok = bc_gitops:reconcile(),
    ?assertEqual({one, 4}, {'Elixir.BctMix.Text':text(), 'Elixir.BctMix':area(2)}),
    _ = bct_repo:commit(Source, Files("two")),
    ok = bc_gitops:reconcile(),
    ?assertMatch(#{upgraded := hot, modules := ['Elixir.BctMix.Text']}, bct_gitops:details(bct_mix)),
    ?assertEqual({two, 4}, {'Elixir.BctMix.Text':text(), 'Elixir.BctMix':area(2)}).

%% kill -9 while the new code is loaded and a process changes its state: the confirmed build runs again.
killed_in_a_hot_upgrade(Config) ->
    #{dir := Dir, source := Source, repo := Repo} = Context = context(Config),
    Marker = filename:join(Dir, "began"),
    Env = bct_gitops:config(Context, #{runtime_module => bc_gitops_runtime_default, reconcile_interval => 3600000}),
    _ = bct_repo:commit(Source, bct_hot_app:files(#{})),
    _ = bct_gitops:push(Context, [bct_hot_app:spec(Context, #{})]),
    First = bct_vm:start(Env),
    ok = bct_vm:call(First, bc_gitops, reconcile, []),
    {ok, #app_state{details = #{build := Key}}} = bct_vm:call(First, bc_gitops, get_app_status, [bct_hot_app]),
    Change = io_lib:format("code_change(_, _, _) -> ok = file:write_file(~p, []), receive never -> ok end.",
                           [unicode:characters_to_list(Marker)]),
    _ = bct_repo:commit(Source, bct_hot_app:files(#{lib => "two", server => "two", change => Change})),
    _ = bct_gitops:push(Context, [bct_hot_app:spec(Context, #{upgrade => ?HOT})]),
    _ = spawn(fun() -> bct_vm:call(First, bc_gitops, reconcile, []) end),
    ok = bct_wait:until(fun() -> filelib:is_regular(Marker) end),
    ?assertEqual(two, bct_vm:call(First, bct_hot_lib, text, [])),
    ok = bct_vm:kill(First),
    [ok = file:rename(Away, <<(iolist_to_binary(Away))/binary, ".away">>) || Away <- [Source, Repo]],
    Second = bct_vm:start(Env),
    ok = bct_vm:eventually(Second, fun(Vm) ->
        case bct_vm:call(Vm, bc_gitops, get_app_status, [bct_hot_app]) of
            {ok, #app_state{status = running, details = #{build := Runs}}} -> Runs =:= Key;
            _ -> false
        end
    end),
    ?assertEqual(one, bct_vm:call(Second, bct_hot_lib, text, [])),
    ?assertEqual({one, 0}, bct_vm:call(Second, gen_server, call, [bct_hot_srv, state])),
    ok = bct_vm:kill(Second).

%%% The application and its repository

%% Deploys its first build.
deploy(Context, Variant) ->
    _ = bct_repo:commit(maps:get(source, Context), bct_hot_app:files(Variant)),
    _ = bct_gitops:push(Context, [bct_hot_app:spec(Context, Variant)]),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default}),
    ok = bc_gitops:reconcile(),
    ok = bct_gitops:wait_state(bct_hot_app, running).

%% What is at the branch becomes what runs.
commit(Context, Variant) ->
    ok = commit_(Context, Variant),
    ok = bct_gitops:wait_state(bct_hot_app, running).

commit_(#{source := Source} = Context, Variant) ->
    _ = bct_repo:commit(Source, bct_hot_app:files(Variant)),
    _ = bct_gitops:push(Context, [bct_hot_app:spec(Context, Variant)]),
    bc_gitops:reconcile().

restart_bc_gitops(Context) ->
    ok = application:stop(bc_gitops),
    _ = bct_gitops:start(Context, #{runtime_module => bc_gitops_runtime_default}),
    ok = bc_gitops:reconcile(),
    ok = bct_gitops:wait_state(bct_hot_app, running).

history() ->
    maps:get(history, bct_gitops:details(bct_hot_app)).

bump(Times) ->
    lists:last([gen_server:call(bct_hot_srv, bump) || _ <- lists:seq(1, Times)]).
