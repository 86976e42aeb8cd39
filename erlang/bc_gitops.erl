%%% @doc The public API: what is wanted, what runs, and the calls by hand.
%%%
%%% Reads come from tables and answer at once, whatever is under way. Calls that act wait until the
%%% action is settled; every action has a deadline, so they end. Errors are `{error, Reason}';
%%% `format_error/1' says a reason in words.
-module(bc_gitops).

-include("bc_gitops.hrl").

%% reads
-export([status/0, get_desired_state/0, get_current_state/0, get_app_status/1, plan/0, build_log/1]).
%% actions
-export([reconcile/0, sync/0, deploy/1, remove/1, upgrade/2]).
%% the reconciler
-export([start_reconciler/1, stop_reconciler/0]).
-export([format_error/1]).

-export_type([status/0]).

-type status() :: #{
    status := bc_gitops_status:word(),
    last_commit := binary() | undefined,
    app_count := non_neg_integer(),
    healthy_count := non_neg_integer(),
    atom() => term()
}.

%% @doc The state of the whole. Beside the four keys of 0.7: `repo' (without user and password),
%% `branch', `apps_dir', `apps' (how many in each state), `failures' (apps that failed, each with a
%% sentence; the first hundred), `last_error', `spec_errors', `warnings', `refused' (a mass removal),
%% `blocked', `held', `last_cycle', `next_reconcile' (universal time), `state_error' (the disk). Never waits. Errors: `not_running', or why nothing can be followed: the
%% native library is missing (`native_not_loaded') or another one (`native_abi': restart the VM).
-spec status() -> {ok, status()} | {error, not_running | bc_gitops_library:reason()}.
status() ->
    bc_gitops_status:read().

