%%% @doc One command of a build: its environment, its limits, its sandbox, and what its failure is
%%% called.
-module(bc_gitops_build_command).

-export([run/2, environment/1, trusted_environment/1]).

-export_type([place/0]).

-type place() :: #{
    name := atom(),
    tool := module(),
    dir := file:filename(),
    scratch := file:filename_all(),
    workspace := file:filename_all(),
    env := [{string(), file:filename_all()}],
    sandbox := bc_gitops_sandbox:sandbox(),
    context := bc_gitops_build_tool:context(),
    until := integer(),          % monotonic time in ms
    log := bc_gitops_build_log:log(),
    _ => _
}.

-define(TAIL_LINES, 30).
-define(MAX_OUTPUT, 64 * 1024 * 1024).

%% @doc Runs a step of a build tool; its output goes to the build's log.
-spec run(bc_gitops_build_tool:step(), place()) -> ok | {error, {atom(), map()}}.
run(#{phase := Phase, program := Program, args := Args} = Step, #{log := Log, until := Until} = Place) ->
    #{dir := Top, env := Env, scratch := Scratch, sandbox := Sandbox} = Place,
    Dir = filename:join([Top | [In || #{in := In} <- [Step]]]),
    Line = bc_gitops_command:describe(Program, Args),
    bc_gitops_build_log:write(Log, ["== ", Line, "\n"]),
    Need = (maps:with([scratch, workspace, env], Place))#{cd => Dir, network => Phase =:= deps},
    Command = #{
        program => Program, args => Args, cd => outside(Sandbox, Scratch, Dir), env => Env,
        timeout => max(1, Until - erlang:monotonic_time(millisecond)), max_output => ?MAX_OUTPUT,
        limits => bc_gitops_build_config:limits(Scratch),
        wrapper => bc_gitops_sandbox:wrapper(Sandbox, Need),
        keep_output => false,
        on_output => fun(Output) -> bc_gitops_build_log:write(Log, Output) end
    },
    case bc_gitops_command:run(Command) of
        {ok, _} -> ok;
        {error, {Kind, Details}} -> {error, failure(Kind, Details#{command => Line}, Phase, Place)}
    end.

%% Where the command begins before the sandbox is around it: not where a link may lead elsewhere.
outside(none, _Scratch, Dir) -> Dir;
outside(_Sandbox, Scratch, _Dir) -> Scratch.

%% A program that ends badly fails each time; a dependency that does not come may come next time.
failure(Kind, Details, Phase, #{name := Name, tool := Tool, log := Log} = Place) ->
    Output = bc_gitops_build_log:tail(Log, ?TAIL_LINES),
    Said = bc_gitops_words:text("~ts: ~ts", [phase(Phase), bc_gitops_command:format_error({Kind, Details})]),
    {Class, Message} = case {lists:member(Kind, [exit_status, signal]), Phase} of
        {true, deps} -> {deps_failed, Said};
        {true, build} -> meaning(Place, Output, {build_failed, Said});
        {false, _} -> {Kind, Said}
    end,
    {Class, Details#{app => Name, tool => Tool:name(), phase => Phase, message => Message,
                     output => Output}}.

meaning(#{tool := Tool, context := Context}, Output, Otherwise) ->
    case bc_gitops_build_tool:failure(Tool, Context, Output) of
        unknown -> Otherwise;
        Known -> Known
    end.

phase(deps) -> "its dependencies could not be brought";
phase(build) -> "its build failed".

%% @doc The environment of everything that a build runs: a home and a temporary directory of its own.
-spec environment(Scratch :: file:filename_all()) -> [{string(), file:filename_all()}].
environment(Scratch) ->
    Home = filename:join(Scratch, <<"home">>),
    Tmp = filename:join(Scratch, <<"tmp">>),
    %% Where the disk takes no directory the command fails and says so.
    _ = [filelib:ensure_path(Dir) || Dir <- [Home, Tmp]],
    [
        bc_gitops_scratch:marker(Scratch),
        {"HOME", Home}, {"TMPDIR", Tmp}, {"TERM", "dumb"},
        {"ERL_COMPILER_OPTIONS", "[deterministic]"},
        {"GIT_TERMINAL_PROMPT", "0"}, {"GIT_SSH_COMMAND", "ssh -oBatchMode=yes"}
    ].

%% @doc The environment of tools that are asked something for all builds. Their home is none that a
%% build was in: a VM runs what stands in a file there.
-spec trusted_environment(Workspace :: file:filename_all()) -> [{string(), file:filename_all()}].
trusted_environment(Workspace) ->
    environment(filename:join(Workspace, <<"tools">>)).
