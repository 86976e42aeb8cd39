%%% @doc A workspace of its own for a test, and builds in it.
-module(bct_workspace).
-export([start/1, stop/1, source/2, prepare/2, prepare/3, builds/2, scratches/0,
    path_without_tools/2]).

-include("bc_gitops.hrl").

-define(TIMEOUT, 120000).

%% @doc Adds `dir', `repo' (a repository) and `workspace' to a suite's configuration.
start(Config) ->
    Dir = bct_dir:make("build"),
    Repo = bct_repo:init(filename:join(Dir, "repo")),
    Workspace = filename:join(Dir, "workspace"),
    ok = bc_gitops_workspace:init(Workspace),
    [{dir, Dir}, {repo, Repo}, {workspace, Workspace} | Config].

stop(Config) ->
    ok = gen_server:stop(bc_gitops_workspace_server),
    bct_dir:remove(proplists:get_value(dir, Config)).

%% @doc The repository at a ref.
source(Config, Ref) ->
    #source_spec{type = git, url = bct_repo:url(proplists:get_value(repo, Config)), ref = Ref}.

prepare(Name, Source) ->
    prepare(Name, Source, #{}).

prepare(Name, Source, Options) ->
    Defaults = #{allow_local => true, timeout => ?TIMEOUT},
    bc_gitops_workspace:prepare(Name, Source, maps:merge(Defaults, Options)).

%% @doc How often a command was run to build an application, as its log has it.
builds(Name, Command) ->
    case bc_gitops_workspace:build_log(Name) of
        {ok, Log} -> length(binary:matches(Log, iolist_to_binary(["\n== ", Command, "\n"])));
        {error, not_found} -> 0
    end.

%% @doc The scratch directories of builds, of all incarnations.
scratches() ->
    Root = bc_gitops_workspace_server:root(),
    filelib:wildcard("scratch/*/[0-9]*", unicode:characters_to_list(Root)).

%% @doc Runs Fun with a PATH that holds nothing.
path_without_tools(Dir, Fun) ->
    Path = os:getenv("PATH"),
    true = os:putenv("PATH", unicode:characters_to_list(Dir)),
    try Fun() after os:putenv("PATH", Path) end.
