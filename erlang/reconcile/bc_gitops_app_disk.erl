%%% @doc What is kept of an app: its file, and its builds.
-module(bc_gitops_app_disk).

-export([save/2, keep_builds/1, forget/2]).

%% @doc Writes the file. A disk that is full or read-only stops nothing: the status says so.
-spec save(bc_gitops_state:app(), bc_gitops_config:config()) -> ok.
save(Store, #{state_path := StatePath}) ->
    ok = keep_builds(Store),
    case bc_gitops_state:write_app(StatePath, Store) of
        ok ->
            bc_gitops_registry:put(state_error, undefined);
        {error, Reason} ->
            bc_gitops_app_log:say(error, "~ts: ~ts", [bc_gitops_state:format_error(Reason)], Store),
            bc_gitops_registry:put(state_error, Reason)
    end.

%% @doc Says which builds must stay.
-spec keep_builds(bc_gitops_state:app()) -> ok.
keep_builds(#{name := Name} = Store) ->
    bc_gitops_workspace:keep(Name, bc_gitops_app_record:builds(Store)).

-spec forget(bc_gitops_state:app(), bc_gitops_config:config()) -> ok.
forget(#{name := Name}, #{state_path := StatePath}) ->
    ok = bc_gitops_workspace:forget(Name),
    _ = bc_gitops_state:delete_app(StatePath, Name),
    bc_gitops_registry:delete_app(Name).
