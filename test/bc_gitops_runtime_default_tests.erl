-module(bc_gitops_runtime_default_tests).
-include_lib("eunit/include/eunit.hrl").
-include("bc_gitops.hrl").

runtime_test_() ->
    {foreach, fun setup/0, fun cleanup/1, [
        with("deploy and remove", fun deploy_and_remove/1),
        with("upgrade replaces the code", fun upgrade/1),
        with("a version that does not start is rolled back", fun rolled_back/1),
        with("code of both versions is never missing", fun never_missing/1),
        with("a first version that does not start leaves nothing", fun failed_deploy/1),
        with("reconfigure tells the application", fun reconfigure/1),
        with("a removed key goes back to its default", fun env_goes_back/1),
        with("isolation vm is not supported yet", fun isolation/1),
        with("a missing application is named", fun missing_application/1),
        with("the version must be the .app file's", fun version_mismatch/1),
        with("OTP's applications are protected", fun protected/1)
    ]}.

with(Title, Test) ->
    fun({_, Store}) -> {Title, {timeout, 60, fun() -> Test(Store) end}} end.

setup() ->
    Store = bct_dir:make("runtime"),
    {bct_runtime:start(Store), Store}.

cleanup({Runtime, Store}) ->
    bct_runtime:cleanup(),
    bct_runtime:stop(Runtime),
    bct_dir:remove(Store).

