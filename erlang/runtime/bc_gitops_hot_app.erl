%%% @doc What the application controller knows of an application whose code changed: the keys of its
%%% .app file and its environment; and calls of the application's own functions while it is
%%% upgraded.
-module(bc_gitops_hot_app).

-export([another/3, rebased/3, change/2, call/2]).

-export_type([change/0]).

-type change() :: #{
    app := atom(),
    from := bc_gitops_app_file:description(),
    to := bc_gitops_app_file:description(),
    env := #{atom() => term()}             % the whole environment as it is to be
}.

%% Answers of the application controller for which no application's code runs.
-define(CONTROLLER_TIMEOUT, 10000).

%% @doc The change of a loaded application to another .app file. What of its environment is not as
%% the former file says was set since, and stays.
-spec another(atom(), Former :: bc_gitops_app_file:description() | none,
              bc_gitops_app_file:description()) -> change().
another(App, Former, To) ->
    {ok, Keys} = application:get_all_key(App),
    #{app => App, from => {application, App, Keys}, to => To,
      env => rebased(bc_gitops_app_env:all(App), Former, To)}.

%% @doc An environment on the defaults of another .app file. What differs from the old ones was set
%% by the host or by hand, and stays.
-spec rebased(Env, Description | none, Description) -> Env
    when Env :: #{atom() => term()}, Description :: bc_gitops_app_file:description().
rebased(Env, From, To) ->
    Defaults = defaults(From),
    Set = maps:filter(fun(Key, Value) -> maps:find(Key, Defaults) =/= {ok, Value} end, Env),
    maps:merge(defaults(To), Set).

defaults(none) ->
    #{};
defaults(Description) ->
    maps:from_list(bc_gitops_app_file:value(env, Description, [])).

%% @doc Changes the data, and tells the application of its new environment; and how to undo that.
-spec change(change(), timeout()) -> {Do, Do} when Do :: fun(() -> ok | {error, term()}).
change(#{app := App, from := From, to := To, env := Env}, Timeout) ->
    Present = bc_gitops_app_env:all(App),
    {
        fun() -> become(App, To, Present, Env, Timeout) end,
        fun() -> become(App, From, bc_gitops_app_env:all(App), Present, Timeout) end
    }.

become(App, Description, Before, Env, Timeout) ->
    Change = fun() ->
        application_controller:change_application_data([Description], [{App, maps:to_list(Env)}])
    end,
    case bc_gitops_app_control:ask_controller(Change, ?CONTROLLER_TIMEOUT, #{app => App}) of
        {ok, ok} -> exactly(App, Before, Env, Timeout);
        {ok, {error, Reason}} -> {error, {load_failed, #{app => App, reason => Reason}}};
        {error, _} = Error -> Error
    end.

%% The controller mixes in what the .app file and the command line say.
exactly(App, Before, Env, Timeout) ->
    case bc_gitops_app_env:put_back(App, Env, ?CONTROLLER_TIMEOUT) of
        ok ->
            case bc_gitops_app_env:notify(App, bc_gitops_app_env:changes(Before, Env), Timeout) of
                {error, _} = Error -> Error;
                _Told -> ok
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Calls a function as the application's own process would.
-spec call({module(), atom(), [term()]}, #{app := atom(), start_timeout := timeout(), _ => _}) ->
    ok | {error, {function_failed, map()}}.
call({Module, Function, Args} = Called, #{app := App, start_timeout := Timeout}) ->
    Call = fun() ->
        true = lead(bc_gitops_app_control:master(App)),
        apply(Module, Function, Args)
    end,
    Details = #{app => App, function => Called},
    case bc_gitops_app_control:with_deadline(Call, Timeout, #{}) of
        {ok, {error, Reason}} -> {error, {function_failed, Details#{reason => Reason}}};
        {ok, _} -> ok;
        {error, {timeout, _}} -> {error, {function_failed, Details#{reason => timeout}}};
        {error, {crashed, #{reason := Why}}} -> {error, {function_failed, Details#{reason => Why}}}
    end.

lead(undefined) -> true;
lead(Master) -> group_leader(Master, self()).
