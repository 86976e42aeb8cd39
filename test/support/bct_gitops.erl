%%% @doc A repository, directories and a running bc_gitops for one test case.
-module(bct_gitops).

-include("bc_gitops.hrl").

-export([setup/1, start/1, start/2, teardown/1, config/2]).
-export([spec/2, spec/3, push/2, delete/2, version/1, state/1, details/1, wait_state/2, wait_for/1]).


%% @doc A fresh directory with an empty repository in it.
setup(Name) ->
    Dir = bct_dir:make(Name),
    Repo = filename:join(Dir, "repo"),
    _ = bct_repo:init(Repo),
    #{dir => Dir, repo => Repo}.

config(#{dir := Dir, repo := Repo}, More) ->
    maps:merge(
        #{
            repo_url => bct_repo:url(Repo), local_path => filename:join(Dir, "clone"),
            state_path => filename:join(Dir, "state"), workspace_path => filename:join(Dir, "workspace"),
            reconcile_interval => infinity, runtime_module => bct_recorder,
            retry_min => 100000, retry_max => 100000,
            hex_mirror => <<"http://127.0.0.1:1">> % no test asks hex.pm
        },
        More
    ).

start(Context) -> start(Context, #{}).

start(Context, More) ->
    {ok, _} = application:ensure_all_started(bc_gitops),
    {ok, Pid} = bc_gitops:start_reconciler(config(Context, More)),
    Pid.

teardown(#{dir := Dir}) ->
    _ = application:stop(bc_gitops),
    bct_dir:remove(Dir).

%% @doc A spec file as `push/2' takes it.
spec(Name, Version) -> spec(Name, Version, #{}).

spec(Name, Version, More) ->
    Spec = maps:merge(#{name => Name, version => list_to_binary(Version), source => #{type => hex}}, More),
    {["apps/", atom_to_list(Name), "/app.config"], io_lib:format("~0tp.~n", [Spec])}.

push(#{repo := Repo}, Files) ->
    bct_repo:commit(Repo, [{unicode:characters_to_list(Path), Content} || {Path, Content} <- Files]).

delete(#{repo := Repo}, Names) ->
    bct_repo:remove(Repo, ["apps/" ++ atom_to_list(Name) || Name <- Names]).

version(Name) ->
    maps:get(running_version, details(Name), undefined).

state(Name) ->
    maps:get(state, details(Name), none).

details(Name) ->
    case bc_gitops:get_app_status(Name) of
        {ok, #app_state{details = Details}} -> Details;
        {error, not_found} -> #{}
    end.

wait_state(Name, State) ->
    wait_for(fun() -> state(Name) =:= State end).

%% @doc Waits until a condition holds that no message announces.
wait_for(Condition) ->
    bct_wait:until(Condition, fun bc_gitops:status/0).
