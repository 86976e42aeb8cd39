%%% @doc Starts and stops the supervision tree; with a repo_url configured the reconciler as well.
-module(bc_gitops_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case bc_gitops_config:load(#{}) of
        {ok, Config} -> start_tree(Config);
        {error, Reason} -> {error, Reason}
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
        {error, Reason} ->
            true = unlink(Pid),
            true = exit(Pid, shutdown),
            {error, Reason}
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    bc_gitops_config:deactivate().
