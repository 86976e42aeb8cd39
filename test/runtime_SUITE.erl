%%% @doc The embedded runtime with real compiled applications of every shape.
-module(runtime_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-compile([export_all, nowarn_export_all]).

all() ->
    [{group, shapes}, {group, hostile}, {group, dependencies}, {group, host}, {group, lives}, {group, elixir},
     {group, users}].

groups() ->
    [
        {shapes, [library_app_without_mod, start_phases, included_applications, priv_files,
                  own_nif_is_upgraded, version_from_git, modules_with_on_load]},
        {hostile, [hangs_in_prep_stop, hangs_in_stop, hangs_in_start, hangs_in_prep_stop_of_removed_app,
                   raises_in_stop, exits_in_start, spawns_processes_that_stay, new_version_hangs_in_start,
                   stopped_by_hand_while_it_hangs, hangs_in_config_change, refuses_config_change,
                   hangs_in_on_load, damaged_build_stops_nothing, lingering_process_of_old_code]},
        {dependencies, [dependency_is_brought_and_goes, dependency_is_shared_and_counted,
                        dependency_conflict_is_named, dependency_changes_with_the_app,
                        dependency_change_is_undone, dependency_no_longer_needed_goes, module_moves_from_dependency_to_app,
                        unstarted_dependency_is_only_loaded, otp_application_is_started_and_stays,
                        managed_app_is_dependency_of_another, its_own_spec_decides]},
        {host, [starts_from_the_hosts_path, host_has_another_version, host_has_the_module,
                host_has_the_dependency, host_has_another_dependency, started_by_the_host,
                configuration_of_the_host_comes_back]},
        {lives, [caller_killed_before_the_stop, caller_killed_after_the_stop, two_apps_at_once,
                 same_app_waits, switch_killed_in_the_middle, shared_module_is_refused, reads_do_not_wait_for_an_app_that_hangs, restore_adopts, restore_starts_from_store,
                 survives_restart_of_bc_gitops, found_stopped_is_started_again, crash_is_seen,
                 emits_telemetry]},
        {elixir, [protocols_beside_one_another, elixir_host_stays_as_it_is]},
        {users, [users_module_in_erlang, users_module_in_elixir, users_module_hangs, users_module_is_busy,
                 users_module_of_the_old_header]}
    ].

init_per_suite(Config) ->
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    ok = application:set_env(bc_gitops, stop_timeout, 500),
    ok = application:set_env(bc_gitops, start_timeout, 2000),
    Before = {code:get_path(), loaded()},
    Store = bct_dir:make("runtime"),
    [{runtime, bct_runtime:start(Store)}, {store, Store}, {before, Before} | Config].

end_per_testcase(_Case, Config) ->
    bct_runtime:cleanup(),
    bct_runtime:stop(proplists:get_value(runtime, Config)),
    bct_dir:remove(proplists:get_value(store, Config)),
    {Path, Loaded} = proplists:get_value(before, Config),
    ?assertEqual(Path, code:get_path()),
    ?assertEqual([], loaded() -- [public_key, asn1, crypto, inets, ftp, tftp, compiler | Loaded]),
    ok.

loaded() ->
    [App || {App, _, _} <- application:loaded_applications()].

store(Config) ->
    proplists:get_value(store, Config).

deploy(Build) ->
    deploy(Build, #{}).

deploy(Build, Env) ->
    bc_gitops_runtime_default:deploy(bct_runtime:spec_for(Build, Env)).

upgrade(Build) ->
    bc_gitops_runtime_default:upgrade(bct_runtime:spec_for(Build, #{}), <<"any">>).

%% An application of one module and a callback module.
app(Config, Name, Vsn, Options) ->
    Mod = list_to_atom(atom_to_list(Name) ++ "_app"),
    bct_build:make(store(Config), Name, #{
        vsn => Vsn,
        app => maps:get(app, Options, []) ++ [{mod, {Mod, []}}],
        modules => [
            {Mod, bct_build:app(maps:get(callbacks, Options, #{}), maps:get(more, Options, ""))},
            {Name, ["version() -> \"", Vsn, "\".\n"]} | maps:get(modules, Options, [])
        ],
        files => maps:get(files, Options, []),
        libs => maps:get(libs, Options, [])
    }).

lib(Config, Name, Vsn, Options) ->
    Key = iolist_to_binary([atom_to_list(Name), "-", Vsn, "-", integer_to_list(erlang:unique_integer([positive]))]),
    bct_build:lib(store(Config), Key, #{
        name => Name, vsn => Vsn,
        app => maps:get(app, Options, []),
        modules => maps:get(modules, Options, [{Name, ["version() -> \"", Vsn, "\".\n"]}])
    }).

hang() -> "receive never -> ok end".

version(Name) -> apply(Name, version, []).

%% What must hold whatever an application does: others answer, and so does the controller.
assert_healthy() ->
    ?assert(is_list(application:which_applications(1000))).

%%% shapes

library_app_without_mod(Config) ->
    Make = fun(Vsn) ->
        bct_build:make(store(Config), rt_lib, #{vsn => Vsn, modules => [{rt_lib, ["version() -> \"", Vsn, "\".\n"]}]})
    end,
    {ok, #app_state{status = running, pid = undefined}} = deploy(Make("1.0.0")),
    "1.0.0" = version(rt_lib),
    {ok, #app_state{status = running, version = <<"2.0.0">>}} = upgrade(Make("2.0.0")),
    "2.0.0" = version(rt_lib),
    ok = bc_gitops_runtime_default:remove(rt_lib),
    false = erlang:module_loaded(rt_lib).

start_phases(Config) ->
    Build = app(Config, rt_phases, "1.0.0", #{
        app => [{start_phases, [{one, [a]}, {two, [b]}]}],
        callbacks => #{phase => "start_phase(P, T, A) -> persistent_term:put({rt_phases, P}, {T, A}), ok."}
    }),
    {ok, #app_state{status = running}} = deploy(Build),
    {normal, [a]} = persistent_term:get({rt_phases, one}),
    {normal, [b]} = persistent_term:get({rt_phases, two}),
    Bad = app(Config, rt_phases, "2.0.0", #{
        app => [{start_phases, [{one, []}]}],
        callbacks => #{phase => "start_phase(_, _, _) -> {error, not_today}."}
    }),
    {error, {rolled_back, #{running := <<"1.0.0">>}}} = upgrade(Bad),
    "1.0.0" = version(rt_phases).

included_applications(Config) ->
    Make = fun(Vsn) ->
        Included = lib(Config, rt_included, Vsn, #{app => [{mod, {rt_included_app, []}}], modules => [
            {rt_included, ["version() -> \"", Vsn, "\".\n"]},
            {rt_included_app, bct_build:app(#{})}
        ]}),
        app(Config, rt_including, Vsn, #{
            app => [{included_applications, [rt_included]}],
            callbacks => #{start => "start(T, A) -> rt_included_app:start(T, A)."},
            libs => [Included]
        })
    end,
    {ok, #app_state{status = running}} = deploy(Make("1.0.0")),
    undefined = application_controller:get_master(rt_included),
    {ok, "1.0.0"} = application:get_key(rt_included, vsn),
    {ok, #app_state{status = running}} = upgrade(Make("2.0.0")),
    {ok, "2.0.0"} = application:get_key(rt_included, vsn),
    "2.0.0" = version(rt_included),
    ok = bc_gitops_runtime_default:remove(rt_including),
    undefined = application:get_key(rt_included, vsn),
    false = erlang:module_loaded(rt_included).

priv_files(Config) ->
    Make = fun(Vsn) ->
        app(Config, rt_priv, Vsn, #{
            files => [{"priv/text", ["text of ", Vsn]}],
            callbacks => #{start => "start(_, _) -> {ok, T} = file:read_file(filename:join(code:priv_dir(rt_priv), \"text\")),"
                                    " persistent_term:put(rt_priv, T), supervisor:start_link(?MODULE, [])."}
        })
    end,
    {ok, _} = deploy(Make("1.0.0")),
    <<"text of 1.0.0">> = persistent_term:get(rt_priv),
    {ok, _} = upgrade(Make("2.0.0")),
    <<"text of 2.0.0">> = persistent_term:get(rt_priv).

own_nif_is_upgraded(Config) ->
    Make = fun(Vsn, Number) ->
        Source = ["#include <erl_nif.h>\n"
                  "static ERL_NIF_TERM number(ErlNifEnv* env, int c, const ERL_NIF_TERM v[]) { return enif_make_int(env, ",
                  integer_to_list(Number), "); }\n"
                  "static ErlNifFunc funcs[] = {{\"number\", 0, number}};\n"
                  "ERL_NIF_INIT(rt_nif, funcs, NULL, NULL, NULL, NULL)\n"],
        Build = #{path := Path} = app(Config, rt_nif_user, Vsn, #{
            files => [{"priv/rt_nif.c", Source}],
            modules => [{rt_nif, "-on_load(load/0).\n"
                                 "load() -> erlang:load_nif(filename:join(code:priv_dir(rt_nif_user), \"rt_nif\"), 0).\n"
                                 "number() -> erlang:nif_error(not_loaded).\n"}],
            callbacks => #{start => "start(_, _) -> persistent_term:put(rt_nif, rt_nif:number()), supervisor:start_link(?MODULE, [])."}
        }),
        Priv = filename:join(Path, "priv"),
        Include = filename:join([code:root_dir(), "usr", "include"]),
        <<>> = run(Priv, "gcc", ["-shared", "-fPIC", "-I" ++ Include, "-o", "rt_nif.so", "rt_nif.c"]),
        Build
    end,
    {ok, _} = deploy(Make("1.0.0", 1)),
    1 = persistent_term:get(rt_nif),
    {ok, _} = upgrade(Make("2.0.0", 2)),
    2 = persistent_term:get(rt_nif),
    2 = apply(rt_nif, number, []),
    Broken = Make("3.0.0", 3),
    ok = file:delete(filename:join([maps:get(path, Broken), "priv", "rt_nif.so"])),
    {error, {rolled_back, #{running := <<"2.0.0">>}}} = upgrade(Broken),
    2 = apply(rt_nif, number, []).

version_from_git(Config) ->
    {ok, State} = deploy(app(Config, rt_vsn_git, "1.0.0+build.3.ref0a1b2c3", #{})),
    <<"1.0.0+build.3.ref0a1b2c3">> = State#app_state.version.

modules_with_on_load(Config) ->
    Build = app(Config, rt_on_load, "1.0.0", #{modules => [
        {rt_a_loader, "-on_load(load/0).\nload() -> persistent_term:put(rt_on_load, rt_z_helper:value()), ok.\n"},
        {rt_z_helper, "value() -> 7.\n"}
    ]}),
    {ok, _} = deploy(Build),
    7 = persistent_term:get(rt_on_load),
    Failing = app(Config, rt_on_load, "2.0.0", #{modules => [{rt_a_loader, "-on_load(load/0).\nload() -> no.\n"}]}),
    {error, {rolled_back, #{reason := {load_failed, _}}}} = upgrade(Failing),
    "1.0.0" = version(rt_on_load),
    true = erlang:module_loaded(rt_z_helper).

%%% hostile

hangs_in_prep_stop(Config) ->
    {ok, _} = deploy(app(Config, rt_hang, "1.0.0", #{callbacks => #{prep_stop => ["prep_stop(_) -> ", hang(), "."]}})),
    Two = app(Config, rt_hang, "2.0.0", #{}),
    Upgrade = background(fun() -> upgrade(Two) end),
    %% Nobody waits meanwhile.
    assert_healthy(),
    {ok, #app_state{version = <<"2.0.0">>}} = result(Upgrade),
    "2.0.0" = version(rt_hang),
    assert_healthy().

hangs_in_stop(Config) ->
    {ok, _} = deploy(app(Config, rt_hang, "1.0.0", #{callbacks => #{stop => ["stop(_) -> ", hang(), "."]}})),
    {ok, #app_state{version = <<"2.0.0">>, status = running}} = upgrade(app(Config, rt_hang, "2.0.0", #{})),
    assert_healthy().

hangs_in_start(Config) ->
    Before = processes(),
    Build = app(Config, rt_hang, "1.0.0", #{callbacks => #{
        start => ["start(_, _) -> spawn(fun() -> ", hang(), " end), ", hang(), "."]
    }}),
    {error, {start_timeout, #{app := rt_hang}}} = deploy(Build),
    assert_healthy(),
    none = bct_runtime:state(rt_hang),
    false = erlang:module_loaded(rt_hang),
    [] = [Pid || Pid <- processes() -- Before, {initial_call, {rt_hang_app, _, _}} <- [process_info(Pid, initial_call)]].

hangs_in_prep_stop_of_removed_app(Config) ->
    {ok, _} = deploy(app(Config, rt_hang, "1.0.0", #{callbacks => #{prep_stop => ["prep_stop(_) -> ", hang(), "."]}})),
    {ok, _} = deploy(app(Config, rt_other, "1.0.0", #{})),
    ok = bc_gitops_runtime_default:remove(rt_hang),
    undefined = application:get_key(rt_hang, vsn),
    #app_state{status = running} = bct_runtime:state(rt_other),
    assert_healthy().

raises_in_stop(Config) ->
    {ok, _} = deploy(app(Config, rt_raise, "1.0.0", #{callbacks => #{
        stop => "stop(_) -> error(no).", prep_stop => "prep_stop(_) -> exit(no)."
    }})),
    {ok, #app_state{version = <<"2.0.0">>}} = upgrade(app(Config, rt_raise, "2.0.0", #{})).

exits_in_start(Config) ->
    {ok, _} = deploy(app(Config, rt_raise, "1.0.0", #{})),
    Bad = app(Config, rt_raise, "2.0.0", #{callbacks => #{start => "start(_, _) -> exit(self(), kill), receive x -> x end."}}),
    {error, {rolled_back, #{running := <<"1.0.0">>}}} = upgrade(Bad),
    "1.0.0" = version(rt_raise),
    assert_healthy().

%% Processes outside the supervision tree and with deaf ears.
spawns_processes_that_stay(Config) ->
    Deaf = "spawn(fun() -> process_flag(trap_exit, true), deaf() end)",
    {ok, _} = deploy(app(Config, rt_spawn, "1.0.0", #{
        callbacks => #{start => ["start(_, _) -> persistent_term:put(rt_spawn, ", Deaf, "), supervisor:start_link(?MODULE, [])."]},
        more => "deaf() -> receive _ -> deaf() end.\n"
    })),
    Pid = persistent_term:get(rt_spawn),
    true = is_process_alive(Pid),
    ok = bc_gitops_runtime_default:remove(rt_spawn),
    false = is_process_alive(Pid).

new_version_hangs_in_start(Config) ->
    {ok, _} = deploy(app(Config, rt_hang, "1.0.0", #{})),
    Two = app(Config, rt_hang, "2.0.0", #{callbacks => #{start => ["start(_, _) -> ", hang(), "."]}}),
    {error, {rolled_back, #{running := <<"1.0.0">>, reason := {start_timeout, _}, gap_ms := Gap}}} = upgrade(Two),
    true = Gap >= 2000,
    "1.0.0" = version(rt_hang),
    #app_state{status = running, version = <<"1.0.0">>} = bct_runtime:state(rt_hang),
    assert_healthy().

%% The controller itself waits for the application then; whoever comes next for it frees it.
stopped_by_hand_while_it_hangs(Config) ->
    {ok, _} = deploy(app(Config, rt_hang, "1.0.0", #{callbacks => #{prep_stop => ["prep_stop(_) -> ", hang(), "."]}})),
    {ok, _} = deploy(app(Config, rt_other, "1.0.0", #{})),
    ByHand = background(fun() -> application:stop(rt_hang) end),
    bct_wait:until(fun() ->
        {current_function, {application_master, call, 2}} =:=
            process_info(whereis(application_controller), current_function)
    end),
    {ok, #app_state{version = <<"2.0.0">>}} = upgrade(app(Config, rt_other, "2.0.0", #{})),
    ok = result(ByHand),
    assert_healthy().

hangs_in_config_change(Config) ->
    ok = application:set_env(bc_gitops, start_timeout, 300),
    Build = app(Config, rt_config, "1.0.0", #{callbacks => #{change => ["config_change(_, _, _) -> ", hang(), "."]}}),
    Spec = bct_runtime:spec_for(Build, #{size => 1}),
    {ok, _} = bc_gitops_runtime_default:deploy(Spec),
    {error, {config_change_failed, #{kind := timeout}}} =
        bc_gitops_runtime_default:reconfigure(Spec#app_spec{env = #{size => 2}}),
    {ok, 1} = application:get_env(rt_config, size),
    #app_state{status = running, env = #{size := 1}} = bct_runtime:state(rt_config),
    assert_healthy().

refuses_config_change(Config) ->
    Build = app(Config, rt_config, "1.0.0", #{callbacks => #{change => "config_change(_, _, _) -> {error, too_big}."}}),
    Spec = bct_runtime:spec_for(Build, #{size => 1}),
    {ok, _} = bc_gitops_runtime_default:deploy(Spec),
    {error, {config_change_failed, #{reason := {error, too_big}}}} =
        bc_gitops_runtime_default:reconfigure(Spec#app_spec{env = #{size => 2, more => 1}}),
    [{size, 1}] = application:get_all_env(rt_config).

hangs_in_on_load(Config) ->
    {ok, _} = deploy(app(Config, rt_on_load, "1.0.0", #{})),
    Hanging = app(Config, rt_on_load, "2.0.0", #{modules => [
        {rt_hang_load, ["-on_load(load/0).\nload() -> ", hang(), ".\n"]}
    ]}),
    {error, {rolled_back, #{running := <<"1.0.0">>, reason := {load_failed, _}}}} = upgrade(Hanging),
    "1.0.0" = version(rt_on_load),
    false = erlang:module_loaded(rt_hang_load).

damaged_build_stops_nothing(Config) ->
    {ok, #app_state{pid = Pid}} = deploy(app(Config, rt_whole, "1.0.0", #{})),
    Two = #{path := Path} = app(Config, rt_whole, "2.0.0", #{}),
    Beam = filename:join([Path, "ebin", "rt_whole.beam"]),
    {ok, Other} = file:read_file(filename:join([Path, "ebin", "rt_whole_app.beam"])),
    [begin
        ok = bct_build:damage(Beam, Content),
        ?assertMatch({error, {build_damaged, #{app := rt_whole, path := Beam, message := _}}}, upgrade(Two))
     end || Content <- [Other, <<"FOR1">>, none]],
    true = is_process_alive(Pid),
    "1.0.0" = version(rt_whole).

lingering_process_of_old_code(Config) ->
    {ok, _} = deploy(app(Config, rt_linger, "1.0.0", #{more => "stay() -> receive x -> ok end, stay().\n"})),
    {Pid, Ref} = spawn_monitor(fun() -> apply(rt_linger_app, stay, []) end),
    bct_wait:until(fun() -> {current_function, {rt_linger_app, stay, 0}} =:= process_info(Pid, current_function) end),
    {ok, _} = upgrade(app(Config, rt_linger, "2.0.0", #{})),
    receive {'DOWN', Ref, process, Pid, killed} -> ok end,
    [] = [M || M <- [rt_linger, rt_linger_app], erlang:check_old_code(M)].

%%% dependencies

dependency_is_brought_and_goes(Config) ->
    Dep = lib(Config, rt_dep, "1.0.0", #{app => [{mod, {rt_dep_app, []}}],
              modules => [{rt_dep, "version() -> \"1.0.0\".\n"}, {rt_dep_app, bct_build:app(#{})}]}),
    Build = app(Config, rt_user, "1.0.0", #{app => [{applications, [kernel, stdlib, rt_dep]}], libs => [Dep]}),
    {ok, _} = deploy(Build),
    true = bc_gitops_app_control:is_running(rt_dep),
    "1.0.0" = version(rt_dep),
    ok = bc_gitops_runtime_default:remove(rt_user),
    undefined = application:get_key(rt_dep, vsn),
    false = erlang:module_loaded(rt_dep),
    {error, bad_name} = code:lib_dir(rt_dep).

dependency_is_shared_and_counted(Config) ->
    Dep = lib(Config, rt_dep, "1.0.0", #{}),
    Same = lib(Config, rt_dep, "1.0.0", #{}),
    Needs = [{applications, [kernel, stdlib, rt_dep]}],
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{app => Needs, libs => [Dep]})),
    {ok, _} = deploy(app(Config, rt_two, "1.0.0", #{app => Needs, libs => [Same]})),
    ok = bc_gitops_runtime_default:remove(rt_one),
    "1.0.0" = version(rt_dep),
    %% The files of the first build are in use still.
    ?assertEqual(unicode:characters_to_list(maps:get(path, Dep)), code:lib_dir(rt_dep)),
    ok = bc_gitops_runtime_default:remove(rt_two),
    false = erlang:module_loaded(rt_dep).

dependency_conflict_is_named(Config) ->
    Needs = [{applications, [kernel, stdlib, rt_dep]}],
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{app => Needs, libs => [lib(Config, rt_dep, "1.0.0", #{})]})),
    Two = app(Config, rt_two, "1.0.0", #{app => Needs, libs => [lib(Config, rt_dep, "2.0.0", #{})]}),
    {error, {dependency_conflict, #{app := rt_two, dependency := rt_dep, wanted := <<"2.0.0">>,
                                    present := <<"1.0.0">>, used_by := [rt_one], hint := Hint}}} = deploy(Two),
    {_, _} = binary:match(Hint, <<"isolation">>),
    none = bct_runtime:state(rt_two),
    "1.0.0" = version(rt_dep).

dependency_changes_with_the_app(Config) ->
    Needs = [{applications, [kernel, stdlib, rt_dep]}],
    Make = fun(Vsn) -> app(Config, rt_one, Vsn, #{app => Needs, libs => [lib(Config, rt_dep, Vsn, #{})]}) end,
    {ok, _} = deploy(Make("1.0.0")),
    {ok, _} = upgrade(Make("2.0.0")),
    "2.0.0" = version(rt_dep),
    {ok, "2.0.0"} = application:get_key(rt_dep, vsn).

dependency_change_is_undone(Config) ->
    Needs = [{applications, [kernel, stdlib, rt_dep]}],
    Make = fun(Vsn, Callbacks) ->
        app(Config, rt_one, Vsn, #{app => Needs, callbacks => Callbacks, libs => [lib(Config, rt_dep, Vsn, #{})]})
    end,
    {ok, _} = deploy(Make("1.0.0", #{})),
    {error, {rolled_back, _}} = upgrade(Make("2.0.0", #{start => "start(_, _) -> {error, no}."})),
    "1.0.0" = version(rt_dep),
    {ok, "1.0.0"} = application:get_key(rt_dep, vsn),
    {ok, _} = upgrade(Make("3.0.0", #{})),
    "3.0.0" = version(rt_dep).

dependency_no_longer_needed_goes(Config) ->
    Needs = [{applications, [kernel, stdlib, rt_dep]}],
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{app => Needs, libs => [lib(Config, rt_dep, "1.0.0", #{})]})),
    {ok, _} = upgrade(app(Config, rt_one, "2.0.0", #{})),
    false = erlang:module_loaded(rt_dep),
    undefined = application:get_key(rt_dep, vsn).

module_moves_from_dependency_to_app(Config) ->
    Needs = [{applications, [kernel, stdlib, rt_dep]}],
    Dep = lib(Config, rt_dep, "1.0.0", #{modules => [{rt_moves, "where() -> dependency.\n"}]}),
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{app => Needs, libs => [Dep]})),
    Inside = [{rt_moves, "where() -> app.\n"}],
    Bad = #{start => "start(_, _) -> {error, no}."},
    {error, {rolled_back, _}} = upgrade(app(Config, rt_one, "2.0.0", #{modules => Inside, callbacks => Bad})),
    dependency = apply(rt_moves, where, []),
    true = lists:keymember(rt_dep, 1, application:which_applications(1000)),
    {ok, _} = upgrade(app(Config, rt_one, "3.0.0", #{modules => Inside})),
    app = apply(rt_moves, where, []),
    undefined = application:get_key(rt_dep, vsn).

unstarted_dependency_is_only_loaded(Config) ->
    Dep = lib(Config, rt_dep, "1.0.0", #{app => [{mod, {rt_dep_app, []}}],
              modules => [{rt_dep, "version() -> \"1.0.0\".\n"}, {rt_dep_app, bct_build:app(#{})}]}),
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{libs => [Dep]})),
    false = bc_gitops_app_control:is_running(rt_dep),
    "1.0.0" = version(rt_dep).

otp_application_is_started_and_stays(Config) ->
    _ = application:stop(tftp),
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{app => [{applications, [kernel, stdlib, tftp]}]})),
    true = bc_gitops_app_control:is_running(tftp),
    ok = bc_gitops_runtime_default:remove(rt_one),
    true = bc_gitops_app_control:is_running(tftp),
    ok = application:stop(tftp).

managed_app_is_dependency_of_another(Config) ->
    Dep = app(Config, rt_dep, "1.0.0", #{}),
    [DepLib] = maps:get(libs, Dep),
    User = app(Config, rt_user, "1.0.0", #{app => [{applications, [kernel, stdlib, rt_dep]}], libs => [DepLib]}),
    {ok, _} = deploy(User),
    {ok, #app_state{env = #{size := 1}, status = running}} = deploy(Dep, #{size => 1}),
    {ok, 1} = application:get_env(rt_dep, size),
    ok = bc_gitops_runtime_default:remove(rt_dep),
    true = bc_gitops_app_control:is_running(rt_dep),
    undefined = application:get_env(rt_dep, size),
    ok = bc_gitops_runtime_default:remove(rt_user),
    false = bc_gitops_app_control:is_running(rt_dep).

%% Whatever version of it another one brought.
its_own_spec_decides(Config) ->
    [One, Two] = [app(Config, rt_dep, Vsn, #{}) || Vsn <- ["1.0.0", "2.0.0"]],
    Bad = app(Config, rt_dep, "3.0.0", #{callbacks => #{start => "start(_, _) -> error(no)."}}),
    Version = fun() -> {apply(rt_dep, version, []), bc_gitops_app_control:is_up(rt_dep)} end,
    [DepLib] = maps:get(libs, One),
    User = app(Config, rt_user, "1.0.0", #{app => [{applications, [kernel, stdlib, rt_dep]}], libs => [DepLib]}),
    {ok, #app_state{pid = Pid}} = deploy(User),
    %% what the other one brought is back when its own does not start
    {error, {start_failed, _}} = deploy(Bad),
    ?assertEqual({{"1.0.0", true}, none}, {Version(), bct_runtime:state(rt_dep)}),
    {ok, #app_state{version = <<"2.0.0">>}} = deploy(Two),
    ?assertEqual({"2.0.0", true}, Version()),
    {error, {rolled_back, #{running := <<"2.0.0">>}}} = upgrade(Bad),
    ?assertEqual({"2.0.0", true}, Version()),
    ?assert(is_process_alive(Pid)),
    %% the other one is changed beside it, and keeps it when its own spec goes
    {ok, #app_state{status = running}} = upgrade(app(Config, rt_user, "1.1.0", #{
        app => [{applications, [kernel, stdlib, rt_dep]}], libs => [DepLib]})),
    ?assertEqual({"2.0.0", true}, Version()),
    ok = bc_gitops_runtime_default:remove(rt_dep),
    ?assertEqual({"2.0.0", true}, Version()),
    ok = bc_gitops_runtime_default:remove(rt_user),
    ?assertEqual(#{}, bc_gitops_runtime_table:libs()).

%%% host

on_host(#{libs := Libs} = Build, Fun) ->
    Dirs = [filename:join(unicode:characters_to_list(Path), "ebin") || #{path := Path} <- Libs],
    ok = code:add_pathsz(Dirs),
    try
        Fun(Build)
    after
        lists:foreach(fun(Dir) -> code:del_path(Dir) end, Dirs),
        lists:foreach(fun(#{modules := Modules}) ->
            [begin code:purge(M), code:delete(M), code:purge(M) end || M <- maps:keys(Modules)]
        end, Libs)
    end.

starts_from_the_hosts_path(Config) ->
    on_host(app(Config, rt_hosted, "1.0.0", #{}), fun(#{path := Path}) ->
        Spec = bct_runtime:spec(rt_hosted, <<"1.0.0">>, #{size => 1}),
        {ok, #{key := Key, version := <<"1.0.0">>}} = bc_gitops_runtime_default:prepare(Spec),
        {ok, #app_state{status = running, path = Path}} = bc_gitops_runtime_default:deploy(Spec),
        {ok, #app_state{status = running}} = bc_gitops_runtime_default:restore(Spec, Key),
        ok = bc_gitops_runtime_default:remove(rt_hosted),
        false = bc_gitops_app_control:is_running(rt_hosted),
        %% The host's code stays where it is.
        "1.0.0" = version(rt_hosted),
        ?assertNotEqual({error, bad_name}, code:lib_dir(rt_hosted))
    end).

host_has_another_version(Config) ->
    on_host(app(Config, rt_hosted, "1.0.0", #{}), fun(_) ->
        {error, {host_application, #{wanted := <<"2.0.0">>, found := <<"1.0.0">>}}} =
            deploy(app(Config, rt_hosted, "2.0.0", #{}))
    end).

host_has_the_module(Config) ->
    Host = bct_build:make(store(Config), rt_host_lib, #{modules => [{rt_same, "who() -> host.\n"}]}),
    on_host(Host, fun(_) ->
        host = apply(rt_same, who, []),
        Build = app(Config, rt_guest, "1.0.0", #{modules => [{rt_same, "who() -> guest.\n"}]}),
        {error, {module_conflict, #{app := rt_guest, modules := [{rt_same, _}]}}} = deploy(Build),
        host = apply(rt_same, who, []),
        false = erlang:module_loaded(rt_guest)
    end).

host_has_the_dependency(Config) ->
    Host = bct_build:make(store(Config), rt_dep, #{modules => [{rt_dep, "version() -> \"1.0.0\".\n"}]}),
    on_host(Host, fun(#{path := Path}) ->
        Build = app(Config, rt_guest, "1.0.0", #{app => [{applications, [kernel, stdlib, rt_dep]}],
                                                 libs => [lib(Config, rt_dep, "1.0.0", #{})]}),
        {ok, _} = deploy(Build),
        ?assertEqual(unicode:characters_to_list(Path), code:lib_dir(rt_dep)),
        ok = bc_gitops_runtime_default:remove(rt_guest),
        ?assertEqual(unicode:characters_to_list(Path), code:lib_dir(rt_dep)),
        ok = application:stop(rt_dep),
        ok = application:unload(rt_dep)
    end).

host_has_another_dependency(Config) ->
    Host = bct_build:make(store(Config), rt_dep, #{vsn => "0.9.0", modules => [{rt_dep, "version() -> \"0.9.0\".\n"}]}),
    on_host(Host, fun(_) ->
        Build = app(Config, rt_guest, "1.0.0", #{libs => [lib(Config, rt_dep, "1.0.0", #{})]}),
        {error, {dependency_conflict, #{dependency := rt_dep, used_by := host, present := <<"0.9.0">>}}} = deploy(Build)
    end).

started_by_the_host(Config) ->
    on_host(app(Config, rt_hosted, "1.0.0", #{}), fun(_) ->
        ok = application:start(rt_hosted),
        {error, {protected_application, #{reason := started_by_host}}} =
            bc_gitops_runtime_default:deploy(bct_runtime:spec(rt_hosted, <<"1.0.0">>)),
        true = bc_gitops_app_control:is_running(rt_hosted),
        ok = application:stop(rt_hosted),
        ok = application:unload(rt_hosted)
    end).

%% As from sys.config: what is configured for an application that is not loaded.
configuration_of_the_host_comes_back(Config) ->
    ok = application:set_env(rt_conf, size, 5, [{persistent, true}]),
    ok = application:unset_env(rt_conf, size),
    Build = app(Config, rt_conf, "1.0.0", #{app => [{env, [{size, 1}, {depth, 1}]}]}),
    Spec = bct_runtime:spec_for(Build, #{size => 9, depth => 9}),
    {ok, _} = bc_gitops_runtime_default:deploy(Spec),
    {ok, 9} = application:get_env(rt_conf, size),
    {ok, _} = bc_gitops_runtime_default:reconfigure(Spec#app_spec{env = #{}}),
    {ok, 5} = application:get_env(rt_conf, size),
    {ok, 1} = application:get_env(rt_conf, depth),
    ok = bc_gitops_runtime_default:remove(rt_conf),
    ok = application:unset_env(rt_conf, size, [{persistent, true}]).

%%% lives

%% A start of a new dependency that waits gives time to kill the caller before anything was stopped.
caller_killed_before_the_stop(Config) ->
    {ok, #app_state{pid = Root}} = deploy(app(Config, rt_one, "1.0.0", #{})),
    Dep = lib(Config, rt_dep, "1.0.0", #{app => [{mod, {rt_dep_app, []}}], modules => [
        {rt_dep_app, bct_build:app(#{start => "start(_, _) -> rt_gate ! self(), receive go -> ok end, supervisor:start_link(?MODULE, [])."})}
    ]}),
    Two = app(Config, rt_one, "2.0.0", #{app => [{applications, [kernel, stdlib, rt_dep]}], libs => [Dep]}),
    true = register(rt_gate, self()),
    {Caller, Ref} = background(fun() -> upgrade(Two) end),
    receive Starting when is_pid(Starting) ->
        exit(Caller, kill),
        receive {'DOWN', Ref, process, Caller, killed} -> ok end,
        Starting ! go
    end,
    bct_wait:until(fun() -> application:get_key(rt_dep, vsn) =:= undefined end),
    true = unregister(rt_gate),
    "1.0.0" = version(rt_one),
    true = is_process_alive(Root),
    {ok, _} = upgrade(app(Config, rt_one, "3.0.0", #{})).

caller_killed_after_the_stop(Config) ->
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{})),
    Two = app(Config, rt_one, "2.0.0", #{callbacks => #{
        start => "start(_, _) -> rt_gate ! self(), receive go -> ok end, supervisor:start_link(?MODULE, [])."
    }}),
    true = register(rt_gate, self()),
    {Caller, Ref} = background(fun() -> upgrade(Two) end),
    receive Starting when is_pid(Starting) ->
        exit(Caller, kill),
        receive {'DOWN', Ref, process, Caller, killed} -> ok end,
        Starting ! go
    end,
    bct_wait:until(fun() ->
        case bct_runtime:state(rt_one) of
            #app_state{version = <<"2.0.0">>, status = running} -> true;
            _ -> false
        end
    end),
    true = unregister(rt_gate).

two_apps_at_once(Config) ->
    Names = [rt_par_a, rt_par_b, rt_par_c, rt_par_d],
    Dep = fun() -> lib(Config, rt_dep, "1.0.0", #{}) end,
    Make = fun(Name, Vsn) ->
        app(Config, Name, Vsn, #{app => [{applications, [kernel, stdlib, rt_dep]}], libs => [Dep()]})
    end,
    One = [Make(Name, "1.0.0") || Name <- Names],
    Two = [Make(Name, "2.0.0") || Name <- Names],
    [{ok, _} = R || R <- parallel([fun() -> deploy(Build) end || Build <- One])],
    [{ok, _} = R || R <- parallel([fun() -> upgrade(Build) end || Build <- Two])],
    ["2.0.0", "2.0.0", "2.0.0", "2.0.0"] = [version(Name) || Name <- Names],
    [ok, ok, ok, ok] = parallel([fun() -> bc_gitops_runtime_default:remove(Name) end || Name <- Names]),
    false = erlang:module_loaded(rt_dep).

same_app_waits(Config) ->
    Builds = [app(Config, rt_one, Vsn, #{}) || Vsn <- ["1.0.0", "2.0.0", "3.0.0"]],
    [{ok, _} = R || R <- parallel([fun() -> deploy(Build) end || Build <- Builds])],
    #app_state{version = Version, status = running} = bct_runtime:state(rt_one),
    ?assertEqual(binary_to_list(Version), version(rt_one)).

%% Nothing undoes it at once: the next switch of the application does.
switch_killed_in_the_middle(Config) ->
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{})),
    Two = app(Config, rt_one, "2.0.0", #{
        modules => [{rt_only_two, ""}],
        callbacks => #{start => "start(_, _) -> rt_gate ! self(), receive go -> ok end, supervisor:start_link(?MODULE, [])."}
    }),
    true = register(rt_gate, self()),
    Upgrade = background(fun() -> upgrade(Two) end),
    receive Starting when is_pid(Starting) -> ok end,
    [{_, Switch, _, _}] = supervisor:which_children(bc_gitops_switch_sup),
    exit(Switch, kill),
    {error, {switch_crashed, _}} = result(Upgrade),
    true = unregister(rt_gate),
    {ok, #app_state{version = <<"3.0.0">>, status = running}} = upgrade(app(Config, rt_one, "3.0.0", #{})),
    "3.0.0" = version(rt_one),
    false = erlang:module_loaded(rt_only_two).

shared_module_is_refused(Config) ->
    Make = fun(Name) -> app(Config, Name, "1.0.0", #{modules => [{rt_same, "who() -> ok.\n"}]}) end,
    {ok, _} = deploy(Make(rt_one)),
    {error, {module_conflict, #{app := rt_two, modules := [{rt_same, _}]}}} = deploy(Make(rt_two)),
    ok = apply(rt_same, who, []).

reads_do_not_wait_for_an_app_that_hangs(Config) ->
    ok = application:set_env(bc_gitops, stop_timeout, 60000),
    {ok, _} = deploy(app(Config, rt_hang, "1.0.0", #{
        callbacks => #{prep_stop => "prep_stop(_) -> rt_gate ! self(), receive go -> ok end."}})),
    true = register(rt_gate, self()),
    Removal = background(fun() -> bc_gitops_runtime_default:remove(rt_hang) end),
    Hanging = receive Pid when is_pid(Pid) -> Pid end,
    {ok, #{rt_hang := _}} = bc_gitops_runtime_default:get_current_state(),
    true = is_process_alive(Hanging),
    Hanging ! go,
    ok = result(Removal),
    true = unregister(rt_gate).

restore_adopts(Config) ->
    Build = bct_build:publish(app(Config, rt_one, "1.0.0", #{})),
    Spec = bct_runtime:spec_for(Build, #{size => 1}),
    {ok, #app_state{pid = Pid}} = bc_gitops_runtime_default:deploy(Spec),
    {ok, #app_state{pid = Pid}} = bc_gitops_runtime_default:restore(Spec, maps:get(key, Build)),
    {ok, #app_state{pid = Pid}} = bc_gitops_runtime_default:restore(Spec#app_spec{env = #{size => 2}}, maps:get(key, Build)),
    {ok, 2} = application:get_env(rt_one, size).

restore_starts_from_store(Config) ->
    Build = bct_build:publish(app(Config, rt_one, "1.0.0", #{})),
    Spec = bct_runtime:spec_for(Build, #{}),
    {ok, #app_state{status = running}} = bc_gitops_runtime_default:restore(Spec, maps:get(key, Build)),
    {error, {build_not_found, _}} = bc_gitops_runtime_default:restore(Spec, <<"no such key">>),
    %% deployed by a module without prepare/1: nobody knows which build it was
    ok = bc_gitops_runtime_default:remove(Spec#app_spec.name),
    {error, {restore_not_supported, _}} = bc_gitops_runtime:restore(bc_gitops_runtime_default, Spec, undefined).

survives_restart_of_bc_gitops(Config) ->
    Build = bct_build:publish(app(Config, rt_one, "1.0.0", #{})),
    Spec = bct_runtime:spec_for(Build, #{}),
    {ok, #app_state{pid = Pid} = State} = bc_gitops_runtime_default:deploy(Spec),
    Sup = whereis(bc_gitops_runtime_sup),
    Table = whereis(bc_gitops_runtime_table),
    exit(Table, kill),
    bct_wait:until(fun() ->
        New = whereis(bc_gitops_runtime_table),
        is_pid(New) andalso New =/= Table andalso is_pid(whereis(bc_gitops_runtime_worker))
            andalso bct_runtime:state(rt_one) =/= none
    end),
    Sup = whereis(bc_gitops_runtime_sup),
    ?assertEqual(State, bct_runtime:state(rt_one)),
    {ok, #app_state{pid = Pid}} = bc_gitops_runtime_default:restore(Spec, maps:get(key, Build)),
    {ok, #app_state{version = <<"2.0.0">>}} = upgrade(app(Config, rt_one, "2.0.0", #{})).

found_stopped_is_started_again(Config) ->
    Build = app(Config, rt_one, "1.0.0", #{}),
    {ok, _} = deploy(Build),
    ok = application:stop(rt_one),
    #app_state{status = stopped, pid = undefined} = bct_runtime:state(rt_one),
    {ok, #app_state{status = running}} = deploy(Build).

crash_is_seen(Config) ->
    {ok, #app_state{pid = Pid}} = deploy(app(Config, rt_one, "1.0.0", #{})),
    exit(Pid, kill),
    bct_wait:until(fun() -> (bct_runtime:state(rt_one))#app_state.status =:= stopped end),
    Bad = app(Config, rt_one, "2.0.0", #{callbacks => #{start => "start(_, _) -> {error, no}."}}),
    %% Nothing ran, so there is nothing to go back to.
    {error, {start_failed, _}} = upgrade(Bad),
    #app_state{status = stopped, version = <<"1.0.0">>} = bct_runtime:state(rt_one).

emits_telemetry(Config) ->
    Self = self(),
    ok = bc_gitops_telemetry:attach_many(
        rt_handler, [?TELEMETRY_CODE_LOAD, ?TELEMETRY_CODE_PURGE],
        fun(Event, Measurements, Metadata, _) -> Self ! {Event, Measurements, Metadata} end, none),
    {ok, _} = deploy(app(Config, rt_one, "1.0.0", #{})),
    ok = bc_gitops_runtime_default:remove(rt_one),
    ok = bc_gitops_telemetry:detach(rt_handler),
    receive {?TELEMETRY_CODE_LOAD, _, #{app := rt_one, modules := Loaded}} -> [rt_one, rt_one_app] = lists:sort(Loaded) end,
    receive {?TELEMETRY_CODE_PURGE, _, #{app := rt_one, modules := Purged}} -> [rt_one, rt_one_app] = lists:sort(Purged) end.

%%% elixir

%% Elixir in an Erlang host, built for real by mix from repositories.
protocols_beside_one_another(Config) ->
    ok = application:set_env(bc_gitops, allow_local_sources, true),
    Before = {logger:get_primary_config(), lists:sort(logger:get_handler_config())},
    A = mix_repository(Config, "rt_ex_a", "1.0.0", ""),
    B = mix_repository(Config, "rt_ex_b", "1.0.0", ""),
    {ok, #app_state{status = running}} = bc_gitops_runtime_default:deploy(A),
    {ok, #app_state{status = running}} = bc_gitops_runtime_default:deploy(B),
    ?assertEqual(Before, {logger:get_primary_config(), lists:sort(logger:get_handler_config())}),
    [<<"thing of rt_ex_a">>, <<"thing of rt_ex_b">>] = [show('Elixir.RtExA'), show('Elixir.RtExB')],
    [4, 4] = [apply(M, size, [<<"four">>]) || M <- ['Elixir.RtExA', 'Elixir.RtExB']],
    true = apply('Elixir.String.Chars', '__protocol__', ['consolidated?']),
    true = apply('Elixir.RtExA.Size', '__protocol__', ['consolidated?']),
    More = "defmodule RtExA.Other do\n  defstruct []\n  defimpl String.Chars do\n"
           "    def to_string(_), do: \"another\"\n  end\nend\n",
    A2 = mix_repository(Config, "rt_ex_a", "2.0.0", More),
    {ok, #app_state{version = <<"2.0.0">>, details = #{gap_ms := Gap}}} =
        bc_gitops_runtime_default:upgrade(A2, <<"1.0.0">>),
    ct:pal("gap of an Elixir application: ~b ms", [Gap]),
    <<"another">> = apply('Elixir.String.Chars', to_string, [#{'__struct__' => 'Elixir.RtExA.Other'}]),
    <<"thing of rt_ex_b">> = show('Elixir.RtExB'),
    ok = bc_gitops_runtime_default:remove(rt_ex_a),
    <<"thing of rt_ex_b">> = show('Elixir.RtExB'),
    false = erlang:module_loaded('Elixir.RtExA.Size'),
    ?assertError(_, apply('Elixir.String.Chars', to_string, [#{'__struct__' => 'Elixir.RtExA.Other'}])),
    ok = bc_gitops_runtime_default:remove(rt_ex_b),
    false = erlang:module_loaded('Elixir.Kernel'),
    undefined = application:get_key(elixir, vsn),
    ?assertEqual(Before, {logger:get_primary_config(), lists:sort(logger:get_handler_config())}),
    ok = application:unset_env(bc_gitops, allow_local_sources).

%% A host in development: its Elixir serves the application, and its protocols stay open.
elixir_host_stays_as_it_is(Config) ->
    #app_spec{source = #source_spec{url = Url}} = mix_repository(Config, "rt_ex_a", "1.0.0", ""),
    Dir = store(Config),
    ok = file:write_file(filename:join(Dir, "host.exs"), [
        "for {key, value} <- [workspace_path: \"", Dir, "/host\", state_path: \"", Dir, "/state\", allow_local_sources: true],\n"
        "  do: Application.put_env(:bc_gitops, key, value)\n"
        "{:ok, _} = Application.ensure_all_started(:logger)\n"
        "{:ok, _} = Application.ensure_all_started(:bc_gitops)\n"
        "logging = fn -> {:logger.get_primary_config(), Enum.sort(:logger.get_handler_config())} end\n"
        "before = logging.()\n"
        "source = {:source_spec, :git, \"", Url, "\", :undefined, \"v1.0.0\", :undefined}\n"
        "spec = {:app_spec, :rt_ex_a, \"1.0.0\", :undefined, :undefined, source, %{}, :undefined, [], :embedded, :undefined}\n"
        "{:ok, _} = :bc_gitops_runtime_default.deploy(spec)\n"
        "\"thing of rt_ex_a\" = RtExA.show()\n"
        "4 = RtExA.size(\"four\")\n"
        "false = String.Chars.__protocol__(:consolidated?)\n"
        "true = RtExA.Size.__protocol__(:consolidated?)\n"
        "^before = logging.()\n"
        ":ok = :bc_gitops_runtime_default.remove(:rt_ex_a)\n"
        "true = List.keymember?(Application.started_applications(), :logger, 0)\n"
        "false = Code.ensure_loaded?(RtExA.Thing)\n"
        "^before = logging.()\n"
        "IO.puts(\"as it was\")\n"]),
    Output = run(Dir, "elixir", ["-pa", filename:dirname(code:which(bc_gitops_runtime)), "host.exs"]),
    {_, _} = binary:match(Output, <<"as it was">>).

show(Module) ->
    apply(Module, show, []).

%% The spec of a mix application in a repository of its own.
mix_repository(Config, App, Version, More) ->
    Module = "RtEx" ++ string:uppercase([lists:last(App)]),
    Dir = filename:join([store(Config), "sources", App]),
    _ = [bct_repo:init(Dir) || not filelib:is_dir(Dir)],
    _ = bct_repo:commit(Dir, [
        {"mix.exs", [
            "defmodule ", Module, ".MixProject do\n  use Mix.Project\n"
            "  def project, do: [app: :", App, ", version: \"", Version, "\", deps: []]\n"
            "  def application, do: [extra_applications: [:logger], mod: {", Module, ".Application, []}]\nend\n"]},
        {"lib/app.ex", [
            "defprotocol ", Module, ".Size do\n  def size(it)\nend\n"
            "defimpl ", Module, ".Size, for: BitString do\n  def size(it), do: byte_size(it)\nend\n"
            "defmodule ", Module, ".Thing do\n  defstruct []\n  defimpl String.Chars do\n"
            "    def to_string(_), do: \"thing of ", App, "\"\n  end\nend\n"
            "defmodule ", Module, ".Application do\n  use Application\n  require Logger\n"
            "  def start(_, _) do\n    Logger.info(\"starts\")\n    Supervisor.start_link([], strategy: :one_for_one)\n  end\nend\n"
            "defmodule ", Module, " do\n  def show, do: to_string(%", Module, ".Thing{})\n"
            "  def size(it), do: ", Module, ".Size.size(it)\nend\n", More]}
    ]),
    ok = bct_repo:tag(Dir, "v" ++ Version),
    Spec = bct_runtime:spec(list_to_atom(App), list_to_binary(Version)),
    Spec#app_spec{source = #source_spec{type = git, url = bct_repo:url(Dir), ref = list_to_binary("v" ++ Version)}}.

%%% users' runtime modules

users_module_in_erlang(Config) ->
    Code = ["-include(\"bc_gitops.hrl\").\n-behaviour(bc_gitops_runtime).\n", users_callbacks()],
    Module = compile_user(Config, rt_user_runtime, Code),
    use_users_module(Config, Module).

%% In Elixir, and built on the default runtime.
users_module_in_elixir(Config) ->
    File = filename:join(store(Config), "rt_user_runtime.ex"),
    ok = file:write_file(File, [
        "defmodule RtUserRuntime do\n  @behaviour :bc_gitops_runtime\n"
        "  def deploy(spec) do\n    own()\n    result = :bc_gitops_runtime_default.deploy(spec)\n"
        "    :ets.insert(:rt_user_table, {elem(spec, 1), self()})\n    result\n  end\n"
        "  def remove(name) do\n    own()\n    :ets.delete(:rt_user_table, name)\n    :bc_gitops_runtime_default.remove(name)\n  end\n"
        "  def upgrade(spec, old), do: :bc_gitops_runtime_default.upgrade(spec, old)\n"
        "  def reconfigure(spec), do: :bc_gitops_runtime_default.reconfigure(spec)\n"
        "  def get_current_state, do: :bc_gitops_runtime_default.get_current_state()\n"
        "  defp own do\n    if :ets.whereis(:rt_user_table) == :undefined, do: :ets.new(:rt_user_table, [:named_table])\n  end\nend\n"]),
    _ = run(store(Config), "elixirc", ["--ignore-module-conflict", "rt_user_runtime.ex"]),
    Beam = filename:join(store(Config), "Elixir.RtUserRuntime.beam"),
    {module, Module} = code:load_abs(unicode:characters_to_list(filename:rootname(Beam))),
    use_users_module(Config, Module).

%% Its table lives between the calls: the same process answers them all.
use_users_module(Config, Module) ->
    {ok, #{}} = bc_gitops_runtime:prepare(Module, bct_runtime:spec(rt_one, <<"1">>), #{}),
    One = bct_runtime:spec_for(app(Config, rt_one, "1.0.0", #{}), #{}),
    Two = bct_runtime:spec_for(app(Config, rt_one, "2.0.0", #{}), #{}),
    {ok, #app_state{status = running}} = bc_gitops_runtime:deploy(Module, One),
    [{rt_one, Owner}] = ets:tab2list(rt_user_table),
    {ok, #app_state{version = <<"2.0.0">>}} = bc_gitops_runtime:upgrade(Module, Two, <<"1.0.0">>),
    {ok, #app_state{env = #{size := 1}}} = bc_gitops_runtime:reconfigure(Module, Two#app_spec{env = #{size => 1}}),
    {ok, #{rt_one := #app_state{version = <<"2.0.0">>}}} = bc_gitops_runtime:current(Module),
    {ok, #app_state{version = <<"2.0.0">>}} = bc_gitops_runtime:restore(Module, Two, <<"any">>),
    ok = bc_gitops_runtime:remove(Module, rt_one),
    [] = ets:tab2list(rt_user_table),
    Owner = ets:info(rt_user_table, owner),
    {error, {restore_not_supported, _}} = bc_gitops_runtime:restore(Module, Two, <<"any">>),
    unload(Module).

users_callbacks() ->
    "deploy(Spec) ->\n"
    "    _ = [ets:new(rt_user_table, [named_table]) || ets:whereis(rt_user_table) =:= undefined],\n"
    "    Result = bc_gitops_runtime_default:deploy(Spec),\n"
    "    true = ets:insert(rt_user_table, {Spec#app_spec.name, self()}),\n    Result.\n"
    "remove(Name) -> ets:delete(rt_user_table, Name), bc_gitops_runtime_default:remove(Name).\n"
    "upgrade(Spec, Old) -> [_] = ets:tab2list(rt_user_table), bc_gitops_runtime_default:upgrade(Spec, Old).\n"
    "reconfigure(Spec) -> bc_gitops_runtime_default:reconfigure(Spec).\n"
    "get_current_state() -> bc_gitops_runtime_default:get_current_state().\n".

users_module_hangs(Config) ->
    Module = compile_user(Config, rt_user_runtime, [
        "deploy(_) -> rt_gate ! self(), ", hang(), ".\nremove(_) -> error(not_today).\n"
        "upgrade(_, _) -> strange.\nreconfigure(_) -> exit(self(), kill), ", hang(), ".\n"]),
    true = register(rt_gate, self()),
    Spec = bct_runtime:spec(rt_one, <<"1">>),
    {Caller, _} = background(fun() -> bc_gitops_runtime:deploy(Module, Spec) end),
    Waiting = background(fun() -> bc_gitops_runtime:upgrade(Module, Spec, <<"0">>) end),
    receive Worker when is_pid(Worker) ->
        Ref = monitor(process, Worker),
        exit(Caller, kill),
        receive {'DOWN', Ref, process, Worker, killed} -> ok end
    end,
    true = unregister(rt_gate),
    {error, {bad_return, #{callback := upgrade, answer := strange}}} = result(Waiting),
    {error, {runtime_failed, #{callback := remove, reason := not_today}}} = bc_gitops_runtime:remove(Module, rt_one),
    {error, {runtime_killed, #{callback := reconfigure}}} = bc_gitops_runtime:reconfigure(Module, Spec),
    unknown = bc_gitops_runtime:current(Module),
    unload(Module).

users_module_is_busy(Config) ->
    Module = compile_user(Config, rt_user_runtime, [
        "deploy(_) -> rt_gate ! self(), receive go -> {error, late} end.\nremove(_) -> ok.\n"
        "upgrade(_, _) -> ok.\nreconfigure(_) -> ok.\nget_current_state() -> {ok, #{}}.\n"]),
    true = register(rt_gate, self()),
    {ok, #{}} = bc_gitops_runtime:current(Module),
    Deploy = background(fun() -> bc_gitops_runtime:deploy(Module, bct_runtime:spec(rt_one, <<"1">>)) end),
    receive Worker when is_pid(Worker) ->
        unknown = bc_gitops_runtime:current(Module),
        Worker ! go
    end,
    {error, late} = result(Deploy),
    {ok, #{}} = bc_gitops_runtime:current(Module),
    true = unregister(rt_gate),
    unload(Module).

%% Records of 0.7 are shorter.
users_module_of_the_old_header(Config) ->
    Module = compile_user(Config, rt_user_runtime, [
        "deploy(S) -> {ok, {app_state, element(2, S), element(3, S), undefined, undefined, running, undefined, undefined,"
        " undefined, unknown, #{}, embedded, node(), undefined}}.\n"
        "remove(_) -> ok.\nupgrade(_, _) -> ok.\nreconfigure(_) -> ok.\n"
        "get_current_state() -> {ok, #{x => nonsense}}.\n"]),
    {ok, #app_state{name = rt_one, version = <<"1">>, status = running, details = #{}}} =
        bc_gitops_runtime:deploy(Module, bct_runtime:spec(rt_one, <<"1">>)),
    unknown = bc_gitops_runtime:current(Module),
    unload(Module).

compile_user(Config, Module, Text) ->
    File = filename:join(unicode:characters_to_list(store(Config)), atom_to_list(Module) ++ ".erl"),
    Include = filename:join(filename:dirname(filename:dirname(code:which(bc_gitops_runtime))), "include"),
    ok = file:write_file(File, ["-module(", atom_to_list(Module), ").\n", Text]),
    {ok, Module, Code} = compile:file(File, [binary, export_all, nowarn_export_all, {i, Include}, return_errors]),
    {module, Module} = code:load_binary(Module, File, Code),
    Module.

unload(Module) ->
    true = code:delete(Module),
    _ = code:purge(Module),
    ok.

%%% helpers

background(Fun) ->
    spawn_monitor(fun() -> exit({result, Fun()}) end).

result({Pid, Ref}) ->
    receive {'DOWN', Ref, process, Pid, {result, Result}} -> Result end.

parallel(Funs) ->
    [result(Started) || Started <- [background(Fun) || Fun <- Funs]].

run(Dir, Program, Arguments) ->
    Port = open_port({spawn_executable, os:find_executable(Program)},
                     [binary, exit_status, stderr_to_stdout, {cd, Dir}, {args, Arguments}]),
    collect(Port, <<>>).

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> Output;
        {Port, {exit_status, Status}} -> error({failed, Status, Output})
    end.
