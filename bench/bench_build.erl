%%% @doc What the sandbox adds to a build: the same step of the same project, with it and without.
-module(bench_build).

-export([run/0]).

run() ->
    bct_dir:with("bench_build", fun(Dir) ->
        Workspace = filename:join(Dir, "workspace"),
        ok = bc_gitops_workspace:init(Workspace),
        case bc_gitops_sandbox:choose() of
            {ok, none} -> io:format("no sandbox works here: its row is left out~n");
            {ok, Sandbox} -> row(place(Dir, Workspace), Sandbox)
        end,
        ok = gen_server:stop(bc_gitops_workspace_server)
    end).

row(Place, Sandbox) ->
    bench_rows:row(#{
        what => "rebar3 compile of a small application, in the sandbox",
        ours => fun() -> ok = compile(Place#{sandbox => Sandbox}) end,
        theirs => {"without the sandbox", fun() -> ok = compile(Place#{sandbox => none}) end}
    }).

compile(#{dir := Dir} = Place) ->
    ok = bc_gitops_tree:remove(filename:join(Dir, "_build")),
    Until = erlang:monotonic_time(millisecond) + 60000,
    Step = #{phase => build, program => "rebar3", args => ["compile"]},
    bc_gitops_build_command:run(Step, Place#{until => Until}).

place(Dir, Workspace) ->
    Scratch = filename:join([Workspace, "scratch", "bench", "1"]),
    Source = unicode:characters_to_list(filename:join([Scratch, "src", "bench_app"])),
    ok = filelib:ensure_path(filename:join(Source, "src")),
    [ok = file:write_file(filename:join(Source, File), Text) || {File, Text} <- files()],
    Tool = bc_gitops_build_rebar3,
    Context = #{app => bench_app, dir => Source, caches => filename:join(Dir, "cache")},
    Environment = bc_gitops_build_command:environment(Scratch) ++ Tool:environment(Context),
    #{name => bench_app, tool => Tool, dir => Source, scratch => Scratch, workspace => Workspace,
      env => Environment, log => bc_gitops_build_log:open(bench_app, "bench")}.

files() ->
    [
        {"rebar.config", "{deps, []}.\n"},
        {"src/bench_app.app.src", "{application, bench_app, [{vsn, \"1.0.0\"}]}.\n"},
        {"src/bench_app.erl", "-module(bench_app).\n-export([f/0]).\nf() -> ok.\n"}
    ].
