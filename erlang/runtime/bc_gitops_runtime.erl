%%% @doc The behaviour of runtimes, and how the reconciler calls one.
%%%
%%% A module that implements just the first four callbacks works: it is called in one long-lived
%%% process, one call at a time, so that it may own ETS tables. A module with `prepare/1' says by it
%%% that its callbacks may run side by side, in whichever process.
-module(bc_gitops_runtime).

-include("bc_gitops.hrl").

-export([prepare/3, deploy/2, upgrade/3, remove/2, reconfigure/2, restore/3, current/1]).
-export([child_specs/0, spec/1]).

-export_type([prepared/0, options/0]).

%% `lock' is handed back when the same spec is prepared again, as `prefer' for another version.
-type prepared() :: #{revision => binary(), key => binary(), version => binary(),
                      lock => bc_gitops_source:lock()}.
-type options() :: #{lock => bc_gitops_source:lock(), prefer => bc_gitops_source:lock()}.
-type failure() :: {error, Reason :: term()}.

-callback deploy(#app_spec{}) -> {ok, #app_state{}} | {error, term()}.
-callback remove(Name :: atom()) -> ok | {error, term()}.
-callback upgrade(#app_spec{}, OldVersion :: binary()) -> {ok, #app_state{}} | {error, term()}.
-callback reconfigure(#app_spec{}) -> {ok, #app_state{}} | {error, term()}.
%% What runs, of what this runtime knows. An error means that it is not known.
-callback get_current_state() -> {ok, #{atom() => #app_state{}}} | {error, term()}.
%% Fetches and builds; may take long and be killed; must change nothing that runs.
-callback prepare(#app_spec{}) -> {ok, prepared()} | {error, term()}.
%% The same with what is known of this spec from before; called instead where it is there.
-callback prepare(#app_spec{}, options()) -> {ok, prepared()} | {error, term()}.
%% Adopts what runs with exactly this build, else starts it without the network.
-callback restore(#app_spec{}, Key :: binary()) -> {ok, #app_state{}} | {error, term()}.
-optional_callbacks([get_current_state/0, prepare/1, prepare/2, restore/2]).

%% How long a user's module may take to say what runs; this is asked at each cycle.
-define(CURRENT_TIMEOUT, 5000).

%% @doc What the application's supervisor starts for the runtimes.
-spec child_specs() -> [supervisor:child_spec()].
child_specs() ->
    [#{id => bc_gitops_runtime_sup, type => supervisor, shutdown => infinity,
       start => {bc_gitops_runtime_sup, start_link, []}}].

-spec prepare(module(), #app_spec{}, options()) -> {ok, prepared()} | failure().
prepare(Module, Spec, Options) ->
    case {exports(Module, prepare, 1), exports(Module, prepare, 2)} of
        {true, true} -> checked(Module, prepare, call_here(Module, prepare, [Spec, Options]));
        {true, false} -> checked(Module, prepare, call_here(Module, prepare, [Spec]));
        {false, _} -> {ok, #{}}
    end.

-spec deploy(module(), #app_spec{}) -> {ok, #app_state{}} | failure().
deploy(Module, Spec) ->
    call(Module, deploy, [Spec]).

-spec upgrade(module(), #app_spec{}, OldVersion :: binary()) -> {ok, #app_state{}} | failure().
upgrade(Module, Spec, OldVersion) ->
    call(Module, upgrade, [Spec, OldVersion]).

-spec remove(module(), atom()) -> ok | failure().
remove(Module, Name) ->
    call(Module, remove, [Name]).

-spec reconfigure(module(), #app_spec{}) -> {ok, #app_state{}} | failure().
reconfigure(Module, Spec) ->
    call(Module, reconfigure, [Spec]).

%% @doc Adopts what runs with exactly this build, else starts it from the store; never the network.
%% A module without `restore/2', or without `prepare/1', which is who names a build, can only adopt.
-spec restore(module(), #app_spec{}, Key :: binary() | undefined) -> {ok, #app_state{}} | failure().
restore(Module, #app_spec{name = Name, version = Version} = Spec, Key) ->
    case is_binary(Key) andalso exports(Module, restore, 2) of
        true ->
            call(Module, restore, [Spec, Key]);
        false ->
            case current(Module) of
                {ok, #{Name := #app_state{status = running, version = Version} = State}} ->
                    {ok, State};
                _ ->
                    {error, {restore_not_supported, #{app => Name, runtime => Module}}}
            end
    end.

%% @doc What the runtime says that runs; `unknown' when it does not say, fails, or is busy with a
%% call.
-spec current(module()) -> {ok, #{atom() => #app_state{}}} | unknown.
current(Module) ->
    case exports(Module, get_current_state, 0) of
        true ->
            case checked(Module, get_current_state, call_current(Module)) of
                {ok, States} -> {ok, States};
                {error, _} -> unknown
            end;
        false ->
            unknown
    end.

call_current(Module) ->
    case exports(Module, prepare, 1) of
        true ->
            call_here(Module, get_current_state, []);
        false ->
            bc_gitops_runtime_worker:call_if_idle(Module, get_current_state, [], ?CURRENT_TIMEOUT)
    end.

call(Module, Function, Arguments) ->
    Answer = case exports(Module, prepare, 1) of
        true -> call_here(Module, Function, Arguments);
        false -> bc_gitops_runtime_worker:call(Module, Function, Arguments)
    end,
    checked(Module, Function, Answer).

call_here(Module, Function, Arguments) ->
    bc_gitops_runtime_worker:apply_callback(Module, Function, Arguments).

exports(Module, Function, Arity) ->
    _ = code:ensure_loaded(Module),
    erlang:function_exported(Module, Function, Arity).

%%% What a callback may answer

checked(_Module, _Function, {error, _} = Error) ->
    Error;
checked(_Module, remove, ok) ->
    ok;
checked(_Module, prepare, {ok, Prepared}) when is_map(Prepared) ->
    {ok, Prepared};
checked(Module, get_current_state, {ok, States}) when is_map(States) ->
    Checked = maps:map(fun(_Name, State) -> state(State) end, States),
    case [Name || {Name, bad} <- maps:to_list(Checked)] of
        [] -> {ok, Checked};
        _ -> bad_return(Module, get_current_state, {ok, States})
    end;
checked(Module, Function, {ok, State} = Answer) when Function =/= remove, Function =/= prepare ->
    case state(State) of
        bad -> bad_return(Module, Function, Answer);
        Whole -> {ok, Whole}
    end;
checked(Module, Function, Answer) ->
    bad_return(Module, Function, Answer).

bad_return(Module, Function, Answer) ->
    {error, {bad_return, #{runtime => Module, callback => Function, answer => Answer}}}.

%% @doc A specification made with an older header, with the defaults of the fields that are new.
-spec spec(#app_spec{} | tuple()) -> #app_spec{}.
spec(#app_spec{} = Spec) ->
    Spec;
spec(Spec) when element(1, Spec) =:= app_spec, tuple_size(Spec) < tuple_size(#app_spec{}) ->
    New = lists:nthtail(tuple_size(Spec), tuple_to_list(#app_spec{name = none, version = <<>>})),
    list_to_tuple(tuple_to_list(Spec) ++ New).

%% Records of modules that were compiled with the header of 0.7 lack the fields that are new.
state(#app_state{} = State) ->
    State;
state(State) when is_tuple(State), element(1, State) =:= app_state,
                  tuple_size(State) < tuple_size(#app_state{}) ->
    New = lists:nthtail(tuple_size(State), tuple_to_list(#app_state{name = none, version = <<>>})),
    list_to_tuple(tuple_to_list(State) ++ New);
state(_) ->
    bad.
