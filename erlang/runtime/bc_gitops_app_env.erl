%%% @doc The environment of a managed application: what its spec says over what it would be without.
%%%
%%% Without the spec a key is what somebody set before the application was first loaded, else what
%%% the host's configuration says, else the default in the .app file. A key that leaves the spec
%%% goes back to that. All changes go through the application controller, within a deadline.
-module(bc_gitops_app_env).

-export([all/1, set_by_hand/2, apply/4, put_back/3, changes/2, notify/3]).

-type env() :: #{atom() => term()}.

-spec all(atom()) -> env().
all(App) ->
    maps:from_list(application:get_all_env(App)).

%% @doc What of the environment before loading is not what loading makes of it: set at run time.
-spec set_by_hand(Before :: env(), Loaded :: env()) -> env().
set_by_hand(Before, Loaded) ->
    maps:filter(fun(Key, Value) -> maps:find(Key, Loaded) =/= {ok, Value} end, Before).

%% @doc Makes the environment Base with Spec over it.
-spec apply(atom(), Base :: env(), Spec :: env(), timeout()) -> ok | {error, {atom(), map()}}.
apply(App, Base, Spec, Timeout) ->
    put_back(App, maps:merge(Base, Spec), Timeout).

%% @doc Makes the environment exactly Env.
-spec put_back(atom(), env(), timeout()) -> ok | {error, {atom(), map()}}.
put_back(App, Env, Timeout) ->
    Extra = maps:keys(maps:without(maps:keys(Env), all(App))),
    Set = fun() ->
        ok = application:set_env([{App, maps:to_list(Env)}], [{timeout, infinity}]),
        lists:foreach(fun(Key) -> application:unset_env(App, Key, [{timeout, infinity}]) end, Extra)
    end,
    case bc_gitops_app_control:ask_controller(Set, Timeout, #{app => App}) of
        {ok, ok} -> ok;
        {error, {Kind, Details}} -> {error, {env_not_set, Details#{kind => Kind}}}
    end.

%% @doc `{Changed, New, Removed}' as `config_change/3' takes them.
-spec changes(env(), env()) -> {[{atom(), term()}], [{atom(), term()}], [atom()]}.
changes(Old, New) ->
    Both = maps:with(maps:keys(Old), New),
    Changed = maps:filter(fun(Key, Value) -> map_get(Key, Old) =/= Value end, Both),
    {
        maps:to_list(Changed),
        maps:to_list(maps:without(maps:keys(Old), New)),
        maps:keys(maps:without(maps:keys(New), Old))
    }.

%% @doc Tells a running application of its new environment, in a process of that application.
-spec notify(atom(), {list(), list(), list()}, timeout()) ->
    notified | not_notified | {error, {config_change_failed, map()}}.
notify(_App, {[], [], []}, _Timeout) ->
    notified;
notify(App, {Changed, New, Removed}, Timeout) ->
    case callback(App) of
        {ok, Module} ->
            Master = bc_gitops_app_control:master(App),
            Tell = fun() ->
                true = group_leader(Master, self()),
                Module:config_change(Changed, New, Removed)
            end,
            told(App, bc_gitops_app_control:with_deadline(Tell, Timeout, #{app => App}));
        none ->
            not_notified
    end.

callback(App) ->
    case application:get_key(App, mod) of
        {ok, {Module, _}} ->
            Exported = erlang:function_exported(Module, config_change, 3),
            case Exported andalso bc_gitops_app_control:is_running(App) of
                true -> {ok, Module};
                false -> none
            end;
        _ ->
            none
    end.

told(_App, {ok, ok}) -> notified;
told(App, {ok, Other}) -> {error, {config_change_failed, #{app => App, reason => Other}}};
told(_App, {error, {Kind, Details}}) -> {error, {config_change_failed, Details#{kind => Kind}}}.