%% @doc Follows the repository now and waits until everything that the newest commit wants is settled.
%% An app that was given up is tried once more. Callers at the same time share one cycle.
%%
%% Errors: `{actions_failed, [#{app, action, reason, commit}]}' (a broken spec is listed with the action
%% `parse', a refused mass removal with `remove'), `{desired_state, Reason}',
%% `{called_from_managed_app, App}', `not_running', `stopped'.
-spec reconcile() -> ok | {error, term()}.
reconcile() ->
    case bc_gitops_by_hand:calling_app() of
        none -> bc_gitops_reconciler:reconcile();
        {ok, App} -> {error, {called_from_managed_app, App}}
    end.

%% @equiv reconcile()
-spec sync() -> ok | {error, term()}.
sync() ->
    reconcile().

%% @doc What the newest commit that was read wants. The last good spec stands for a broken one.
-spec get_desired_state() -> {ok, #{atom() => #app_spec{}}} | {error, term()}.
get_desired_state() ->
    case {bc_gitops_registry:get(snapshot, undefined), bc_gitops_registry:get(reconciler, undefined)} of
        {_, undefined} -> {error, not_running};
        {{Snapshot, _Commit}, _} -> {ok, bc_gitops_native:snapshot_specs(Snapshot)};
        {undefined, #{last_error := undefined}} -> {error, not_read_yet};
        {undefined, #{last_error := Error}} -> {error, Error}
    end.

%% @doc What is here of the managed apps: what runs, and what ran and stopped.
-spec get_current_state() -> {ok, #{atom() => #app_state{}}} | {error, not_running}.
get_current_state() ->
    case bc_gitops_registry:get(reconciler, undefined) of
        undefined -> {error, not_running};
        _ -> {ok, bc_gitops_registry:current_details()}
    end.

%% @doc One app, also one that does not run yet. `details' holds `state', `running_version',
%% `desired_version', `commit' (of the last goal), `desired_commit', `last_error'
%% (`#{reason, message, what_next}'), `next_retry', `attempts', `quarantined', `waits_for', `history'
%% (newest first), `revision', `build', `confirmed_version', `previous_version', `origin', `pinned'; and
%% while it is being prepared `progress': `stage' (`resolve', `wait' for a place in the pool, `fetch',
%% `deps', `build', `store'), `since', where known `received_bytes', `total_bytes', `received_objects',
%% `total_objects', `package' and `percent', and of the output the last `line' and `lines'.
-spec get_app_status(atom()) -> {ok, #app_state{}} | {error, not_found}.
get_app_status(Name) ->
    case bc_gitops_registry:details(Name) of
        {ok, App} -> {ok, with_progress(Name, with_desired(Name, App))};
        {error, not_found} -> {error, not_found}
    end.

with_progress(Name, #app_state{details = Details} = App) ->
    case bc_gitops_workspace:progress(Name) of
        {ok, Progress} -> App#app_state{details = Details#{progress => Progress}};
        none -> App
    end.

with_desired(Name, #app_state{details = Details} = App) ->
    case bc_gitops_registry:get(snapshot, undefined) of
        undefined ->
            App;
        {Snapshot, Commit} ->
            Desired = case bc_gitops_native:snapshot_spec(Snapshot, Name) of
                {ok, #app_spec{version = Version}, _Meta} -> Version;
                {error, not_found} -> undefined
            end,
            App#app_state{details = Details#{desired_version => Desired, desired_commit => Commit}}
    end.

%% @doc What the next cycle would do, and why; does nothing. A commit that is not here yet is read from
%% a clone that is removed again.
%%
%% `#{commit, actions => [#{action, name, wave, 'after', reasons}], blocked, held, refused, unchanged,
%% spec_errors, warnings, error}'; upgrades also have `how': `hot', `restart: ' and why, or that this is
%% decided when it is built.
-spec plan() -> {ok, map()} | {error, term()}.
plan() ->
    case bc_gitops_reconciler:preview() of
        {ok, #{config := #{repo_url := Url, branch := Branch, runtime_module := Runtime}} = Input} ->
            #{goals := Goals} = Outcome = bc_gitops_cycle:preview(Input),
            #{actions := Actions} = Shown = bc_gitops_cycle:summarize(Outcome, Url, Branch),
            {ok, Shown#{actions := bc_gitops_hot_preview:add(Actions, Goals, Runtime)}};
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc What the last build of an app said.
-spec build_log(atom()) -> {ok, binary()} | {error, not_found}.
build_log(Name) ->
    bc_gitops_workspace:build_log(Name).

%% @doc Deploys or changes an app by hand, without git. The next cycle removes it when git does not know
%% it, and goes back to git's version when it does.
-spec deploy(#app_spec{} | map()) -> ok | {error, term()}.
deploy(Spec) ->
    by_hand(bc_gitops_by_hand:deploy(Spec)).

%% @doc Removes an app by hand. The next cycle deploys it again when git has it.
-spec remove(atom()) -> ok | {error, term()}.
remove(Name) ->
    by_hand(bc_gitops_by_hand:remove(Name)).

%% @doc Upgrades an app by hand to another version of its source; this holds until the next commit. A
%% git ref equal to the old version, or to v and the old version, is rewritten; any other is an error.
-spec upgrade(atom(), binary() | string()) -> ok | {error, term()}.
upgrade(Name, Version) ->
    by_hand(bc_gitops_by_hand:upgrade(Name, Version)).

by_hand({ok, #{name := Name} = Goal}) ->
    case bc_gitops_by_hand:calling_app() of
        {ok, Name} -> {error, {called_from_managed_app, Name}};
        _ -> bc_gitops_reconciler:by_hand(Goal)
    end;
by_hand({error, Reason}) ->
    case bc_gitops_registry:get(reconciler, undefined) of
        undefined -> {error, not_running};
        _ -> {error, Reason}
    end.

%% @doc Starts following: the map's keys over the application environment over the defaults (see
%% bc_gitops_config).
-spec start_reconciler(map()) -> {ok, pid()} | {error, term()}.
start_reconciler(Map) ->
    case {whereis(bc_gitops_reconciler), whereis(bc_gitops_sup), bc_gitops_config:load(Map)} of
        {Pid, _, _} when is_pid(Pid) ->
            {error, {already_started, Pid}};
        {_, undefined, _} ->
            {error, {not_started, bc_gitops}};
        {_, _, {error, Reason}} ->
            {error, Reason};
        {_, _, {ok, #{repo_url := undefined}}} ->
            Expected = <<"the url or the path of a git repository">>,
            {error, {bad_config, [#{key => repo_url, got => undefined, expected => Expected}]}};
        {_, _, {ok, Config}} ->
            bc_gitops_sup:start_reconciler(Config)
    end.

%% @doc Ends all work under way and stops following; managed apps keep running. A switch that has begun
%% is let finish.
-spec stop_reconciler() -> ok | {error, not_running}.
stop_reconciler() ->
    case bc_gitops_reconciler:stop() of
        ok -> bc_gitops_sup:stop_reconciler();
        {error, Reason} -> {error, Reason}
    end.

%% @doc A reason in words: one sentence, or a line for each of several. A line about a spec begins with
%% file:line:column.
-spec format_error(term()) -> binary().
format_error(Reason) ->
    bc_gitops_failure:describe(Reason).
