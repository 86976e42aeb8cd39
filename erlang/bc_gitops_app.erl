%%% @doc Starts and stops the supervision tree; with a repo_url configured the reconciler as well.
-module(bc_gitops_app).
-behaviour(application).

-include_lib("kernel/include/logger.hrl").

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case bc_gitops_config:load(#{}) of
        {ok, Config} -> start_tree(Config);
        {error, Reason} -> not_started(Reason)
    end.

start_tree(Config) ->
    case bc_gitops_sup:start_link() of
        {ok, Pid} -> start_reconciler(Pid, Config);
        {error, Reason} -> {error, Reason}
    end.

start_reconciler(Pid, #{repo_url := undefined}) ->
    {ok, Pid};
start_reconciler(Pid, Config) ->
    case bc_gitops_sup:start_reconciler(Config) of
        {ok, _Reconciler} ->
            {ok, Pid};
        {error, {Native, #{message := Message}}} when Native =:= native_abi; Native =:= native_not_loaded ->
            %% a permanent application that fails takes the VM down, and all that runs in it
            ?LOG_ERROR("bc_gitops follows nothing: ~ts", [Message], #{application => bc_gitops}),
            {ok, Pid};
        {error, Reason} ->
            true = unlink(Pid),
            true = exit(Pid, shutdown),
            not_started(Reason)
    end.

%% OTP reports the bare term, and only where the application is permanent at that.
not_started(Reason) ->
    ?LOG_ERROR("bc_gitops does not start: ~ts", [bc_gitops:format_error(Reason)], #{application => bc_gitops}),
    {error, Reason}.

-spec stop(term()) -> ok.
stop(_State) ->
    bc_gitops_config:deactivate().
