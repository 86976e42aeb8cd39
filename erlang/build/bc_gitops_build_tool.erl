%%% @doc What a build tool is, and which there are. A new tool is one module with these callbacks
%%% and one line in {@link all/0}.
-module(bc_gitops_build_tool).

-export([all/0, detect/1, module/1, missing/1]).

-export_type([tool/0, context/0, step/0]).

-type tool() :: rebar3 | mix | erlang_mk.
-type context() :: #{
    app := atom(),
    dir := file:filename(),      % the work tree
    caches := file:filename()    % of this build alone: what one build wrote no other trusts
}.
%% A failing `deps' step may pass another time (a registry does not answer); a failing `build' step
%% fails each time.
-type step() :: #{phase := deps | build, program := string(), args := [string()]}.

-callback name() -> tool().
%% Whether the directory is a project of this tool.
-callback detect(Dir :: file:filename()) -> boolean().
%% The programs that must be on PATH, each with the Debian package that has it.
-callback programs() -> [{Program :: string(), Package :: string()}].
%% A command that prints the versions of the tool and of OTP ("OTP 25").
-callback version() -> {Program :: string(), Args :: [string()]}.
-callback environment(context()) -> [{string(), string()}].
-callback steps(context()) -> [step()].
%% The directories with an `ebin' that a build left: the applications and their dependencies.
-callback output(context()) -> [file:filename()].
%% The directories of the project's own applications in the work tree, where it has several.
-callback members(context()) -> [file:filename()].

%% @doc In the order in which they are asked.
-spec all() -> [module()].
all() ->
    [bc_gitops_build_rebar3, bc_gitops_build_mix, bc_gitops_build_erlang_mk].

%% @doc The tool of a project.
-spec detect(file:filename()) -> {ok, module()} | {error, unknown}.
detect(Dir) ->
    case [Module || Module <- all(), Module:detect(Dir)] of
        [Module | _] -> {ok, Module};
        [] -> {error, unknown}
    end.

%% @doc The module of a tool.
-spec module(tool()) -> module().
module(Tool) ->
    hd([Module || Module <- all(), Module:name() =:= Tool]).

%% @doc The first program that a tool needs and the path has not.
-spec missing(module()) -> none | {error, {tool_missing, map()}}.
missing(Module) ->
    Missing = [Needed || {Program, _} = Needed <- Module:programs(),
                         element(1, bc_gitops_command:find(Program)) =:= error],
    case Missing of
        [] -> none;
        [{Program, Package} | _] ->
            {error, {tool_missing, missing(Module:name(), Program, Package)}}
    end.

missing(Tool, Program, Package) ->
    Message = io_lib:format("~s builds need ~s on PATH; on Debian: apt-get install ~s",
                            [Tool, Program, Package]),
    #{tool => Tool, program => list_to_binary(Program), package => list_to_binary(Package),
      message => iolist_to_binary(Message)}.
