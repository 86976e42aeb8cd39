%%% @doc A runtime that starts nothing, so that the reconciler's own work is what is measured. An
%%% application whose name is in `hang_on/1' is never deployed.
-module(bench_runtime).
-behaviour(bc_gitops_runtime).

-include("bc_gitops.hrl").

-export([deploy/1, remove/1, upgrade/2, reconfigure/1, prepare/1, hang_on/1]).

hang_on(Name) -> persistent_term:put(?MODULE, Name).

prepare(_Spec) -> {ok, #{}}.

deploy(#app_spec{name = Name} = Spec) ->
    case persistent_term:get(?MODULE, none) of
        Name -> receive after infinity -> ok end;
        _ -> {ok, state(Spec)}
    end.

remove(_Name) -> ok.

upgrade(Spec, _OldVersion) -> {ok, state(Spec)}.

reconfigure(Spec) -> {ok, state(Spec)}.

state(#app_spec{name = Name, version = Version, env = Env}) ->
    #app_state{name = Name, version = Version, env = Env, status = running,
               started_at = calendar:universal_time()}.
