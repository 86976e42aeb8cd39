%%% @doc bc_gitops as a whole comes and goes; what it deployed stays.
-module(runtime_restart_SUITE).
-include_lib("stdlib/include/assert.hrl").
-include("bc_gitops.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([apps_survive_a_restart_of_bc_gitops/1, switch_ended_by_a_stop_is_finished_later/1,
         no_other_app_loses_a_call/1]).

all() ->
    [apps_survive_a_restart_of_bc_gitops, switch_ended_by_a_stop_is_finished_later, no_other_app_loses_a_call].

init_per_testcase(_Case, Config) ->
    Store = bct_dir:make("restart"),
    ok = application:set_env(bc_gitops, workspace_path, Store),
    ok = application:set_env(bc_gitops, state_path, filename:join(Store, "state")),
    ok = application:set_env(bc_gitops, stop_timeout, 500),
    {ok, _} = application:ensure_all_started(bc_gitops),
    ok = bc_gitops_workspace:init(Store),
    [{store, Store} | Config].

end_per_testcase(_Case, Config) ->
    {ok, _} = application:ensure_all_started(bc_gitops),
    bct_runtime:cleanup(),
    ok = application:stop(bc_gitops),
    bct_dir:remove(proplists:get_value(store, Config)).

app(Config, Name, Vsn, Callbacks) ->
    Mod = list_to_atom(atom_to_list(Name) ++ "_app"),
    bct_build:make(proplists:get_value(store, Config), Name, #{
        vsn => Vsn, app => [{mod, {Mod, []}}],
        modules => [{Mod, bct_build:app(Callbacks)}, {Name, ["version() -> \"", Vsn, "\".\n"]}]
    }).

apps_survive_a_restart_of_bc_gitops(Config) ->
    Build = bct_build:publish(app(Config, rt_stays, "1.0.0", #{})),
    Spec = bct_runtime:spec_for(Build, #{size => 1}),
    {ok, #app_state{pid = Pid} = State} = bc_gitops_runtime_default:deploy(Spec),
    ok = application:stop(bc_gitops),
    true = is_process_alive(Pid),
    ok = application:start(bc_gitops),
    ?assertEqual(State, bct_runtime:state(rt_stays)),
    ok = bc_gitops_workspace:init(proplists:get_value(store, Config)),
    {ok, #app_state{pid = Pid}} = bc_gitops_runtime_default:restore(Spec, maps:get(key, Build)),
    ok = bc_gitops_runtime_default:remove(rt_stays),
    false = is_process_alive(Pid).

switch_ended_by_a_stop_is_finished_later(Config) ->
    Build = bct_build:publish(app(Config, rt_stays, "1.0.0", #{})),
    One = bct_runtime:spec_for(Build, #{}),
    {ok, _} = bc_gitops_runtime_default:deploy(One),
    Second = app(Config, rt_stays, "2.0.0", #{
        start => "start(_, _) -> rt_gate ! self(), receive go -> ok end, supervisor:start_link(?MODULE, [])."
    }),
    Two = bct_runtime:spec_for(Second, #{}),
    true = register(rt_gate, self()),
    _ = spawn(fun() -> bc_gitops_runtime_default:upgrade(Two, <<"1.0.0">>) end),
    receive Starting when is_pid(Starting) ->
        %% This answers at once, though an application is being started.
        ok = application:stop(bc_gitops),
        Starting ! go
    end,
    true = unregister(rt_gate),
    ok = application:start(bc_gitops),
    ok = bc_gitops_workspace:init(proplists:get_value(store, Config)),
    {ok, #app_state{pid = Pid, version = <<"1.0.0">>, status = running}} =
        bc_gitops_runtime_default:restore(One, maps:get(key, Build)),
    true = is_process_alive(Pid),
    "1.0.0" = apply(rt_stays, version, []),
    ok = bc_gitops_code:verify(maps:get(libs, Build)),
    ?assertNotEqual(code:lib_dir(rt_stays), unicode:characters_to_list(maps:get(path, Second))),
    false = erlang:module_loaded(rt_only_two).

%% A client calls one application while others are deployed, upgraded, rolled back, hang and go.
no_other_app_loses_a_call(Config) ->
    {ok, _} = bc_gitops_runtime_default:deploy(bct_runtime:spec_for(app(Config, rt_steady, "1.0.0", #{}), #{})),
    Client = spawn_link(fun() -> client(0) end),
    Hang = "receive never -> ok end.",
    Steps = [
        {"1.0.0", #{prep_stop => ["prep_stop(_) -> ", Hang]}, ok},
        {"2.0.0", #{stop => ["stop(_) -> ", Hang]}, ok},
        {"3.0.0", #{start => "start(_, _) -> error(no)."}, error},
        {"4.0.0", #{}, ok}
    ],
    [?assertMatch({Expected, _}, bc_gitops_runtime_default:deploy(bct_runtime:spec_for(app(Config, rt_rough, Vsn, Callbacks), #{})))
     || {Vsn, Callbacks, Expected} <- Steps],
    ok = bc_gitops_runtime_default:remove(rt_rough),
    Client ! {stop, self()},
    receive {calls, Calls} -> true = Calls > 1000 end.

%% Linked: a call that fails fails the test.
client(Calls) ->
    receive {stop, From} -> From ! {calls, Calls}
    after 0 ->
        "1.0.0" = apply(rt_steady, version, []),
        erlang:yield(),
        client(Calls + 1)
    end.
