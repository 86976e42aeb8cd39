%%% @doc A reconciler that follows a repository in a temporary directory.
-module(bench_world).

-export([with/2, with_url/3, write/2, source/3, app_spec/3]).

%% @doc Runs Fun with a new world whose reconciler has the configuration More on top.
with(More, Fun) ->
    bct_dir:with("bench", fun(Dir) ->
        Repo = bct_repo:init(filename:join(Dir, "gitops")),
        _ = bct_repo:commit(Repo, [{"apps/README.md", "none yet"}]),
        with_url(Dir, More#{repo_url => bct_repo:url(Repo)}, fun() -> Fun(#{dir => Dir, repo => Repo}) end)
    end).

with_url(Dir, More, Fun) ->
    {ok, _} = application:ensure_all_started(bc_gitops),
    Config = #{local_path => filename:join(Dir, "followed"), state_path => filename:join(Dir, "state"),
               workspace_path => filename:join(Dir, "workspace"), reconcile_interval => infinity},
    {ok, _} = bc_gitops:start_reconciler(maps:merge(Config, More)),
    try
        Fun()
    after
        ok = bc_gitops:stop_reconciler(),
        ok = application:stop(bc_gitops)
    end.

%% @doc Commits files, `{Path, remove}' among them, to the repository.
write(#{repo := Repo}, Files) ->
    _ = case [Path || {Path, remove} <- Files] of
        [] -> ok;
        Paths -> bct_repo:remove(Repo, Paths)
    end,
    bct_repo:commit(Repo, [File || {_, Text} = File <- Files, Text =/= remove]).

%% @doc The repository of an application of three modules, with a tag for each version. PrepStop is the
%% body of its prep_stop/1.
source(#{dir := Dir}, Versions, PrepStop) ->
    Repo = bct_repo:init(filename:join(Dir, "source")),
    _ = [begin
             _ = bct_repo:commit(Repo, source_files(Version, PrepStop)),
             bct_repo:tag(Repo, "v" ++ Version)
         end || Version <- Versions],
    bct_repo:url(Repo).

app_spec(Url, Version, DependsOn) ->
    {"apps/bench_probe/app.config",
     ["#{name => bench_probe, version => <<\"", Version, "\">>, depends_on => ", DependsOn,
      ", source => #{type => git, url => <<\"", Url, "\">>, ref => <<\"v", Version, "\">>}}.\n"]}.

source_files(Version, PrepStop) ->
    [{"rebar.config", "{deps, []}.\n"},
     {"src/bench_probe.app.src",
      ["{application, bench_probe, [{vsn, \"", Version, "\"}, {registered, []},\n"
       " {applications, [kernel, stdlib]}, {mod, {bench_probe_app, []}}]}.\n"]},
     {"src/bench_probe_app.erl",
      ["-module(bench_probe_app).\n-behaviour(application).\n-behaviour(supervisor).\n"
       "-export([start/2, prep_stop/1, stop/1, init/1]).\n"
       "start(_, _) -> supervisor:start_link(?MODULE, []).\n"
       "prep_stop(State) -> ", PrepStop, ", State.\nstop(_) -> ok.\n"
       "init([]) -> {ok, {#{}, [#{id => server, start => {bench_probe, start_link, []}}]}}.\n"]},
     {"src/bench_probe.erl",
      ["-module(bench_probe).\n-behaviour(gen_server).\n"
       "-export([start_link/0, version/0, init/1, handle_call/3, handle_cast/2]).\n"
       "start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).\n"
       "version() -> gen_server:call(?MODULE, version).\n"
       "init([]) -> {ok, bench_probe_text:version()}.\n"
       "handle_call(version, _, S) -> {reply, S, S}.\nhandle_cast(_, S) -> {noreply, S}.\n"]},
     {"src/bench_probe_text.erl",
      ["-module(bench_probe_text).\n-export([version/0]).\nversion() -> <<\"", Version, "\">>.\n"]}].