%% An application whose server answers its version and environment.
counter(Store, Vsn) ->
    counter(Store, Vsn, #{}).

counter(Store, Vsn, Options) ->
    Callbacks = maps:get(callbacks, Options, #{}),
    bct_build:make(Store, rt_counter, #{
        vsn => Vsn,
        app => [{mod, {rt_counter_app, []}}, {env, [{greeting, "hello"}]} | maps:get(app, Options, [])],
        modules => [
            {rt_counter_app, bct_build:app(Callbacks)},
            {rt_counter, ["version() -> \"", Vsn, "\".\n", maps:get(more, Options, "")]}
            | maps:get(modules, Options, [])
        ]
    }).

deploy_and_remove(Store) ->
    Build = counter(Store, "1.0.0"),
    Spec = bct_runtime:spec_for(Build, #{size => 3}),
    {ok, State} = bc_gitops_runtime_default:deploy(Spec),
    ?assertMatch(#app_state{name = rt_counter, version = <<"1.0.0">>, status = running, env = #{size := 3},
                            isolation = embedded}, State),
    ?assert(is_process_alive(State#app_state.pid)),
    ?assertEqual("1.0.0", rt_counter:version()),
    ?assertEqual({ok, 3}, application:get_env(rt_counter, size)),
    ?assertEqual(State, bct_runtime:state(rt_counter)),
    ?assertEqual(unicode:characters_to_list(maps:get(path, Build)), code:lib_dir(rt_counter)),
    ok = bc_gitops_runtime_default:remove(rt_counter),
    ?assertEqual(none, bct_runtime:state(rt_counter)),
    ?assertEqual([], bc_gitops_code:leftovers([rt_counter, rt_counter_app])),
    ?assertEqual({error, bad_name}, code:lib_dir(rt_counter)),
    ?assertEqual(undefined, application:get_key(rt_counter, vsn)),
    ?assertEqual([], application:get_all_env(rt_counter)).

upgrade(Store) ->
    One = bct_runtime:spec_for(counter(Store, "1.0.0", #{modules => [{rt_only_one, ""}]}), #{}),
    Build = counter(Store, "1.1.0", #{modules => [{rt_only_two, ""}]}),
    Two = bct_runtime:spec_for(Build, #{}),
    {ok, _} = bc_gitops_runtime_default:deploy(One),
    {ok, State} = bc_gitops_runtime_default:upgrade(Two, <<"1.0.0">>),
    ?assertMatch(#app_state{version = <<"1.1.0">>, status = running}, State),
    ?assertEqual("1.1.0", rt_counter:version()),
    ?assertEqual({ok, "1.1.0"}, application:get_key(rt_counter, vsn)),
    ?assertEqual(ok, bc_gitops_code:verify(maps:get(libs, Build))),
    ?assertEqual([], bc_gitops_code:leftovers([rt_only_one])),
    ?assert(erlang:module_loaded(rt_only_two)),
    ?assertMatch(#{gap_ms := Gap} when Gap < 1000, State#app_state.details).

rolled_back(Store) ->
    Old = counter(Store, "1.0.0"),
    One = bct_runtime:spec_for(Old, #{size => 1}),
    Bad = counter(Store, "2.0.0", #{callbacks => #{start => "start(_, _) -> {error, no_luck}."},
                                    modules => [{rt_only_two, ""}]}),
    Two = bct_runtime:spec_for(Bad, #{size => 2, other => x}),
    {ok, _} = bc_gitops_runtime_default:deploy(One),
    {error, {rolled_back, Details}} = bc_gitops_runtime_default:upgrade(Two, <<"1.0.0">>),
    ?assertMatch(#{running := <<"1.0.0">>, gap_ms := _, reason := {start_failed, #{app := rt_counter}}}, Details),
    ?assertMatch(#app_state{version = <<"1.0.0">>, status = running}, bct_runtime:state(rt_counter)),
    ?assertEqual("1.0.0", rt_counter:version()),
    ?assertEqual({ok, 1}, application:get_env(rt_counter, size)),
    ?assertEqual(undefined, application:get_env(rt_counter, other)),
    ?assertEqual(ok, bc_gitops_code:verify(maps:get(libs, Old))),
    ?assertEqual([], bc_gitops_code:leftovers([rt_only_two])).

%% A call of a module that is not loaded keeps the code server busy: enough of them keep it from us.
never_missing(Store) ->
    One = bct_runtime:spec_for(counter(Store, "1.0.0"), #{}),
    Bad = counter(Store, "1.1.0", #{callbacks => #{start => "start(_, _) -> {error, no_luck}."}}),
    Two = bct_runtime:spec_for(Bad, #{}),
    Three = bct_runtime:spec_for(counter(Store, "1.2.0"), #{}),
    {ok, _} = bc_gitops_runtime_default:deploy(One),
    Caller = spawn_link(fun() -> call(#{}) end),
    {error, {rolled_back, _}} = bc_gitops_runtime_default:upgrade(Two, <<"1.0.0">>),
    {ok, _} = bc_gitops_runtime_default:upgrade(Three, <<"1.0.0">>),
    Caller ! {stop, self()},
    Answers = receive {answers, Caller, Seen} -> Seen end,
    ?assertNotEqual([], [Version || {ok, Version} <- maps:keys(Answers)]),
    ?assertEqual([], [Failure || Failure <- maps:keys(Answers), Failure =:= undef]).

call(Answers) ->
    Answer = case catch rt_counter:version() of
        {'EXIT', {Reason, _}} -> Reason;
        Version -> {ok, Version}
    end,
    Next = Answers#{Answer => true},
    receive {stop, From} -> From ! {answers, self(), Next} after 0 -> call(Next) end.

failed_deploy(Store) ->
    Before = {code:get_path(), lists:sort(application:loaded_applications())},
    Bad = counter(Store, "1.0.0", #{callbacks => #{start => "start(_, _) -> error(no_luck)."}}),
    {error, {start_failed, _}} = bc_gitops_runtime_default:deploy(bct_runtime:spec_for(Bad, #{})),
    ?assertEqual(none, bct_runtime:state(rt_counter)),
    ?assertEqual([], bc_gitops_code:leftovers([rt_counter, rt_counter_app])),
    ?assertEqual(Before, {code:get_path(), lists:sort(application:loaded_applications())}).

reconfigure(Store) ->
    Build = counter(Store, "1.0.0", #{callbacks => #{
        config_change => "config_change(C, N, R) -> persistent_term:put(rt_changes, {lists:sort(C), N, R}), ok."
    }}),
    Spec = bct_runtime:spec_for(Build, #{size => 1, gone => 1}),
    {ok, _} = bc_gitops_runtime_default:deploy(Spec),
    {ok, State} = bc_gitops_runtime_default:reconfigure(Spec#app_spec{env = #{size => 2, fresh => 3}}),
    ?assertEqual({[{size, 2}], [{fresh, 3}], [gone]}, persistent_term:get(rt_changes)),
    ?assertMatch(#{reconfigured := notified}, State#app_state.details),
    ?assertEqual({ok, 2}, application:get_env(rt_counter, size)),
    ?assertEqual(undefined, application:get_env(rt_counter, gone)).

env_goes_back(Store) ->
    ok = application:set_env(rt_counter, by_hand, 1),
    Spec = bct_runtime:spec_for(counter(Store, "1.0.0"), #{greeting => "moin", by_hand => 2}),
    {ok, _} = bc_gitops_runtime_default:deploy(Spec),
    ?assertEqual({ok, 2}, application:get_env(rt_counter, by_hand)),
    {ok, State} = bc_gitops_runtime_default:reconfigure(Spec#app_spec{env = #{}}),
    ?assertMatch(#{reconfigured := not_notified}, State#app_state.details),
    ?assertEqual({ok, "hello"}, application:get_env(rt_counter, greeting)),
    ?assertEqual({ok, 1}, application:get_env(rt_counter, by_hand)),
    Two = bct_runtime:spec_for(counter(Store, "2.0.0"), #{}),
    {ok, _} = bc_gitops_runtime_default:upgrade(Two, <<"1.0.0">>),
    ?assertEqual({ok, 1}, application:get_env(rt_counter, by_hand)),
    ok = bc_gitops_runtime_default:remove(rt_counter),
    ?assertEqual([{by_hand, 1}], application:get_all_env(rt_counter)),
    ok = application:unset_env(rt_counter, by_hand).

isolation(_Store) ->
    Spec = (bct_runtime:spec(rt_counter, <<"1">>))#app_spec{isolation = vm},
    ?assertMatch({error, {not_supported_yet, #{what := isolation_vm}}}, bc_gitops_runtime_default:deploy(Spec)).

missing_application(Store) ->
    {ok, _} = bc_gitops_runtime_default:deploy(bct_runtime:spec_for(counter(Store, "1.0.0"), #{})),
    Needy = counter(Store, "2.0.0", #{app => [{applications, [kernel, stdlib, rt_nowhere]}]}),
    Before = bct_runtime:state(rt_counter),
    ?assertEqual({error, {missing_applications, [rt_nowhere]}},
                 bc_gitops_runtime_default:upgrade(bct_runtime:spec_for(Needy, #{}), <<"1.0.0">>)),
    ?assertEqual(Before, bct_runtime:state(rt_counter)).

version_mismatch(Store) ->
    Build = bct_build:publish(counter(Store, "1.0.0")),
    Spec = (bct_runtime:spec_for(Build, #{}))#app_spec{version = <<"1.0.1">>},
    ?assertEqual({error, {version_mismatch, #{spec => <<"1.0.1">>, app => <<"1.0.0">>}}},
                 bc_gitops_runtime_default:restore(Spec, maps:get(key, Build))).

protected(_Store) ->
    Spec = bct_runtime:spec(stdlib, stdlib_version()),
    ?assertMatch({error, {protected_application, #{app := stdlib}}}, bc_gitops_runtime_default:deploy(Spec)),
    %% said before its version matters, or where it could be had
    [?assertMatch({error, {protected_application, #{app := Name}}},
                  bc_gitops_runtime_default:deploy(bct_runtime:spec(Name, <<"0.0.1">>)))
     || Name <- [stdlib, megaco, bc_gitops]].

stdlib_version() ->
    {ok, Version} = application:get_key(stdlib, vsn),
    list_to_binary(Version).
